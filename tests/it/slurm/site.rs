//! What an agent checks before it trusts a socket, and the script that brings Slurm up.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    process::Command,
};

use super::cluster::{free_ports, open_dir, text};
use crate::{agent::process::until, grpcurl::readme::commands};

#[test]
fn an_agent_does_not_start_on_a_socket_that_others_reach() {
    let root = open_dir();
    let dir = root.path().join("rest");
    fs::create_dir(&dir).unwrap();
    let socket = dir.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let agent = |socket: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
            .args(["agent", "--site", "dli", "--executor", "slurm", "--dir"])
            .arg(root.path().join("agent"))
            .args(["--slurm-rest-socket", socket])
            .args(more)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let cases = [
        (0o755, "mode 0700"),
        (0o710, "mode 0700"),
        (0o700, "not enrolled"),
    ];
    for (mode, says) in cases {
        fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        let (_, said) = agent(&text(&socket), &[]);
        assert!(said.contains(says), "{mode:o}: {said}");
    }
    fs::write(dir.join("file"), "").unwrap();
    for (path, says) in [
        ("relative", "not the absolute path of a socket"),
        (
            &text(&dir.join("file")),
            "not the absolute path of a socket",
        ),
        (&text(&root.path().join("none/socket")), "cannot find"),
        // slurmrestd may start later.
        (&text(&dir.join("none")), "not enrolled"),
    ] {
        let (_, said) = agent(path, &[]);
        assert!(said.contains(says), "{path}: {said}");
    }
    for wrong in [
        "--slurm-partition=a b",
        "--slurm-account=$(x)",
        "--slurm-licence=kw=0",
    ] {
        let (code, said) = agent(&text(&socket), &[wrong]);
        assert_eq!(code, Some(64), "{said}");
    }
}

#[test]
fn the_readme_brings_slurm_up_and_leaves_nothing_behind() {
    let root = open_dir();
    let dir = root.path().join("slurm");
    let port = free_ports(3).to_string();
    let readme = include_str!("../../../README.md");
    let printed: Vec<String> = commands(readme)
        .into_iter()
        .filter(|command| command.starts_with("scripts/slurm-site"))
        .map(|command| command.replace("/tmp/lancang-slurm", &text(&dir)))
        .map(|command| command.replace("26500", &port))
        .collect();
    let [up, down] = &printed[..] else {
        panic!("up and down, not {printed:?}");
    };
    let run = |command: &str| {
        // Not a pipe: daemons would keep it open.
        let log = root.path().join("log");
        let to = File::create(&log).unwrap();
        let status = Command::new("sh")
            .args(["-c", command])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(to.try_clone().unwrap())
            .stderr(to)
            .status()
            .unwrap();
        let said = fs::read_to_string(log).unwrap();
        assert!(status.success(), "{command}: {said}");
        said
    };
    run(up);
    assert!(run(up).contains("is up already"));
    let conf = text(&dir.join("etc/slurm.conf"));
    let job = "--parsable -o /dev/null --wrap 'sleep 1000'";
    let id = run(&format!("SLURM_CONF={conf} sbatch {job}"));
    let show = format!("SLURM_CONF={conf} scontrol show job {id}");
    until("it runs", || {
        run(&show).contains("JobState=RUNNING").then_some(())
    });
    run(down);
    assert!(!dir.exists());
    let wanted = format!("SLURM_CONF={conf}");
    let uses_it = |environ: Vec<u8>| environ.split(|&b| b == 0).any(|v| v == wanted.as_bytes());
    let left = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| fs::read(entry.path().join("environ")).is_ok_and(uses_it));
    assert_eq!(left.count(), 0);
}
