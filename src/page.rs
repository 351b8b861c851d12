//! What pages have in common: one HTML file that needs nothing else, readable on a phone, in the dark and on paper.
//!
//! No script, nothing fetched; text from outside passes `escape` before it stands on a page.

use std::fmt::Write as _;

pub(crate) mod charts;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5d6875;--paper:#fff;--card:#f3f5f7;--rule:#d9dee4;\
--hydro:#2f7fc1;--solar:#eab020;--wind:#43a878;--grid:#9aa1ab;--bad:#c8553d}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa5b1;--paper:#12161b;--card:#1c2229;--rule:#303842;\
--hydro:#4b9be0;--solar:#e3b341;--wind:#56c08f;--grid:#6d7681;--bad:#e07a62}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:1100px;padding:1rem;background:var(--paper);color:var(--ink);\
font:16px/1.5 system-ui,sans-serif}h1{margin:.2em 0}h2{margin:2em 0 .4em}p,li,.dim{color:var(--dim)}\
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.6rem}\
.card{background:var(--card);border-radius:8px;padding:.7rem}.card b{display:block;font-size:1.5rem}\
.wide{overflow-x:auto}svg{display:block;width:100%;min-width:620px;height:auto}\
svg text{fill:var(--dim);font:11px system-ui,sans-serif}svg .num{text-anchor:end}\
table{border-collapse:collapse;width:100%}th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--rule);\
white-space:nowrap}th:first-child,td:first-child,.words th,.words td{text-align:left;white-space:normal}\
.rule{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--dim)}\
.hydro{fill:var(--hydro)}.solar{fill:var(--solar)}.wind{fill:var(--wind)}.grid{fill:var(--grid)}\
.load,.there,.run{fill:none;stroke-width:1.5}.load{stroke:var(--ink)}.there{stroke:var(--wind);stroke-dasharray:4 3}\
.run{stroke-width:2.5}.lancang{stroke:var(--wind)}.now{stroke:var(--grid)}.perfect{stroke:var(--hydro);stroke-dasharray:6 4}\
.gain{fill:var(--wind)}.loss{fill:var(--bad)}.g4{fill:var(--wind)}.g3{fill:#8bb35c}.g2{fill:var(--solar)}\
.g1{fill:#d08a4a}.g0{fill:var(--grid)}.key span{display:inline-block;margin-right:1rem}\
.key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;border-radius:2px}\
.open{fill:var(--bad)}.unknown{fill:var(--paper)}.dot.match{fill:var(--wind)}.dot.volume{fill:var(--dim)}.run.match{stroke:var(--wind)}\
.run.volume{stroke:var(--dim);stroke-dasharray:6 4}.warn{border-left:4px solid var(--bad);padding:.4rem .8rem;color:var(--ink)}\
.key .box{display:inline-block;width:.8em;min-width:0;height:.8em;margin-right:.3em}\
@media print{:root{color-scheme:light;--ink:#000;--dim:#444;--paper:#fff;--card:#f3f5f7;--rule:#ccc;--hydro:#2f7fc1;\
--solar:#eab020;--wind:#43a878;--grid:#9aa1ab;--bad:#c8553d}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}\
body{max-width:none;padding:0;font-size:11px}h2{break-after:avoid;margin:1.2em 0 .3em}h3{break-after:avoid}\
.wide{overflow:visible}svg,tr,.card,.cards{break-inside:avoid}svg{min-width:0}.card b{font-size:1.1rem}}";

/// End of a page.
pub(crate) const END: &str = "</body></html>\n";

/// A page up to and including the given beginning of its body; `title` is safe text.
pub(crate) fn begin(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n{body}"
    )
}

/// Figures in a row, each with what it is; both are safe text.
pub(crate) fn cards(html: &mut String, cards: &[(String, String)]) {
    html.push_str("<div class=\"cards\">");
    for (figure, what) in cards {
        let _ = write!(
            html,
            "<div class=\"card\"><b>{figure}</b><span class=\"dim\">{what}</span></div>"
        );
    }
    html.push_str("</div>\n");
}

/// An entry of a key of colours.
pub(crate) fn key(class: &str, text: &str) -> String {
    format!("<span><i style=\"background:var(--{class})\"></i>{text}</span>")
}

/// A quotient with one decimal, rounded down.
pub(crate) fn tenths(value: u64, unit: u64) -> String {
    let tenths = u128::from(value) * 10 / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Thousandths as a percentage.
pub(crate) fn percent(permille: i64) -> String {
    let sign = if permille < 0 { "−" } else { "" };
    format!("{sign}{} %", tenths(permille.unsigned_abs(), 10))
}

/// Text that may stand anywhere in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}
