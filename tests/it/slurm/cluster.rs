//! A Slurm of the test's own, and agents that use it as a user of their own.
//!
//! Everything lies in one directory that others may enter, and ends with the test.

use std::{
    fs::{self, Permissions},
    io::{self, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    agent::{
        process::{Site, until},
        server::Key,
    },
    work::province::Launch,
};

/// Whose the agents are: slurmrestd does not run as root.
const USER: &str = "nobody";

/// A Slurm that runs.
pub(super) struct Cluster {
    root: TempDir,
    operator: Option<Operator>,
    is_elsewhere: bool,
    /// GPUs of each node.
    gpus: u32,
}

/// Somebody who lets nodes work again. A slurmctld that dies within moments of a start has forgotten it; it starts the job
/// once more, and takes a node that refuses the second copy out of service until a person has looked at it.
struct Operator {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Operator {
    fn start(conf: PathBuf) -> Self {
        let (stop, stopped) = mpsc::channel();
        let client = move |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).env("SLURM_CONF", &conf);
            let output = command.stderr(Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout)
            {
                let nodes = client("sinfo", &["-h", "-t", "drain,down", "-o", "%N"]);
                if !nodes.trim().is_empty() {
                    let nodes = format!("NodeName={}", nodes.trim());
                    client("scontrol", &["update", &nodes, "State=RESUME"]);
                }
            }
        });
        Self { stop, thread }
    }
}

impl Cluster {
    /// A Slurm of some nodes with 16 cores each; `conf` are more lines of its configuration.
    #[track_caller]
    pub(super) fn start(n_nodes: u16, conf: &str) -> Self {
        Self::start_with(n_nodes, conf, false, 0)
    }

    /// The same with GPUs at each node, which other devices stand for.
    #[track_caller]
    pub(super) fn start_with_gpus(n_nodes: u16, gpus: u32) -> Self {
        Self::start_with(n_nodes, "", false, gpus)
    }

    /// The same with nodes that pass for other machines, where this one lets them; else they are of this one.
    #[track_caller]
    pub(super) fn start_elsewhere(n_nodes: u16, conf: &str) -> Self {
        let tried = Command::new("unshare")
            .args([
                "--mount",
                "--time",
                "--boottime",
                "1000000",
                "--fork",
                "sh",
                "-c",
            ])
            .arg("mount --bind /dev/null /proc/sys/kernel/random/boot_id")
            .output()
            .unwrap();
        if !tried.status.success() {
            let because = String::from_utf8_lossy(&tried.stderr);
            let _closed = writeln!(
                io::stderr(),
                "no clocks of their own for nodes here ({}): they have this machine's",
                because.trim()
            );
        }
        Self::start_with(n_nodes, conf, tried.status.success(), 0)
    }

    /// Whether nodes have a boot and a clock of their own.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    #[track_caller]
    fn start_with(n_nodes: u16, conf: &str, is_elsewhere: bool, gpus: u32) -> Self {
        let mut cluster = Self {
            root: open_dir(),
            operator: None,
            is_elsewhere,
            gpus,
        };
        // What the agent starts, where its user and the nodes get at it.
        let copied = Command::new("cp")
            .args(["--reflink=auto", env!("CARGO_BIN_EXE_lancang")])
            .arg(cluster.program())
            .status();
        assert!(copied.unwrap().success());
        let ports = free_ports(n_nodes + 1);
        let nodes = n_nodes.to_string();
        cluster.script(&["up"], &[&ports.to_string(), &nodes, "16", USER], conf);
        let conf = cluster.dir().join("etc/slurm.conf");
        cluster.operator = Some(Operator::start(conf));
        cluster
    }

    /// A site with an agent of this Slurm, not started yet.
    #[track_caller]
    pub(super) fn site(&self, flags: &[&str]) -> Site {
        let socket = text(&self.socket());
        let mut all = vec!["--executor", "slurm", "--slurm-rest-socket", &socket];
        all.extend(["--sandbox", "none", "--log-filter", "lancang=debug,info"]);
        all.extend(flags);
        let site = Site::quiet(&all).launched_by(self.launcher());
        make_enterable(site.root.path());
        own_dir(&site.dir());
        site
    }

    /// How the agent of a site of a province is started.
    pub(super) fn launch(&self) -> Launch {
        let flags = [
            "--executor",
            "slurm",
            "--slurm-rest-socket",
            &text(&self.socket()),
        ];
        Launch {
            launcher: self.launcher(),
            flags: flags.map(str::to_owned).into(),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir().join("rest/slurmrestd.sock")
    }

    /// What starts a program as the agents' user.
    pub(super) fn launcher(&self) -> Vec<String> {
        let program = text(&self.program());
        let user = format!("--reuid={USER}");
        let words = [
            "setpriv",
            &user,
            "--regid=nogroup",
            "--clear-groups",
            &program,
        ];
        words.map(str::to_owned).into()
    }

    /// Starts a daemon again: `ctld`, `rest`, `n1`, ..
    #[track_caller]
    pub(super) fn start_daemon(&self, name: &str) {
        self.script(&["start"], &[name], "");
    }

    /// Ends a daemon by SIGKILL; a node with the steps on it.
    #[track_caller]
    pub(super) fn kill_daemon(&self, name: &str) {
        self.script(&["kill"], &[name], "");
    }

    /// What a client of Slurm prints.
    #[track_caller]
    pub(super) fn client(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.dir().join("etc/slurm.conf"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.root.path().join("slurm")
    }

    fn program(&self) -> PathBuf {
        self.root.path().join("lancang")
    }

    #[track_caller]
    fn script(&self, before: &[&str], after: &[&str], conf: &str) {
        let output = self.run_script(before, after, conf);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "scripts/slurm-site: {said}");
    }

    fn run_script(&self, before: &[&str], after: &[&str], conf: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-site");
        // Not a pipe: daemons would keep it open.
        let log = self.root.path().join("script.log");
        let log = fs::File::create(&log).unwrap();
        let status = Command::new(script)
            .args(before)
            .arg(self.dir())
            .args(after)
            .env("SLURM_SITE_CONF", conf)
            .env("SLURM_SITE_GPUS", self.gpus.to_string())
            .env(
                "SLURM_SITE_ELSEWHERE",
                u8::from(self.is_elsewhere).to_string(),
            )
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        Output {
            status,
            stdout: Vec::new(),
            stderr: fs::read(self.root.path().join("script.log")).unwrap(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            for log in ["ctld", "n1", "rest"] {
                let path = self.dir().join("log").join(log).with_extension("log");
                let text = fs::read_to_string(path).unwrap_or_default();
                let _closed = writeln!(io::stderr(), "{log} of Slurm said:\n{text}");
            }
        }
        if let Some(Operator { stop, thread }) = self.operator.take() {
            drop(stop);
            let _panicked = thread.join();
        }
        let down = self.run_script(&["down"], &[], "");
        if !down.status.success() {
            let _closed = writeln!(io::stderr(), "slurm-site down: {down:?}");
        }
    }
}

/// A directory that others may enter.
pub(super) fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    make_enterable(dir.path());
    dir
}

/// The process of a program that says in its directory which one it is, once it does.
#[track_caller]
pub(super) fn pid_of(site: &Site, key: Key) -> u32 {
    until("the program says who it is", || {
        let said = site.read(key, "work/pid");
        said.strip_suffix('\n')?.parse().ok()
    })
}

/// Gives everything below a directory to the agents' user.
#[track_caller]
pub(super) fn give(path: &Path) {
    let owner = format!("{USER}:nogroup");
    let status = Command::new("chown")
        .args(["-R", &owner])
        .arg(path)
        .status();
    assert!(status.unwrap().success());
}

fn make_enterable(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Makes a directory of the agents' user.
#[track_caller]
pub(super) fn own_dir(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    chown(path, Some(id(USER, "-u")), Some(id(USER, "-g"))).unwrap();
}

fn id(user: &str, which: &str) -> u32 {
    let output = Command::new("id").args([which, user]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap()
}

/// The first of so many ports in a row that are free now.
pub(super) fn free_ports(count: u16) -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let rest =
            (1..count).map(|next| TcpListener::bind(("127.0.0.1", port.checked_add(next)?)).ok());
        if rest.collect::<Option<Vec<_>>>().is_some() {
            return port;
        }
    }
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
