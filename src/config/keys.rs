//! The keys of the configuration, their variables and their ranges.
//!
//! The table is the one place that knows all keys; a test compares it with what [`FileConfig`] writes.

use std::{ffi::OsString, net::SocketAddr, path::Path};

use tracing_subscriber::EnvFilter;

use crate::{
    config::{FileConfig, Problem},
    limits,
};

/// Every key with its environment variable.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("listen", "LANCANG_LISTEN"),
    ("data_dir", "LANCANG_DATA_DIR"),
    ("slot_minutes", "LANCANG_SLOT_MINUTES"),
    ("horizon_days", "LANCANG_HORIZON_DAYS"),
    ("allow_insecure_remote", "LANCANG_ALLOW_INSECURE_REMOTE"),
    ("tls.certificate", "LANCANG_TLS_CERTIFICATE"),
    ("tls.key", "LANCANG_TLS_KEY"),
    ("tls.client_ca", "LANCANG_TLS_CLIENT_CA"),
    ("log.format", "LANCANG_LOG_FORMAT"),
    ("log.filter", "LANCANG_LOG_FILTER"),
    (
        "forecast.stale_after_minutes",
        "LANCANG_FORECAST_STALE_AFTER_MINUTES",
    ),
    (
        "replan.max_moves_per_revision",
        "LANCANG_REPLAN_MAX_MOVES_PER_REVISION",
    ),
    (
        "replan.min_gain_permille",
        "LANCANG_REPLAN_MIN_GAIN_PERMILLE",
    ),
    ("replan.sweep_minutes", "LANCANG_REPLAN_SWEEP_MINUTES"),
    ("snapshot.every_records", "LANCANG_SNAPSHOT_EVERY_RECORDS"),
    ("retention.terminal_days", "LANCANG_RETENTION_TERMINAL_DAYS"),
    ("limits.max_live_jobs", "LANCANG_LIMITS_MAX_LIVE_JOBS"),
    ("quote.valid_seconds", "LANCANG_QUOTE_VALID_SECONDS"),
    (
        "agents.heartbeat_seconds",
        "LANCANG_AGENTS_HEARTBEAT_SECONDS",
    ),
    (
        "agents.silent_after_seconds",
        "LANCANG_AGENTS_SILENT_AFTER_SECONDS",
    ),
    (
        "agents.stop_after_seconds",
        "LANCANG_AGENTS_STOP_AFTER_SECONDS",
    ),
    (
        "agents.lost_after_seconds",
        "LANCANG_AGENTS_LOST_AFTER_SECONDS",
    ),
    (
        "ledger.settle_after_minutes",
        "LANCANG_LEDGER_SETTLE_AFTER_MINUTES",
    ),
    ("ledger.lines_days", "LANCANG_LEDGER_LINES_DAYS"),
    ("ledger.keep_days", "LANCANG_LEDGER_KEEP_DAYS"),
    ("ledger.signing_key", "LANCANG_LEDGER_SIGNING_KEY"),
];

/// Variables that the command line reads and that are no keys.
const OTHER_VARIABLES: &[&str] = &[
    "LANCANG_AGENT_TOKEN",
    "LANCANG_CLIENT_CA",
    "LANCANG_CLIENT_CERTIFICATE",
    "LANCANG_CLIENT_KEY",
    "LANCANG_CONFIG",
    "LANCANG_SERVER",
    "LANCANG_OUTPUT",
    "LANCANG_TIME_ZONE",
    "LANCANG_TIMEOUT",
];

/// The key that an environment variable sets.
pub(super) fn of_variable(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|(_, variable)| name.eq_ignore_ascii_case(variable))
        .map(|(key, _)| *key)
}

/// Names of variables that begin with `LANCANG_` and set nothing, most likely typing mistakes.
pub fn unknown_variables(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("LANCANG_"))
        .filter(|name| of_variable(name).is_none() && !OTHER_VARIABLES.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}

/// Reads the address and refuses one that other machines reach unless that is allowed.
pub(super) fn listen(file: &FileConfig, problems: &mut Vec<Problem>) -> Option<SocketAddr> {
    let Ok(address) = file.listen.parse::<SocketAddr>() else {
        refuse(
            problems,
            "listen",
            format!(
                "`{}` is no IP:PORT, e.g. 127.0.0.1:50051 or [::1]:50051",
                file.listen
            ),
        );
        return None;
    };
    let asks_for_certificates = !file.tls.client_ca.as_os_str().is_empty();
    if !address.ip().is_loopback() && !file.allow_insecure_remote && !asks_for_certificates {
        refuse(
            problems,
            "listen",
            format!(
                "{address} can be reached by other machines and clients show no certificates; set tls.client_ca, \
                 listen on 127.0.0.1 behind a proxy, or set allow_insecure_remote = true"
            ),
        );
    }
    Some(address)
}

/// Checks every other key.
pub(super) fn check_ranges(file: &FileConfig, problems: &mut Vec<Problem>) {
    if file.data_dir.as_os_str().is_empty() {
        refuse(problems, "data_dir", "must name a directory".to_owned());
    }
    if ![5, 15, 30, 60].contains(&file.slot_minutes) {
        refuse(
            problems,
            "slot_minutes",
            format!("{} is none of 5, 15, 30, 60", file.slot_minutes),
        );
    }
    range(problems, "horizon_days", file.horizon_days.into(), 1, 31);
    check_tls(file, problems);
    if file.log.filter.trim().is_empty() {
        refuse(
            problems,
            "log.filter",
            "must not be empty, e.g. info".to_owned(),
        );
    } else if let Err(error) = EnvFilter::try_new(&file.log.filter) {
        refuse(
            problems,
            "log.filter",
            format!(
                "`{}` is no filter, e.g. lancang=debug,info: {error}",
                file.log.filter
            ),
        );
    }
    for (key, value, lowest, highest) in numbers(file) {
        range(problems, key, value, lowest, highest);
    }
    check_agents(file, problems);
    check_ledger(file, problems);
}

/// Every time leaves room for the one before.
fn check_agents(file: &FileConfig, problems: &mut Vec<Problem>) {
    let agents = &file.agents;
    let lowest = u64::from(agents.heartbeat_seconds) * 2;
    let key = "agents.silent_after_seconds";
    range(
        problems,
        key,
        agents.silent_after_seconds.into(),
        lowest,
        86_400,
    );
    let lowest = u64::from(agents.silent_after_seconds) + 1;
    let key = "agents.stop_after_seconds";
    range(
        problems,
        key,
        agents.stop_after_seconds.into(),
        lowest,
        86_400,
    );
    // The agent needs its time to stop, and two clocks are never quite alike.
    let lowest = u64::from(agents.stop_after_seconds) + 15;
    let key = "agents.lost_after_seconds";
    range(
        problems,
        key,
        agents.lost_after_seconds.into(),
        lowest,
        864_000,
    );
}

fn check_ledger(file: &FileConfig, problems: &mut Vec<Problem>) {
    let ledger = &file.ledger;
    let (lines_days, days) = (ledger.lines_days, limits::LEDGER_LINES_DAYS);
    let (lowest, highest) = ((*days.start()).into(), (*days.end()).into());
    range(
        problems,
        "ledger.lines_days",
        lines_days.into(),
        lowest,
        highest,
    );
    // Totals stay at least as long as what they are the totals of.
    let (lowest, highest) = (lines_days.into(), limits::LEDGER_KEEP_DAYS_MAX.into());
    range(
        problems,
        "ledger.keep_days",
        ledger.keep_days.into(),
        lowest,
        highest,
    );
}

/// Of certificate and key there are both or none, and authorities of clients only with them.
fn check_tls(file: &FileConfig, problems: &mut Vec<Problem>) {
    let tls = &file.tls;
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let needs = is_set(&tls.certificate) || is_set(&tls.key) || is_set(&tls.client_ca);
    for (key, path) in [("tls.certificate", &tls.certificate), ("tls.key", &tls.key)] {
        if needs && !is_set(path) {
            refuse(
                problems,
                key,
                "must name a PEM file where another key of tls is set".to_owned(),
            );
        }
    }
}

/// The keys that are plain numbers, with their values and their ranges.
fn numbers(file: &FileConfig) -> [(&'static str, u64, u64, u64); 10] {
    [
        (
            "forecast.stale_after_minutes",
            u64::from(file.forecast.stale_after_minutes),
            1,
            44_640,
        ),
        (
            "replan.max_moves_per_revision",
            u64::from(file.replan.max_moves_per_revision),
            1,
            1_000_000,
        ),
        (
            "replan.min_gain_permille",
            u64::from(file.replan.min_gain_permille),
            0,
            1000,
        ),
        (
            "replan.sweep_minutes",
            u64::from(file.replan.sweep_minutes),
            0,
            10_080,
        ),
        (
            "snapshot.every_records",
            file.snapshot.every_records,
            100,
            100_000_000,
        ),
        (
            "retention.terminal_days",
            u64::from(file.retention.terminal_days),
            1,
            36_500,
        ),
        (
            "limits.max_live_jobs",
            file.limits.max_live_jobs,
            1,
            100_000_000,
        ),
        (
            "agents.heartbeat_seconds",
            u64::from(file.agents.heartbeat_seconds),
            1,
            3_600,
        ),
        (
            "quote.valid_seconds",
            u64::from(file.quote.valid_seconds),
            1,
            86_400,
        ),
        (
            "ledger.settle_after_minutes",
            u64::from(file.ledger.settle_after_minutes),
            0,
            1_440,
        ),
    ]
}

fn range(problems: &mut Vec<Problem>, key: &str, value: u64, lowest: u64, highest: u64) {
    if value < lowest || highest < value {
        refuse(
            problems,
            key,
            format!("{value} is not within {lowest} to {highest}"),
        );
    }
}

fn refuse(problems: &mut Vec<Problem>, key: &str, message: String) {
    problems.push(Problem {
        key: key.to_owned(),
        message,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_key_of_the_file() {
        let value: toml::Table = toml::from_str(&FileConfig::default().to_toml().unwrap()).unwrap();
        let mut written = Vec::new();
        for (key, value) in &value {
            match value {
                toml::Value::Table(section) => {
                    written.extend(section.keys().map(|name| format!("{key}.{name}")));
                }
                _ => written.push(key.clone()),
            }
        }
        written.sort();
        let mut known: Vec<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        known.sort();
        assert_eq!(known, written);
    }

    #[test]
    fn a_variable_is_its_key_in_capitals() {
        for (key, variable) in KEYS {
            let expected = format!("LANCANG_{}", key.replace('.', "_").to_uppercase());
            assert_eq!(*variable, expected);
        }
    }

    #[test]
    fn mistyped_variables_are_found() {
        let names = ["PATH", "LANCANG_SERVER", "LANCANG_LISTEN", "LANCANG_LISTNE"];
        let unknown = unknown_variables(names.map(OsString::from));
        assert_eq!(unknown, ["LANCANG_LISTNE"]);
    }
}
