//! Messages of the API as tables for people.
//!
//! All arithmetic is on integers, so that a table shows what the server counted.

use comfy_table::{ContentArrangement, Table, presets};

use crate::proto::v1;

mod admin;
mod forecast;
mod job;
mod link;
mod placement;
mod quantity;
pub(crate) mod report;
mod site;

pub(crate) use placement::{refusal_line, start_of};
pub(crate) use quantity::{
    bits_per_second, bytes, cny, co2e, grams, kwh, ledger_kwh, litres, millis, permille, watts,
};

/// A table with these heads; wide cells wrap at the terminal's width.
pub(crate) fn table<const N: usize>(heads: [&str; N]) -> Table {
    table_of(&heads)
}

/// The same with heads that are known only when it runs.
pub(crate) fn table_of(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(heads.iter().map(|head| head.to_uppercase()));
    table
}

/// One thing as lines of name and value; values that are empty are left out.
pub(crate) fn card(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .filter(|(_, value)| !value.is_empty() && value != "-")
        .map(|(name, value)| format!("{name:width$}  {value}"))
        .collect();
    lines.join("\n")
}

/// A table as text without trailing blanks.
pub(crate) fn text(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The name of an enum value without its prefix.
pub(crate) fn short<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// A job's state as in filters.
pub(crate) fn state_name(state: v1::JobState) -> &'static str {
    short(state.as_str_name(), "JOB_STATE_")
}

/// How an attempt ended.
pub(crate) fn attempt_end_name(end: v1::AttemptEnd) -> &'static str {
    short(end.as_str_name(), "ATTEMPT_END_")
}

/// What made a job change.
pub(crate) fn cause_name(cause: v1::ChangeCause) -> &'static str {
    short(cause.as_str_name(), "CHANGE_CAUSE_")
}

/// A forecast product.
pub(crate) fn product_name(product: v1::ForecastProduct) -> &'static str {
    short(product.as_str_name(), "FORECAST_PRODUCT_")
}
