//! The monthly tables, tariffs and carbon figures of the starter data.
//!
//! Everything becomes integers in the units of the domain; a table must have all twelve months.

use crate::{
    domain::site::{SupplyKind, TariffPeriod},
    sheet::{Problems, Row, Sheet, parse_scaled},
};

static HYDRO: &str = include_str!("../../data/yunnan/hydro_monthly.csv");
static SOLAR: &str = include_str!("../../data/yunnan/solar_monthly.csv");
static WIND: &str = include_str!("../../data/yunnan/wind_monthly.csv");
static TARIFF: &str = include_str!("../../data/yunnan/tariff.csv");
static CARBON: &str = include_str!("../../data/yunnan/carbon_factors.csv");

/// Capacity factors of a kind and profile by month in thousandths, January first.
pub(super) fn monthly(kind: SupplyKind, profile: &str) -> Result<[u16; 12], Vec<String>> {
    let (text, column) = match kind {
        SupplyKind::Hydro => (HYDRO, format!("{profile}_cf")),
        SupplyKind::Solar => (SOLAR, format!("{profile}_realised_cf")),
        SupplyKind::Wind => (WIND, "realised_cf".to_owned()),
    };
    let sheet = Sheet::read(text, &["month", &column])?;
    let months = by_month(&sheet, |row| {
        row.value_with(&column, |text| {
            let permille = parse_scaled(text, 3)?;
            u16::try_from(permille).map_err(|_| "is too large".to_owned())
        })
    })?;
    months
        .try_into()
        .map_err(|_| vec!["does not have 12 months".to_owned()])
}

/// What holds for all sites of the province.
#[derive(Debug)]
pub(super) struct Market {
    /// Average carbon intensity of the grid, the newest year.
    pub(super) location_mg_per_kwh: u32,
    /// Marginal carbon intensity by month.
    pub(super) marginal_mg_per_kwh: Vec<u32>,
    /// Price of grid energy.
    pub(super) tariff: Vec<TariffPeriod>,
    /// Price of a contract: the mean over the year of what direct customers pay, fees included.
    pub(super) contract_micro_cny_per_kwh: u64,
}

/// Reads tariff and carbon tables.
pub(super) fn market() -> Result<Market, Vec<String>> {
    let seasons = seasons()?;
    let marginal = [
        carbon("marginal", "yunnan", "wet")?,
        carbon("marginal", "yunnan", "dry")?,
    ];
    let (tariff, contract_micro_cny_per_kwh) = prices(&seasons)?;
    Ok(Market {
        location_mg_per_kwh: carbon("location_average", "yunnan", "")?,
        marginal_mg_per_kwh: seasons
            .iter()
            .map(|season| {
                if season == "wet" {
                    marginal[0]
                } else {
                    marginal[1]
                }
            })
            .collect(),
        tariff,
        contract_micro_cny_per_kwh,
    })
}

/// Life-cycle carbon intensity of a contract in milligrams per kWh.
pub(super) fn contract_carbon(kind: &str) -> Result<u32, Vec<String>> {
    carbon("contract_life_cycle", kind, "")
}

/// `wet` or `dry` for each month.
fn seasons() -> Result<Vec<String>, Vec<String>> {
    let sheet = Sheet::read(HYDRO, &["month", "season"])?;
    by_month(&sheet, |row| {
        row.value_with("season", |text| match text {
            "wet" | "dry" => Ok(text.to_owned()),
            _ => Err("is neither wet nor dry".to_owned()),
        })
    })
}

fn by_month<T>(
    sheet: &Sheet,
    cell: impl Fn(Row<'_>) -> Result<T, String>,
) -> Result<Vec<T>, Vec<String>> {
    let mut problems = Problems::default();
    let mut values = Vec::new();
    for (month, row) in (1_usize..).zip(sheet.rows()) {
        if row.text("month") != month.to_string() {
            problems.add(row.wrong("month", "months must be 1 to 12 in order"));
        }
        values.extend(problems.keep(cell(row)));
    }
    if values.len() != 12 {
        problems.add(format!("{} months instead of 12", values.len()));
    }
    problems.or(values)
}

/// A figure of the carbon table in milligrams per kWh, of the newest year.
fn carbon(kind: &str, subject: &str, season: &str) -> Result<u32, Vec<String>> {
    let sheet = Sheet::read(CARBON, &["kind", "subject", "season", "year", "g_per_kwh"])?;
    let newest = sheet
        .rows()
        .filter(|row| {
            row.text("kind") == kind
                && row.text("subject") == subject
                && row.text("season") == season
        })
        .max_by_key(|row| row.text("year"))
        .ok_or_else(|| vec![format!("no carbon figure of {kind} {subject} {season}")])?;
    newest
        .value_with("g_per_kwh", |text| scaled_u32(text, 3))
        .map_err(|problem| vec![problem])
}

/// The tariff of agents on the grid, and the mean price of direct customers.
fn prices(seasons: &[String]) -> Result<(Vec<TariffPeriod>, u64), Vec<String>> {
    let columns = [
        "customer",
        "season",
        "start_hour",
        "end_hour",
        "total_cny_per_kwh",
    ];
    let sheet = Sheet::read(TARIFF, &columns)?;
    let mut problems = Problems::default();
    let mut periods = Vec::new();
    let mut direct = 0_u64;
    for row in sheet.rows() {
        let months: Vec<u8> = (1..)
            .zip(seasons)
            .filter(|(_, season)| *season == row.text("season"))
            .map(|(month, _)| month)
            .collect();
        let price =
            problems.keep(row.value_with("total_cny_per_kwh", |text| parse_scaled(text, 6)));
        let start = problems.keep(row.value::<u16>("start_hour", "hour"));
        let end = problems.keep(row.value::<u16>("end_hour", "hour"));
        let (Some(price), Some(start), Some(end)) = (price, start, end) else {
            continue;
        };
        match row.text("customer") {
            "grid_agent" => periods.push(TariffPeriod {
                months,
                start_minute: start * 60,
                end_minute: end * 60,
                price_micro_cny_per_kwh: price,
            }),
            "direct_market" => direct += price * u64::try_from(months.len()).unwrap_or(0),
            _ => problems.add(row.wrong("customer", "is neither grid_agent nor direct_market")),
        }
    }
    problems.or((periods, direct / 12))
}

fn scaled_u32(text: &str, decimals: usize) -> Result<u32, String> {
    parse_scaled(text, decimals)?
        .try_into()
        .map_err(|_| "is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_files() {
        let market = market().unwrap();
        assert_eq!(market.location_mg_per_kwh, 147_000);
        assert_eq!(market.marginal_mg_per_kwh[0], 560_000);
        assert_eq!(market.marginal_mg_per_kwh[5], 100_000);
        // Five wet months at 0.295 and seven dry ones at 0.380 CNY.
        assert_eq!(
            market.contract_micro_cny_per_kwh,
            (5 * 295_000 + 7 * 380_000) / 12
        );
        assert_eq!(contract_carbon("solar"), Ok(54_500));
        assert_eq!(
            monthly(SupplyKind::Hydro, "lancang_regulated").unwrap()[7],
            570
        );
        assert_eq!(monthly(SupplyKind::Wind, "wind_ridge").unwrap()[1], 432);
        assert!(monthly(SupplyKind::Hydro, "nowhere").is_err());
    }

    #[test]
    fn the_tariff_covers_every_minute_of_every_month_once() {
        let market = market().unwrap();
        for month in 1..=12 {
            let mut covered = [0_u8; 1440];
            for period in market
                .tariff
                .iter()
                .filter(|period| period.months.contains(&month))
            {
                for minute in period.start_minute..period.end_minute {
                    covered[usize::from(minute)] += 1;
                }
            }
            assert!(covered.iter().all(|&times| times == 1), "month {month}");
        }
    }
}
