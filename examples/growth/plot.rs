//! Three plots above one another, both axes logarithmic.
//!
//! Every axis has a title with its unit; every line is named in the key.

use std::fmt::Write as _;

use crate::{Point, sites_of};

const WIDTH: f64 = 760.0;
const PANEL: f64 = 290.0;
const LEFT: f64 = 70.0;
/// Room for the key to the right.
const RIGHT: f64 = 150.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 52.0;
/// Right and lower end of the axes.
const END: f64 = WIDTH - RIGHT;
const LOW: f64 = PANEL - BOTTOM;

/// Colours by sites: told apart by those who do not see red and green.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// What one plot shows: title, title of its axis, and its lines, each with a name, dashes and a figure.
struct Panel {
    title: &'static str,
    axis: &'static str,
    lines: &'static [Line],
}

type Line = (&'static str, &'static str, fn(&Point) -> f64);

const PANELS: [Panel; 3] = [
    Panel {
        title: "One decision at arrival",
        axis: "microseconds",
        lines: &[
            ("p50", "", |point| point.decision_us_p50),
            ("mean", "7 4", |point| point.decision_us_mean),
            ("p99", "2 3", |point| point.decision_us_p99),
        ],
    },
    Panel {
        title: "One round of plan, one thread",
        axis: "seconds",
        lines: &[("round", "", |point| point.round_s)],
    },
    Panel {
        title: "Memory beside the problem",
        axis: "MiB",
        lines: &[
            ("plan", "", |point| point.plan_mib),
            ("online", "7 4", |point| {
                point.online_bytes_per_job * point.jobs as f64 / 1_048_576.0
            }),
        ],
    },
];

pub(crate) fn svg(points: &[Point]) -> String {
    let sites = sites_of(points);
    let height = PANEL * PANELS.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (i, panel) in PANELS.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate(0 {})\">", i as f64 * PANEL);
        panel.draw(points, &sites, &mut text);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

impl Panel {
    fn draw(&self, points: &[Point], sites: &[usize], text: &mut String) {
        let figures = points
            .iter()
            .flat_map(|point| self.lines.iter().map(|(.., figure)| figure(point)));
        let frame = Frame {
            across: Axis::over(points.iter().map(|point| point.jobs as f64)),
            up: Axis::over(figures),
        };
        self.axes(&frame, text);
        let mut key = TOP + 10.0;
        for (sites, colour) in sites.iter().zip(COLOURS.iter().cycle()) {
            for (name, dashes, figure) in self.lines {
                let here = points.iter().filter(|point| point.sites == *sites);
                let mut line: Vec<(f64, f64)> = here
                    .map(|point| (point.jobs as f64, figure(point)))
                    .collect();
                line.sort_by(|a, b| a.0.total_cmp(&b.0));
                let name = format!("{name}, {sites} sites");
                frame.line(&line, colour, dashes, (key, &name), text);
                key += 18.0;
            }
        }
        text.push('\n');
    }

    fn axes(&self, frame: &Frame, text: &mut String) {
        let middle = f64::midpoint(TOP, LOW);
        let _ = write!(
            text,
            "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">live jobs</text>\
             <text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.title,
            f64::midpoint(LEFT, END),
            PANEL - 14.0,
            self.axis
        );
        for decade in frame.up.decades() {
            let at = frame.y(decade);
            let _ = write!(
                text,
                "<path d=\"M{LEFT} {at:.1}H{END}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                grouped(decade)
            );
        }
        for decade in frame.across.decades() {
            let at = frame.x(decade);
            let _ = write!(
                text,
                "<path d=\"M{at:.1} {TOP}V{LOW}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                LOW + 17.0,
                grouped(decade)
            );
        }
    }
}

/// The two axes of a plot.
struct Frame {
    across: Axis,
    up: Axis,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.across.part(value) * (END - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        LOW - self.up.part(value) * (LOW - TOP)
    }

    /// A line with a dot at each point, and its entry of the key: height and name.
    fn line(
        &self,
        points: &[(f64, f64)],
        colour: &str,
        dashes: &str,
        key: (f64, &str),
        text: &mut String,
    ) {
        let style = format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"");
        let mut corners = String::new();
        for (jobs, value) in points {
            let (x, y) = (self.x(*jobs), self.y(*value));
            let _ = write!(corners, "{x:.1},{y:.1} ");
            let _ = write!(
                text,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let (at, name) = key;
        let _ = write!(
            text,
            "<polyline points=\"{}\" fill=\"none\" {style}/>\
             <path d=\"M{} {}h28\" {style}/><text x=\"{}\" y=\"{at}\">{name}</text>",
            corners.trim_end(),
            END + 12.0,
            at - 4.0,
            END + 46.0,
        );
    }
}

/// Whole decades that hold all values.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let logs: Vec<f64> = values.map(|value| value.max(1e-6).log10()).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let high = logs.iter().copied().fold(low + 1.0, f64::max).ceil();
        Self { low, high }
    }

    fn part(&self, value: f64) -> f64 {
        (value.max(1e-6).log10() - self.low) / (self.high - self.low)
    }

    fn decades(&self) -> Vec<f64> {
        let mut decades = Vec::new();
        let mut log = self.low;
        while log <= self.high {
            // A decimal of few digits, not the power's rounding error.
            decades.push(format!("1e{log}").parse().unwrap_or(1.0));
            log += 1.0;
        }
        decades
    }
}

/// 1000000 as `1,000,000`; what is below 1 as it is.
fn grouped(value: f64) -> String {
    if value < 1.0 {
        return value.to_string();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
