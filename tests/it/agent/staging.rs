//! Input is in its place before a program begins, output in the area before it counts as done, and nothing leads out.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use lancang::proto::v1::{AttemptEnd, AttemptOffer, AttemptWish, Transfer, agent_event::Kind};
use tempfile::TempDir;

use super::{
    injection::CORPUS,
    process::{Site, shell, until},
    server::Key,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);

pub(crate) fn transfers(pairs: &[(&str, &str)]) -> Vec<Transfer> {
    let transfer = |&(source, destination): &(&str, &str)| Transfer {
        source: source.to_owned(),
        destination: destination.to_owned(),
    };
    pairs.iter().map(transfer).collect()
}

/// A script with what is copied in before it and out after it.
pub(crate) fn staged(
    script: &str,
    inputs: &[(&str, &str)],
    outputs: &[(&str, &str)],
) -> AttemptOffer {
    let mut offer = shell(script);
    let execution = offer.execution.as_mut().unwrap();
    execution.inputs = transfers(inputs);
    execution.outputs = transfers(outputs);
    offer
}

/// A staging area, and what copies.
pub(crate) struct Area {
    pub(crate) root: TempDir,
    pub(crate) tools: TempDir,
}

impl Area {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            tools: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Flags of an agent that copies by rsync.
    pub(crate) fn by_rsync(&self) -> Vec<String> {
        let root = self.root.path().to_str().unwrap();
        vec!["--stage-root".to_owned(), root.to_owned()]
    }

    /// Flags of an agent that copies by a script, which finds source, destination and rate in its arguments.
    pub(crate) fn by_script(&self, script: &str) -> Vec<String> {
        let tool = self.tools.path().join("copy");
        let script = script.replace("TOOLS", self.tools.path().to_str().unwrap());
        fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let command = format!(
            "{} {{source}} {{destination}} {{kib_per_second}}",
            tool.display()
        );
        let mut flags = self.by_rsync();
        flags.extend(["--stage-command".to_owned(), command]);
        flags
    }

    /// A site whose agent copies by rsync.
    fn site(&self) -> Site {
        Self::site_with(&self.by_rsync())
    }

    /// A site whose agent copies by a script.
    fn scripted(&self, script: &str) -> Site {
        Self::site_with(&self.by_script(script))
    }

    fn site_with(flags: &[String]) -> Site {
        let mut all = vec!["--sandbox", "none"];
        all.extend(flags.iter().map(String::as_str));
        let mut site = Site::quiet(&all);
        site.start_agent();
        site
    }

    pub(crate) fn tool_said(&self) -> String {
        fs::read_to_string(self.tools.path().join("said")).unwrap_or_default()
    }
}

pub(crate) fn has_begun(site: &Site, key: Key) -> bool {
    let kinds = site.server.state().kinds(key);
    kinds.iter().any(|kind| matches!(kind, Kind::Started(_)))
}

#[test]
fn files_and_directories_come_in_and_go_out() {
    let area = Area::new();
    area.write("in/data", "42");
    area.write("tree/a", "1");
    area.write("tree/b/c d", "2");
    let site = area.site();
    let script = "cat data near/a 'near/b/c d' > result; mkdir -p out/deep; cp data out/deep/x";
    let inputs = [("in/data", "data"), ("tree", "near")];
    let outputs = [("result", "results/of/1"), ("out", "results/out")];
    site.server.offer(A, staged(script, &inputs, &outputs));
    let ended = site.server.ended(A);
    assert_eq!(
        (ended.end(), ended.exit_code),
        (AttemptEnd::Exited, 0),
        "{ended:?}"
    );
    assert_eq!(area.read("results/of/1"), "4212");
    assert_eq!(area.read("results/out/deep/x"), "42");
}

#[test]
fn input_comes_in_before_the_start_is_due_and_the_program_waits_for_it() {
    let area = Area::new();
    area.write("data", "42");
    let mut site = area.site();
    let offer = staged("cat data; touch began", &[("data", "data")], &[]);
    site.server.offer_as(A, offer, AttemptWish::Suspend);
    until("the input is there", || {
        site.work(A, "data").exists().then_some(())
    });
    site.server.more_reports(5);
    assert!(!has_begun(&site, A) && !site.work(A, "began").exists());
    // Not even another agent begins it before its time, nor does it copy again.
    site.kill_agent();
    fs::remove_file(area.path("data")).unwrap();
    site.start_agent();
    site.server.more_reports(5);
    assert!(!has_begun(&site, A));
    site.server.wish(A, AttemptWish::Run, None);
    assert_eq!(site.server.ended(A).exit_code, 0);
    assert_eq!(site.read(A, "stdout.log"), "42");
}

#[test]
fn what_cannot_come_in_ends_the_attempt_and_the_program_never_begins() {
    let area = Area::new();
    area.write("data", "42");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    symlink(outside.path().join("secret"), area.path("link")).unwrap();
    symlink(outside.path(), area.path("out")).unwrap();
    let site = area.scripted("echo \"$1\" >> TOOLS/said; cp \"$1\" \"$2\"");
    let cases = ["none", "link", "out/secret"];
    for (attempt, source) in (1..).zip(cases) {
        let key = (A.0, attempt);
        let offer = staged("echo began > \"$HOME/began\"", &[(source, "data")], &[]);
        site.server.offer(key, offer);
        let ended = site.server.ended(key);
        assert_eq!(ended.end(), AttemptEnd::StageFailed, "{ended:?}");
        assert!(ended.message.contains(source), "{ended:?}");
        assert!(!has_begun(&site, key));
        site.server.change(|state| state.orders.remove(&key));
    }
    // What leads out is not even tried.
    assert_eq!(area.tool_said(), "");
}

#[test]
fn a_copy_that_fails_is_tried_three_times_at_the_planned_rate() {
    let area = Area::new();
    area.write("data", "42");
    let script = "echo \"$3\" >> TOOLS/said; test $(wc -l < TOOLS/said) = 3 || { echo no luck >&2; exit 7; }; cp \"$1\" \"$2\"";
    let site = area.scripted(script);
    let mut offer = staged("cat data", &[("data", "data")], &[]);
    offer.stage_bits_per_second = 8 << 20;
    site.server.offer(A, offer);
    assert_eq!(site.server.ended(A).exit_code, 0);
    assert_eq!(area.tool_said(), "1024\n1024\n1024\n");
    // The fourth would be needed now.
    fs::remove_file(area.tools.path().join("said")).unwrap();
    fs::write(area.tools.path().join("said"), "x\nx\nx\n").unwrap();
    let second = (A.0, 2);
    site.server.change(|state| state.orders.clear());
    site.server
        .offer(second, staged("cat data", &[("data", "data")], &[]));
    let ended = site.server.ended(second);
    assert_eq!(ended.end(), AttemptEnd::StageFailed);
    assert!(ended.message.contains("code 7: no luck"), "{ended:?}");
    // Without a rate there is no limit.
    assert_eq!(area.tool_said(), "x\nx\nx\n0\n0\n0\n");
}

#[test]
fn output_that_is_missing_or_leads_out_fails_what_had_succeeded() {
    let area = Area::new();
    let site = area.site();
    let script = "ln -s /etc/passwd link; ln -s /etc dir; true";
    for (attempt, source) in (1..).zip(["none", "link", "dir/passwd"]) {
        let key = (A.0, attempt);
        site.server
            .offer(key, staged(script, &[], &[(source, "got")]));
        let ended = site.server.ended(key);
        assert_eq!(ended.end(), AttemptEnd::StageFailed, "{source}: {ended:?}");
        assert!(has_begun(&site, key));
        assert!(!area.path("got").exists());
        site.server.change(|state| state.orders.remove(&key));
    }
    // What failed by itself has no output.
    let last = (A.0, 9);
    site.server
        .offer(last, staged("echo x > x; exit 3", &[], &[("x", "got")]));
    let ended = site.server.ended(last);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 3));
    assert!(!area.path("got").exists());
}

#[test]
fn links_inside_a_directory_stay_behind() {
    let area = Area::new();
    area.write("tree/file", "1");
    symlink("/etc/passwd", area.path("tree/link")).unwrap();
    let site = area.site();
    site.server
        .offer(A, staged("ls near", &[("tree", "near")], &[]));
    assert_eq!(site.server.ended(A).exit_code, 0);
    assert_eq!(site.read(A, "stdout.log"), "file\n");
}

#[test]
fn copying_stops_when_it_should_and_when_nobody_is_heard() {
    let area = Area::new();
    area.write("data", "42");
    let mut site = area.scripted("echo $$ >> TOOLS/said; exec tail -f /dev/null");
    site.server
        .change(|state| state.stop_after = Duration::from_secs(4));
    let offer = || staged("touch began", &[("data", "data")], &[]);
    site.server.offer(A, offer());
    let pid = |n: usize| {
        until("it copies", || {
            area.tool_said().lines().nth(n)?.parse::<u32>().ok()
        })
    };
    let first = pid(0);
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
    assert!(!super::process::lives(first));
    site.server.change(|state| state.orders.clear());
    let second = (A.0, 2);
    site.server.offer(second, offer());
    let lost = pid(1);
    // Neither agent nor server: its lease ends it.
    site.kill_agent();
    until("its lease ends", || {
        (!super::process::lives(lost)).then_some(())
    });
    site.start_agent();
    assert_eq!(site.server.ended(second).end(), AttemptEnd::SelfFenced);
    assert!(!has_begun(&site, second));
}

#[test]
fn a_site_without_a_staging_area_says_so() {
    let site = Site::start();
    site.server
        .offer(A, staged("true", &[("data", "data")], &[]));
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::StageFailed);
    assert!(ended.message.contains("--stage-root"), "{ended:?}");
}

/// Names that have broken out of somebody's quotes before arrive as names, or are not taken.
#[test]
fn names_are_only_names() {
    let area = Area::new();
    let names = [
        "; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "a | b && c",
        "> pwned",
        "'\"",
        "*",
        "~root",
        "${IFS}x",
        "%s%n%x",
        "{source} {destination}",
        "host:path",
        "\u{202e}\u{feff}",
        "a b",
        "dir/; x",
    ];
    for name in &names {
        area.write(name, name);
    }
    let site = area.site();
    let before = everything(area.root.path().parent().unwrap(), site.root.path());
    let pairs: Vec<(String, String)> = names
        .iter()
        .map(|name| ((*name).to_owned(), format!("in/{name}")))
        .collect();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let back: Vec<(String, String)> = names
        .iter()
        .map(|name| (format!("in/{name}"), format!("out/{name}")))
        .collect();
    let back: Vec<(&str, &str)> = back.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    site.server.offer(A, staged("true", &pairs, &back));
    let ended = site.server.ended(A);
    assert_eq!(
        (ended.end(), ended.exit_code),
        (AttemptEnd::Exited, 0),
        "{ended:?}"
    );
    for name in names {
        assert_eq!(area.read(&format!("out/{name}")), name);
    }
    // The others are declined before anything is touched.
    let wrong = CORPUS
        .iter()
        .filter(|name| !lancang::domain::execution::is_staged_name(name));
    for (attempt, name) in (2..).zip(wrong) {
        let key = (A.0, attempt);
        for pair in [(*name, "x"), ("x", *name)] {
            site.server.offer(key, staged("true", &[pair], &[]));
            site.server.event(key, "declined", |kind| {
                matches!(kind, Kind::Declined(_)).then_some(())
            });
        }
        site.server.change(|state| state.orders.remove(&key));
    }
    assert_eq!(
        everything(area.root.path().parent().unwrap(), site.root.path()),
        before
    );
}

/// Whether anything named as the corpus would name it lies beside the directories of the test.
fn everything(beside: &Path, root: &Path) -> Vec<bool> {
    [beside, root].map(|dir| dir.join("pwned").exists()).into()
}
