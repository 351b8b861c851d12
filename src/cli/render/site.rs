//! Sites, latency zones and round-trip times as text.
//!
//! A list has one line a site; a card has every pool and supply.

use crate::{
    cli::{
        output::Table,
        render::{card, job::with_token, millis, quantity::cny, short, table, text, watts},
        time::View,
    },
    proto::v1,
};

impl Table for v1::CreateAgentTokenResponse {
    const NAME: &'static str = "lancang.v1.CreateAgentTokenResponse";

    fn table(&self, view: &View) -> String {
        card(&[
            ("token", self.token.clone()),
            ("expires", view.time(self.expire_time.as_ref())),
        ])
    }
}

impl Table for v1::Site {
    const NAME: &'static str = "lancang.v1.Site";

    fn table(&self, view: &View) -> String {
        let cordon = match &self.cordon {
            Some(cordon) if cordon.cordoned => {
                format!(
                    "since {}: {}",
                    view.time(cordon.since.as_ref()),
                    cordon.reason
                )
            }
            _ => String::new(),
        };
        let head = card(&[
            ("site", self.site_id.clone()),
            ("name", self.display_name.clone()),
            ("country", self.country.clone()),
            ("cordoned", cordon),
            ("drain", drain(self.drain.as_ref(), view)),
            ("agent", agent(self.agent.as_ref(), view)),
            ("power cap", watts(self.power_cap_watts)),
            ("power now", power(self.power.as_ref())),
            ("grid limit", watts(self.grid_limit_watts)),
            (
                "PUE",
                format!(
                    "{}.{:03}",
                    self.pue_permille / 1000,
                    self.pue_permille % 1000
                ),
            ),
            ("water", water(self.water_ml_per_kwh)),
            ("gateway", self.gateway_id.clone()),
            (
                "enclave",
                if self.offshore_enclave { "yes" } else { "" }.to_owned(),
            ),
            ("changed", view.time(self.update_time.as_ref())),
            ("etag", self.etag.clone()),
        ]);
        let windows = match self.windows.as_slice() {
            [] => String::new(),
            windows => format!("\n\n{}", windows_table(windows, view)),
        };
        format!(
            "{head}\n\n{}\n\n{}{windows}",
            pools(&self.pools),
            supplies(&self.supplies)
        )
    }
}

/// Water for each kWh; nothing where none is stated.
fn water(ml_per_kwh: u32) -> String {
    match ml_per_kwh {
        0 => String::new(),
        ml => format!("{}.{:03} l/kWh", ml / 1_000, ml % 1_000),
    }
}

impl Table for v1::WatchSitesResponse {
    const NAME: &'static str = "lancang.v1.WatchSitesResponse";

    /// Bookmarks are for programs: they have no text.
    fn table(&self, view: &View) -> String {
        match &self.item {
            Some(v1::watch_sites_response::Item::Event(event)) => event_line(event, view),
            Some(v1::watch_sites_response::Item::Bookmark(_)) | None => String::new(),
        }
    }
}

fn event_line(event: &v1::SiteEvent, view: &View) -> String {
    let site = event.site.clone().unwrap_or_default();
    let is_cordoned = site.cordon.is_some_and(|cordon| cordon.cordoned);
    let status = match (drain(site.drain.as_ref(), view), is_cordoned) {
        (drain, _) if !drain.is_empty() => drain,
        (_, true) => "cordoned".to_owned(),
        (_, false) => "open".to_owned(),
    };
    format!(
        "{}  r{}  {}  {status}",
        view.time(event.record_time.as_ref()),
        event.revision,
        site.site_id
    )
}

/// `CONNECTED, last heard 14:00, 3 attempts, version 0.1.0, epoch 2`.
fn agent(agent: Option<&v1::AgentStatus>, view: &View) -> String {
    let Some(agent) = agent else {
        return String::new();
    };
    let mut parts = vec![short(agent.state().as_str_name(), "AGENT_STATE_").to_owned()];
    if agent.report_time.is_some() {
        let heard = view.time(agent.report_time.as_ref());
        parts.push(format!(
            "last heard {heard}, {} attempts",
            agent.held_attempts
        ));
    }
    if !agent.version.is_empty() {
        parts.push(format!("version {}", agent.version));
    }
    if 0 < agent.site_epoch {
        parts.push(format!("epoch {}", agent.site_epoch));
    }
    parts.join(", ")
}

/// `4.2 MW of 5.0 MW allowed`.
fn power(power: Option<&v1::SitePower>) -> String {
    power.map_or_else(String::new, |power| {
        let above = if power.allowed_watts < power.running_watts {
            ", and nothing more may be stopped"
        } else {
            ""
        };
        format!(
            "{} of {} allowed{above}",
            watts(power.running_watts),
            watts(power.allowed_watts)
        )
    })
}

fn windows_table(windows: &[v1::SiteWindow], view: &View) -> String {
    let mut table = table(["window", "kind", "from", "to", "allowed", "reason"]);
    for window in windows {
        table.add_row([
            window.window_id.clone(),
            short(window.kind().as_str_name(), "WINDOW_KIND_").to_owned(),
            view.time(window.start_time.as_ref()),
            view.time(window.end_time.as_ref()),
            watts(window.max_power_watts),
            window.reason.clone(),
        ]);
    }
    text(&table)
}

/// `DRAINING by FINISH until 14:00: 3 planned, 2 running, 1 stopping`.
fn drain(drain: Option<&v1::Drain>, view: &View) -> String {
    let Some(drain) = drain else {
        return String::new();
    };
    let until = drain.deadline.as_ref().map_or_else(String::new, |time| {
        format!(" until {}", view.time(Some(time)))
    });
    format!(
        "{} by {}{until}: {} planned, {} running, {} stopping",
        short(drain.state().as_str_name(), "DRAIN_STATE_"),
        short(drain.mode().as_str_name(), "DRAIN_MODE_"),
        drain.planned_jobs,
        drain.running_jobs,
        drain.stopping_jobs
    )
}

fn pools(pools: &[v1::Pool]) -> String {
    let mut table = table([
        "pool",
        "nodes",
        "cores",
        "memory MiB",
        "gpus",
        "model",
        "traits",
    ]);
    for pool in pools {
        let mut traits = Vec::new();
        if pool.no_domestic_mix {
            traits.push("no domestic mix");
        }
        if pool.encrypted_in_use {
            traits.push("encrypted in use");
        }
        table.add_row([
            pool.pool_id.clone(),
            pool.nodes.to_string(),
            pool.cpu_cores_per_node.to_string(),
            pool.memory_mib_per_node.to_string(),
            pool.gpus_per_node.to_string(),
            pool.gpu_model.clone(),
            traits.join(", "),
        ]);
    }
    text(&table)
}

fn supplies(supplies: &[v1::Supply]) -> String {
    let mut table = table(["supply", "kind", "nameplate", "gCO2e/kWh", "CNY/kWh"]);
    for supply in supplies {
        table.add_row([
            supply.supply_id.clone(),
            short(supply.kind().as_str_name(), "SUPPLY_KIND_").to_owned(),
            watts(supply.nameplate_watts),
            super::grams(supply.carbon_mg_per_kwh.into()),
            cny(supply.price_micro_cny_per_kwh),
        ]);
    }
    text(&table)
}

impl Table for v1::ListSitesResponse {
    const NAME: &'static str = "lancang.v1.ListSitesResponse";

    fn table(&self, _view: &View) -> String {
        let mut table = table([
            "site",
            "name",
            "nodes",
            "gpus",
            "power cap",
            "green MW",
            "gateway",
            "enclave",
            "agent",
            "cordoned",
        ]);
        for site in &self.sites {
            let nodes: u64 = site.pools.iter().map(|pool| u64::from(pool.nodes)).sum();
            let gpus: u64 = site
                .pools
                .iter()
                .map(|pool| u64::from(pool.nodes) * u64::from(pool.gpus_per_node))
                .sum();
            let nameplate: u64 = site
                .supplies
                .iter()
                .map(|supply| supply.nameplate_watts)
                .sum();
            let cordoned = site.cordon.as_ref().is_some_and(|cordon| cordon.cordoned);
            table.add_row([
                site.site_id.clone(),
                site.display_name.clone(),
                nodes.to_string(),
                gpus.to_string(),
                watts(site.power_cap_watts),
                watts(nameplate),
                site.gateway_id.clone(),
                if site.offshore_enclave { "yes" } else { "" }.to_owned(),
                site.agent
                    .as_ref()
                    .map_or("", |agent| {
                        short(agent.state().as_str_name(), "AGENT_STATE_")
                    })
                    .to_owned(),
                match (&site.drain, cordoned) {
                    (Some(drain), _) => short(drain.state().as_str_name(), "DRAIN_STATE_"),
                    (None, true) => "yes",
                    (None, false) => "",
                }
                .to_owned(),
            ]);
        }
        with_token(text(&table), &self.next_page_token)
    }
}

impl Table for v1::ListRefusedReportsResponse {
    const NAME: &'static str = "lancang.v1.ListRefusedReportsResponse";

    fn table(&self, view: &View) -> String {
        let zone = view.zone_name();
        let mut table = table([
            &format!("came ({zone})"),
            "reason",
            "job",
            "epoch.attempt",
            "said",
            "detail",
        ]);
        for report in &self.reports {
            let reason = report.reason().as_str_name();
            let fence = report.fence.map_or_else(String::new, |fence| {
                format!("{}.{}", fence.site_epoch, fence.attempt)
            });
            table.add_row([
                view.time(report.record_time.as_ref()),
                short(reason, "REFUSED_REPORT_REASON_").to_owned(),
                report.job_id.clone(),
                fence,
                report.kind.clone(),
                report.detail.clone(),
            ]);
        }
        with_token(text(&table), &self.next_page_token)
    }
}

impl Table for v1::PutLatenciesResponse {
    const NAME: &'static str = "lancang.v1.PutLatenciesResponse";

    fn table(&self, _view: &View) -> String {
        format!(
            "{} zones and {} round-trip times known (revision {})",
            self.zones, self.latencies, self.revision
        )
    }
}

impl Table for v1::GetLatenciesResponse {
    const NAME: &'static str = "lancang.v1.GetLatenciesResponse";

    fn table(&self, _view: &View) -> String {
        let mut zones = table(["zone", "budget", "cities"]);
        for zone in &self.zones {
            let cities: Vec<String> = zone
                .cities
                .iter()
                .map(|city| format!("{} ({})", city.city_id, city.country))
                .collect();
            zones.add_row([
                zone.zone_id.clone(),
                millis(zone.budget_us),
                cities.join(", "),
            ]);
        }
        let mut pairs = table([
            "site",
            "city",
            "leased p50",
            "leased p95",
            "internet p50",
            "internet p95",
        ]);
        for pair in &self.latencies {
            pairs.add_row([
                pair.site_id.clone(),
                pair.city_id.clone(),
                millis(pair.leased_p50_us),
                millis(pair.leased_p95_us),
                millis(pair.internet_p50_us),
                millis(pair.internet_p95_us),
            ]);
        }
        format!("{}\n\n{}", text(&zones), text(&pairs))
    }
}
