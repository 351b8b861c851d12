//! Keeps the repository tidy: import directions, sizes, leftovers, documentation and commands that exist.
//!
//! Each check returns all that is wrong, with file and line, so that one run is enough to mend it.

mod imports;
pub(crate) mod readme;
mod source;

use std::fs;

use source::{Source, files_below, relative, root};

/// Longest file without its tests, in lines: what a reader holds in the head.
const PRODUCTION_LINES_MAX: usize = 600;

const CODE_FOLDERS: [&str; 4] = ["src", "tests", "benches", "examples"];

/// A leftover that may stay, and why.
struct Exception {
    file: &'static str,
    what: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "src/cli/watch.rs",
        what: "leftover sleep(",
        reason: "a client waits before it connects again",
    },
    Exception {
        file: "src/cli/job/logs.rs",
        what: "leftover sleep(",
        reason: "a client waits before it connects again",
    },
    Exception {
        file: "src/cli/demo/live.rs",
        what: "leftover sleep(",
        reason: "agents enrol and slots are settled a moment later, and a client asks again",
    },
    Exception {
        file: "src/server/incoming.rs",
        what: "leftover sleep(",
        reason: "without file descriptors, accepting again at once would spin, and a preface has a time limit",
    },
    Exception {
        file: "src/store/sled_store.rs",
        what: "leftover sleep(",
        reason: "the engine lets go of its lock a moment after it is dropped",
    },
    Exception {
        file: "src/service/pipeline.rs",
        what: "leftover sleep(",
        reason: "the clock is paused: this is how a test moves it",
    },
    Exception {
        file: "src/service/watch/tests.rs",
        what: "leftover sleep(",
        reason: "the clock is paused: this is how a test moves it",
    },
];

/// Refused in the text of every Rust file; put together so that this file passes.
const WORDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Refused in the code of every Rust file.
const CALLS: [&str; 5] = ["todo!", "unimplemented!", "dbg!", "#[ignore", "sleep("];

/// Beginnings of paths that exist on one machine only, and where else they may stand.
const PLACES: [(&str, &[&str]); 4] = [
    (concat!("/wo", "rk/"), &[]),
    (concat!("/ro", "ot/"), &[]),
    (concat!("/ho", "me/"), &[]),
    (
        concat!("../sha", "red"),
        &[".ci/run", "benches/", "docs/", "scripts/scoreboard"],
    ),
];

#[test]
fn imports_follow_the_table() {
    let sources = Source::read_all("src");
    assert_nothing(sources.iter().flat_map(imports::violations).collect());
}

#[test]
fn files_are_short_enough_to_read() {
    let too_long = |source: &Source| {
        let lines = source.production_line_count();
        (lines > PRODUCTION_LINES_MAX)
            .then(|| format!("{}: {lines} lines without tests", source.path))
    };
    assert_nothing(all_code().iter().filter_map(too_long).collect());
}

#[test]
fn nothing_unfinished_is_left() {
    let mut found: Vec<String> = all_code().iter().flat_map(leftovers).collect();
    for exception in EXCEPTIONS {
        let excused = format!("{}:", exception.file);
        let before = found.len();
        found.retain(|violation| {
            !(violation.starts_with(&excused) && violation.ends_with(exception.what))
        });
        if found.len() == before {
            found.push(format!(
                "{}: the exception for {} ({}) is no longer needed",
                exception.file, exception.what, exception.reason
            ));
        }
    }
    assert_nothing(found);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |source: &Source| {
        let first = source.raw.lines().next().unwrap_or_default();
        (!first.starts_with("//! ")).then(|| format!("{}: does not start with `//! `", source.path))
    };
    assert_nothing(all_code().iter().filter_map(silent).collect());
}

#[test]
fn every_file_is_part_of_the_build() {
    let sources = all_code();
    let orphan = |source: &Source| {
        let (folder, name) = source.path.rsplit_once('/')?;
        let (parents, module) = match (folder, name) {
            ("src", "lib.rs" | "main.rs")
            | ("tests/it", "main.rs")
            | ("benches" | "examples", _) => {
                return None;
            }
            // Each folder of examples is a program of its own.
            (folder, "main.rs") if folder.starts_with("examples/") => return None,
            (_, "mod.rs") => {
                let (parent, module) = folder.rsplit_once('/')?;
                (parents_of(parent), module)
            }
            _ => (parents_of(folder), name.trim_end_matches(".rs")),
        };
        let declared = sources
            .iter()
            .filter(|other| parents.contains(&other.path))
            .any(|other| other.code.contains(&format!("mod {module};")));
        (!declared).then(|| format!("{}: no `mod {module};` in any of {parents:?}", source.path))
    };
    assert_nothing(sources.iter().filter_map(orphan).collect());
}

#[test]
fn no_file_knows_a_machine() {
    let mut found = Vec::new();
    for path in files_below(&root()) {
        let name = relative(&path);
        // What is not text has no path in it that anyone would follow.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        found.extend(machine_paths(&name, &text));
    }
    assert_nothing(found);
}

#[test]
fn readme_commands_exist() {
    let Ok(text) = fs::read_to_string(root().join("README.md")) else {
        panic!("README.md is missing; it must show commands that work as printed");
    };
    assert_nothing(readme::violations(&text));
}

/// The files that may declare the modules of a folder.
fn parents_of(folder: &str) -> Vec<String> {
    ["/mod.rs", "/lib.rs", "/main.rs", ".rs"]
        .iter()
        .map(|end| format!("{folder}{end}"))
        .collect()
}

fn all_code() -> Vec<Source> {
    CODE_FOLDERS
        .into_iter()
        .flat_map(Source::read_all)
        .collect()
}

fn leftovers(source: &Source) -> Vec<String> {
    let words = lines_with(&source.raw, &WORDS);
    let calls = lines_with(&source.code, &CALLS);
    words
        .into_iter()
        .chain(calls)
        .map(|(line, what)| format!("{}:{line}: leftover {what}", source.path))
        .collect()
}

fn lines_with<'a>(text: &str, patterns: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for &pattern in patterns {
            if line.contains(pattern) {
                found.push((index + 1, pattern));
            }
        }
    }
    found
}

fn machine_paths(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (place, homes) in PLACES {
            let stands_alone = |at: usize| {
                let before = line[..at].chars().next_back();
                // In the middle of a longer path or address it is something else.
                !before.is_some_and(|c| c.is_alphanumeric() || ".-_~/".contains(c))
            };
            let is_home = homes.iter().any(|home| name.starts_with(home));
            if !is_home && line.match_indices(place).any(|(at, _)| stands_alone(at)) {
                found.push(format!("{name}:{}: names the path {place}", index + 1));
            }
        }
    }
    found
}

#[track_caller]
fn assert_nothing(violations: Vec<String>) {
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations.join("\n")
    );
}

#[test]
fn planted_leftovers_are_found() {
    let text = format!(
        "//! {}\nfn f() {{\n    std::thread::sleep(x);\n    let _ = \"todo!\";\n}}\n",
        WORDS[0]
    );
    let found = leftovers(&Source::new("src/x.rs", &text));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("src/x.rs:1:") && found[1].starts_with("src/x.rs:3:"));
}

#[test]
fn planted_machine_paths_are_found() {
    let (place, _) = PLACES[0];
    let (shared, _) = PLACES[3];
    let count = |name: &str, text: &str| machine_paths(name, text).len();
    assert_eq!(count("README.md", &format!("see {place}x")), 1);
    assert_eq!(count("README.md", &format!("https://a.example{place}x")), 0);
    assert_eq!(count("README.md", shared), 1);
    assert_eq!(count("docs/scoreboard.md", shared), 0);
}
