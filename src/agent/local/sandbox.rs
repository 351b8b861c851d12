//! What a program sees of the machine: everything, or what bubblewrap leaves of it.
//!
//! With bubblewrap a program writes to its own directory alone and sees neither other processes nor the agent's files.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

/// What the names of devices of GPUs begin with: those of NVIDIA, and those of AMD, Intel and others.
const GPU_DEVICES: [&str; 4] = ["nvidia", "kfd", "dri", "accel"];

/// Which sandbox is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxChoice {
    /// Bubblewrap where it works, else none.
    Auto,
    /// None.
    None,
    /// Bubblewrap, or the agent does not start.
    Bwrap,
}

/// Which sandbox is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::agent) enum Sandbox {
    None,
    Bwrap(PathBuf),
}

impl Sandbox {
    /// What this machine can do of what is asked for; `None` when it cannot.
    pub(in crate::agent) fn probe(choice: SandboxChoice) -> Option<Self> {
        let bwrap = || {
            let path = super::find_program("bwrap")?;
            let mut command = Command::new(&path);
            command.args(["--ro-bind", "/", "/", "--unshare-pid", "--unshare-ipc"]);
            command.args(["--unshare-uts", "--proc", "/proc", "--dev", "/dev", "--"]);
            let status = command
                .arg(super::find_program("true")?)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            status.ok()?.success().then_some(Self::Bwrap(path))
        };
        match choice {
            SandboxChoice::Auto => Some(bwrap().unwrap_or(Self::None)),
            SandboxChoice::None => Some(Self::None),
            SandboxChoice::Bwrap => bwrap(),
        }
    }

    /// The program to start and what comes before the arguments of the job, which may read what it is told, if anything, and
    /// sees GPUs if it asks for some.
    pub(super) fn command(
        &self,
        program: &Path,
        work: &Path,
        agent_dir: &Path,
        told: Option<&Path>,
        has_gpus: bool,
    ) -> (PathBuf, Vec<OsString>) {
        let Self::Bwrap(bwrap) = self else {
            return (program.to_path_buf(), Vec::new());
        };
        let mut arguments: Vec<OsString> = [
            "--die-with-parent",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--cap-drop",
            "ALL",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--tmpfs",
            "/tmp",
            "--tmpfs",
        ]
        .map(OsString::from)
        .into();
        arguments.push(agent_dir.into());
        for word in ["--bind", "--chdir"] {
            arguments.push(word.into());
            arguments.push(work.into());
            if word == "--bind" {
                arguments.push(work.into());
            }
        }
        if let Some(told) = told {
            arguments.push("--ro-bind".into());
            arguments.extend([told.into(), told.into()]);
        }
        let devices = has_gpus.then(gpu_devices).into_iter().flatten();
        for device in devices {
            arguments.push("--dev-bind".into());
            arguments.extend([device.clone().into(), device.into()]);
        }
        // From here on nothing is an option of bubblewrap.
        arguments.push("--".into());
        arguments.push(program.into());
        (bwrap.clone(), arguments)
    }

    /// Processes of the sandbox itself that stand between the shim and the program.
    pub(super) fn layers(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Bwrap(_) => 2,
        }
    }
}

/// The devices of all GPUs of the machine: a program's own `/dev` has none.
fn gpu_devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let is_gpu = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        GPU_DEVICES
            .iter()
            .any(|head| name.starts_with(head.as_bytes()))
    };
    entries.map(|entry| entry.path()).filter(is_gpu).collect()
}
