//! Logs of programs that really run, read by the command line over the real server and the real agent.
//!
//! What comes out is compared with what the programs wrote, byte by byte.

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
};

use super::province::Province;
use crate::agent::process::until;

impl Province {
    /// `lancang job logs JOB` with flags.
    fn logs(&self, job_id: &str, flags: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["job", "logs", job_id]).args(flags);
        command
    }

    /// What it gives, once there is something.
    #[track_caller]
    fn logged(&self, job_id: &str, flags: &[&str]) -> Output {
        let output = self.logs(job_id, flags).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        output
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_follower_gets_every_line_though_agent_and_server_die_meanwhile() {
    let mut province = Province::start(&["dli"]);
    let script = "echo begin; until [ -e \"$WORLD.1\" ]; do wait_a_little; done; seq 1 100000; \
                  until [ -e \"$WORLD.2\" ]; do wait_a_little; done; echo end; echo bad >&2";
    let job = province.submit("talks", "dli", script, |_| {});
    until("it begins", || {
        let output = province.logs(&job.job_id, &[]).output().unwrap();
        (output.stdout == b"begin\n").then_some(())
    });
    let mut follower = province
        .logs(&job.job_id, &["--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = follower.stdout.take().unwrap();
    let mut begin = [0; 6];
    stdout.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"begin\n");
    province.kill_agent("dli");
    province.touch("world.1");
    let mut part = vec![0; 100_000];
    stdout.read_exact(&mut part).unwrap();
    province.kill_server();
    province.touch("world.2");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(follower.wait().unwrap().success());
    let lines: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
    let all = [part, rest].concat();
    assert!(text(&all) == lines + "end\n", "{} bytes", all.len());
    province.ended(&job.job_id);
    // Kept after the end.
    let tail = province.logged(&job.job_id, &["--tail", "2", "--attempt", "1"]);
    assert_eq!(text(&tail.stdout), "100000\nend\n");
    let bad = province.logged(&job.job_id, &["--stderr", "-o", "json"]);
    assert!(text(&bad.stdout).contains("\"data\":\"YmFkCg==\""));
}

#[test]
fn of_a_long_output_the_end_is_kept_and_the_rest_told() {
    let province = Province::start(&["dli"]);
    // 1,300,000 lines of 8 bytes: 10.4 MB, of which the second and third file of 4 MiB are kept.
    let job = province.submit("long", "dli", "seq 1000000 2299999; mark done", |_| {});
    province.ended(&job.job_id);
    let all: String = (1_000_000..2_300_000).map(|i| format!("{i}\n")).collect();
    let first_kept = 4 << 20;
    let output = province.logged(&job.job_id, &[]);
    assert!(text(&output.stdout) == &all[first_kept..]);
    let said = text(&output.stderr);
    assert!(said.contains("the first that is kept is 4194304"), "{said}");
    let at = (first_kept + 8).to_string();
    let output = province.logged(&job.job_id, &["-f", "--since-offset", &at]);
    assert!(text(&output.stdout) == &all[first_kept + 8..]);
    assert!(output.stderr.is_empty());
}

#[test]
fn a_job_without_logs_says_why() {
    let province = Province::start(&["dli"]);
    let job = province.submit("held", "dli", "true", |_| {});
    province.ended(&job.job_id);
    let output = province.logs(&job.job_id, &["--attempt", "7"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("ATTEMPT_NOT_FOUND"));
}
