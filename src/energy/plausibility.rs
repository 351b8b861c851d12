//! Whether an issue or a series of readings can be true of its supply.
//!
//! What passes is ordered, within the nameplate, of a plausible time and level, and dark at night; everything that is
//! wrong is listed, by field of the API's `Forecast` or `PutActualsRequest`.

use jiff::Timestamp;

use crate::{
    domain::{
        forecast::{Actuals, Band, ForecastIssue},
        site::{Supply, SupplyKind},
        violation::{Violation, Violations},
    },
    energy::{
        climatology::Climate,
        sun::{Place, sine_elevation},
    },
    limits,
    slot::{SlotGrid, SlotRange, TimeMs},
};

/// How far the issuer's clock may be ahead of ours, milliseconds: five minutes.
pub const CLOCK_AHEAD_MS_MAX: i64 = 300_000;
/// How many days after its issue a forecast may end: as far as the longest horizon.
pub const DAYS_AHEAD_MAX: i64 = 31;
/// From this factor on, up or down, a level smells of a wrong unit: weather does not do it to a whole series, a thousand
/// does. Every issue of the starter data's two weeks passes, alone or in order.
pub const JUMP_FACTOR: u128 = 200;
/// Wrong values listed one by one for one series; the rest is counted.
pub const VALUES_LISTED_MAX: usize = 20;

const DAY_MS: i64 = 86_400_000;
/// Sine of -1 degree: the sun is down for certain, horizon, refraction and a site's rough coordinates allowed for.
const NIGHT_SINE: f64 = -0.017_452_4;
/// Share of the nameplate, in parts, below which solar power at night is taken for noise of a meter.
const NIGHT_NOISE_PARTS: u64 = 1_000;
/// Share of the nameplate, in parts, below which a mean level is too low to compare with: dusk, a calm.
const LEVEL_FLOOR_PARTS: u128 = 100;

/// What an issue is held against.
#[derive(Debug, Clone, Copy)]
pub struct IssueCheck<'a> {
    /// Its supply.
    pub supply: &'a Supply,
    /// Where the supply's site is.
    pub place: Place,
    /// The slots.
    pub grid: SlotGrid,
    /// Slots of one step of the API's `Forecast`: indices in field paths count steps, and night must be a whole step.
    pub slots_per_step: u32,
    /// What has ruled each slot of the issue's range until now, as issued; missing entries count as nothing.
    pub ruling: &'a [Option<Band>],
    /// The present.
    pub now: TimeMs,
    /// Whether a level that jumps as by a wrong unit is accepted.
    pub accept_jump: bool,
}

/// Everything implausible about an issue, by field of the API's `Forecast` (`p50_watts[17]`).
#[must_use]
pub fn check_issue(issue: &ForecastIssue, check: &IssueCheck<'_>) -> Vec<Violation> {
    let mut found = Violations::new();
    check_times(issue, check, &mut found);
    if !check_length("p50_watts", issue.range, issue.bands.len(), &mut found) {
        return found.into_vec();
    }
    check_bands(issue, check, &mut found);
    if !check.accept_jump {
        check_level(issue, check, &mut found);
    }
    found.into_vec()
}

/// Everything implausible about readings of a supply, by field of the API's `PutActualsRequest`.
#[must_use]
pub fn check_actuals(
    actuals: &Actuals,
    supply: &Supply,
    place: Place,
    grid: SlotGrid,
    now: TimeMs,
) -> Vec<Violation> {
    let mut found = Violations::new();
    if !check_length("watts", actuals.range, actuals.watts.len(), &mut found) {
        return found.into_vec();
    }
    let last = actuals.range.end.minus(1);
    if grid.start_of(actuals.range.start) > now {
        found.add(
            "start_time",
            format!("is not later than now ({})", written(now)),
        );
    } else if grid.start_of(last) > now {
        let begun = SlotRange::new(actuals.range.start, grid.slot_at(now).plus(1));
        found.add(
            "watts",
            format!(
                "has at most {} values from start_time on: later slots have not begun ({})",
                begun.len(),
                written(now)
            ),
        );
    }
    let nights = nights(supply, place, grid, actuals.range, 1);
    let mut series = Series::new("watts");
    for (i, &watts) in actuals.watts.iter().enumerate() {
        series.check_value(i, watts, supply, nights.get(i) == Some(&true));
    }
    series.close_into(&mut found);
    found.into_vec()
}

fn check_times(issue: &ForecastIssue, check: &IssueCheck<'_>, found: &mut Violations) {
    let issued_at = issue.id.issued_at;
    let latest = check.now.plus_ms(CLOCK_AHEAD_MS_MAX);
    found.check(issued_at <= latest, "issued_at", || {
        format!(
            "is at most 5 minutes after now ({}): correct the issuer's clock",
            written(check.now)
        )
    });
    let end = check.grid.start_of(issue.range.end);
    found.check(
        issue.range.is_empty() || end > issued_at,
        "start_time",
        || {
            format!(
                "gives a series that ends after issued_at; it ends at {}",
                written(end)
            )
        },
    );
    found.check(
        end <= issued_at.plus_ms(DAYS_AHEAD_MAX * DAY_MS),
        "start_time",
        || {
            format!(
                "gives a series that ends at most {DAYS_AHEAD_MAX} days after issued_at; it ends at {}",
                written(end)
            )
        },
    );
}

fn check_length(field: &str, range: SlotRange, values: usize, found: &mut Violations) -> bool {
    let max = limits::SERIES_SLOTS_MAX;
    let length_ok = (1..=max).contains(&values);
    found.check(length_ok, field, || {
        format!("covers 1 to {max} slots, not {values}")
    });
    let same = u32::try_from(values).is_ok_and(|values| values == range.len());
    found.check(same || !length_ok, field, || {
        format!("has one value for each of {} slots", range.len())
    });
    length_ok && same
}

fn check_bands(issue: &ForecastIssue, check: &IssueCheck<'_>, found: &mut Violations) {
    let step = check.slots_per_step.max(1);
    let nights = nights(check.supply, check.place, check.grid, issue.range, step);
    let [mut p10, mut p50, mut p90] = ["p10_watts", "p50_watts", "p90_watts"].map(Series::new);
    let stride = usize::try_from(step).unwrap_or(usize::MAX);
    let mut previous = None;
    for (slot, band) in issue.bands.iter().enumerate() {
        // A step is reported once: its slots have the same band.
        if slot % stride != 0 && previous == Some(band) {
            continue;
        }
        previous = Some(band);
        let i = slot / stride;
        let night = nights.get(i) == Some(&true);
        p10.check_value(i, band.p10_watts, check.supply, night);
        p50.check_value(i, band.p50_watts, check.supply, night);
        p90.check_value(i, band.p90_watts, check.supply, night);
        p10.check(band.p10_watts <= band.p50_watts, i, || {
            format!(
                "is at most p50_watts[{i}]: {} > {}",
                band.p10_watts, band.p50_watts
            )
        });
        p50.check(band.p50_watts <= band.p90_watts, i, || {
            format!(
                "is at most p90_watts[{i}]: {} > {}",
                band.p50_watts, band.p90_watts
            )
        });
    }
    for series in [p10, p50, p90] {
        series.close_into(found);
    }
}

/// A jump counts only when everything there is to compare with agrees: an issue that corrects a wrong one is not refused
/// because of it, and neither is one that follows its predecessor through a drought.
fn check_level(issue: &ForecastIssue, check: &IssueCheck<'_>, found: &mut Violations) {
    let climate = Climate::new(
        check.place,
        std::slice::from_ref(check.supply),
        issue.range,
        check.grid,
    );
    let mut against_ruling = Sums::default();
    let mut against_profile = Sums::default();
    for (i, (slot, band)) in issue.range.iter().zip(issue.bands.iter()).enumerate() {
        let profile = climate.band(check.supply, slot).p50_watts;
        against_profile.add(band.p50_watts, profile);
        if let Some(Some(ruling)) = check.ruling.get(i) {
            against_ruling.add(band.p50_watts, ruling.p50_watts);
        }
    }
    // A calm of some hours is wind's own thousandth, and the profile knows nothing of it.
    if check.supply.kind == SupplyKind::Wind && issue.range.len() < check.grid.slots_per_day() {
        against_profile = Sums::default();
    }
    let nameplate = check.supply.nameplate_watts;
    let levels = [
        (against_ruling, "what rules these slots now"),
        (against_profile, "the supply's monthly profile"),
    ];
    let verdicts = levels.map(|(sums, _)| sums.level(nameplate));
    if verdicts.contains(&Level::Alike) {
        return;
    }
    let jump = levels
        .iter()
        .zip(verdicts)
        .find_map(|((sums, what), verdict)| match verdict {
            Level::Higher(factor) => Some((sums, what, format!("{factor} times"))),
            Level::Lower(factor) => Some((sums, what, format!("1/{factor} of"))),
            Level::Alike | Level::Unknown => None,
        });
    if let Some((sums, what, factor)) = jump {
        found.add(
            "p50_watts",
            format!(
                "is {factor} {what} (mean {} W against {} W), as when kW are taken for W or MW for kW; send watts, or set \
                 accept_jump if the level is right",
                sums.new / sums.slots,
                sums.old / sums.slots,
            ),
        );
    }
}

/// Sums of medians over the same slots.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    new: u128,
    old: u128,
    slots: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Alike,
    Higher(u128),
    Lower(u128),
    /// Nothing to compare with.
    Unknown,
}

impl Sums {
    fn add(&mut self, new: u64, old: u64) {
        self.new += u128::from(new);
        self.old += u128::from(old);
        self.slots += 1;
    }

    fn level(&self, nameplate_watts: u64) -> Level {
        if self.slots == 0 {
            return Level::Unknown;
        }
        // Nothing is nothing in every unit: an outage, a night.
        if self.new == 0 {
            return Level::Alike;
        }
        let floor = u128::from(nameplate_watts) * self.slots / LEVEL_FLOOR_PARTS;
        if self.new <= floor && self.old <= floor {
            return Level::Alike;
        }
        if self.old == 0 {
            return Level::Unknown;
        }
        if self.new >= self.old.saturating_mul(JUMP_FACTOR) {
            return Level::Higher(self.new / self.old);
        }
        if self.old >= self.new.saturating_mul(JUMP_FACTOR) {
            return Level::Lower(self.old / self.new);
        }
        Level::Alike
    }
}

/// For each step of a solar supply, whether it is night throughout; empty for other kinds.
fn nights(
    supply: &Supply,
    place: Place,
    grid: SlotGrid,
    range: SlotRange,
    slots_per_step: u32,
) -> Vec<bool> {
    if supply.kind != SupplyKind::Solar {
        return Vec::new();
    }
    // Looked at every half slot, ends included: the sun cannot rise and set in between.
    let half_slot_ms = i64::from(grid.slot_seconds()) * 500;
    let start = grid.start_of(range.start);
    let dark: Vec<bool> = (0..=2 * i64::from(range.len()))
        .map(|half| sine_elevation(place, start.plus_ms(half * half_slot_ms)) < NIGHT_SINE)
        .collect();
    let last = dark.len() - 1;
    let step = usize::try_from(slots_per_step.max(1)).unwrap_or(usize::MAX);
    let halves = step.saturating_mul(2);
    (0..last)
        .step_by(halves)
        .map(|first| {
            let end = first.saturating_add(halves).min(last);
            dark[first..=end].iter().all(|&dark| dark)
        })
        .collect()
}

/// The wrong values of one list, at most [`VALUES_LISTED_MAX`] of them in full.
struct Series {
    field: &'static str,
    listed: Vec<Violation>,
    more: usize,
}

impl Series {
    fn new(field: &'static str) -> Self {
        Self {
            field,
            listed: Vec::new(),
            more: 0,
        }
    }

    fn check_value(&mut self, index: usize, watts: u64, supply: &Supply, night: bool) {
        let nameplate = supply.nameplate_watts;
        self.check(watts <= nameplate, index, || {
            format!("is at most the nameplate_watts of the supply: {watts} > {nameplate}")
        });
        let dark = watts == 0 || watts.saturating_mul(NIGHT_NOISE_PARTS) < nameplate;
        self.check(!night || dark, index, || {
            format!("is 0 for solar at night, when the sun is more than 1 degree below the horizon, not {watts}")
        });
    }

    fn check(&mut self, ok: bool, index: usize, description: impl FnOnce() -> String) {
        if ok {
            return;
        }
        if self.listed.len() == VALUES_LISTED_MAX {
            self.more += 1;
            return;
        }
        self.listed.push(Violation {
            field: format!("{}[{index}]", self.field),
            description: description(),
        });
    }

    fn close_into(self, found: &mut Violations) {
        found.extend_under("", self.listed);
        if self.more > 0 {
            found.add(self.field, format!("and {} more", self.more));
        }
    }
}

fn written(time: TimeMs) -> String {
    Timestamp::from_millisecond(time.0).map_or_else(
        |_| format!("{} ms after 1970", time.0),
        |time| time.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        energy::fixtures::{FIRST_OF_JULY, KUNMING, band, grid, issue, supply},
        slot::Slot,
    };

    const MW: u64 = 1_000_000;
    const HOUR_MS: i64 = 3_600_000;

    /// 2025-06-30T09:00+08:00: before the issues of these tests begin.
    fn now() -> TimeMs {
        grid().start_of(FIRST_OF_JULY).plus_ms(-15 * HOUR_MS)
    }

    fn check_of<'a>(supply: &'a Supply, ruling: &'a [Option<Band>]) -> IssueCheck<'a> {
        IssueCheck {
            supply,
            place: KUNMING,
            grid: grid(),
            slots_per_step: 1,
            ruling,
            now: now(),
            accept_jump: false,
        }
    }

    fn fields(found: &[Violation]) -> Vec<&str> {
        found
            .iter()
            .map(|violation| violation.field.as_str())
            .collect()
    }

    fn level(watts: u64) -> Vec<Band> {
        vec![band(watts, watts, watts); 96]
    }

    /// The fields that are wrong about a hydro issue of 1 MW with these bands, issued now for 1 July.
    #[track_caller]
    fn check_hydro(bands: &[Band], expected: &[&str]) {
        let hydro = supply(SupplyKind::Hydro, MW);
        let issue = issue(&hydro, now(), FIRST_OF_JULY, bands.iter().copied());
        let found = check_issue(&issue, &check_of(&hydro, &[]));
        assert_eq!(fields(&found), expected, "{found:?}");
    }

    #[test]
    fn values_are_ordered_and_within_the_nameplate() {
        let good = band(100_000, 200_000, 300_000);
        check_hydro(&[good, band(0, MW, MW)], &[]);
        check_hydro(&[good, band(300_000, 200_000, 300_000)], &["p10_watts[1]"]);
        check_hydro(
            &[good, good, band(100_000, 400_000, 300_000)],
            &["p50_watts[2]"],
        );
        check_hydro(&[good, band(0, MW, MW + 1)], &["p90_watts[1]"]);
        check_hydro(
            &[band(MW + 3, MW + 2, MW + 1), good],
            &[
                "p10_watts[0]",
                "p10_watts[0]",
                "p50_watts[0]",
                "p50_watts[0]",
                "p90_watts[0]",
            ],
        );
        check_hydro(&[good, band(0, 0, u64::MAX)], &["p90_watts[1]"]);
    }

    #[test]
    fn a_series_is_neither_empty_nor_too_long() {
        check_hydro(&[], &["p50_watts"]);
        let longest = vec![band(200_000, 200_000, 200_000); limits::SERIES_SLOTS_MAX];
        check_hydro(&longest, &[]);
        let longer = vec![band(200_000, 200_000, 200_000); limits::SERIES_SLOTS_MAX + 1];
        check_hydro(&longer, &["p50_watts"]);
    }

    #[test]
    fn a_range_without_a_value_for_each_slot_is_refused() {
        let hydro = supply(SupplyKind::Hydro, MW);
        let mut issue = issue(&hydro, now(), FIRST_OF_JULY, level(200_000));
        issue.range.end = issue.range.end.plus(1);
        let found = check_issue(&issue, &check_of(&hydro, &[]));
        assert_eq!(fields(&found), ["p50_watts"]);
    }

    #[test]
    fn an_issue_is_of_a_plausible_time() {
        let hydro = supply(SupplyKind::Hydro, MW);
        let start = grid().start_of(FIRST_OF_JULY);
        let month_ms = 31 * 24 * HOUR_MS;
        let end = start.plus_ms(24 * HOUR_MS);
        for (issued_at, now, expected) in [
            (now(), now(), [].as_slice()),
            (now().plus_ms(CLOCK_AHEAD_MS_MAX), now(), &[]),
            (now().plus_ms(CLOCK_AHEAD_MS_MAX + 1), now(), &["issued_at"]),
            // For slots that have partly passed, or of an issue that arrives late.
            (end.plus_ms(-1), end, &[]),
            (end.plus_ms(-1), end.plus_ms(month_ms), &[]),
            (end, end, &["start_time"]),
            (end.plus_ms(-month_ms), now(), &[]),
            (end.plus_ms(-month_ms - 1), now(), &["start_time"]),
        ] {
            let issue = issue(&hydro, issued_at, FIRST_OF_JULY, level(200_000));
            let check = IssueCheck {
                now,
                ..check_of(&hydro, &[])
            };
            let found = check_issue(&issue, &check);
            assert_eq!(fields(&found), expected, "issued at {issued_at:?}");
        }
    }

    #[test]
    fn solar_gives_nothing_at_night() {
        let solar = supply(SupplyKind::Solar, MW);
        // On 1 July the sun is 1 degree below the horizon at about 06:17 and 20:09 civil time.
        for (hour, minute, watts, expected) in [
            (0, 0, 1_000, true),
            (0, 0, 999, false),
            (6, 0, 1_000, true),
            (6, 15, 1_000, false),
            (12, 0, 1_000, false),
            (20, 0, 1_000, false),
            (20, 15, 1_000, true),
        ] {
            let slot = FIRST_OF_JULY.plus(hour * 4 + minute / 15);
            let issue = issue(&solar, now(), slot, [band(0, 0, watts)]);
            let found = check_issue(&issue, &check_of(&solar, &[]));
            assert_eq!(!found.is_empty(), expected, "{hour}:{minute} {found:?}");
            let wind = supply(SupplyKind::Wind, MW);
            assert_eq!(check_issue(&issue, &check_of(&wind, &[])), []);
        }
    }

    #[test]
    fn a_step_is_night_only_when_all_of_it_is() {
        let solar = supply(SupplyKind::Solar, MW);
        // 05:00 to 07:00: dawn is in the second hour.
        let start = FIRST_OF_JULY.plus(20);
        let bands = [band(0, 0, 0); 4]
            .into_iter()
            .chain([band(0, 10_000, 20_000); 4]);
        let issue = issue(&solar, now(), start, bands);
        let mut check = check_of(&solar, &[]);
        let by_slot = check_issue(&issue, &check);
        // 06:00 is dark in its first quarter only.
        assert_eq!(fields(&by_slot), ["p50_watts[4]", "p90_watts[4]"]);
        check.slots_per_step = 4;
        assert_eq!(check_issue(&issue, &check), []);
    }

    #[test]
    fn paths_count_the_steps_of_the_request() {
        let hydro = supply(SupplyKind::Hydro, MW);
        let good = band(100_000, 200_000, 300_000);
        let bad = band(100_000, 200_000, MW + 1);
        let bands = [[good; 4], [bad; 4], [good; 4]].concat();
        let issue = issue(&hydro, now(), FIRST_OF_JULY, bands);
        let check = IssueCheck {
            slots_per_step: 4,
            ..check_of(&hydro, &[])
        };
        assert_eq!(fields(&check_issue(&issue, &check)), ["p90_watts[1]"]);
    }

    #[test]
    fn many_wrong_values_are_counted() {
        let hydro = supply(SupplyKind::Hydro, MW);
        let issue = issue(
            &hydro,
            now(),
            FIRST_OF_JULY,
            vec![band(0, 200_000, MW + 1); 96],
        );
        let found = check_issue(&issue, &check_of(&hydro, &[]));
        assert_eq!(found.len(), VALUES_LISTED_MAX + 1);
        assert_eq!(found.last().unwrap().to_string(), "p90_watts: and 76 more");
    }

    /// Whether a day at `watts` counts as a jump where `ruling` ruled and the profile says 20 % of `nameplate`.
    fn jumps(nameplate: u64, ruling: Option<u64>, watts: u64) -> bool {
        let hydro = supply(SupplyKind::Hydro, nameplate);
        let ruling = ruling.map(|watts| band(watts, watts, watts));
        let ruling = vec![ruling; 96];
        let issue = issue(&hydro, now(), FIRST_OF_JULY, level(watts));
        let found = check_issue(&issue, &check_of(&hydro, &ruling));
        let accepted = IssueCheck {
            accept_jump: true,
            ..check_of(&hydro, &ruling)
        };
        assert_eq!(check_issue(&issue, &accepted), []);
        if !found.is_empty() {
            assert_eq!(fields(&found), ["p50_watts"]);
            assert!(found[0].description.contains("accept_jump"), "{found:?}");
        }
        !found.is_empty()
    }

    #[test]
    fn a_level_that_jumps_by_a_thousand_smells_of_a_wrong_unit() {
        // The profile's level is 2 MW.
        for (ruling, watts, expected) in [
            // kilowatts sent as watts, with and without an issue before.
            (Some(3 * MW), 3_000, true),
            (None, 2_000, true),
            (None, 10_000, true),
            (None, 10_001, false),
            // An outage, a drought that the issue before knew of, the end of an outage.
            (Some(3 * MW), 0, false),
            (Some(9_000), 9_000, false),
            (Some(0), 3 * MW, false),
            // An issue that corrects a wrong one.
            (Some(3_000), 3 * MW, false),
            (Some(3 * MW), 2 * MW, false),
        ] {
            assert_eq!(
                jumps(10 * MW, ruling, watts),
                expected,
                "{ruling:?} {watts}"
            );
        }
    }

    #[test]
    fn a_level_that_rises_by_a_thousand_smells_of_a_wrong_unit() {
        let mut hydro = supply(SupplyKind::Hydro, 1_000 * MW);
        hydro.monthly_capacity_permille = [1; 12];
        let issue = issue(&hydro, now(), FIRST_OF_JULY, level(900 * MW));
        let ruling = vec![Some(band(MW, MW, MW)); 96];
        let found = check_issue(&issue, &check_of(&hydro, &ruling));
        assert_eq!(fields(&found), ["p50_watts"]);
        assert!(found[0].description.starts_with("is 900 times"));
    }

    #[test]
    fn a_calm_of_hours_is_no_jump() {
        let wind = supply(SupplyKind::Wind, 10 * MW);
        let calm = |slots| vec![band(0, 2_000, 900_000); slots];
        let hours = issue(&wind, now(), FIRST_OF_JULY, calm(16));
        assert_eq!(check_issue(&hours, &check_of(&wind, &[])), []);
        let day = issue(&wind, now(), FIRST_OF_JULY, calm(96));
        assert_eq!(
            fields(&check_issue(&day, &check_of(&wind, &[]))),
            ["p50_watts"]
        );
        let ruling = vec![Some(band(MW, 2 * MW, 3 * MW)); 16];
        assert_eq!(
            fields(&check_issue(&hours, &check_of(&wind, &ruling))),
            ["p50_watts"]
        );
    }

    #[test]
    fn half_an_hour_of_sun_in_kilowatts_is_refused_and_in_watts_is_not() {
        let solar = supply(SupplyKind::Solar, 45 * MW);
        let noon = FIRST_OF_JULY.plus(52);
        let kw = [(9_000, 14_000, 20_000), (9_500, 15_000, 21_000)];
        let scaled =
            |factor: u64| kw.map(|(p10, p50, p90)| band(p10 * factor, p50 * factor, p90 * factor));
        let in_watts = issue(&solar, now(), noon, scaled(1_000));
        assert_eq!(check_issue(&in_watts, &check_of(&solar, &[])), []);
        let in_kilowatts = issue(&solar, now(), noon, scaled(1));
        let found = check_issue(&in_kilowatts, &check_of(&solar, &[]));
        assert_eq!(fields(&found), ["p50_watts"]);
    }

    #[track_caller]
    fn check_readings(kind: SupplyKind, start: Slot, watts: &[u64], expected: &[&str]) {
        let supply = supply(kind, MW);
        let len = u32::try_from(watts.len()).unwrap();
        let actuals = Actuals {
            supply: supply.id.clone(),
            range: SlotRange::new(start, start.plus(len)),
            watts: watts.into(),
        };
        let found = check_actuals(&actuals, &supply, KUNMING, grid(), now());
        assert_eq!(fields(&found), expected, "{found:?}");
    }

    #[test]
    fn readings_are_within_the_nameplate_dark_at_night_and_of_the_past() {
        let present = grid().slot_at(now());
        let night = FIRST_OF_JULY.minus(96);
        check_readings(SupplyKind::Hydro, night, &[0, MW], &[]);
        check_readings(SupplyKind::Hydro, night, &[0, MW + 1], &["watts[1]"]);
        check_readings(SupplyKind::Hydro, night, &[], &["watts"]);
        check_readings(SupplyKind::Hydro, night, &[0; 2_689], &["watts"]);
        check_readings(SupplyKind::Solar, night, &[0, 999, 1_000], &["watts[2]"]);
        check_readings(SupplyKind::Hydro, present, &[5], &[]);
        check_readings(SupplyKind::Hydro, present, &[5, 5], &["watts"]);
        check_readings(SupplyKind::Hydro, present.plus(1), &[5], &["start_time"]);
    }
}
