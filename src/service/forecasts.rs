//! The handlers of `ForecastService`.
//!
//! Handlers read, ask and answer; what rules a slot is said by the controller's reading of a state.

use tonic::{Request, Response, Status, Streaming};

use super::{
    Api, audit,
    from_proto::{self, ForecastQuery},
    outbox::Answers,
    pager::{self, Listing},
    pipeline::{Pipeline, start},
    status::ServiceError,
    to_proto,
};
use crate::{
    domain::{
        forecast::{ForecastId, ForecastIssue},
        ids::{Revision, SupplyId},
    },
    limits,
    proto::v1::{self, forecast_service_server::ForecastService},
    slot::{Slot, SlotRange},
    state::{Rejection, State, rejection::Missing},
};

#[tonic::async_trait]
impl ForecastService for Api {
    type StreamForecastsStream = Answers<v1::StreamForecastsResponse>;

    async fn put_forecast(
        &self,
        request: Request<v1::PutForecastRequest>,
    ) -> Result<Response<v1::PutForecastResponse>, Status> {
        if let Some(forecast) = &request.get_ref().forecast {
            audit::about(&request, &forecast.supply_id);
        }
        let command = from_proto::put_forecast(&request.into_inner(), self.settings())?;
        let receipt = self.handle.put_forecast(command).await?;
        let receipt = Some(to_proto::receipt(&receipt));
        Ok(Response::new(v1::PutForecastResponse { receipt }))
    }

    async fn stream_forecasts(
        &self,
        request: Request<Streaming<v1::StreamForecastsRequest>>,
    ) -> Result<Response<Self::StreamForecastsStream>, Status> {
        let pipeline = Pipeline {
            chunk_max: limits::FORECAST_CHUNK_MAX,
            sequence: |request: &v1::StreamForecastsRequest| request.sequence,
            stop: self.stop(),
        };
        let api = self.clone();
        let answers = pipeline.run(request.into_inner(), move |chunk| {
            let api = api.clone();
            async move { api.forecast_chunk(chunk).await }
        });
        Ok(Response::new(answers))
    }

    async fn get_forecast(
        &self,
        request: Request<v1::GetForecastRequest>,
    ) -> Result<Response<v1::GetForecastResponse>, Status> {
        let query = from_proto::forecast_query(&request.into_inner(), self.settings(), self.now())?;
        let response = match query {
            ForecastQuery::Issue(id) => self.issue_response(&id)?,
            ForecastQuery::Ruling(supply, range) => self.ruling_response(&supply, range)?,
        };
        Ok(Response::new(response))
    }

    async fn list_forecasts(
        &self,
        request: Request<v1::ListForecastsRequest>,
    ) -> Result<Response<v1::ListForecastsResponse>, Status> {
        let api = self.clone();
        let request = request.into_inner();
        let listed = tokio::task::spawn_blocking(move || api.list_issues(&request)).await;
        let response = listed.unwrap_or_else(|_| Err(Rejection::Stopped.into()))?;
        Ok(Response::new(response))
    }

    async fn put_actuals(
        &self,
        request: Request<v1::PutActualsRequest>,
    ) -> Result<Response<v1::PutActualsResponse>, Status> {
        audit::about(&request, &request.get_ref().supply_id);
        let command = from_proto::actuals(request.into_inner(), self.settings())?;
        let receipt = self.handle.put_actuals(command).await?;
        let Revision(revision) = receipt.revision;
        Ok(Response::new(v1::PutActualsResponse {
            new_slots: receipt.new_slots,
            corrected_slots: receipt.corrected_slots,
            revision,
        }))
    }

    async fn get_forecast_skill(
        &self,
        request: Request<v1::GetForecastSkillRequest>,
    ) -> Result<Response<v1::GetForecastSkillResponse>, Status> {
        let query = from_proto::skill_query(&request.into_inner(), self.settings(), self.now())?;
        known_supply(&self.handle.published().state, &query.supply)?;
        let skills = self
            .handle
            .skill(&query.supply, query.product, query.range)?;
        let skills = skills.iter().map(to_proto::skill).collect();
        Ok(Response::new(v1::GetForecastSkillResponse { skills }))
    }
}

impl Api {
    /// Answers a chunk of a stream: all issues are on their way before the first answer is waited for.
    async fn forecast_chunk(
        &self,
        chunk: Vec<v1::StreamForecastsRequest>,
    ) -> Result<Vec<v1::StreamForecastsResponse>, Status> {
        use v1::stream_forecasts_response::Outcome;
        let mut asked = Vec::with_capacity(chunk.len());
        for request in chunk {
            let command = from_proto::stream_forecast(&request, self.settings());
            let handle = self.handle.clone();
            let put = async move { handle.put_forecast(command?).await };
            asked.push((request.sequence, start(put).await));
        }
        let mut answers = Vec::with_capacity(asked.len());
        for (sequence, asked) in asked {
            let outcome = match asked.finish().await {
                Ok(receipt) => Outcome::Receipt(to_proto::receipt(&receipt)),
                Err(Rejection::Stopped) => return Err(Rejection::Stopped.into()),
                Err(rejection) => Outcome::Error(ServiceError::from(rejection).into_item_error()),
            };
            let outcome = Some(outcome);
            answers.push(v1::StreamForecastsResponse { sequence, outcome });
        }
        Ok(answers)
    }

    fn issue_response(&self, id: &ForecastId) -> Result<v1::GetForecastResponse, Rejection> {
        let published = self.handle.published();
        let issue = published.state.forecasts().get(id).ok_or_else(|| {
            Rejection::not_found(Missing::Forecast, id, std::iter::empty::<String>())
        })?;
        Ok(v1::GetForecastResponse {
            forecast: Some(to_proto::forecast(issue, self.grid())),
            bands: Vec::new(),
            newest_issued_at: newest_issued_at(&published.state, &id.supply),
        })
    }

    fn ruling_response(
        &self,
        supply: &SupplyId,
        range: SlotRange,
    ) -> Result<v1::GetForecastResponse, Rejection> {
        let published = self.handle.published();
        known_supply(&published.state, supply)?;
        let bands = self.handle.ruling_bands(supply, range)?;
        let bands = bands.iter();
        Ok(v1::GetForecastResponse {
            forecast: None,
            bands: bands
                .map(|ruling| to_proto::ruling_band(ruling, self.grid()))
                .collect(),
            newest_issued_at: newest_issued_at(&published.state, supply),
        })
    }

    fn list_issues(
        &self,
        request: &v1::ListForecastsRequest,
    ) -> Result<v1::ListForecastsResponse, ServiceError> {
        let size = from_proto::page_size(request.page_size)?;
        let (supply, product) = from_proto::forecast_product_filter(request)?;
        let published = self.handle.published();
        let snapshots = &self.shared.snapshots;
        let product_code = product.map_or("", |product| product.code());
        let query = [request.supply_id.as_str(), product_code];
        let (state, cursor) =
            snapshots.open(Listing::Forecasts, &query, &request.page_token, &published)?;
        if let Some(supply) = &supply {
            known_supply(&state, supply)?;
        }
        let matching = state.forecasts().values().filter(|issue| {
            supply
                .as_ref()
                .is_none_or(|supply| issue.id.supply == *supply)
                && product.is_none_or(|product| issue.id.product == product)
        });
        let keyed = matching.map(|issue| (newest_first(&issue.id), issue));
        let chosen = pager::select(keyed, &cursor, size);
        let page = snapshots.page(&state, &cursor, chosen);
        let issues = page.items.into_iter();
        Ok(v1::ListForecastsResponse {
            forecasts: issues
                .map(|issue| {
                    to_proto::forecast_summary(issue, ruling_slots(&state, issue), self.grid())
                })
                .collect(),
            next_page_token: page.next_page_token,
            revision: state.revision().0,
        })
    }
}

/// A key that sorts the newest issue first, then by id.
fn newest_first(id: &ForecastId) -> Vec<u8> {
    let issued_at = u64::try_from(id.issued_at.0).unwrap_or(0);
    let mut key = (!issued_at).to_be_bytes().to_vec();
    key.extend_from_slice(id.to_string().as_bytes());
    key
}

/// Slots of an issue that no newer issue of its supply covers.
fn ruling_slots(state: &State, issue: &ForecastIssue) -> u32 {
    let mut newer: Vec<SlotRange> = state
        .issues_of(&issue.id.supply)
        .filter(|other| other.id > issue.id)
        .map(|other| other.range.intersect(issue.range))
        .filter(|covered| !covered.is_empty())
        .collect();
    newer.sort_unstable();
    let (mut n_covered, mut end) = (0, Slot(0));
    for range in newer {
        let fresh = SlotRange::new(range.start.max(end), range.end);
        n_covered += fresh.len();
        end = end.max(range.end);
    }
    issue.range.len() - n_covered
}

fn newest_issued_at(state: &State, supply: &SupplyId) -> Option<prost_types::Timestamp> {
    let newest = state.issues_of(supply).last()?;
    Some(to_proto::time(newest.id.issued_at))
}

fn known_supply(state: &State, id: &SupplyId) -> Result<(), Rejection> {
    if state.supply(id).is_some() {
        return Ok(());
    }
    let supplies = state.sites().values().flat_map(|site| &site.supplies);
    let known = supplies.map(|supply| supply.id.clone());
    Err(Rejection::not_found(Missing::Supply, id, known))
}
