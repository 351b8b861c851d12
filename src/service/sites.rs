//! The handlers of `SiteService`.
//!
//! Handlers read, ask and answer; they decide nothing.

use tonic::{Request, Response, Status};

use super::{
    Api, audit, from_proto,
    pager::{self, Listing},
    to_proto,
    watch::{Sites, Watch, WatchStream},
};
use crate::{
    domain::{
        ids::{Revision, SiteId},
        site::Site,
    },
    proto::v1::{self, site_service_server::SiteService},
    state::{Rejection, State, command::SiteCommand, rejection::Missing},
};

#[tonic::async_trait]
impl SiteService for Api {
    type WatchSitesStream = WatchStream<Sites>;

    async fn create_site(
        &self,
        request: Request<v1::CreateSiteRequest>,
    ) -> Result<Response<v1::CreateSiteResponse>, Status> {
        if let Some(site) = &request.get_ref().site {
            audit::about(&request, &site.site_id);
        }
        let command = from_proto::create_site(request.into_inner())?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::CreateSiteResponse { site }))
    }

    async fn create_agent_token(
        &self,
        request: Request<v1::CreateAgentTokenRequest>,
    ) -> Result<Response<v1::CreateAgentTokenResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let made = self.make_token(&request.into_inner()).await?;
        Ok(Response::new(made))
    }

    async fn list_refused_reports(
        &self,
        request: Request<v1::ListRefusedReportsRequest>,
    ) -> Result<Response<v1::ListRefusedReportsResponse>, Status> {
        let request = request.into_inner();
        let size = from_proto::page_size(request.page_size)?;
        let published = self.handle.published();
        let site = known_site(&published.state, &request.site_id)?;
        let snapshots = &self.shared.snapshots;
        let query = [site.as_str()];
        let listing = Listing::RefusedReports;
        let (state, cursor) = snapshots.open(listing, &query, &request.page_token, &published)?;
        let evidence = state.agent(&site).map_or(&[][..], |agent| &agent.evidence);
        let newest_first = evidence.iter().rev().zip(0_u64..);
        let keyed = newest_first.map(|(one, place)| (place.to_be_bytes().to_vec(), one));
        let chosen = pager::select(keyed, &cursor, size);
        let page = snapshots.page(&state, &cursor, chosen);
        Ok(Response::new(v1::ListRefusedReportsResponse {
            reports: page
                .items
                .into_iter()
                .map(to_proto::refused_report)
                .collect(),
            next_page_token: page.next_page_token,
            revision: state.revision().0,
        }))
    }

    async fn get_site(
        &self,
        request: Request<v1::GetSiteRequest>,
    ) -> Result<Response<v1::GetSiteResponse>, Status> {
        let id = from_proto::site_id(&request.into_inner().site_id)?;
        let published = self.handle.published();
        let site = published.state.site(&id);
        let site = site.ok_or_else(|| unknown_site(&published.state, &id))?;
        let site = Some(self.site_now(site, &published.state));
        Ok(Response::new(v1::GetSiteResponse { site }))
    }

    async fn list_sites(
        &self,
        request: Request<v1::ListSitesRequest>,
    ) -> Result<Response<v1::ListSitesResponse>, Status> {
        let request = request.into_inner();
        let size = from_proto::page_size(request.page_size)?;
        let published = self.handle.published();
        let snapshots = &self.shared.snapshots;
        let (state, cursor) =
            snapshots.open(Listing::Sites, &[], &request.page_token, &published)?;
        let sites = state.sites().values();
        let keyed = sites.map(|site| (site.id.as_str().as_bytes().to_vec(), site));
        let chosen = pager::select(keyed, &cursor, size);
        let page = snapshots.page(&state, &cursor, chosen);
        Ok(Response::new(v1::ListSitesResponse {
            sites: page
                .items
                .into_iter()
                .map(|site| self.site_now(site, &state))
                .collect(),
            next_page_token: page.next_page_token,
            revision: state.revision().0,
        }))
    }

    async fn update_site(
        &self,
        request: Request<v1::UpdateSiteRequest>,
    ) -> Result<Response<v1::UpdateSiteResponse>, Status> {
        if let Some(site) = &request.get_ref().site {
            audit::about(&request, &site.site_id);
        }
        let command = from_proto::update_site(request.into_inner())?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::UpdateSiteResponse { site }))
    }

    async fn cordon_site(
        &self,
        request: Request<v1::CordonSiteRequest>,
    ) -> Result<Response<v1::CordonSiteResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let command = from_proto::cordon_site(request.into_inner())?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::CordonSiteResponse { site }))
    }

    async fn uncordon_site(
        &self,
        request: Request<v1::UncordonSiteRequest>,
    ) -> Result<Response<v1::UncordonSiteResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let command = from_proto::uncordon_site(request.into_inner())?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::UncordonSiteResponse { site }))
    }

    async fn drain_site(
        &self,
        request: Request<v1::DrainSiteRequest>,
    ) -> Result<Response<v1::DrainSiteResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let command = from_proto::drain_site(request.into_inner())?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::DrainSiteResponse { site }))
    }

    async fn put_site_window(
        &self,
        request: Request<v1::PutSiteWindowRequest>,
    ) -> Result<Response<v1::PutSiteWindowResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let (grid, now) = (self.grid(), self.now());
        let command = from_proto::put_site_window(request.into_inner(), grid, now)?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::PutSiteWindowResponse { site }))
    }

    async fn delete_site_window(
        &self,
        request: Request<v1::DeleteSiteWindowRequest>,
    ) -> Result<Response<v1::DeleteSiteWindowResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let command = from_proto::delete_site_window(request.into_inner())?;
        let site = Some(self.change_site(command).await?);
        Ok(Response::new(v1::DeleteSiteWindowResponse { site }))
    }

    async fn declare_site_lost(
        &self,
        request: Request<v1::DeclareSiteLostRequest>,
    ) -> Result<Response<v1::DeclareSiteLostResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let command = from_proto::declare_site_lost(request.into_inner())?;
        let site = self.handle.declare_site_lost(command).await?;
        let published = self.handle.published();
        let site = Some(self.site_now(&site, &published.state));
        Ok(Response::new(v1::DeclareSiteLostResponse { site }))
    }

    async fn watch_sites(
        &self,
        request: Request<v1::WatchSitesRequest>,
    ) -> Result<Response<Self::WatchSitesStream>, Status> {
        let request = request.into_inner();
        let only = match request.site_id.as_str() {
            "" => None,
            text => Some(known_site(&self.handle.published().state, text)?),
        };
        let watch = Watch {
            subject: Sites { only },
            start_at: from_proto::start_at(
                "initial_sites",
                request.initial_sites,
                request.after_revision,
            )?,
            bookmark_interval: from_proto::bookmark_interval(request.bookmark_interval.as_ref())?,
            stop: self.stop(),
            permit: self.watch_permit()?,
        };
        Ok(Response::new(watch.start(self.handle.subscribe())?))
    }

    async fn put_latencies(
        &self,
        request: Request<v1::PutLatenciesRequest>,
    ) -> Result<Response<v1::PutLatenciesResponse>, Status> {
        let (update, key) = from_proto::latency_update(request.into_inner())?;
        let receipt = self.handle.put_latencies(update, key).await?;
        let Revision(revision) = receipt.revision;
        Ok(Response::new(v1::PutLatenciesResponse {
            zones: u32::try_from(receipt.n_zones).unwrap_or(u32::MAX),
            latencies: u32::try_from(receipt.n_round_trips).unwrap_or(u32::MAX),
            revision,
        }))
    }

    async fn get_latencies(
        &self,
        request: Request<v1::GetLatenciesRequest>,
    ) -> Result<Response<v1::GetLatenciesResponse>, Status> {
        let asked = request.into_inner().site_id;
        let published = self.handle.published();
        let only = match asked.as_str() {
            "" => None,
            text => Some(known_site(&published.state, text)?),
        };
        let table = published.state.latencies();
        let pairs = table
            .round_trips
            .iter()
            .filter(|(site, _)| only.as_ref().is_none_or(|only| only == *site))
            .flat_map(|(site, cities)| cities.iter().map(move |(city, times)| (site, city, times)));
        Ok(Response::new(v1::GetLatenciesResponse {
            zones: table.zones.values().map(to_proto::latency_zone).collect(),
            latencies: pairs
                .map(|(site, city, times)| to_proto::latency(site, city, times))
                .collect(),
        }))
    }

    async fn put_link(
        &self,
        request: Request<v1::PutLinkRequest>,
    ) -> Result<Response<v1::PutLinkResponse>, Status> {
        if let Some(link) = &request.get_ref().link {
            audit::about(&request, &link.gateway_id);
        }
        let command = from_proto::put_link(request.into_inner())?;
        let link = self.handle.put_link(command).await?;
        let link = Some(to_proto::link(&link));
        Ok(Response::new(v1::PutLinkResponse { link }))
    }

    async fn get_link(
        &self,
        request: Request<v1::GetLinkRequest>,
    ) -> Result<Response<v1::GetLinkResponse>, Status> {
        let gateway = from_proto::gateway_id(&request.into_inner().gateway_id)?;
        let published = self.handle.published();
        let link = Some(to_proto::link(published.state.known_link(&gateway)?));
        Ok(Response::new(v1::GetLinkResponse { link }))
    }

    async fn list_links(
        &self,
        request: Request<v1::ListLinksRequest>,
    ) -> Result<Response<v1::ListLinksResponse>, Status> {
        let request = request.into_inner();
        let size = from_proto::page_size(request.page_size)?;
        let published = self.handle.published();
        let snapshots = &self.shared.snapshots;
        let (state, cursor) =
            snapshots.open(Listing::Links, &[], &request.page_token, &published)?;
        let links = state.links().values();
        let keyed = links.map(|link| (link.gateway.as_str().as_bytes().to_vec(), link));
        let chosen = pager::select(keyed, &cursor, size);
        let page = snapshots.page(&state, &cursor, chosen);
        Ok(Response::new(v1::ListLinksResponse {
            links: page
                .items
                .into_iter()
                .map(|link| to_proto::link(link))
                .collect(),
            next_page_token: page.next_page_token,
            revision: state.revision().0,
        }))
    }
}

impl Api {
    async fn change_site(&self, command: SiteCommand) -> Result<v1::Site, Rejection> {
        let site = self.handle.change_site(command).await?;
        let published = self.handle.published();
        Ok(self.site_now(&site, &published.state))
    }

    fn site_now(&self, site: &Site, state: &State) -> v1::Site {
        to_proto::site_now(site, state, self.handle.heard(&site.id), self.now())
    }
}

fn known_site(state: &State, text: &str) -> Result<SiteId, Rejection> {
    let id = from_proto::site_id(text)?;
    match state.site(&id) {
        Some(_) => Ok(id),
        None => Err(unknown_site(state, &id)),
    }
}

fn unknown_site(state: &State, id: &SiteId) -> Rejection {
    Rejection::not_found(Missing::Site, id, state.sites().keys())
}
