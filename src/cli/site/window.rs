//! `lancang site maintain`, `curtail` and `lift`: windows in which a site may draw less.
//!
//! A window is named by the operator, so that it can be replaced and called off.

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        time::When,
    },
    proto::v1,
};

pub(super) const MAINTAIN_EXAMPLES: &str = "\
Examples:
  lancang site maintain dli-dali --id ups-7 --from 2026-12-01T02:00 --to 2026-12-01T06:00 --reason 'new batteries'
  lancang site lift dli-dali ups-7               calls it off";

pub(super) const CURTAIL_EXAMPLES: &str = "\
Examples:
  lancang site curtail dli-dali --id peak --watts 2000000 --to 3h
  lancang site curtail dli-dali --id blackout --watts 0 --to 1h --emergency
  lancang site lift dli-dali peak                ends it";

/// Flags of `site maintain`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MaintainArgs {
    #[command(flatten)]
    window: WindowArgs,
}

/// Flags of `site curtail`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CurtailArgs {
    #[command(flatten)]
    window: WindowArgs,
    /// What the facility may draw, in watts.
    #[arg(long, value_name = "WATTS")]
    watts: u64,
    /// Stop what cannot pause or slow down, too.
    #[arg(long)]
    emergency: bool,
}

/// What every window has.
#[derive(Debug, Clone, clap::Args)]
struct WindowArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// Id of the window; one with the same id is replaced.
    #[arg(long, value_name = "ID")]
    id: String,
    /// When it begins; without it, now.
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// When it ends.
    #[arg(long, value_name = "TIME")]
    to: When,
    /// Why; shown in explanations.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Flags of `site lift`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LiftArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// Id of the window.
    #[arg(value_name = "ID")]
    id: String,
}

/// Puts a window of maintenance.
pub(super) async fn maintain(client: &ClientArgs, args: MaintainArgs) -> Result<(), Failure> {
    put(client, args.window, v1::WindowKind::Maintenance, 0).await
}

/// Puts a window of less power.
pub(super) async fn curtail(client: &ClientArgs, args: CurtailArgs) -> Result<(), Failure> {
    let kind = if args.emergency {
        v1::WindowKind::Emergency
    } else {
        v1::WindowKind::Curtailment
    };
    put(client, args.window, kind, args.watts).await
}

/// Ends a window.
pub(super) async fn lift(client: &ClientArgs, args: LiftArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::DeleteSiteWindowRequest {
        site_id: args.site,
        window_id: args.id,
        request_id: String::new(),
    };
    let answer = session.sites().delete_site_window(request).await?;
    session.show(&answer.into_inner().site.unwrap_or_default())
}

async fn put(
    client: &ClientArgs,
    args: WindowArgs,
    kind: v1::WindowKind,
    max_power_watts: u64,
) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::PutSiteWindowRequest {
        site_id: args.site,
        window: Some(v1::SiteWindow {
            window_id: args.id,
            kind: kind.into(),
            start_time: args.from.map(|when| resolve(&session, when)).transpose()?,
            end_time: Some(resolve(&session, args.to)?),
            max_power_watts,
            reason: args.reason,
        }),
        request_id: String::new(),
    };
    let answer = session.sites().put_site_window(request).await?;
    session.show(&answer.into_inner().site.unwrap_or_default())
}

fn resolve(session: &Session, when: When) -> Result<prost_types::Timestamp, Failure> {
    let moment = when.resolve(session.now, &session.view);
    moment.map_err(Failure::Usage)
}
