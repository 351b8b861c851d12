//! The real server as a child process: start, find its port, end it softly or hard.
//!
//! Every wait is bounded, and a server never outlives its handle.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// What a server prints once it serves, followed by the port: `lancang serve` and `lancang demo`.
const READY: [&str; 3] = [
    "listening on 127.0.0.1:",
    "listening on 0.0.0.0:",
    "Serving on http://127.0.0.1:",
];

/// Long enough for a start with recovery on a machine that also compiles.
const START_MAX: Duration = Duration::from_secs(60);

/// Above the time that the server gives its open calls when it is asked to stop.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A running server; dropped, it is killed.
pub(crate) struct ServerProcess {
    pid: u32,
    port: u16,
    exit: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
    log: Log,
}

/// The server ended, or said nothing, before it was ready.
pub(crate) struct StartFailure {
    /// Absent when it was killed for its silence.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) log: String,
}

type Log = Arc<Mutex<String>>;

impl ServerProcess {
    /// Starts `lancang serve` on a free port with its state in `data_dir`.
    #[track_caller]
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::launch(Self::command(data_dir)).unwrap()
    }

    /// The command of `start`, for a test that adds to it.
    pub(crate) fn command(data_dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir);
        command
    }

    /// Starts a command that says, as the server does, where it listens.
    pub(crate) fn launch(command: Command) -> Result<Self, StartFailure> {
        Self::launch_within(START_MAX, command)
    }

    /// The same for a server that is killed when it is not ready within `patience`.
    pub(crate) fn launch_within(
        patience: Duration,
        mut command: Command,
    ) -> Result<Self, StartFailure> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let log = Log::default();
        let (ready_sender, ready) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        collect(stderr, Arc::clone(&log), tell_port(ready_sender.clone()));
        let stdout = child.stdout.take().unwrap();
        collect(stdout, Arc::clone(&log), tell_port(ready_sender));
        let mut server = Self {
            pid,
            port: 0,
            exit: exit_of(child),
            status: None,
            log,
        };
        // The channel closes at once when the server ends, since its outputs do.
        match ready.recv_timeout(patience) {
            Ok(port) => {
                server.port = port;
                Ok(server)
            }
            Err(error) => {
                let status = match error {
                    RecvTimeoutError::Disconnected => server.wait(STOP_MAX),
                    RecvTimeoutError::Timeout => None,
                };
                Err(StartFailure {
                    status,
                    log: server.log(),
                })
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Address for a client of the generated code.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has printed so far on both outputs.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Ends it as a crash does: SIGKILL, no warning.
    #[track_caller]
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.signal("KILL");
        self.wait_exit()
    }

    /// Asks it to stop, SIGTERM.
    pub(crate) fn ask_to_stop(&mut self) {
        self.signal("TERM");
    }

    /// Asks it to stop and waits for it.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait_exit()
    }

    /// Asks it to stop as Ctrl-C does, SIGINT, and waits for it.
    #[track_caller]
    pub(crate) fn interrupt(&mut self) -> ExitStatus {
        self.signal("INT");
        self.wait_exit()
    }

    /// Waits for an end that the test has caused otherwise.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let Some(status) = self.wait(STOP_MAX) else {
            panic!(
                "the server {} does not end; it said:\n{}",
                self.pid,
                self.log()
            );
        };
        status
    }

    fn wait(&mut self, bound: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.exit.recv_timeout(bound).ok();
        }
        self.status
    }

    fn signal(&mut self, name: &str) {
        // Once it has ended its id may belong to another process.
        if self.wait(Duration::ZERO).is_some() {
            return;
        }
        let kill = format!("kill -{name} {}", self.pid);
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(
            status.success() || self.wait(STOP_MAX).is_some(),
            "`{kill}` failed"
        );
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal("KILL");
        let _status = self.wait(STOP_MAX);
    }
}

impl fmt::Debug for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => writeln!(
                f,
                "the server ended before it was ready, {status}; it said:"
            )?,
            None => writeln!(f, "the server was not ready in time; it said:")?,
        }
        f.write_str(&self.log)
    }
}

/// Reads one output of the server to its end, so that a full pipe never stops it.
fn collect(
    output: impl Read + Send + 'static,
    log: Log,
    mut on_line: impl FnMut(&str) + Send + 'static,
) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            on_line(&line);
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// Sends the port of the line that says where the server listens.
fn tell_port(ready: Sender<u16>) -> impl FnMut(&str) + Send + 'static {
    move |line| {
        let Some(rest) = READY.iter().find_map(|ready| line.strip_prefix(ready)) else {
            return;
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let port = &rest[..digits.unwrap_or(rest.len())];
        // Nobody waits any more when the line comes too late.
        let _late = ready.send(port.parse().unwrap());
    }
}

fn exit_of(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let status = child.wait().unwrap();
        // The handle may be gone; then nobody asks.
        let _nobody = sender.send(status);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn port_is_read_and_kill_ends_it() {
        let script = "echo hello >&2; echo listening on 127.0.0.1:4711; exec tail -f /dev/null";
        let mut server = ServerProcess::launch(shell(script)).unwrap();
        assert_eq!(server.port(), 4711);
        assert_eq!(server.endpoint(), "http://127.0.0.1:4711");
        assert_ne!(server.pid(), 0);
        assert_eq!(server.kill().signal(), Some(9));
        // A second time is harmless.
        assert_eq!(server.kill().signal(), Some(9));
        assert!(server.log().contains("listening"));
    }

    #[test]
    fn the_line_of_the_demonstration_is_known_too() {
        let script = "echo 'Serving on http://127.0.0.1:4712; Ctrl-C ends it.' >&2; \
                      exec tail -f /dev/null";
        let mut server = ServerProcess::launch(shell(script)).unwrap();
        assert_eq!(server.port(), 4712);
        assert_eq!(server.interrupt().signal(), Some(2));
    }

    #[test]
    fn terminate_lets_it_end_by_itself() {
        let script = "tail -f /dev/null & trap 'kill $!; exit 7' TERM; \
                      echo listening on 127.0.0.1:1; wait";
        let mut server = ServerProcess::launch(shell(script)).unwrap();
        assert_eq!(server.terminate().code(), Some(7));
    }

    #[test]
    fn a_server_that_fails_to_start_shows_why() {
        let Err(failure) = ServerProcess::launch(shell("echo no data >&2; exit 3")) else {
            panic!("it started");
        };
        assert_eq!(failure.status.and_then(|status| status.code()), Some(3));
        assert!(format!("{failure:?}").contains("before it was ready"));
    }
}
