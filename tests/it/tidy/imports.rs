//! Who may use whom: the layers of the crate as a table, and the check that the sources keep to it.
//!
//! The table is the law; a new entry in it is a change of the architecture and belongs into a commit message.

use super::source::{PathUse, Source, paths};

/// What one module may use of the crate, as prefixes of paths below `crate`.
struct Row {
    module: &'static str,
    may_use: &'static [&'static str],
}

/// A path that only some modules may use.
struct Only {
    path: &'static str,
    modules: &'static [&'static str],
    reason: &'static str,
}

const fn row(module: &'static str, may_use: &'static [&'static str]) -> Row {
    Row { module, may_use }
}

const fn only(path: &'static str, modules: &'static [&'static str], reason: &'static str) -> Only {
    Only {
        path,
        modules,
        reason,
    }
}

/// The smallest words: everything but themselves may use them.
const WORDS: [&str; 3] = ["limits", "units", "slot"];

/// In reading order; `WORDS` come on top from `domain` on.
const TABLE: &[Row] = &[
    row("limits", &[]),
    row("units", &[]),
    row("slot", &["units", "limits"]),
    row("domain", &[]),
    row("energy", &["domain"]),
    row("planner", &["domain"]),
    row("ledger", &["domain"]),
    row("solver", &[]),
    row("state", &["domain"]),
    row("proto", &[]),
    row("store", &["domain", "state", "proto::journal_v1"]),
    row("clock", &[]),
    row("sheet", &[]),
    row("page", &[]),
    row("signing", &[]),
    row("topology", &["domain", "sheet"]),
    row(
        "controller",
        &[
            "domain", "energy", "planner", "ledger", "state", "store", "clock",
        ],
    ),
    row(
        "sim",
        &[
            "solver",
            "domain",
            "state",
            "store",
            "clock",
            "sheet",
            "topology",
            "page",
            "controller",
        ],
    ),
    row(
        "service",
        &[
            "domain",
            "state",
            "controller",
            "proto::v1",
            "proto::json",
            "proto::FILE_DESCRIPTOR_SET",
            "signing",
        ],
    ),
    row("agent", &["domain", "proto::v1", "clock"]),
    row("config", &[]),
    row("telemetry", &["config"]),
    row(
        "server",
        &[
            "state",
            "store",
            "controller",
            "clock",
            "service",
            "signing",
            "config",
            "telemetry",
        ],
    ),
    row(
        "cli",
        &[
            // The demonstration gives its server and agents a clock that goes faster.
            "clock",
            "proto::v1",
            "proto::json",
            "agent",
            "server",
            "config",
            "telemetry",
            "solver",
            "sim",
            "sheet",
            "topology",
            "page",
            "signing",
        ],
    ),
    row("cli/starter/messages", &["domain"]),
    row("main", &["cli"]),
];

/// Modules of which every result depends on the arguments alone.
const PURE: [&str; 9] = [
    "limits", "units", "slot", "domain", "energy", "planner", "ledger", "solver", "state",
];

/// What would let time, chance, the outside or the order of a hash table into a pure module.
/// A lone word is refused wherever it stands in a path, anything longer as the beginning of a path.
const IMPURE: [&str; 19] = [
    "async",
    "await",
    "tokio",
    "tracing",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::io",
    "SystemTime",
    "Instant",
    "HashMap",
    "HashSet",
    "RandomState",
    "rand",
    "now_v7",
    "new_v4",
    "OnceLock",
];

const GRPC: &[&str] = &["proto", "service", "agent", "server", "cli"];

const ONLY: &[Only] = &[
    only(
        "sled",
        &["store"],
        "the store is the only user of the engine",
    ),
    only(
        "crc32fast",
        &["store", "service", "agent"],
        "checksums belong to stored records and to tokens",
    ),
    only(
        "ring",
        &["signing", "server"],
        "signatures are made and checked in one place",
    ),
    only(
        "parquet",
        &["cli"],
        "only the command line writes files for others",
    ),
    only("tonic", GRPC, "only the rims know gRPC"),
    only("tonic_health", GRPC, "only the rims know gRPC"),
    only("tonic_prost", GRPC, "only the rims know gRPC"),
    only("tonic_reflection", GRPC, "only the rims know gRPC"),
    only("tonic_types", GRPC, "only the rims know gRPC"),
    only(
        "hyper",
        &["agent"],
        "plain HTTP is spoken to slurmrestd only",
    ),
    only(
        "hyper_util",
        &["agent"],
        "plain HTTP is spoken to slurmrestd only",
    ),
    only(
        "http_body_util",
        &["agent"],
        "plain HTTP is spoken to slurmrestd only",
    ),
    only(
        "clap",
        &["cli", "config", "main"],
        "only the command line parses flags",
    ),
    only(
        "clap_complete",
        &["cli"],
        "only the command line completes itself",
    ),
    only(
        "comfy_table",
        &["cli"],
        "only the command line prints tables",
    ),
    only(
        "indicatif",
        &["cli"],
        "only the command line shows progress",
    ),
    only("figment", &["config"], "configuration is read in one place"),
    only(
        "tracing_subscriber",
        &["telemetry", "config"],
        "logging is set up in one place, and its filter is checked with the configuration",
    ),
    only(
        "std::time::SystemTime",
        &["clock"],
        "the clock is read in one place",
    ),
    only(
        "std::time::Instant",
        &["clock"],
        "the clock is read in one place",
    ),
    only(
        "std::fs",
        &["store", "config", "sim", "agent", "server", "cli"],
        "files are the rim's",
    ),
    only(
        "std::net",
        &["service", "config", "server", "cli"],
        "the network is the rim's",
    ),
    only(
        "std::process",
        &["cli", "agent", "server", "store", "main"],
        "only the rim starts or ends a process",
    ),
    only(
        "std::thread",
        &["store", "controller", "sim", "agent", "server", "cli"],
        "threads are started where they are joined",
    ),
];

/// Every import of the file that the tables refuse.
pub(super) fn violations(source: &Source) -> Vec<String> {
    let module_path = source.module_path();
    let top = match source.path.as_str() {
        "src/lib.rs" => return Vec::new(),
        "src/main.rs" => "main",
        _ => module_path[0],
    };
    let Some(allowed) = allowed(top, &source.path) else {
        return vec![format!(
            "{}: module `{top}` has no row in the table of tests/it/tidy/imports.rs",
            source.path
        )];
    };
    let mut found = Vec::new();
    for path_use in paths(&source.production) {
        let written = path_use.segments.join("::");
        let mut refuse = |why: &str| {
            found.push(format!(
                "{}:{}: `{written}`: {why}",
                source.path, path_use.line
            ));
        };
        if let Some(inner) = resolve(&module_path, &path_use) {
            if let Some(why) = refuse_inner(top, &allowed, &inner) {
                refuse(&why);
            }
            continue;
        }
        for rule in ONLY {
            if starts_with(&path_use.segments, rule.path) && !rule.modules.contains(&top) {
                refuse(&format!(
                    "{}; only {:?} may use it",
                    rule.reason, rule.modules
                ));
            }
        }
        if PURE.contains(&top)
            && let Some(word) = impure(&path_use.segments)
        {
            refuse(&format!("`{word}` has no place in the pure module `{top}`"));
        }
    }
    found
}

fn allowed(top: &str, path: &str) -> Option<Vec<&'static str>> {
    let file = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut allowed = TABLE.iter().find(|row| row.module == top)?.may_use.to_vec();
    let extra = TABLE.iter().find(|row| row.module == file && file != top);
    allowed.extend(extra.into_iter().flat_map(|row| row.may_use));
    if !WORDS.contains(&top) && !["proto", "main"].contains(&top) {
        allowed.extend(WORDS);
    }
    Some(allowed)
}

/// The path below `crate`, or `None` when it does not lead into this crate.
fn resolve(module_path: &[&str], path_use: &PathUse) -> Option<Vec<String>> {
    let mut base: Vec<&str> = module_path.to_vec();
    let mut rest = path_use.segments.as_slice();
    match rest.first()?.as_str() {
        "crate" | "lancang" if rest.len() > 1 => {
            base.clear();
            rest = &rest[1..];
        }
        "self" if rest.len() > 1 => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    Some(
        base.into_iter()
            .map(str::to_owned)
            .chain(rest.iter().cloned())
            .collect(),
    )
}

fn refuse_inner(top: &str, allowed: &[&str], inner: &[String]) -> Option<String> {
    let target = inner.first()?.as_str();
    if target == "*" {
        return Some("a glob of the crate's root hides who is used".to_owned());
    }
    let is_module = TABLE.iter().any(|row| row.module == target);
    if target == top || !is_module {
        return None;
    }
    if allowed.iter().any(|prefix| starts_with(inner, prefix)) {
        return None;
    }
    Some(format!("`{top}` may use only {allowed:?}"))
}

fn impure(segments: &[String]) -> Option<&'static str> {
    // A clock read under whatever name: `Timestamp::now()`, `Zoned::now()`.
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "now") {
        return Some("now");
    }
    IMPURE.into_iter().find(|&word| {
        if word.contains("::") {
            starts_with(segments, word)
        } else {
            segments.iter().any(|segment| segment == word)
        }
    })
}

fn starts_with(segments: &[String], prefix: &str) -> bool {
    let mut segments = segments.iter();
    prefix
        .split("::")
        .all(|part| segments.next().is_some_and(|segment| segment == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, code: &str, expected: &[&str]) {
        let found = violations(&Source::new(path, code));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (violation, part) in found.iter().zip(expected) {
            assert!(violation.contains(part), "{violation} lacks {part}");
        }
    }

    #[test]
    fn downward_imports_pass() {
        check("src/slot.rs", "use crate::units::Watts;", &[]);
        check(
            "src/planner/cost.rs",
            "use crate::{domain::Job, units::{Watts, Carbon}};",
            &[],
        );
        check(
            "src/planner/cost.rs",
            "use super::problem::Problem; use self::x::Y;",
            &[],
        );
        check(
            "src/store/mod.rs",
            "use crate::proto::journal_v1::Record; use sled::Db;",
            &[],
        );
        check("src/main.rs", "fn main() { lancang::cli::run() }", &[]);
    }

    #[test]
    fn upward_and_sideways_imports_are_refused() {
        check(
            "src/planner/cost.rs",
            "use crate::state::State;",
            &["src/planner/cost.rs:1: `crate::state::State`"],
        );
        check(
            "src/units.rs",
            "use crate::slot::Slot;",
            &["`units` may use only []"],
        );
        check(
            "src/domain/job.rs",
            "fn f(_: crate::planner::Plan) {}",
            &["crate::planner::Plan"],
        );
        check(
            "src/energy/skill.rs",
            "use crate::{\n    domain::{a::B},\n    planner::{self, C},\n};",
            &["energy/skill.rs:3", "planner::C"],
        );
        check(
            "src/energy/mod.rs",
            "use super::state::X;",
            &["super::state::X"],
        );
        check(
            "src/energy/skill.rs",
            "fn f() { super::super::state::x() }",
            &["super::super::state::x"],
        );
        check(
            "src/cli/job.rs",
            "use crate::store::Store;",
            &["`cli` may use only"],
        );
        check(
            "src/main.rs",
            "use lancang::server;",
            &["`main` may use only"],
        );
        check(
            "src/service/jobs.rs",
            "use crate::planner::Plan;",
            &["`service` may use only"],
        );
    }

    #[test]
    fn a_part_of_a_module_is_not_the_whole() {
        check(
            "src/store/record.rs",
            "use crate::proto::v1::Job;",
            &["proto::v1::Job"],
        );
        check(
            "src/service/jobs.rs",
            "use crate::proto::journal_v1;",
            &["journal_v1"],
        );
        check(
            "src/service/jobs.rs",
            "use crate::proto;",
            &["crate::proto"],
        );
        check("src/cli/job.rs", "use crate::*;", &["glob"]);
    }

    #[test]
    fn foreign_crates_stay_in_their_homes() {
        check(
            "src/controller/mod.rs",
            "use sled::Db;",
            &["only [\"store\"]"],
        );
        check(
            "src/state/mod.rs",
            "fn f() -> tonic::Status { todo() }",
            &["tonic::Status"],
        );
        check("src/service/mod.rs", "use clap::Parser;", &["flags"]);
        check(
            "src/controller/mod.rs",
            "use std::{fs, thread};",
            &["std::fs"],
        );
    }

    #[test]
    fn pure_modules_stay_pure() {
        check("src/planner/mod.rs", "async fn f() {}", &["`async`"]);
        check(
            "src/state/mod.rs",
            "use std::collections::HashMap;",
            &["HashMap"],
        );
        check("src/state/mod.rs", "let id = Uuid::now_v7();", &["now_v7"]);
        check(
            "src/energy/mod.rs",
            "let t = jiff::Timestamp::now();",
            &["`now`"],
        );
        check(
            "src/domain/mod.rs",
            "tracing::info!(x); use tokio::sync::mpsc;",
            &["tracing", "tokio"],
        );
        check(
            "src/slot.rs",
            "use std::time::{Duration, SystemTime};",
            &["one place", "SystemTime"],
        );
        check(
            "src/state/mod.rs",
            "fn decide(now: Timestamp) { f(now) }",
            &[],
        );
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        check(
            "src/units.rs",
            "//! crate::slot\nconst A: &str = \"crate::slot\";\n#[cfg(test)]\nmod tests {\n use crate::slot::Slot;\n}",
            &[],
        );
    }

    #[test]
    fn an_unlisted_module_is_refused() {
        check("src/helpers.rs", "", &["no row"]);
    }
}
