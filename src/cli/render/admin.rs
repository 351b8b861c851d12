//! What the server says about itself, as text.
//!
//! Problems come before numbers.

use crate::{
    cli::{
        output::Table,
        render::{card, table, text},
        time::View,
    },
    proto::v1,
};

impl Table for v1::GetServerInfoResponse {
    const NAME: &'static str = "lancang.v1.GetServerInfoResponse";

    fn table(&self, view: &View) -> String {
        let jobs: Vec<String> = self
            .jobs
            .iter()
            .map(|state| format!("{} {}", state.count, state.state))
            .collect();
        let head = card(&[
            ("version", self.version.clone()),
            ("store format", self.schema_version.to_string()),
            ("data rules", self.policy_version.clone()),
            ("started", view.time(self.start_time.as_ref())),
            ("server time", view.time(self.server_time.as_ref())),
            (
                "revision",
                format!("{} (kept from {})", self.revision, self.oldest_revision),
            ),
            ("slot", format!("{} s", self.slot_seconds)),
            ("horizon", format!("{} slots", self.horizon_slots)),
            ("sites", self.sites.to_string()),
            (
                "supplies",
                format!(
                    "{} ({} without forecast)",
                    self.supplies, self.supplies_without_forecast
                ),
            ),
            ("forecasts", self.forecasts.to_string()),
            (
                "stalest issue",
                view.time(self.stalest_forecast_issued_at.as_ref()),
            ),
            ("jobs", jobs.join(", ")),
        ]);
        let mut limits = table(["bound", "value", "unit"]);
        for limit in &self.limits {
            limits.add_row([
                limit.name.clone(),
                limit.value.to_string(),
                limit.unit.clone(),
            ]);
        }
        format!("{head}\n\n{}", text(&limits))
    }
}

impl Table for v1::VerifyResponse {
    const NAME: &'static str = "lancang.v1.VerifyResponse";

    fn table(&self, _view: &View) -> String {
        let mut lines: Vec<String> = self
            .problems
            .iter()
            .map(|problem| format!("problem: {problem}"))
            .collect();
        lines.push(format!(
            "{}: {} journal records from snapshot {} to revision {}, {} jobs",
            if self.ok { "sound" } else { "NOT SOUND" },
            self.journal_records,
            self.snapshot_revision,
            self.revision,
            self.jobs
        ));
        lines.join("\n")
    }
}
