//! A disk that loses power: an ext4 image that forgets all that was not made durable.
//!
//! `scripts/powercut.py` does the privileged part; where a machine forbids it, that is a value with the reason,
//! and the caller falls back to `fsync_order`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Exit code of the script for "not on this machine".
const EXIT_NOT_POSSIBLE: i32 = 3;

/// A mounted filesystem of its own; dropped, it is unmounted and deleted.
pub(crate) struct PowerCutDisk {
    folder: TempDir,
}

/// Why there can be no such disk here.
#[derive(Debug)]
pub(crate) struct NotPossible {
    pub(crate) because: String,
}

impl PowerCutDisk {
    /// Makes a fresh disk of some MiB.
    pub(crate) fn new(size_mib: u32) -> Result<Self, NotPossible> {
        let disk = Self {
            folder: TempDir::new().unwrap(),
        };
        let image = disk.image();
        let arguments = [
            "make".as_ref(),
            image.as_os_str(),
            size_mib.to_string().as_ref(),
            disk.path().as_os_str(),
        ]
        .map(ToOwned::to_owned);
        let output = Command::new(script()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.code() == Some(EXIT_NOT_POSSIBLE) {
            return Err(NotPossible { because: said });
        }
        assert!(output.status.success(), "powercut.py make: {said}");
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Pulls the plug: what is not durable is gone, every access fails until `restore`.
    #[track_caller]
    pub(crate) fn cut(&self) {
        run(&["cut".as_ref(), &self.path()]);
    }

    /// Power is back. No process may have a file of the disk open any more.
    #[track_caller]
    pub(crate) fn restore(&self) {
        run(&["restore".as_ref(), &self.image(), &self.path()]);
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }
}

impl Drop for PowerCutDisk {
    fn drop(&mut self) {
        // Not mounted when `make` failed, or when a test failed between `cut` and `restore`.
        let _output = Command::new(script())
            .arg("remove")
            .arg(self.path())
            .output();
    }
}

#[track_caller]
fn run(arguments: &[&Path]) {
    let output = Command::new(script()).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "powercut.py {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/powercut.py")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn only_what_was_synced_survives() {
        let disk = match PowerCutDisk::new(16) {
            Ok(disk) => disk,
            Err(NotPossible { because }) => {
                assert!(because.starts_with("not possible here: "), "{because}");
                return;
            }
        };
        let (kept, lost) = (disk.path().join("kept"), disk.path().join("lost"));
        fs::write(&kept, "durable").unwrap();
        File::open(&kept).unwrap().sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        fs::write(&lost, "only in memory").unwrap();
        disk.cut();
        assert!(fs::write(disk.path().join("late"), "x").is_err());
        disk.restore();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "durable");
        assert!(!lost.exists());
    }
}
