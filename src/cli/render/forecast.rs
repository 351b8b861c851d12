//! Forecasts, ruling bands and skill as text.
//!
//! A band is always shown as p10, p50 and p90 together with where it comes from.

use crate::{
    cli::{
        output::Table,
        render::{job::with_token, permille, product_name, short, table, text, watts},
        time::View,
    },
    proto::v1,
};

impl Table for v1::GetForecastResponse {
    const NAME: &'static str = "lancang.v1.GetForecastResponse";

    fn table(&self, view: &View) -> String {
        match &self.forecast {
            Some(forecast) => issue(forecast, view),
            None => bands(self, view),
        }
    }
}

fn issue(forecast: &v1::Forecast, view: &View) -> String {
    let zone = view.zone_name();
    let mut table = table([&format!("from ({zone})"), "p10", "p50", "p90"]);
    let start = forecast.start_time.unwrap_or_default();
    let steps = forecast
        .p10_watts
        .iter()
        .zip(&forecast.p50_watts)
        .zip(&forecast.p90_watts);
    for (idx, ((p10, p50), p90)) in (0_i64..).zip(steps) {
        let from = prost_types::Timestamp {
            seconds: start.seconds + idx * i64::from(forecast.step_seconds),
            nanos: 0,
        };
        table.add_row([
            view.time(Some(&from)),
            watts(*p10),
            watts(*p50),
            watts(*p90),
        ]);
    }
    format!(
        "{} {} issued {}\n\n{}",
        forecast.supply_id,
        product_name(forecast.product()),
        view.time(forecast.issued_at.as_ref()),
        text(&table)
    )
}

fn bands(answer: &v1::GetForecastResponse, view: &View) -> String {
    let zone = view.zone_name();
    let mut table = table([
        &format!("from ({zone})"),
        "p10",
        "p50",
        "p90",
        "source",
        "issue",
    ]);
    for band in &answer.bands {
        table.add_row([
            view.time(band.start_time.as_ref()),
            watts(band.p10_watts),
            watts(band.p50_watts),
            watts(band.p90_watts),
            short(band.source().as_str_name(), "BAND_SOURCE_").to_owned(),
            band.forecast_id.clone(),
        ]);
    }
    format!(
        "newest issue {}\n\n{}",
        view.time(answer.newest_issued_at.as_ref()),
        text(&table)
    )
}

impl Table for v1::ListForecastsResponse {
    const NAME: &'static str = "lancang.v1.ListForecastsResponse";

    fn table(&self, view: &View) -> String {
        let zone = view.zone_name();
        let mut table = table([
            "supply",
            "product",
            &format!("issued ({zone})"),
            "from",
            "to",
            "ruling slots",
            "issue",
        ]);
        for summary in &self.forecasts {
            table.add_row([
                summary.supply_id.clone(),
                product_name(summary.product()).to_owned(),
                view.time(summary.issued_at.as_ref()),
                view.time(summary.start_time.as_ref()),
                view.time(summary.end_time.as_ref()),
                summary.ruling_slots.to_string(),
                summary.forecast_id.clone(),
            ]);
        }
        with_token(text(&table), &self.next_page_token)
    }
}

impl Table for v1::GetForecastSkillResponse {
    const NAME: &'static str = "lancang.v1.GetForecastSkillResponse";

    fn table(&self, _view: &View) -> String {
        if self.skills.is_empty() {
            return "no slot of the window has both a forecast and a reading".to_owned();
        }
        let mut table = table([
            "product",
            "slots",
            "bias W",
            "MAE W",
            "pinball p10",
            "p50",
            "p90",
            "within p10-p90",
        ]);
        for skill in &self.skills {
            table.add_row([
                product_name(skill.product()).to_owned(),
                skill.slots.to_string(),
                format!("{:+.0}", skill.bias_watts),
                format!("{:.0}", skill.mae_watts),
                format!("{:.0}", skill.pinball_p10_watts),
                format!("{:.0}", skill.pinball_p50_watts),
                format!("{:.0}", skill.pinball_p90_watts),
                permille(skill.coverage_permille),
            ]);
        }
        text(&table)
    }
}

impl Table for v1::PutActualsResponse {
    const NAME: &'static str = "lancang.v1.PutActualsResponse";

    fn table(&self, _view: &View) -> String {
        format!(
            "{} slots new, {} corrected (revision {})",
            self.new_slots, self.corrected_slots, self.revision
        )
    }
}

impl Table for v1::PutReadingsResponse {
    const NAME: &'static str = "lancang.v1.PutReadingsResponse";

    fn table(&self, _view: &View) -> String {
        format!(
            "{} slots new, {} corrected (revision {})",
            self.new_slots, self.corrected_slots, self.revision
        )
    }
}

impl Table for v1::PutJobReadingsResponse {
    const NAME: &'static str = "lancang.v1.PutJobReadingsResponse";

    fn table(&self, _view: &View) -> String {
        format!(
            "{} slots new, {} corrected (revision {})",
            self.new_slots, self.corrected_slots, self.revision
        )
    }
}

/// Accepted issues are counted, not listed; a program gets each one as JSON.
impl Table for v1::StreamForecastsResponse {
    const NAME: &'static str = "lancang.v1.StreamForecastsResponse";

    fn table(&self, _view: &View) -> String {
        String::new()
    }
}
