//! Finds every problem of a configuration that could not be read, key by key.
//!
//! The first error of a parser is never the only answer: a person mends all keys in one go.

use figment::{
    Figment,
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use crate::config::{ConfigError, LogFormat, Problem, keys::KEYS};

/// Reads each key on its own; `error` is the answer when that finds nothing, as for a file that is no TOML.
pub(super) fn all_problems(figment: &Figment, error: &figment::Error) -> ConfigError {
    let mut problems = Vec::new();
    if let Ok(dict) = figment.extract::<Dict>() {
        unknown_keys(&dict, "", &mut problems);
        wrong_types(figment, &mut problems);
    }
    if problems.is_empty() {
        problems.extend(error.clone().into_iter().map(|error| Problem {
            key: error.path.join("."),
            message: error.to_string(),
        }));
    }
    problems.sort();
    ConfigError { problems }
}

fn unknown_keys(dict: &Dict, section: &str, problems: &mut Vec<Problem>) {
    for (name, value) in dict {
        let key = if section.is_empty() {
            name.clone()
        } else {
            format!("{section}.{name}")
        };
        let is_section = KEYS.iter().any(|(known, _)| {
            known
                .strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        if KEYS.iter().any(|(known, _)| *known == key) {
            continue;
        }
        match value {
            Value::Dict(_, inner) if is_section => unknown_keys(inner, &key, problems),
            _ if is_section => problems.push(Problem {
                key,
                message: "is a section, not a value".to_owned(),
            }),
            _ => problems.push(Problem {
                key,
                message: format!("is not known; known are {}", known_in(section)),
            }),
        }
    }
}

fn known_in(section: &str) -> String {
    let mut names: Vec<&str> = KEYS
        .iter()
        .filter_map(|(key, _)| match key.split_once('.') {
            Some((known, name)) => (known == section).then_some(name),
            None => section.is_empty().then_some(*key),
        })
        .collect();
    names.sort_unstable();
    names.join(", ")
}

/// One line a key: the type is the one of the field in `FileConfig`.
fn wrong_types(figment: &Figment, problems: &mut Vec<Problem>) {
    for (key, _) in KEYS {
        let result = match *key {
            "listen" | "data_dir" | "log.filter" | "tls.certificate" | "tls.key"
            | "tls.client_ca" | "ledger.signing_key" => typed::<String>(figment, key),
            "allow_insecure_remote" => typed::<bool>(figment, key),
            "log.format" => typed::<LogFormat>(figment, key),
            "snapshot.every_records" | "limits.max_live_jobs" => typed::<u64>(figment, key),
            _ => typed::<u32>(figment, key),
        };
        problems.extend(result.err());
    }
}

fn typed<T: DeserializeOwned>(figment: &Figment, key: &str) -> Result<(), Problem> {
    figment
        .extract_inner::<T>(key)
        .map(drop)
        .map_err(|error| Problem {
            key: key.to_owned(),
            message: describe(&error),
        })
}

/// What figment says, with the place it read the value from.
fn describe(error: &figment::Error) -> String {
    let source = error
        .metadata
        .as_ref()
        .map(|metadata| match &metadata.source {
            Some(source) => format!(" (in {source})"),
            None => format!(" (in {})", metadata.name),
        })
        .unwrap_or_default();
    format!("{}{source}", error.kind)
}
