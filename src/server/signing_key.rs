//! The private key that statements are signed with: a file of its own beside the store, made when it is missing.
//!
//! It is in no backup and in no journal; whoever takes the file away gets a new key with the next start.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::signing::{SEED_BYTES, SigningKey, hex, parse_hex};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}", file.display())]
    File {
        /// What was attempted, as `read`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody else could sign, too.
    #[error("{} can be read or written by others than its owner (mode {mode:o}); make it 600", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is no key: it must hold 64 hexadecimal digits", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The machine gives no random numbers.
    #[error("cannot draw a key")]
    Random(#[source] getrandom::Error),
}

/// Reads the key of a file, or makes the file with a new key in it.
pub(super) fn load_or_make(file: &Path) -> Result<SigningKey, SigningKeyError> {
    match fs::File::open(file) {
        Ok(opened) => load(file, opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(file),
        Err(source) => Err(failed("read", file)(source)),
    }
}

fn load(file: &Path, mut opened: fs::File) -> Result<SigningKey, SigningKeyError> {
    let metadata = opened.metadata().map_err(failed("read", file))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SigningKeyError::Open {
            file: file.into(),
            mode,
        });
    }
    let mut text = String::new();
    // A key and a line break; of anything longer enough to see that it is none.
    let mut beginning = io::Read::by_ref(&mut opened).take(SEED_BYTES as u64 * 2 + 16);
    match beginning.read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
        Err(source) => return Err(failed("read", file)(source)),
    }
    let seed =
        parse_hex(text.trim()).ok_or_else(|| SigningKeyError::NoKey { file: file.into() })?;
    Ok(SigningKey::from_seed(&seed))
}

/// The file has its name when the key is on disk: nothing is ever signed with a key that could be lost.
fn make(file: &Path) -> Result<SigningKey, SigningKeyError> {
    let mut seed = [0; SEED_BYTES];
    getrandom::fill(&mut seed).map_err(SigningKeyError::Random)?;
    let key = SigningKey::from_seed(&seed);
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Temporary files are 0600.
    let mut fresh = tempfile::NamedTempFile::new_in(dir).map_err(failed("create", file))?;
    writeln!(fresh, "{}", hex(&seed)).map_err(failed("write", file))?;
    fresh.as_file().sync_all().map_err(failed("sync", file))?;
    fresh
        .persist_noclobber(file)
        .map_err(|error| failed("rename", file)(error.error))?;
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync the directory of", file))?;
    tracing::info!(file = %file.display(), key_id = key.public().id(), "made a key to sign statements with");
    Ok(key)
}

fn failed(action: &'static str, file: &Path) -> impl Fn(io::Error) -> SigningKeyError + use<> {
    let file = file.to_owned();
    move |source| SigningKeyError::File {
        action,
        file: file.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_a_new_file_is_a_new_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("signing.key");
        let first = load_or_make(&file).unwrap().public();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load_or_make(&file).unwrap().public(), first);
        fs::remove_file(&file).unwrap();
        assert_ne!(load_or_make(&file).unwrap().public(), first);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("signing.key");
        load_or_make(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_make(&file).unwrap_err();
        assert!(error.to_string().contains("mode 640"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [&b""[..], b"x", &[0xff; 64], "0".repeat(65).as_bytes()] {
            fs::write(&file, wrong).unwrap();
            let error = load_or_make(&file).unwrap_err();
            assert!(matches!(error, SigningKeyError::NoKey { .. }), "{error}");
        }
        let nowhere = dir.path().join("none/signing.key");
        assert!(matches!(
            load_or_make(&nowhere).unwrap_err(),
            SigningKeyError::File {
                action: "create",
                ..
            }
        ));
    }
}
