//! `lancang serve` and `lancang config`: the server's flags, and what its configuration comes to.
//!
//! Flags win over variables, variables over the file, the file over defaults.

use std::path::PathBuf;

use crate::{
    cli::{
        failure::Failure,
        output::{say, talk},
    },
    config::{self, Config, Flags, LogFlags, LogFormat, unknown_variables},
    server, telemetry,
};

const SERVE_EXAMPLES: &str = "\
Examples:
  lancang serve --data-dir /var/lib/lancang
  lancang serve --config lancang.toml --log-format json
Every key can also be set by the environment, as LANCANG_DATA_DIR or LANCANG_LOG_FILTER;
`lancang config show` prints them all. An address that other machines reach needs certificates
of all clients (tls.certificate, tls.key, tls.client_ca), or --allow-insecure-remote.";

/// Flags of the server.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArgs {
    /// TOML file; must exist when given.
    #[arg(long, env = "LANCANG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:50051].
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Directory of the store [default: lancang-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Length of a slot: 5, 15, 30 or 60 [default: 15].
    #[arg(long, value_name = "MINUTES")]
    slot_minutes: Option<u32>,
    /// How far the planner looks ahead, 1 to 31 [default: 14].
    #[arg(long, value_name = "DAYS")]
    horizon_days: Option<u32>,
    /// Listen on an address that other machines reach, although clients show no certificates.
    #[arg(long)]
    allow_insecure_remote: bool,
    /// How log lines look: text or json [default: text].
    #[arg(long, value_name = "FORM", value_parser = parse_log_format)]
    log_format: Option<LogFormat>,
    /// Which log lines are written, as `lancang=debug,info` [default: info].
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

/// Verbs of `lancang config`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print OK, or every problem with its key; exit code 64 when there is one.
    Check(ServeArgs),
    /// Print the effective configuration as TOML.
    Show(ServeArgs),
}

/// Serves until a signal.
pub(crate) async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref(), &args.flags()).map_err(Failure::Config)?;
    telemetry::init(config.log_format, &config.log_filter)?;
    for variable in unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!(variable, "this variable sets nothing");
    }
    server::run(config).await.map_err(Failure::Start)
}

/// Checks or shows the configuration.
pub(crate) fn config(verb: &ConfigVerb) -> Result<(), Failure> {
    let (ConfigVerb::Check(args) | ConfigVerb::Show(args)) = verb;
    let file = config::read(args.config.as_deref(), &args.flags()).map_err(Failure::Config)?;
    Config::check(&file).map_err(Failure::Config)?;
    for variable in unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        talk(&format!("note: the variable {variable} sets nothing"));
    }
    match verb {
        ConfigVerb::Check(_) => say("OK"),
        ConfigVerb::Show(_) => {
            let text = file
                .to_toml()
                .map_err(|error| Failure::Usage(error.to_string()))?;
            say(text.trim_end())
        }
    }
}

impl ServeArgs {
    fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            data_dir: self.data_dir.clone(),
            slot_minutes: self.slot_minutes,
            horizon_days: self.horizon_days,
            allow_insecure_remote: self.allow_insecure_remote.then_some(true),
            log: LogFlags {
                format: self.log_format,
                filter: self.log_filter.clone(),
            },
        }
    }
}

pub(super) fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is neither text nor json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[test]
    fn flags_that_are_not_given_leave_the_key_alone() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let matches = command
            .try_get_matches_from(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .unwrap();
        let flags = ServeArgs::from_arg_matches(&matches).unwrap().flags();
        assert_eq!(flags.listen.as_deref(), Some("127.0.0.1:0"));
        assert_eq!(flags.log.format, Some(LogFormat::Json));
        assert_eq!(flags.allow_insecure_remote, None);
        assert_eq!(flags.slot_minutes, None);
    }
}
