//! Orders that try to get out of their attempt: nothing outside of its directory changes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use lancang::proto::v1::{self, AttemptEnd, AttemptWish, agent_event::Kind};

use super::{
    process::{Site, program},
    server::Key,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);

/// What has broken out of somebody's quotes before.
pub(super) const CORPUS: [&str; 23] = [
    "; touch ../../../../pwned",
    "$(touch ../../../../pwned)",
    "`touch ../../../../pwned`",
    "| touch ../../../../pwned",
    "&& touch ../../../../pwned",
    "\n touch ../../../../pwned\n",
    "> ../../../../pwned",
    "'; touch ../../../../pwned; '",
    "\"; touch ../../../../pwned; \"",
    "--bind / /",
    "-x",
    "--",
    "../../../../etc/passwd",
    "/etc/../etc/passwd",
    "*",
    "~root",
    "${IFS}touch${IFS}../../../../pwned",
    "%s%n%x",
    "#SBATCH --output=../../../../pwned",
    "\n#SBATCH --output=../../../../pwned\n#SBATCH --wrap='touch ../../../../pwned'\n",
    "%j%u\\../../../../pwned",
    "\u{202e}\u{feff}",
    "",
];

#[test]
fn arguments_and_values_arrive_as_they_are() {
    arrive_as_they_are(&Site::start());
}

#[test]
fn a_program_is_no_command_line() {
    are_no_command_lines(&Site::start());
}

/// Sends the corpus as arguments and values to an agent that runs.
#[track_caller]
pub(crate) fn arrive_as_they_are(site: &Site) {
    let before = everything(site.root.path());
    let mut argv = vec!["printf", "%s|"];
    argv.extend(CORPUS);
    let mut offer = program(&argv);
    let execution = offer.execution.as_mut().unwrap();
    for (index, text) in CORPUS.iter().enumerate() {
        execution
            .environment
            .insert(format!("V{index}"), (*text).to_owned());
    }
    offer.name = "../../../../pwned".to_owned();
    offer.pool_id = "; touch ../../../../pwned".to_owned();
    site.server.offer(A, offer);
    let ended = site.server.ended(A);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 0));
    assert_eq!(site.read(A, "stdout.log"), CORPUS.join("|") + "|");
    assert_eq!(everything(site.root.path()), before);
}

/// Sends the corpus as programs to an agent that runs.
#[track_caller]
pub(crate) fn are_no_command_lines(site: &Site) {
    let before = everything(site.root.path());
    for (index, text) in CORPUS.iter().enumerate() {
        let key = (A.0, u32::try_from(index).unwrap() + 1);
        site.server.offer(key, program(&[text]));
        let kind = site.server.event(key, "an end", |kind| match kind {
            Kind::Declined(_) | Kind::Ended(_) => Some(kind.clone()),
            _ => None,
        });
        if let Kind::Ended(ended) = kind {
            assert_eq!(ended.end(), AttemptEnd::StartFailed, "{text:?}");
        }
        site.server.change(|state| state.orders.remove(&key));
    }
    assert_eq!(everything(site.root.path()), before);
}

#[test]
fn names_that_are_no_names_are_not_taken() {
    let site = Site::start();
    let before = everything(site.root.path());
    let names = [
        "A=B",
        "",
        "PATH",
        "LD_PRELOAD",
        "LANCANG_FENCE",
        "A B",
        "A\nB",
    ];
    for (index, name) in names.iter().enumerate() {
        let mut offer = program(&["true"]);
        let execution = offer.execution.as_mut().unwrap();
        execution
            .environment
            .insert((*name).to_owned(), "x".to_owned());
        let key = (A.0, u32::try_from(index).unwrap() + 1);
        site.server.offer(key, offer);
        site.server.event(key, "declined", |kind| {
            matches!(kind, Kind::Declined(_)).then_some(())
        });
    }
    // Jobs that are no job: there is nothing to answer, and nothing happens.
    let raw = [
        "../../pwned",
        "",
        "/etc/passwd",
        "x\0y",
        "019A0000-0000-7000-8000-00000000000A",
    ];
    let order = |job: &&str| v1::AttemptOrder {
        job_id: (*job).to_owned(),
        fence: Some(v1::Fence {
            site_epoch: 1,
            attempt: 1,
        }),
        wish: AttemptWish::Run.into(),
        offer: Some(program(&["true"])),
        stop_grace: None,
        goes_on: false,
        units: 0,
    };
    site.server
        .change(|state| state.raw_orders = raw.iter().map(order).collect());
    site.server.more_reports(3);
    assert_eq!(site.server.state().events.len(), names.len());
    assert_eq!(everything(site.root.path()), before);
    let attempts = fs::read_dir(site.dir().join("attempts")).unwrap().count();
    assert_eq!(attempts, 0);
}

/// All files of a directory but those of attempts and those that the agent itself writes.
fn everything(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut next = vec![root.to_path_buf()];
    while let Some(dir) = next.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            let own = [
                "agent.log",
                "agent/attempts",
                "agent/identity.json",
                "agent/identity.json.new",
                "agent/journal",
                "agent/journal.new",
                "agent/lease.json",
                "agent/lease.json.new",
                "agent/lock",
                "agent/wake",
            ];
            if own.contains(&name) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                next.push(path.clone());
                // The agent may be about to make its own.
                if name != "agent" {
                    found.insert(path, Vec::new());
                }
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}
