//! What an agent checks before it trusts a socket, and the script that brings Slurm up.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    process::Command,
};

use super::cluster::{Cluster, open_dir, text};

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
    let (_, said) = agent(&text(&dir), &[]);
    assert!(said.contains("not an absolute path of a socket"), "{said}");
    let (_, said) = agent(&text(&dir.join("none")), &[]);
    assert!(said.contains("cannot find the socket"), "{said}");
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
fn the_site_script_repeats_itself_harmlessly_and_leaves_nothing_behind() {
    let cluster = Cluster::start(1, "");
    let before = cluster.client("scontrol", &["ping"]);
    assert!(before.contains("UP"), "{before}");
    cluster.up_again();
    let id = cluster.client(
        "sbatch",
        &["--parsable", "-o", "/dev/null", "--wrap", "sleep 1000"],
    );
    crate::agent::process::until("it runs", || {
        let shown = cluster.client("scontrol", &["show", "job", id.trim()]);
        shown.contains("JobState=RUNNING").then_some(())
    });
    let dir = cluster.dir();
    drop(cluster);
    assert!(!dir.exists());
    let wanted = format!("SLURM_CONF={}", text(&dir.join("etc/slurm.conf")));
    let uses_it = |environ: Vec<u8>| environ.split(|&b| b == 0).any(|v| v == wanted.as_bytes());
    let left = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| fs::read(entry.path().join("environ")).is_ok_and(uses_it));
    assert_eq!(left.count(), 0);
}
