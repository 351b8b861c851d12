//! Reads requests about sites.
//!
//! Numbers that pass their narrower type are brought to its end, where the domain's own bounds refuse them.

use std::sync::Arc;

use super::{
    etag,
    fields::{Fields, Rounding, placeholder},
    mask, reason, request_key,
};
use crate::{
    domain::{
        ids::{Revision, SiteId, SiteKind, SupplyId},
        restriction::{DrainMode, Restrictions},
        site::{Country, Pool, Site, Supply, SupplyKind, TariffPeriod},
    },
    limits,
    proto::v1,
    slot::TimeMs,
    state::{
        Rejection,
        command::{LossCommand, RequestKey, SiteCommand, SitePatch, SiteVerb},
    },
};

const SUPPLY_KINDS: [(v1::SupplyKind, SupplyKind); 3] = [
    (v1::SupplyKind::Hydro, SupplyKind::Hydro),
    (v1::SupplyKind::Solar, SupplyKind::Solar),
    (v1::SupplyKind::Wind, SupplyKind::Wind),
];

const DRAIN_MODES: [(v1::DrainMode, DrainMode); 3] = [
    (v1::DrainMode::Finish, DrainMode::Finish),
    (v1::DrainMode::Checkpoint, DrainMode::Checkpoint),
    (v1::DrainMode::Kill, DrainMode::Kill),
];

/// What [`update_site`] may change.
const SITE_MASK: [&str; 12] = [
    "display_name",
    "pools",
    "power_cap_watts",
    "grid_limit_watts",
    "pue_permille",
    "supplies",
    "gateway_id",
    "offshore_enclave",
    "grid_location_mg_per_kwh",
    "grid_marginal_mg_per_kwh",
    "tariff",
    "water_ml_per_kwh",
];

/// Reads a site's id.
///
/// # Errors
/// When it is none.
pub(in crate::service) fn site_id(text: &str) -> Result<SiteId, Rejection> {
    let mut fields = Fields::default();
    let id = fields.name::<SiteKind>("site_id", text);
    fields.finish(id)
}

/// Reads a new site.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn create_site(
    mut request: v1::CreateSiteRequest,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "CreateSite", &request_id, &request);
    let site = fields.required("site", request.site.as_ref(), site);
    fields.finish(site.map(|site| SiteCommand {
        id: site.id.clone(),
        etag: None,
        request: key,
        verb: SiteVerb::Create(Box::new(site)),
    }))
}

/// Reads a change of a site.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn update_site(
    mut request: v1::UpdateSiteRequest,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let etag_text = std::mem::take(&mut request.etag);
    let mut fields = Fields::default();
    let request_key = request_key(&mut fields, "UpdateSite", &request_id, &request);
    let etag = etag(&mut fields, &etag_text);
    let paths = mask(&mut fields, request.update_mask.as_ref(), &SITE_MASK);
    let read = fields.required("site", request.site.as_ref(), |fields, site| {
        let id = fields.name::<SiteKind>("site_id", &site.site_id);
        id.zip(Some(site_patch(fields, site, paths)))
    });
    fields.finish(read.flatten().map(|(id, patch)| SiteCommand {
        id,
        etag,
        request: request_key,
        verb: SiteVerb::Update(Box::new(patch)),
    }))
}

/// Reads a cordon.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn cordon_site(
    mut request: v1::CordonSiteRequest,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "CordonSite", &request_id, &request);
    let reason = reason(&mut fields, &request.reason);
    command(fields, &request.site_id, key, SiteVerb::Cordon { reason })
}

/// Reads the end of a cordon.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn uncordon_site(
    mut request: v1::UncordonSiteRequest,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "UncordonSite", &request_id, &request);
    command(fields, &request.site_id, key, SiteVerb::Uncordon)
}

/// Reads the word that nothing runs at a site any more.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn declare_site_lost(
    mut request: v1::DeclareSiteLostRequest,
) -> Result<LossCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "DeclareSiteLost", &request_id, &request);
    let reason = reason(&mut fields, &request.reason);
    fields.check(request.nothing_runs_there, "nothing_runs_there", || {
        "must be true: if something still runs there, its job runs twice".into()
    });
    let site = fields.name::<SiteKind>("site_id", &request.site_id);
    fields.finish(site.map(|site| LossCommand {
        site,
        reason,
        request: key,
    }))
}

/// Reads a drain.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn drain_site(
    mut request: v1::DrainSiteRequest,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "DrainSite", &request_id, &request);
    let reason = reason(&mut fields, &request.reason);
    let mode = fields.choice("mode", request.mode, &DRAIN_MODES, |mode| {
        mode.as_str_name()
    });
    let verb = SiteVerb::Drain {
        reason,
        // Refused when it is none.
        mode: mode.unwrap_or(DrainMode::Finish),
        deadline: fields.time("deadline", request.deadline.as_ref(), Rounding::Up),
    };
    command(fields, &request.site_id, key, verb)
}

fn command(
    mut fields: Fields,
    site_id: &str,
    request: Option<RequestKey>,
    verb: SiteVerb,
) -> Result<SiteCommand, Rejection> {
    let id = fields.name::<SiteKind>("site_id", site_id);
    fields.finish(id.map(|id| SiteCommand {
        id,
        etag: None,
        request,
        verb,
    }))
}

fn site(fields: &mut Fields, site: &v1::Site) -> Site {
    let output_only = [
        ("cordon", site.cordon.is_some()),
        ("drain", site.drain.is_some()),
        ("windows", !site.windows.is_empty()),
        ("power", site.power.is_some()),
        ("agent", site.agent.is_some()),
        ("create_time", site.create_time.is_some()),
        ("update_time", site.update_time.is_some()),
        ("etag", !site.etag.is_empty()),
    ];
    for (field, set) in output_only {
        fields.check(!set, field, || "is output only; leave it unset".into());
    }
    let id = fields.name::<SiteKind>("site_id", &site.site_id);
    let supplies = supplies(fields, &site.supplies);
    let country = fields.country("country", &site.country);
    let read = Site {
        display_name: display_name(fields, site),
        // A site without a readable id is taken to be that of its supplies, about which nothing more can be said.
        id: id.unwrap_or_else(|| {
            let named = supplies.first().map(|supply| supply.id.site_part());
            named
                .and_then(|name| SiteId::parse(name).ok())
                .unwrap_or_else(|| placeholder(0))
        }),
        country: country.unwrap_or(Country::CN),
        latitude_microdegrees: site.latitude_microdegrees,
        longitude_microdegrees: site.longitude_microdegrees,
        utc_offset_minutes: site.utc_offset_minutes,
        pools: pools(fields, &site.pools),
        power_cap_watts: site.power_cap_watts,
        grid_limit_watts: site.grid_limit_watts,
        pue_permille: site.pue_permille,
        supplies,
        gateway: fields.name_or_none("gateway_id", &site.gateway_id),
        offshore_enclave: site.offshore_enclave,
        grid_location_mg_per_kwh: site.grid_location_mg_per_kwh,
        grid_marginal_mg_per_kwh: site.grid_marginal_mg_per_kwh.clone(),
        tariff: tariff(fields, &site.tariff),
        water_ml_per_kwh: site.water_ml_per_kwh,
        cordon: None,
        restrictions: Restrictions::default(),
        // Set when the site is stored.
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(0),
    };
    fields.merge(read.violations());
    read
}

/// New values of the masked fields; what depends on the rest of the site is checked against it.
fn site_patch(fields: &mut Fields, site: &v1::Site, paths: &[String]) -> SitePatch {
    let mut patch = SitePatch::default();
    for path in paths {
        match path.as_str() {
            "display_name" => patch.display_name = Some(display_name(fields, site)),
            "pools" => patch.pools = Some(pools(fields, &site.pools)),
            "power_cap_watts" => patch.power_cap_watts = Some(site.power_cap_watts),
            "grid_limit_watts" => patch.grid_limit_watts = Some(site.grid_limit_watts),
            "pue_permille" => patch.pue_permille = Some(site.pue_permille),
            "supplies" => patch.supplies = Some(supplies(fields, &site.supplies)),
            "gateway_id" => {
                patch.gateway = Some(fields.name_or_none("gateway_id", &site.gateway_id));
            }
            "offshore_enclave" => patch.offshore_enclave = Some(site.offshore_enclave),
            "grid_location_mg_per_kwh" => {
                patch.grid_location_mg_per_kwh = Some(site.grid_location_mg_per_kwh);
            }
            "grid_marginal_mg_per_kwh" => {
                patch.grid_marginal_mg_per_kwh = Some(site.grid_marginal_mg_per_kwh.clone());
            }
            "tariff" => patch.tariff = Some(tariff(fields, &site.tariff)),
            "water_ml_per_kwh" => patch.water_ml_per_kwh = Some(site.water_ml_per_kwh),
            // Any other path was refused when the mask was read.
            _ => {}
        }
    }
    patch
}

fn display_name(fields: &mut Fields, site: &v1::Site) -> Arc<str> {
    let name = match site.display_name.as_str() {
        "" => site.site_id.as_str(),
        name => name,
    };
    fields.text("display_name", name, limits::DISPLAY_NAME_BYTES_MAX)
}

fn pools(fields: &mut Fields, pools: &[v1::Pool]) -> Vec<Pool> {
    fields.list("pools", pools, limits::POOLS_MAX, |fields, i, pool| Pool {
        id: fields
            .name("pool_id", &pool.pool_id)
            .unwrap_or_else(|| placeholder(i)),
        nodes: pool.nodes,
        cpu_cores_per_node: pool.cpu_cores_per_node,
        memory_mib_per_node: pool.memory_mib_per_node,
        gpus_per_node: pool.gpus_per_node,
        gpu_model: (!pool.gpu_model.is_empty())
            .then(|| fields.text("gpu_model", &pool.gpu_model, limits::NAME_BYTES_MAX)),
        no_domestic_mix: pool.no_domestic_mix,
        encrypted_in_use: pool.encrypted_in_use,
    })
}

fn supplies(fields: &mut Fields, supplies: &[v1::Supply]) -> Vec<Supply> {
    fields.list(
        "supplies",
        supplies,
        limits::SUPPLIES_MAX,
        |fields, i, supply| {
            let id: Option<SupplyId> = fields.name("supply_id", &supply.supply_id);
            let kind = fields.choice("kind", supply.kind, &SUPPLY_KINDS, |kind| {
                kind.as_str_name()
            });
            let months = &supply.monthly_capacity_permille;
            fields.check(months.len() == 12, "monthly_capacity_permille", || {
                format!("has 12 values of at most 1000, not {}", months.len())
            });
            Supply {
                id: id.unwrap_or_else(|| placeholder(i)),
                kind: kind.unwrap_or(SupplyKind::Hydro),
                nameplate_watts: supply.nameplate_watts,
                monthly_capacity_permille: std::array::from_fn(|month| {
                    let permille = months.get(month).copied().unwrap_or(0);
                    u16::try_from(permille).unwrap_or(u16::MAX)
                }),
                carbon_mg_per_kwh: supply.carbon_mg_per_kwh,
                price_micro_cny_per_kwh: supply.price_micro_cny_per_kwh,
            }
        },
    )
}

fn tariff(fields: &mut Fields, periods: &[v1::TariffPeriod]) -> Vec<TariffPeriod> {
    let minute = |minute: u32| u16::try_from(minute).unwrap_or(u16::MAX);
    fields.list(
        "tariff",
        periods,
        limits::TARIFF_PERIODS_MAX,
        |fields, _, period| {
            fields.check(period.months.len() <= 12, "months", || {
                "has at most 12 entries".into()
            });
            let months = period.months.iter().take(13);
            TariffPeriod {
                months: months
                    .map(|month| u8::try_from(*month).unwrap_or(u8::MAX))
                    .collect(),
                start_minute: minute(period.start_minute),
                end_minute: minute(period.end_minute),
                price_micro_cny_per_kwh: period.price_micro_cny_per_kwh,
            }
        },
    )
}
