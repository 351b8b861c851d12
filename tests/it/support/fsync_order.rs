//! The model of a power cut where no disk can be cut: the order of system calls, watched by strace.
//!
//! Durable before answered means: after the last write of a record into the store's file there is an fdatasync or
//! fsync of that file, begun after the write and ended well, before the answer is written to the socket. Weaker than
//! a real cut (it does not read the disk again), but it is the property that the cut would test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Calls that write to a file or a socket, and those that make a file durable.
const CALLS: &str =
    "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,msync";

/// A buffer of the store is written whole; the record may stand at its end.
const STRING_BYTES_MAX: &str = "4194304";

/// What strace has recorded of a server, one call after the other as they began.
pub(crate) struct Trace {
    calls: Vec<Call>,
}

/// One system call; `begun` and `ended` are places in the order of everything that strace saw.
#[derive(Debug)]
struct Call {
    begun: usize,
    ended: usize,
    text: String,
}

/// The same command under strace, which writes to `trace_file`; the child is still the server, not strace.
///
/// Fails the test when strace is missing: a fallback that is skipped would be no test at all.
#[track_caller]
pub(crate) fn traced(command: &Command, trace_file: &Path) -> Command {
    let version = Command::new("strace").arg("-V").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "strace is missing: install the Debian package `strace`"
    );
    let mut traced = Command::new("strace");
    traced
        .args([
            "-D",
            "-f",
            "-q",
            "-yy",
            "-s",
            STRING_BYTES_MAX,
            "-e",
            CALLS,
            "-o",
        ])
        .arg(trace_file)
        .arg(command.get_program())
        .args(command.get_args());
    traced
}

impl Trace {
    /// Reads a trace; the server must have ended, so that strace has written all.
    ///
    /// The tracer outlives what it traces for a moment: only the line about the end of the process ends its file.
    pub(crate) fn read(trace_file: &Path) -> Self {
        const PATIENCE: u32 = 1_000;
        let (_open, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..PATIENCE {
            let bytes = fs::read(trace_file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let last = text.trim_end().lines().next_back().unwrap_or_default();
            if last.ends_with("+++") {
                return Self::parse(&text);
            }
            let _waited = never.recv_timeout(std::time::Duration::from_millis(10));
        }
        panic!("the trace in {} does not end", trace_file.display())
    }

    /// Says what is wrong when the record with this text was answered before it was durable in the file.
    ///
    /// `record` must stand in the stored record and nowhere else, `answer` in the answer: the key that the client
    /// chose and the id that it got.
    pub(crate) fn check_durable_before_answer(
        &self,
        file: &Path,
        record: &str,
        answer: &str,
    ) -> Result<(), String> {
        let file = format!("<{}>", file.display());
        let answered = self
            .calls
            .iter()
            .find(|call| call.is_socket_write() && call.text.contains(answer))
            .ok_or_else(|| format!("the answer with {answer} was never written to a socket"))?;
        let written = self
            .calls
            .iter()
            .filter(|call| call.begun < answered.begun)
            .rfind(|call| call.is_write_to(&file) && call.text.contains(record))
            .ok_or_else(|| format!("{record} was not written to {file} before its answer"))?;
        let synced = self.calls.iter().any(|call| {
            call.is_sync_of(&file) && written.ended < call.begun && call.ended < answered.begun
        });
        if synced {
            Ok(())
        } else {
            Err(format!("{record} was answered before {file} was synced"))
        }
    }

    /// Joins the two halves of calls during which another thread was seen.
    fn parse(text: &str) -> Self {
        const UNFINISHED: &str = "<unfinished ...>";
        let mut calls: Vec<Call> = Vec::new();
        let mut open: Vec<(&str, usize)> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let Some((thread, rest)) = line.split_once(' ') else {
                continue;
            };
            let rest = rest.trim_start();
            if rest.starts_with("+++ ") {
                continue;
            }
            if rest.starts_with("<... ") {
                let Some(index) = open.iter().position(|&(owner, _)| owner == thread) else {
                    continue;
                };
                let (_, call) = open.remove(index);
                let (_, tail) = rest.split_once("resumed>").unwrap_or_default();
                calls[call].ended = at;
                calls[call].text.push_str(tail);
                continue;
            }
            let head = rest.strip_suffix(UNFINISHED);
            if head.is_some() {
                open.push((thread, calls.len()));
            }
            calls.push(Call {
                begun: at,
                // Until its second half is seen it has not ended.
                ended: if head.is_some() { usize::MAX } else { at },
                text: head.unwrap_or(rest).to_owned(),
            });
        }
        Self { calls }
    }
}

impl Call {
    fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default()
    }

    /// The first argument with what strace says of it: `9</data/db>`, `12<TCP:[127.0.0.1:1->127.0.0.1:2]>`.
    fn target(&self) -> &str {
        let arguments = self.text.split_once('(').map_or("", |(_, tail)| tail);
        let target = arguments.split([',', ')']).next();
        target.unwrap_or_default().trim_end()
    }

    fn is_write(&self) -> bool {
        [
            "write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg",
        ]
        .contains(&self.name())
    }

    fn is_write_to(&self, file: &str) -> bool {
        self.is_write() && self.target().ends_with(file)
    }

    fn is_socket_write(&self) -> bool {
        self.is_write() && self.target().contains("<TCP")
    }

    fn is_sync_of(&self, file: &str) -> bool {
        let is_sync = ["fsync", "fdatasync"].contains(&self.name());
        is_sync && self.target().ends_with(file) && self.text.trim_end().ends_with("= 0")
    }
}

/// The file of the store that holds its records.
pub(crate) fn store_file(data_dir: &Path) -> PathBuf {
    // strace shows paths as the kernel has them.
    fs::canonicalize(data_dir).unwrap().join("db")
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;

    /// Writes a record, syncs it if told so, and answers over TCP.
    const WRITER: &str = "\
import os, socket, sys
path, port, sync = sys.argv[1:]
fd = os.open(path, os.O_CREAT | os.O_WRONLY)
os.pwrite(fd, b'key-1', 0)
if sync == 'sync':
    os.fdatasync(fd)
socket.create_connection(('127.0.0.1', int(port))).sendall(b'id-1')
";

    fn trace_writer(sync: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let (file, trace_file) = (store_file(folder.path()), folder.path().join("trace"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new("python3");
        command
            .args(["-c", WRITER])
            .arg(&file)
            .arg(listener.local_addr().unwrap().port().to_string())
            .arg(sync);
        let mut child = traced(&command, &trace_file).spawn().unwrap();
        let mut answer = String::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(child.wait().unwrap().success() && answer == "id-1");
        Trace::read(&trace_file).check_durable_before_answer(&file, "key-1", "id-1")
    }

    #[test]
    fn strace_tells_synced_from_unsynced() {
        assert_eq!(trace_writer("sync"), Ok(()));
        let unsynced = trace_writer("no").unwrap_err();
        assert!(unsynced.contains("was synced"), "{unsynced}");
    }

    #[track_caller]
    fn check(trace: &str, expected: Result<(), &str>) {
        let found =
            Trace::parse(trace).check_durable_before_answer(Path::new("/d/db"), "key-1", "id-1");
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    const WRITE: &str = "11 pwrite64(9</d/db>, \"..key-1..\", 9, 0) = 9\n";
    const SYNC: &str = "11 fdatasync(10</d/db>) = 0\n";
    const ANSWER: &str =
        "12 writev(15<TCP:[127.0.0.1:1->127.0.0.1:2]>, [{iov_base=\"id-1\", iov_len=4}], 1) = 4\n";

    #[test]
    fn write_sync_answer_is_right() {
        check(&[WRITE, SYNC, ANSWER].concat(), Ok(()));
    }

    #[test]
    fn a_sync_that_is_missing_late_failed_or_of_another_file_is_found() {
        let unsynced = Err("before </d/db> was synced");
        check(&[WRITE, ANSWER].concat(), unsynced);
        check(&[WRITE, ANSWER, SYNC].concat(), unsynced);
        check(&[SYNC, WRITE, ANSWER].concat(), unsynced);
        let failed = SYNC.replace("= 0", "= -1 EIO (Input/output error)");
        check(&[WRITE, &failed, ANSWER].concat(), unsynced);
        check(
            &[WRITE, &SYNC.replace("/d/db", "/d/conf"), ANSWER].concat(),
            unsynced,
        );
    }

    #[test]
    fn calls_in_two_halves_count_from_begin_to_end() {
        let (begin, end) = (
            "11 fdatasync(10</d/db> <unfinished ...>\n",
            "11 <... fdatasync resumed>) = 0\n",
        );
        check(&[WRITE, begin, end, ANSWER].concat(), Ok(()));
        check(&[WRITE, begin, ANSWER, end].concat(), Err("was synced"));
        check(&[begin, WRITE, end, ANSWER].concat(), Err("was synced"));
        check(&[WRITE, begin, ANSWER].concat(), Err("was synced"));
    }

    #[test]
    fn what_was_never_seen_is_an_error() {
        check(&[WRITE, SYNC].concat(), Err("never written to a socket"));
        check(&[SYNC, ANSWER].concat(), Err("not written"));
    }
}
