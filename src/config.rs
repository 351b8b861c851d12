//! Configuration: what was written in defaults, file, environment and flags, and the checked form the server runs on.
//!
//! A [`Config`] cannot be invalid: it is made by [`Config::load`] or [`Config::check`], which report every problem at
//! once with its key, or by [`Config::for_directory`], which starts from the checked defaults.

mod diagnose;
mod file;
mod keys;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use crate::config::{
    file::{
        FileAgents, FileConfig, FileForecast, FileLedger, FileLimits, FileLog, FileQuote,
        FileReplan, FileRetention, FileSnapshot, FileTls, Flags, LogFlags, LogFormat,
    },
    keys::unknown_variables,
};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};

/// Checked configuration of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Address to listen on; a loopback one unless clients show certificates or `allow_insecure_remote`.
    pub listen: SocketAddr,
    /// Encryption; `None` for none.
    pub tls: Option<Tls>,
    /// Directory of the store; made when it does not exist.
    pub data_dir: PathBuf,
    /// Length of a slot in seconds: 300, 900, 1800 or 3600.
    pub slot_seconds: u32,
    /// Slots that the planner looks ahead: 1 to 31 days.
    pub horizon_slots: u32,
    /// Whether the address may be reached by other machines.
    pub allow_insecure_remote: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Directives of the log filter; known to parse.
    pub log_filter: String,
    /// Age in seconds from which a forecast issue counts as stale.
    pub forecast_stale_after_seconds: u32,
    /// Most jobs moved in one revision, at least 1.
    pub replan_max_moves_per_revision: u32,
    /// Least gain for which a job that could stay is moved, thousandths, at most 1000.
    pub replan_min_gain_permille: u32,
    /// Seconds after which all jobs that have not begun are looked at, 0 for never; rounded up to whole slots.
    pub replan_sweep_seconds: u32,
    /// Journal records after which a snapshot is written, at least 100.
    pub snapshot_every_records: u64,
    /// Seconds that a job in a final state is kept, at least a day.
    pub retention_terminal_seconds: u64,
    /// Most jobs that are not in a final state, at least 1.
    pub max_live_jobs: u64,
    /// Seconds that a quote can be redeemed, 1 to 86400.
    pub quote_valid_seconds: u32,
    /// For how long agents may be silent; each time leaves room for the one before.
    pub agents: FileAgents,
    /// What the energy ledger waits for and keeps; totals at least as long as lines.
    pub ledger: FileLedger,
}

/// Files by which connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain of the server.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authority of the certificates that clients must show; `None` where they need none.
    pub client_ca: Option<PathBuf>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key, as `log.format`; empty when the whole file is wrong.
    pub key: String,
    /// What is wrong and what is accepted.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.key, self.message)
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration refused: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigError {
    /// At least one problem, in the order of the keys.
    pub problems: Vec<Problem>,
}

impl Config {
    /// Reads defaults, then `file`, then variables `LANCANG_*`, then `flags`, each over the one before, and checks the result.
    ///
    /// # Errors
    /// Every problem of every key at once.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        Self::check(&read(file, flags)?)
    }

    /// Checks what was written.
    ///
    /// # Errors
    /// Every problem of every key at once.
    pub fn check(file: &FileConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let listen = keys::listen(file, &mut problems);
        keys::check_ranges(file, &mut problems);
        match listen {
            Some(listen) if problems.is_empty() => Ok(Self::from_checked(listen, file)),
            _ => Err(ConfigError { problems }),
        }
    }

    /// The defaults with an address and a directory: for embedded servers and tests.
    #[must_use]
    pub fn for_directory(listen: SocketAddr, data_dir: PathBuf) -> Self {
        let file = FileConfig {
            data_dir,
            allow_insecure_remote: !listen.ip().is_loopback(),
            ..FileConfig::default()
        };
        Self::from_checked(listen, &file)
    }

    /// File with the private key that signs statements.
    #[must_use]
    pub fn signing_key_file(&self) -> PathBuf {
        let named = &self.ledger.signing_key;
        if named.as_os_str().is_empty() {
            self.data_dir.join("signing.key")
        } else {
            named.clone()
        }
    }

    /// Spells the checked values in the units that the server counts in; the ranges make every product fit.
    fn from_checked(listen: SocketAddr, file: &FileConfig) -> Self {
        let slot_seconds = file.slot_minutes * 60;
        let set = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
        Self {
            listen,
            tls: set(&file.tls.certificate).map(|certificate| Tls {
                certificate,
                key: file.tls.key.clone(),
                client_ca: set(&file.tls.client_ca),
            }),
            data_dir: file.data_dir.clone(),
            slot_seconds,
            horizon_slots: file.horizon_days * (86_400 / slot_seconds),
            allow_insecure_remote: file.allow_insecure_remote,
            log_format: file.log.format,
            log_filter: file.log.filter.clone(),
            forecast_stale_after_seconds: file.forecast.stale_after_minutes * 60,
            replan_max_moves_per_revision: file.replan.max_moves_per_revision,
            replan_min_gain_permille: file.replan.min_gain_permille,
            replan_sweep_seconds: file.replan.sweep_minutes * 60,
            snapshot_every_records: file.snapshot.every_records,
            retention_terminal_seconds: u64::from(file.retention.terminal_days) * 86_400,
            max_live_jobs: file.limits.max_live_jobs,
            quote_valid_seconds: file.quote.valid_seconds,
            agents: file.agents,
            ledger: file.ledger.clone(),
        }
    }
}

/// Reads defaults, then `file`, then variables `LANCANG_*`, then `flags`, without checking values.
///
/// # Errors
/// Unreadable file, unknown keys and values of a wrong type, all at once.
pub fn read(file: Option<&Path>, flags: &Flags) -> Result<FileConfig, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(FileConfig::default()));
    if let Some(path) = file {
        // Figment treats a missing file as an empty one; a file that was asked for must exist.
        if let Err(error) = std::fs::metadata(path) {
            return Err(ConfigError {
                problems: vec![Problem {
                    key: String::new(),
                    message: format!("cannot read {}: {error}", path.display()),
                }],
            });
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    let env = Env::raw()
        .filter(|name| keys::of_variable(name.as_str()).is_some())
        .map(|name| {
            keys::of_variable(name.as_str())
                .unwrap_or(name.as_str())
                .into()
        })
        .split(".");
    figment = figment.merge(env).merge(Serialized::defaults(flags));
    figment
        .extract::<FileConfig>()
        .map_err(|error| diagnose::all_problems(&figment, &error))
}

#[cfg(test)]
#[expect(clippy::result_large_err, reason = "the error is figment's")]
mod tests {
    use figment::Jail;

    use super::*;

    #[track_caller]
    fn problems(file: &FileConfig) -> Vec<String> {
        let error = Config::check(file).expect_err("must be refused");
        error.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_valid_and_survive_toml() {
        let file = FileConfig::default();
        let config = Config::check(&file).unwrap();
        assert_eq!(config.slot_seconds, 900);
        assert_eq!(config.horizon_slots, 14 * 96);
        assert_eq!(config.retention_terminal_seconds, 30 * 86_400);
        let again: FileConfig = toml::from_str(&file.to_toml().unwrap()).unwrap();
        assert_eq!(again, file);
    }

    #[test]
    fn every_wrong_value_is_reported_with_its_key() {
        let mut file = FileConfig {
            listen: "localhost".to_owned(),
            slot_minutes: 7,
            horizon_days: 32,
            ..FileConfig::default()
        };
        file.log.filter = "lancang=loud".to_owned();
        file.limits.max_live_jobs = 0;
        let problems = problems(&file);
        let keys: Vec<&str> = problems
            .iter()
            .filter_map(|p| p.split(':').next())
            .collect();
        assert_eq!(
            keys,
            [
                "listen",
                "slot_minutes",
                "horizon_days",
                "log.filter",
                "limits.max_live_jobs"
            ]
        );
    }

    #[test]
    fn the_ranges_of_the_ledger_include_their_ends() {
        type Set = fn(&mut FileConfig, u32);
        let keys: [(&str, Set, u32, u32); 4] = [
            (
                "ledger.settle_after_minutes",
                |file, value| file.ledger.settle_after_minutes = value,
                0,
                1_440,
            ),
            (
                "ledger.lines_days",
                |file, value| file.ledger.lines_days = value,
                1,
                60,
            ),
            // Totals stay at least as long as what they are the totals of: 40 days unless that is set, too.
            (
                "ledger.keep_days",
                |file, value| file.ledger.keep_days = value,
                40,
                800,
            ),
            (
                "ledger.keep_days",
                |file, value| (file.ledger.lines_days, file.ledger.keep_days) = (7, value),
                7,
                800,
            ),
        ];
        for (key, set, lowest, highest) in keys {
            let with = |value: u32| {
                let mut file = FileConfig::default();
                set(&mut file, value);
                file
            };
            for value in [lowest, highest] {
                assert!(Config::check(&with(value)).is_ok(), "{key} = {value}");
            }
            for value in [lowest.checked_sub(1), highest.checked_add(1)] {
                let Some(value) = value else { continue };
                let expected = format!("{key}: {value} is not within {lowest} to {highest}");
                assert_eq!(problems(&with(value)), [expected]);
            }
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_consent() {
        let mut file = FileConfig {
            listen: "0.0.0.0:50051".to_owned(),
            ..FileConfig::default()
        };
        assert!(problems(&file)[0].contains("allow_insecure_remote"));
        file.allow_insecure_remote = true;
        assert!(Config::check(&file).is_ok());
    }

    #[test]
    fn certificates_come_whole_and_make_an_address_safe() {
        let mut file = FileConfig {
            listen: "0.0.0.0:50051".to_owned(),
            ..FileConfig::default()
        };
        file.tls.certificate = "server.pem".into();
        file.tls.client_ca = "ca.pem".into();
        let text = problems(&file).join("\n");
        assert!(text.starts_with("tls.key: "), "{text}");
        file.tls.key = "server.key".into();
        let tls = Config::check(&file).unwrap().tls.unwrap();
        assert_eq!(tls.client_ca.as_deref(), Some(Path::new("ca.pem")));
        file.tls.client_ca = PathBuf::new();
        assert!(problems(&file)[0].contains("allow_insecure_remote"));
        file.tls = FileTls {
            client_ca: "ca.pem".into(),
            ..FileTls::default()
        };
        let text = problems(&file).join("\n");
        assert!(text.contains("tls.certificate: "), "{text}");
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        Jail::expect_with(|jail| {
            jail.create_file(
                "lancang.toml",
                "slot_minutes = 5\nhorizon_days = 2\n[log]\nformat = \"json\"\nfilter = \"warn\"\n",
            )?;
            jail.set_env("LANCANG_HORIZON_DAYS", "3");
            jail.set_env("LANCANG_LOG_FILTER", "debug");
            jail.set_env("LANCANG_SERVER", "http://elsewhere:1");
            let flags = Flags {
                log: LogFlags {
                    filter: Some("error".to_owned()),
                    ..LogFlags::default()
                },
                ..Flags::default()
            };
            let file = read(Some(Path::new("lancang.toml")), &flags).unwrap();
            assert_eq!((file.slot_minutes, file.horizon_days), (5, 3));
            assert_eq!(file.log.format, LogFormat::Json);
            assert_eq!(file.log.filter, "error");
            Ok(())
        });
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_reported_together() {
        Jail::expect_with(|jail| {
            jail.create_file(
                "lancang.toml",
                "slot_minute = 5\nhorizon_days = \"many\"\n[log]\nformat = \"xml\"\n[limits]\nmax_jobs = 1\n",
            )?;
            let error = read(Some(Path::new("lancang.toml")), &Flags::default()).unwrap_err();
            let text = error.to_string();
            for key in [
                "slot_minute:",
                "horizon_days:",
                "log.format:",
                "limits.max_jobs:",
            ] {
                assert!(text.contains(key), "{key} missing in {text}");
            }
            assert_eq!(error.problems.len(), 4, "{text}");
            Ok(())
        });
    }

    #[test]
    fn a_file_that_is_missing_or_no_toml_is_named() {
        Jail::expect_with(|jail| {
            let missing = read(Some(Path::new("absent.toml")), &Flags::default()).unwrap_err();
            assert!(missing.to_string().contains("absent.toml"));
            jail.create_file("broken.toml", "slot_minutes = = 5")?;
            let broken = read(Some(Path::new("broken.toml")), &Flags::default()).unwrap_err();
            assert!(!broken.problems.is_empty());
            Ok(())
        });
    }
}
