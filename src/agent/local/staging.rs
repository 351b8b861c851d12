//! Brings the input of an attempt in and its output out, by a command that the site has chosen.
//!
//! Names are followed one by one beneath their root, never through a symbolic link, and the command gets them through the
//! directories that were opened that way: what is exchanged in between changes nothing.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, statat},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
    time::Timespec,
};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{
        attempt::{End, How, StopCause, Transfer, shorten},
        files::{self, FileError, io_error},
        local::{
            PATH,
            attempt_dir::{self, AttemptDir, Outcome, Plan},
            find_program, over, payload, process,
        },
    },
    limits,
};

/// How often the files are read when nobody gives a hint.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after the first try, doubled after each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// What copies unless the site says otherwise: no links, no devices, no owners; five minutes without a byte end it.
const RSYNC: [&str; 7] = [
    "rsync",
    "-rt",
    "--timeout=300",
    "--bwlimit={kib_per_second}",
    "--",
    "{source}",
    "{destination}",
];

/// Where a site has its staging area, and what copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// A directory of this machine when it begins with `/`, else what the command makes of it.
    pub root: String,
    /// Program and arguments with the marks `{source}`, `{destination}` and `{kib_per_second}`.
    pub command: Vec<String>,
}

/// What became of transfers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Staged {
    /// All is there.
    Done,
    /// Something could not be copied, and what was said of it.
    Failed(String),
    /// It was to stop meanwhile.
    Stopped(StopCause),
}

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the staging area to the directory of the program.
    In,
    /// From there to the staging area.
    Out,
}

impl Staging {
    /// The area under a root with a command whose words are split at spaces; without one, rsync.
    ///
    /// # Errors
    /// When the command lacks a mark, or the root could be read as an option.
    pub fn new(root: &str, command: Option<&str>) -> Result<Self, String> {
        let words: Vec<String> = match command {
            Some(command) => command.split_whitespace().map(str::to_owned).collect(),
            None => RSYNC.map(str::to_owned).into(),
        };
        for mark in ["{source}", "{destination}"] {
            if !words.iter().skip(1).any(|word| word.contains(mark)) {
                return Err(format!("the staging command has no {mark}"));
            }
        }
        if root.is_empty() || root.starts_with('-') {
            return Err("the root of the staging area is empty or begins with `-`".to_owned());
        }
        Ok(Self {
            root: root.trim_end_matches('/').to_owned(),
            command: words,
        })
    }
}

/// A name below a root, and what keeps its directory open.
struct Named {
    text: String,
    _open: Option<OwnedFd>,
}

/// The copying of one attempt.
pub(super) struct Stager<'a> {
    pub(super) dir: &'a AttemptDir,
    pub(super) plan: &'a Plan,
    pub(super) control: &'a File,
    /// Says why it is to stop.
    pub(super) unwanted: &'a dyn Fn() -> Result<Option<StopCause>, FileError>,
}

impl Stager<'_> {
    /// Brings the input in, and notes it; says how the attempt ended if that came to nothing.
    pub(super) fn bring_in(&self) -> Result<Option<Outcome>, FileError> {
        Ok(match self.run(Way::In)? {
            Staged::Done => {
                note_staged(self.dir)?;
                self.dir.hint_agent();
                None
            }
            Staged::Failed(said) => Some(over(How::StageFailed, &said)),
            Staged::Stopped(cause) => Some(over(How::Stopped(cause), "never begun")),
        })
    }

    /// Brings the output out of a program that has succeeded; says how the attempt ended.
    pub(super) fn bring_out(&self, ran: Outcome) -> Result<Outcome, FileError> {
        Ok(match self.run(Way::Out)? {
            Staged::Done => ran,
            Staged::Failed(said) => not_copied(ran, How::StageFailed, &said),
            Staged::Stopped(cause) => {
                not_copied(ran, How::Stopped(cause), "while its output was copied")
            }
        })
    }

    /// Copies everything that is to go one way, each a few times if it must be.
    fn run(&self, way: Way) -> Result<Staged, FileError> {
        let task = &self.plan.task;
        let transfers = match way {
            Way::In => &task.inputs,
            Way::Out => &task.outputs,
        };
        let Some(staging) = self.plan.staging.as_ref() else {
            let none = "this agent has no staging area (--stage-root)";
            return Ok(match transfers.is_empty() {
                true => Staged::Done,
                false => Staged::Failed(none.to_owned()),
            });
        };
        for transfer in transfers {
            if let Some(cause) = (self.unwanted)()? {
                return Ok(Staged::Stopped(cause));
            }
            match self.carry(staging, transfer, way)? {
                Staged::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Staged::Done)
    }

    fn carry(&self, staging: &Staging, transfer: &Transfer, way: Way) -> Result<Staged, FileError> {
        let mut said = String::new();
        let mut pause = PAUSE;
        for number in 1..=limits::STAGE_TRIES_MAX {
            match self.try_once(staging, transfer, way)? {
                Ok(()) => return Ok(Staged::Done),
                Err(Trouble::Stopped(cause)) => return Ok(Staged::Stopped(cause)),
                Err(Trouble::Said(text)) => said = text,
            }
            if number < limits::STAGE_TRIES_MAX
                && let Some(cause) = self.wait(None, pause)?
            {
                return Ok(Staged::Stopped(cause));
            }
            pause *= 2;
        }
        let word = match way {
            Way::In => "input",
            Way::Out => "output",
        };
        Ok(Staged::Failed(format!(
            "{word} {:?} was not copied to {:?} in {} tries: {said}",
            transfer.source,
            transfer.destination,
            limits::STAGE_TRIES_MAX
        )))
    }

    fn try_once(
        &self,
        staging: &Staging,
        transfer: &Transfer,
        way: Way,
    ) -> Result<Result<(), Trouble>, FileError> {
        let work = self.dir.work();
        let area = staging
            .root
            .starts_with('/')
            .then(|| Path::new(&staging.root));
        let (from, to) = match way {
            Way::In => (area, Some(work.as_path())),
            Way::Out => (Some(work.as_path()), area),
        };
        let named = (|| {
            let is_dir = match from {
                Some(root) => kind_of(root, &transfer.source)? == FileType::Directory,
                None => false,
            };
            let source = name(from, &staging.root, &transfer.source, is_dir, false)?;
            let destination = name(to, &staging.root, &transfer.destination, is_dir, true)?;
            Ok((source, destination))
        })();
        let (source, destination) = match named {
            Ok(named) => named,
            Err(error) => return Ok(Err(Trouble::of(&error))),
        };
        let log = self.dir.log("stage.log");
        let child = self.command(staging, &source.text, &destination.text, &log);
        let child = match child.and_then(|mut command| command.spawn()) {
            Ok(child) => child,
            Err(error) => return Ok(Err(Trouble::of(&error))),
        };
        match self.watch(child)? {
            Ok(0) => {}
            Ok(code) => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let text = format!("it ended with code {code}: {}", last_of(&said));
                return Ok(Err(Trouble::Said(text)));
            }
            Err(cause) => return Ok(Err(Trouble::Stopped(cause))),
        }
        // A command that copies nothing, as links are not copied, is no success.
        let arrived = to.map(|root| kind_of(root, &transfer.destination));
        Ok(match arrived {
            Some(Err(error)) => Err(Trouble::of(&error)),
            Some(Ok(_)) | None => Ok(()),
        })
    }

    fn command(
        &self,
        staging: &Staging,
        source: &str,
        destination: &str,
        log: &Path,
    ) -> io::Result<Command> {
        let bits = self.plan.task.stage_bits_per_second;
        let kib = match bits {
            0 => 0,
            // At least one: 0 is no limit.
            bits => (bits / 8 / 1_024).max(1),
        };
        let kib = kib.to_string();
        // One pass over each word, so that a name with a mark in it stays as it is.
        let fill = |word: &String| -> String {
            let mut filled = String::new();
            let mut rest = word.as_str();
            while let Some(at) = rest.find('{') {
                filled.push_str(&rest[..at]);
                rest = &rest[at..];
                let marks = [
                    ("{source}", source),
                    ("{destination}", destination),
                    ("{kib_per_second}", kib.as_str()),
                ];
                let (n_bytes, value) = marks
                    .into_iter()
                    .find(|(mark, _)| rest.starts_with(mark))
                    .map_or((1, "{"), |(mark, value)| (mark.len(), value));
                filled.push_str(value);
                rest = &rest[n_bytes..];
            }
            filled.push_str(rest);
            filled
        };
        let name = staging.command.first().map_or("", String::as_str);
        let program = find_program(name)
            .ok_or_else(|| io::Error::other(format!("there is no program {name:?}")))?;
        let log = files::private().create(true).truncate(true).open(log)?;
        let mut command = Command::new(program);
        command
            .args(staging.command.iter().skip(1).map(fill))
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            // By these what a dead shim leaves behind is found.
            .envs(payload::marks(self.dir, self.plan))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        Ok(command)
    }

    /// Stays with a command to its end: its exit code, 255 for a signal, or why it was stopped.
    fn watch(&self, mut child: Child) -> Result<Result<i32, StopCause>, FileError> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let end = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(Ok(status.code().unwrap_or(255))),
                Ok(None) => {}
                Err(_) => break Ok(Ok(255)),
            }
            match self.wait(pidfd.as_ref(), LOOK) {
                Ok(None) => {}
                Ok(Some(cause)) => break Ok(Err(cause)),
                Err(error) => break Err(error),
            }
        };
        if let Some(pid) = pid {
            let _gone = kill_process_group(pid, Signal::KILL);
        }
        process::end_descendants(std::process::id());
        let _reaped = child.wait();
        end
    }

    /// Waits for the end of a command, a hint or so long; says why it is to stop, if it is.
    fn wait(&self, end: Option<&OwnedFd>, time: Duration) -> Result<Option<StopCause>, FileError> {
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let control = PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN);
        let end = end.map(|end| PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN));
        let mut wanted: Vec<PollFd<'_>> = [control].into_iter().chain(end).collect();
        let _interrupted = poll(&mut wanted, Some(&timeout));
        let _hints = attempt_dir::drain(self.control);
        (self.unwanted)()
    }

    /// Waits until it is to run, or to stop.
    pub(super) fn hold(&self) -> Result<Option<StopCause>, FileError> {
        while self.dir.wanted()? == attempt_dir::Wanted::Suspend {
            if let Some(cause) = self.wait(None, LOOK)? {
                return Ok(Some(cause));
            }
        }
        Ok(None)
    }
}

/// The end of an attempt whose program has succeeded and whose output is not out.
pub(in crate::agent) fn not_copied(ran: Outcome, how: How, said: &str) -> Outcome {
    let message = shorten(format!("{said}; {}", ran.end.message));
    Outcome {
        end: End {
            how,
            message,
            ..ran.end
        },
        ..ran
    }
}

/// Why a try came to nothing.
enum Trouble {
    Said(String),
    Stopped(StopCause),
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        Self::Said(error.to_string())
    }
}

/// What a command is given for a name below a root; below a root that is no directory of this machine, their texts.
fn name(
    root: Option<&Path>,
    text: &str,
    relative: &str,
    is_dir: bool,
    create: bool,
) -> io::Result<Named> {
    let Some(root) = root else {
        return Ok(Named {
            text: format!("{text}/{relative}"),
            _open: None,
        });
    };
    let (parents, last) = split(relative)?;
    let mut open = open_root(root)?;
    for part in parents {
        open = step(&open, part, create)?;
    }
    let mut text = through(&open);
    if is_dir {
        open = step(&open, last, create)?;
        text = through(&open);
    } else {
        text.push(last);
    }
    // A directory with a slash behind it stands for what is in it.
    let text = match is_dir {
        true => format!("{}/", text.display()),
        false => text.display().to_string(),
    };
    Ok(Named {
        text,
        _open: Some(open),
    })
}

/// The way to an open directory for another process of the same user.
fn through(open: &OwnedFd) -> PathBuf {
    let number = open.as_raw_fd().to_string();
    PathBuf::from("/proc")
        .join(std::process::id().to_string())
        .join("fd")
        .join(number)
}

/// What a name below a root is: a file or a directory, or it is refused.
fn kind_of(root: &Path, relative: &str) -> io::Result<FileType> {
    let (parents, last) = split(relative)?;
    let mut open = open_root(root)?;
    for part in parents {
        open = step(&open, part, false)?;
    }
    let stat = statat(&open, last, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        kind @ (FileType::RegularFile | FileType::Directory) => Ok(kind),
        _ => Err(io::Error::other(format!(
            "{last:?} is neither a file nor a directory"
        ))),
    }
}

fn split(relative: &str) -> io::Result<(Vec<&str>, &str)> {
    // The server has checked it, and so has the reading of the orders.
    if !crate::domain::execution::is_staged_name(relative) {
        return Err(io::Error::other("the name leads out of its directory"));
    }
    let mut parts: Vec<&str> = relative.split('/').collect();
    let last = parts.pop().unwrap_or_default();
    Ok((parts, last))
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, root, flags, Mode::empty())?)
}

/// The directory of one name in another, made when it is not there; a symbolic link is none.
fn step(open: &OwnedFd, part: &str, create: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(open, part, flags, Mode::empty()) {
        Err(Errno::NOENT) if create => {
            match mkdirat(open, part, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(openat(open, part, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

fn last_of(said: &str) -> String {
    let mut lines: Vec<&str> = said.lines().rev().take(4).collect();
    lines.reverse();
    lines.join("; ")
}

/// Notes that the input of an attempt is in its directory, whoever it was staged for.
pub(super) fn note_staged(dir: &AttemptDir) -> Result<(), FileError> {
    let path = dir.log("staged");
    let made = files::private().create(true).truncate(true).open(&path);
    made.map(drop).map_err(io_error("create", &path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_command_needs_its_marks_and_no_shell_reads_it() {
        let staging = Staging::new("/area/", Some("cp  -r -- {source} {destination}")).unwrap();
        assert_eq!(staging.root, "/area");
        assert_eq!(
            staging.command,
            ["cp", "-r", "--", "{source}", "{destination}"]
        );
        for wrong in ["", "cp {source}", "{source} {destination}"] {
            assert!(Staging::new("/area", Some(wrong)).is_err(), "{wrong:?}");
        }
        assert!(Staging::new("-x", None).is_err());
        assert!(Staging::new("", None).is_err());
    }

    #[test]
    fn no_name_leads_out_of_its_root() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        std::fs::write(root.path().join("dir/file"), "x").unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("link")).unwrap();
        symlink("dir", root.path().join("near")).unwrap();
        let kind = |name: &str| kind_of(root.path(), name);
        assert_eq!(kind("dir/file").unwrap(), FileType::RegularFile);
        assert_eq!(kind("dir").unwrap(), FileType::Directory);
        for wrong in [
            "out/secret",
            "link",
            "near/file",
            "../x",
            "/etc/passwd",
            "dir/../../x",
            "",
            "-rf",
            "dir/-x",
            "none",
        ] {
            assert!(kind(wrong).is_err(), "{wrong:?}");
        }
        let make = |name_of: &str| name(Some(root.path()), "", name_of, false, true);
        assert!(make("out/new").is_err());
        assert!(make("new/deep/file").is_ok());
        assert!(root.path().join("new/deep").is_dir());
        assert!(!outside.path().join("new").exists());
    }
}
