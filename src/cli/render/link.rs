//! Links and transfers as text.
//!
//! Only the display is rounded.

use crate::{
    cli::{
        output::Table,
        render::{bits_per_second, card, job::with_token, table, text},
        time::View,
    },
    proto::v1,
};

impl Table for v1::Link {
    const NAME: &'static str = "lancang.v1.Link";

    fn table(&self, view: &View) -> String {
        card(&[
            ("gateway", self.gateway_id.clone()),
            ("bandwidth", bits_per_second(self.bandwidth_bits_per_second)),
            ("changed", view.time(self.update_time.as_ref())),
            ("etag", self.etag.clone()),
        ])
    }
}

impl Table for v1::ListLinksResponse {
    const NAME: &'static str = "lancang.v1.ListLinksResponse";

    fn table(&self, view: &View) -> String {
        let changed = format!("changed ({})", view.zone_name());
        let mut table = table(["gateway", "bandwidth", &changed]);
        for link in &self.links {
            table.add_row([
                link.gateway_id.clone(),
                bits_per_second(link.bandwidth_bits_per_second),
                view.time(link.update_time.as_ref()),
            ]);
        }
        with_token(text(&table), &self.next_page_token)
    }
}

/// A transfer in one phrase; empty when there is none.
pub(super) fn stage_in(stage_in: Option<&v1::StageIn>, view: &View) -> String {
    let Some(stage_in) = stage_in else {
        return String::new();
    };
    let way = match stage_in.gateway_id.as_str() {
        "" => "no link",
        gateway => gateway,
    };
    format!(
        "{} to {} at {} to {} through {way}",
        view.time(stage_in.start_time.as_ref()),
        view.time(stage_in.end_time.as_ref()),
        bits_per_second(stage_in.bits_per_second),
        stage_in.site_id,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::time::{to_proto, yunnan};

    #[test]
    fn a_transfer_says_when_how_fast_and_which_way() {
        let view = View { zone: yunnan() };
        let moment = |text: &str| Some(to_proto(text.parse().unwrap()));
        let mut transfer = v1::StageIn {
            gateway_id: "ruili".to_owned(),
            site_id: "dhg-ruili".to_owned(),
            start_time: moment("2026-11-24T06:00:00Z"),
            end_time: moment("2026-11-24T07:15:00Z"),
            bits_per_second: 2_500_000_000,
        };
        assert_eq!(
            stage_in(Some(&transfer), &view),
            "2026-11-24 14:00 to 2026-11-24 15:15 at 2.5 Gbit/s to dhg-ruili through ruili"
        );
        transfer.gateway_id.clear();
        assert!(stage_in(Some(&transfer), &view).ends_with("through no link"));
        assert_eq!(stage_in(None, &view), "");
    }
}
