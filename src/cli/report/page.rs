//! `lancang report page`: reads what a page of a site shows, and writes it.
//!
//! All site-slots are of one revision; the statement beside them says which it shows.

use std::path::PathBuf;

use super::{
    draw::{self, Drawing},
    window::WindowArgs,
};
use crate::{
    cli::{
        bulk,
        client::{ClientArgs, Session},
        failure::Failure,
        files,
        output::say,
    },
    proto::v1,
};

/// Site-slots of a page of the listing.
const PAGE_SIZE: i32 = 1_000;

/// Flags of `report page`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PageVerb {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    window: WindowArgs,
}

/// Writes the page.
pub(super) async fn write(client: &ClientArgs, args: PageVerb) -> Result<(), Failure> {
    let session = client.connect().await?;
    let (start_time, end_time) = args.window.resolve(&session)?;
    let request = v1::GetSiteRequest {
        site_id: args.site.clone(),
    };
    let site = session.sites().get_site(request).await?.into_inner().site;
    let request = v1::GetServerInfoRequest {};
    let info = session.admin().get_server_info(request).await?.into_inner();
    let request = v1::GetStatementRequest {
        site_id: args.site.clone(),
        start_time,
        end_time,
        group_by: vec![v1::StatementGroup::Job.into()],
        ..v1::GetStatementRequest::default()
    };
    let statement = session.reports().get_statement(request).await?.into_inner();
    // The window that the statement took, so that both show the same slots.
    let request = v1::ListSettlementsRequest {
        site_id: args.site,
        start_time: statement.start_time,
        end_time: statement.end_time,
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let slots = all_slots(&session, request).await?;
    let html = draw::page(&Drawing {
        site: &site.unwrap_or_default(),
        slots: &slots,
        statement: &statement,
        slot_seconds: info.slot_seconds,
        view: &session.view,
    });
    files::write(&args.out, html.as_bytes())?;
    say(&format!(
        "{}: {} site-slots",
        args.out.display(),
        slots.len()
    ))
}

async fn all_slots(
    session: &Session,
    mut request: v1::ListSettlementsRequest,
) -> Result<Vec<v1::Settlement>, Failure> {
    let bar = bulk::counter("site-slots");
    let mut slots = Vec::new();
    loop {
        let answer = session.reports().list_settlements(request.clone()).await?;
        let answer = answer.into_inner();
        slots.extend(answer.settlements);
        bar.set_position(u64::try_from(slots.len()).unwrap_or(u64::MAX));
        request.page_token = answer.next_page_token;
        if request.page_token.is_empty() {
            bar.finish_and_clear();
            return Ok(slots);
        }
    }
}
