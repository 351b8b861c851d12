//! With bubblewrap a program is alone with its directory, and can still be paused, stopped and counted.

use std::{fs, path::PathBuf};

use lancang::proto::v1::{AttemptEnd, AttemptWish, agent_event::Kind};

use super::{
    process::{Site, shell, until},
    server::Key,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);

fn site() -> Site {
    let mut site = Site::quiet(&["--sandbox", "bwrap"]);
    site.start_agent();
    site
}

#[test]
fn a_program_sees_and_changes_only_its_own() {
    let site = site();
    let agent_dir = site.dir();
    let outside = site.root.path().join("outside");
    let script = format!(
        "echo mine > file; echo no > {}; ls -A {}; ls /proc | grep -c '^[0-9]*$'; exit 3",
        outside.display(),
        agent_dir.display()
    );
    site.server.offer(A, shell(&script));
    let ended = site.server.ended(A);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 3));
    assert_eq!(fs::read_to_string(site.work(A, "file")).unwrap(), "mine\n");
    assert!(!outside.exists());
    let said = site.read(A, "stdout.log");
    let (files, processes) = said.trim().split_once('\n').unwrap();
    assert_eq!(files, "attempts", "only the way to its own directory");
    assert!(processes.parse::<u32>().unwrap() < 8, "{said}");
}

/// A file among the devices of GPUs, as a driver makes them.
struct Device(PathBuf);

impl Drop for Device {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn a_program_sees_gpus_if_it_asks_for_some() {
    let site = site();
    let device = Device(format!("/dev/nvidia-lancang-{}", std::process::id()).into());
    fs::write(&device.0, "here").unwrap();
    let script = format!("cat {}", device.0.display());
    site.server.offer(A, shell(&script));
    assert_eq!(site.server.ended(A).exit_code, 1);
    let asks = (A.0, 2);
    let mut offer = shell(&script);
    offer.task_resources.as_mut().unwrap().gpus = 1;
    site.server.offer(asks, offer);
    let ended = site.server.ended(asks);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 0));
    assert_eq!(site.read(asks, "stdout.log"), "here");
}

#[test]
fn the_sandbox_does_not_keep_signals_from_the_program() {
    let site = site();
    site.run(
        A,
        "trap 'echo bye; exit 0' TERM; echo up; tail -f /dev/null & wait",
    );
    until("it is up", || {
        (site.read(A, "stdout.log") == "up\n").then_some(())
    });
    site.server.wish(A, AttemptWish::Suspend, None);
    site.server.event(A, "suspended", |kind| {
        matches!(kind, Kind::Suspended(_)).then_some(())
    });
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
    assert_eq!(site.read(A, "stdout.log"), "up\nbye\n");
    let signalled = (A.0, 2);
    site.server.offer(signalled, shell("kill -SEGV $$"));
    assert_eq!(site.server.ended(signalled).end(), AttemptEnd::Signalled);
}
