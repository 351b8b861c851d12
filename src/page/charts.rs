//! Plots as inline SVG, coloured by the page's style sheet.
//!
//! Coordinates are integers in tenths of a unit; a plot is the same bytes for the same figures.

use std::fmt::Write as _;

use super::escape;

/// Size of a plot in units.
const WIDTH: u64 = 720;
const LEFT: u64 = 52;
const RIGHT: u64 = 8;
const TOP: u64 = 10;
const BOTTOM: u64 = 24;

/// Mean power of a site over some slots, watts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bucket {
    /// Hydro, solar, wind, grid: together the load.
    pub(crate) layers: [u64; 4],
    /// Green power that was there.
    pub(crate) available: u64,
    /// How much of it is known.
    pub(crate) known: Known,
}

/// How much of what a bucket stands for is known; its figures are means of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Known {
    #[default]
    All,
    Part,
    Nothing,
}

/// Marks below the horizontal axis: position in parts of `of`, and text.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) of: u64,
    pub(crate) at: Vec<(u64, String)>,
}

/// Slots whose mean or sum is one point of a plot of at most so many points: an even part of a day, or whole days, so
/// that no point mixes other hours than its neighbour.
pub(crate) fn slots_of_bucket(n_slots: u32, per_day: u32, buckets_max: u32) -> u32 {
    let least = n_slots.div_ceil(buckets_max).max(1);
    (least..per_day)
        .find(|slots| per_day.is_multiple_of(*slots))
        .unwrap_or_else(|| least.next_multiple_of(per_day))
}

/// A bar of the Gantt chart.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// First and last end in slots from the start of the chart.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Green share, thousandths.
    pub(crate) green_permille: u64,
    pub(crate) title: String,
}

/// A vertical scale: four equal steps of a round number.
struct Scale {
    max: u64,
    /// One of what the figures count.
    unit: u64,
    name: &'static str,
}

impl Scale {
    /// A scale that holds `largest` watts.
    fn watts(largest: u64) -> Self {
        Self::new(largest, [" W", " kW", " MW", " GW"])
    }

    /// A scale that holds `largest` watt-hours.
    fn watt_hours(largest: u64) -> Self {
        Self::new(largest, [" Wh", " kWh", " MWh", " GWh"])
    }

    fn new(largest: u64, names: [&'static str; 4]) -> Self {
        let step = round_up(largest.div_ceil(4).max(1));
        let max = step.saturating_mul(4);
        let mut unit = 1;
        let mut name = names[0];
        for larger in &names[1..] {
            if max / 1_000 >= unit {
                unit *= 1_000;
                name = larger;
            }
        }
        Self { max, unit, name }
    }

    /// The value in the unit, with two decimals at most.
    fn text(&self, value: u64) -> String {
        let (whole, rest) = (value / self.unit, value % self.unit);
        let hundredths = rest * 100 / self.unit;
        match (hundredths / 10, hundredths % 10) {
            (0, 0) => whole.to_string(),
            (tenth, 0) => format!("{whole}.{tenth}"),
            _ => format!("{whole}.{hundredths:02}"),
        }
    }
}

/// The next number with few digits that is at least `value`.
fn round_up(value: u64) -> u64 {
    let digits = value.checked_ilog10().unwrap_or(0);
    let power = 10_u64.pow(digits);
    let tens = value.saturating_mul(10).div_ceil(power);
    let rounds = [10, 15, 20, 25, 30, 40, 50, 60, 80];
    let tens = rounds.into_iter().find(|round| tens <= *round);
    match tens {
        Some(tens) => power.saturating_mul(tens) / 10,
        None => power.saturating_mul(10),
    }
}

/// Drawing area from `TOP` down to `height - BOTTOM`.
struct Frame {
    svg: String,
    height: u64,
}

impl Frame {
    fn new(height: u64, label: &str) -> Self {
        let label = escape(label);
        let svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">");
        Self { svg, height }
    }

    /// Horizontal position of `part` of `of`, in tenths.
    fn x(part: u64, of: u64) -> u64 {
        LEFT * 10 + part * (WIDTH - LEFT - RIGHT) * 10 / of.max(1)
    }

    /// Vertical position of a value on a scale up to `max`, in tenths.
    fn y(&self, value: u64, max: u64) -> u64 {
        let inner = (self.height - TOP - BOTTOM) * 10;
        let up = u128::from(value.min(max)) * u128::from(inner) / u128::from(max.max(1));
        (self.height - BOTTOM) * 10 - u64::try_from(up).unwrap_or(inner)
    }

    /// Rules and figures for a scale from 0 up to `scale.max`, the unit at its top.
    fn scale(&mut self, scale: &Scale) {
        for quarter in 0..=4 {
            let value = scale.max / 4 * quarter;
            let y = tenths(self.y(value, scale.max));
            let (text, name) = (scale.text(value), scale.name);
            let unit = if quarter == 4 { name } else { "" };
            let right = WIDTH - RIGHT;
            let _ = write!(
                self.svg,
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>\
                 <text class=\"num\" x=\"{}\" y=\"{y}\" dy=\"4\">{text}{unit}</text>",
                LEFT - 6
            );
        }
    }

    fn marks(&mut self, marks: &Marks) {
        for (at, text) in &marks.at {
            let x = tenths(Self::x(*at, marks.of));
            let _ = write!(
                self.svg,
                "<line class=\"rule\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{}\"/>\
                 <text x=\"{x}\" dx=\"3\" y=\"{}\">{}</text>",
                self.height - BOTTOM,
                self.height - 8,
                escape(text)
            );
        }
    }

    /// Lays rectangles of a class over the stretches of buckets that are so, from `top` down to the axis.
    fn cover(&mut self, class: &str, top: u64, buckets: &[Bucket], is_so: fn(Known) -> bool) {
        let n = u64::try_from(buckets.len()).unwrap_or(u64::MAX);
        let mut from = None;
        let known = buckets.iter().map(|bucket| is_so(bucket.known));
        for (i, is_so) in (0..).zip(known.chain([false])) {
            if is_so {
                from.get_or_insert(i);
            } else if let Some(first) = from.take() {
                let (x, end) = (Self::x(first, n), Self::x(i, n));
                let _ = write!(
                    self.svg,
                    "<rect class=\"{class}\" x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{}\"/>",
                    tenths(x),
                    tenths(end - x),
                    self.height - BOTTOM - top
                );
            }
        }
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// The buckets with those of which nothing is known level with the one before: they are covered, and no slope may lead
/// to them.
fn levelled(buckets: &[Bucket]) -> Vec<Bucket> {
    let is_known = |bucket: &&Bucket| bucket.known != Known::Nothing;
    let mut last = buckets.iter().find(is_known).copied().unwrap_or_default();
    let level = |bucket: &Bucket| {
        if bucket.known != Known::Nothing {
            last = *bucket;
        }
        Bucket {
            known: bucket.known,
            ..last
        }
    };
    buckets.iter().map(level).collect()
}

/// Hydro, solar, wind and grid power stacked up to the load, with the green power that was there as a line. What is not
/// known is blank, what is known in part has a mark on the axis.
pub(crate) fn stacked(name: &str, buckets: &[Bucket], marks: &Marks) -> String {
    let buckets = &levelled(buckets)[..];
    let mut frame = Frame::new(190, &format!("power at {name}"));
    let load = |bucket: &Bucket| bucket.layers.iter().sum::<u64>();
    let top = |bucket: &Bucket| load(bucket).max(bucket.available);
    let scale = Scale::watts(buckets.iter().map(top).max().unwrap_or(0));
    let max = scale.max;
    frame.scale(&scale);
    let n = u64::try_from(buckets.len()).unwrap_or(u64::MAX);
    let xs: Vec<u64> = (0..n).map(|i| Frame::x(2 * i + 1, 2 * n)).collect();
    let mut below = vec![0; buckets.len()];
    for (layer, class) in ["hydro", "solar", "wind", "grid"].into_iter().enumerate() {
        let above: Vec<u64> = buckets
            .iter()
            .zip(&below)
            .map(|(bucket, below)| below + bucket.layers[layer])
            .collect();
        let forth = xs.iter().zip(&above);
        let back = xs.iter().zip(&below).rev();
        let points: Vec<String> = forth
            .chain(back)
            .map(|(x, watts)| point(*x, frame.y(*watts, max)))
            .collect();
        let _ = write!(
            frame.svg,
            "<polygon class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        );
        below = above;
    }
    let line = |value: &dyn Fn(&Bucket) -> u64| {
        let points = xs.iter().zip(buckets);
        let points: Vec<String> = points
            .map(|(x, bucket)| point(*x, frame.y(value(bucket), max)))
            .collect();
        points.join(" ")
    };
    let load = line(&load);
    let available = line(&|bucket| bucket.available);
    let _ = write!(
        frame.svg,
        "<polyline class=\"load\" points=\"{load}\"/>\
         <polyline class=\"there\" points=\"{available}\"/>"
    );
    frame.cover("unknown", TOP, buckets, |known| known == Known::Nothing);
    let strip = frame.height - BOTTOM - 3;
    frame.cover("open", strip, buckets, |known| known != Known::All);
    frame.marks(marks);
    frame.end()
}

/// A line for each run over the 24 hours of the day, thousandths.
pub(crate) fn by_hour(runs: &[(&str, [u32; 24])]) -> String {
    let lines: Vec<(&str, Vec<Option<u32>>)> = runs
        .iter()
        .map(|(class, hours)| (*class, hours.iter().copied().map(Some).collect()))
        .collect();
    let marks = Marks {
        of: 24,
        at: (0..24)
            .step_by(3)
            .map(|hour| (hour, format!("{hour:02}:00")))
            .collect(),
    };
    shares("green share by hour of the day", &lines, &marks)
}

/// A line for each run of shares in thousandths; all have as many points. A line breaks where a share is not known.
pub(crate) fn shares(label: &str, runs: &[(&str, Vec<Option<u32>>)], marks: &Marks) -> String {
    let mut frame = Frame::new(220, label);
    frame.scale(&Scale {
        max: 1_000,
        unit: 10,
        name: " %",
    });
    for (class, shares) in runs {
        let n = u64::try_from(shares.len()).unwrap_or(u64::MAX);
        let points: Vec<(u64, Option<u32>)> = (0..).zip(shares.iter().copied()).collect();
        for known in points.split(|(_, share)| share.is_none()) {
            let known: Vec<(u64, u64)> = known
                .iter()
                .map(|(i, share)| {
                    let share = u64::from(share.unwrap_or(0));
                    (Frame::x(2 * i + 1, 2 * n), frame.y(share, 1_000))
                })
                .collect();
            let points: Vec<String> = known.iter().map(|(x, y)| point(*x, *y)).collect();
            match known.as_slice() {
                [] => {}
                // A line of one point would not be seen.
                [(x, y)] => {
                    let _ = write!(
                        frame.svg,
                        "<circle class=\"dot {class}\" cx=\"{}\" cy=\"{}\" r=\"3\"/>",
                        tenths(*x),
                        tenths(*y)
                    );
                }
                _ => {
                    let points = points.join(" ");
                    let _ = write!(
                        frame.svg,
                        "<polyline class=\"run {class}\" points=\"{points}\"/>"
                    );
                }
            }
        }
    }
    frame.marks(marks);
    frame.end()
}

/// A horizontal bar of a ranking.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    /// What it is; a long one is cut and told in full when pointed at.
    pub(crate) name: String,
    /// Class and size of its parts, from the left.
    pub(crate) parts: Vec<(&'static str, u64)>,
    /// What is written after it.
    pub(crate) text: String,
}

/// Letters of a name that fit beside its bar.
const RANKED_NAME_LETTERS: usize = 26;

/// Bars one under the other on a common scale.
pub(crate) fn ranked(label: &str, rows: &[Ranked]) -> String {
    const NAME: u64 = 170;
    const TEXT: u64 = 150;
    let n_rows = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let mut frame = Frame::new(n_rows * 24 + 8, label);
    let size = |row: &Ranked| row.parts.iter().map(|(_, size)| u128::from(*size)).sum();
    let largest: u128 = rows.iter().map(size).max().unwrap_or(0).max(1);
    let room = u128::from((WIDTH - NAME - TEXT) * 10);
    // Every edge is rounded from its own sum, so that parts neither overlap nor leave gaps.
    let edge = |sum: u128| NAME * 10 + u64::try_from(sum * room / largest).unwrap_or(0);
    for (i, row) in (0..).zip(rows) {
        let y = 4 + i * 24;
        let short: String = row.name.chars().take(RANKED_NAME_LETTERS).collect();
        let cut = if short.len() < row.name.len() {
            "…"
        } else {
            ""
        };
        let _ = write!(
            frame.svg,
            "<text class=\"num\" x=\"{}\" y=\"{}\">{}{cut}<title>{}</title></text>",
            NAME - 8,
            y + 12,
            escape(&short),
            escape(&row.name)
        );
        let mut sum = 0;
        for (class, part) in &row.parts {
            let x = edge(sum);
            sum += u128::from(*part);
            let _ = write!(
                frame.svg,
                "<rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"16\"/>",
                tenths(x),
                tenths(edge(sum) - x)
            );
        }
        let _ = write!(
            frame.svg,
            "<text x=\"{}\" y=\"{}\">{}</text>",
            tenths(edge(sum) + 60),
            y + 12,
            escape(&row.text)
        );
    }
    frame.end()
}

/// A line for each run over the scenario, of energy in watt-hours since its start; all have as many points.
pub(crate) fn since_start(runs: &[(&str, Vec<u64>)], marks: &Marks) -> String {
    let mut frame = Frame::new(220, "grid energy since the start");
    let largest = runs.iter().flat_map(|(_, sums)| sums).max();
    let scale = Scale::watt_hours(largest.copied().unwrap_or(0));
    frame.scale(&scale);
    frame.marks(marks);
    for (class, sums) in runs {
        let n = u64::try_from(sums.len()).unwrap_or(u64::MAX);
        let ends = (1..).zip(sums).map(|(i, sum)| (i, *sum));
        let points: Vec<String> = std::iter::once((0, 0))
            .chain(ends)
            .map(|(i, sum)| point(Frame::x(i, n), frame.y(sum, scale.max)))
            .collect();
        let points = points.join(" ");
        let _ = write!(
            frame.svg,
            "<polyline class=\"run {class}\" points=\"{points}\"/>"
        );
    }
    frame.end()
}

/// The jobs of a site as bars in as few lanes as they need; the colour says how green each is.
pub(crate) fn gantt(name: &str, mut bars: Vec<Bar>, marks: &Marks) -> String {
    bars.sort_by(|a, b| (a.from, a.to, &a.title).cmp(&(b.from, b.to, &b.title)));
    let mut lanes: Vec<u64> = Vec::new();
    let mut drawn = String::new();
    for bar in &bars {
        let lane = lanes
            .iter()
            .position(|end| *end <= bar.from)
            .unwrap_or(lanes.len());
        match lanes.get_mut(lane) {
            Some(end) => *end = bar.to,
            None => lanes.push(bar.to),
        }
        let x = Frame::x(bar.from, marks.of);
        let width = Frame::x(bar.to, marks.of).saturating_sub(x).max(5);
        let lane = u64::try_from(lane).unwrap_or(u64::MAX);
        let class = bar.green_permille.min(1_000) / 250;
        let _ = write!(
            drawn,
            "<rect class=\"g{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"5\"><title>{}</title></rect>",
            tenths(x),
            TOP + lane * 6,
            tenths(width),
            escape(&bar.title)
        );
    }
    let n_lanes = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
    let mut frame = Frame::new(
        TOP + n_lanes.max(1) * 6 + BOTTOM,
        &format!("jobs at {name}"),
    );
    frame.marks(marks);
    frame.svg.push_str(&drawn);
    frame.end()
}

/// Horizontal bars to the right of a middle line for savings and to the left of it for losses, thousandths.
pub(crate) fn savings(rows: &[(&str, i64)]) -> String {
    let n_rows = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let mut frame = Frame::new(n_rows * 30 + 20, "savings against run-now");
    let middle = WIDTH / 2;
    let largest = rows.iter().map(|(_, value)| value.unsigned_abs()).max();
    let max = largest.unwrap_or(0).max(1);
    for (i, (name, value)) in (0..).zip(rows) {
        let y = 10 + i * 30;
        let width = value.unsigned_abs().min(max) * (middle - 160) / max;
        let (class, x) = if *value < 0 {
            ("loss", middle - width)
        } else {
            ("gain", middle)
        };
        let sign = if *value < 0 { "−" } else { "" };
        let size = value.unsigned_abs();
        let _ = write!(
            frame.svg,
            "<text x=\"2\" y=\"{}\">{}</text>\
             <rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"18\"/>\
             <text x=\"{}\" y=\"{}\">{sign}{}.{} %</text>",
            y + 14,
            escape(name),
            if *value < 0 {
                middle + 6
            } else {
                middle + width + 6
            },
            y + 14,
            size / 10,
            size % 10
        );
    }
    let _ = write!(
        frame.svg,
        "<line class=\"axis\" x1=\"{middle}\" x2=\"{middle}\" y1=\"4\" y2=\"{}\"/>",
        n_rows * 30 + 10
    );
    frame.end()
}

fn point(x: u64, y: u64) -> String {
    format!("{},{}", tenths(x), tenths(y))
}

fn tenths(value: u64) -> String {
    match value % 10 {
        0 => (value / 10).to_string(),
        part => format!("{}.{part}", value / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let svg = stacked(
            "\"><script>",
            &[Bucket::default()],
            &Marks {
                of: 1,
                at: vec![(0, "<b>".into())],
            },
        );
        assert!(!svg.contains("<script>") && !svg.contains("<b>"));
    }

    #[test]
    fn the_layers_end_at_the_load() {
        let bucket = Bucket {
            layers: [1_000_000, 0, 2_000_000, 1_000_000],
            available: 3_000_000,
            known: Known::All,
        };
        let svg = stacked(
            "a",
            &[bucket, bucket],
            &Marks {
                of: 1,
                at: Vec::new(),
            },
        );
        // The top of the scale is the load: grid ends where the load line runs.
        assert!(
            svg.contains("<polygon class=\"grid\" points=\"217,10 547,10 547,49 217,49\"/>"),
            "{svg}"
        );
        assert!(svg.contains("<polyline class=\"load\" points=\"217,10 547,10\"/>"));
        assert!(svg.contains("<polyline class=\"there\" points=\"217,49 547,49\"/>"));
    }

    #[test]
    fn what_is_not_known_is_covered_and_no_slope_leads_to_it() {
        use Known::{All, Nothing, Part};
        let bucket = |(known, watts)| Bucket {
            layers: [watts, 0, 0, 0],
            available: 0,
            known,
        };
        let marks = Marks {
            of: 1,
            at: Vec::new(),
        };
        let buckets = [(All, 4), (Nothing, 0), (Nothing, 0), (Part, 4), (All, 4)].map(bucket);
        let svg = stacked("a", &buckets, &marks);
        // 660 units for five buckets: 132 each, from 52 on; the scale ends at 4 W, which is 10 units from the top.
        assert!(
            svg.contains("class=\"load\" points=\"118,10 250,10 382,10 514,10 646,10\""),
            "{svg}"
        );
        assert!(svg.contains("class=\"unknown\" x=\"184\" y=\"10\" width=\"264\" height=\"156\""));
        assert!(svg.contains("class=\"open\" x=\"184\" y=\"163\" width=\"396\" height=\"3\""));
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn a_share_that_is_not_known_breaks_the_line() {
        let marks = Marks {
            of: 5,
            at: Vec::new(),
        };
        let line = vec![Some(1_000), Some(0), None, Some(500), None];
        let svg = shares("a", &[("now", line)], &marks);
        assert!(
            svg.contains("<polyline class=\"run now\" points=\"118,10 250,196\"/>"),
            "{svg}"
        );
        assert!(svg.contains("<circle class=\"dot now\" cx=\"514\" cy=\"103\""));
        assert_eq!(svg.matches("<polyline").count(), 1);
    }

    #[test]
    fn parts_of_a_bar_meet_and_the_longest_fills_the_room() {
        let row = |name: &str, parts| Ranked {
            name: name.to_owned(),
            parts,
            text: "<x>".to_owned(),
        };
        let rows = [
            row("a", vec![("hydro", 1), ("grid", 2)]),
            row(&"b".repeat(40), vec![("grid", 1)]),
        ];
        let svg = ranked("jobs", &rows);
        // 400 units for 3.
        assert!(svg.contains("class=\"hydro\" x=\"170\" y=\"4\" width=\"133.3\""));
        assert!(svg.contains("class=\"grid\" x=\"303.3\" y=\"4\" width=\"266.7\""));
        assert!(svg.contains(&format!("{}…<title>{}<", "b".repeat(26), "b".repeat(40))));
        assert!(!svg.contains("<x>"));
    }

    #[test]
    fn points_are_parts_of_a_day_or_days() {
        for (days, slots) in [(1, 1), (3, 1), (7, 2), (70, 24), (365, 96), (367, 192)] {
            assert_eq!(slots_of_bucket(days * 96, 96, 366), slots, "{days} days");
        }
    }

    #[test]
    fn scales_end_at_round_numbers_that_hold_the_largest_value() {
        for (largest, steps) in [
            (0, ["0", "1", "2", "3", "4 W"]),
            (4_000_000, ["0", "1", "2", "3", "4 MW"]),
            (71_000_000, ["0", "20", "40", "60", "80 MW"]),
            (9_600_000, ["0", "2.5", "5", "7.5", "10 MW"]),
            (999_001, ["0", "0.25", "0.5", "0.75", "1 MW"]),
            (36_100, ["0", "10", "20", "30", "40 kW"]),
        ] {
            let scale = Scale::watts(largest);
            assert!(scale.max >= largest);
            let text = |quarter| scale.text(scale.max / 4 * quarter);
            let [zero, one, two, three] = [0, 1, 2, 3].map(text);
            let last = format!("{}{}", text(4), scale.name);
            assert_eq!([zero, one, two, three, last], steps);
        }
    }

    #[test]
    fn bars_that_overlap_take_a_lane_each() {
        let bar = |from, to| Bar {
            from,
            to,
            green_permille: 1_000,
            title: String::new(),
        };
        let marks = Marks {
            of: 10,
            at: Vec::new(),
        };
        let svg = gantt("a", vec![bar(0, 4), bar(2, 6), bar(4, 8)], &marks);
        assert_eq!(svg.matches("y=\"10\"").count(), 2);
        assert_eq!(svg.matches("y=\"16\"").count(), 1);
    }
}
