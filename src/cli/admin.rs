//! Verbs of `lancang admin`, and `lancang backup`: what the server is, whether its store is sound, a copy of it.
//!
//! A backup file appears under its name only when it is whole and on disk.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        output::Present,
        time::View,
    },
    proto::v1,
};

/// Flags and verbs of `lancang admin`.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: AdminVerb,
}

#[derive(Debug, clap::Subcommand)]
enum AdminVerb {
    /// Show what server this is, what it holds and which bounds it keeps.
    Info,
    /// Have the server read its whole store again and compare it with its memory; exit code 1 when it differs.
    Verify,
    /// Write a consistent copy of the running store to a file.
    Backup(OutArgs),
}

/// Flags of a backup.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OutArgs {
    /// File to write; an existing one is kept unless --force.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

/// Flags of `lancang backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    out: OutArgs,
}

/// Runs a verb.
pub(crate) async fn run(args: AdminArgs) -> Result<(), Failure> {
    match args.verb {
        AdminVerb::Info => {
            let mut session = args.client.connect().await?;
            let request = v1::GetServerInfoRequest {};
            let answer = session.admin().get_server_info(request).await?.into_inner();
            session.show(&answer)
        }
        AdminVerb::Verify => {
            let mut session = args.client.connect().await?;
            let answer = session
                .admin()
                .verify(v1::VerifyRequest {})
                .await?
                .into_inner();
            session.show(&answer)?;
            sound(&answer)
        }
        AdminVerb::Backup(out) => backup(&args.client, &out).await,
    }
}

/// Runs `lancang backup`.
pub(crate) async fn run_backup(args: BackupArgs) -> Result<(), Failure> {
    backup(&args.client, &args.out).await
}

/// A failure unless the store is sound.
pub(crate) fn sound(answer: &v1::VerifyResponse) -> Result<(), Failure> {
    if answer.ok {
        Ok(())
    } else {
        Err(Failure::Unsound(format!(
            "{} problems found",
            answer.problems.len()
        )))
    }
}

async fn backup(client: &ClientArgs, out: &OutArgs) -> Result<(), Failure> {
    if out.out.exists() && !out.force {
        return Err(Failure::Usage(format!(
            "{} exists; choose another name or pass --force",
            out.out.display()
        )));
    }
    let mut session = client.connect().await?;
    let receipt = receive(&mut session, &out.out).await?;
    session.show(&receipt)
}

/// Receives the parts into a temporary file beside the target, and renames it when all are on disk.
async fn receive(session: &mut Session, path: &Path) -> Result<Receipt, Failure> {
    let failed = |action: &'static str| {
        move |source: io::Error| Failure::File {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed("create"))?;
    let mut parts = session
        .admin()
        .backup(v1::BackupRequest {})
        .await?
        .into_inner();
    let mut receipt = Receipt {
        file: path.to_owned(),
        bytes: 0,
        revision: 0,
    };
    while let Some(part) = parts.message().await? {
        file.write_all(&part.chunk).map_err(failed("write"))?;
        receipt.bytes += u64::try_from(part.chunk.len()).unwrap_or(u64::MAX);
        receipt.revision = part.revision;
    }
    file.as_file().sync_all().map_err(failed("sync"))?;
    file.persist(path)
        .map_err(|error| failed("rename")(error.error))?;
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync the directory of"))?;
    Ok(receipt)
}

/// What a backup is.
struct Receipt {
    file: PathBuf,
    bytes: u64,
    revision: u64,
}

impl Present for Receipt {
    fn json(&self) -> Result<String, Failure> {
        let file = self.file.to_string_lossy();
        // 64-bit numbers are strings, as in protobuf JSON.
        let value = json!({
            "file": file,
            "bytes": self.bytes.to_string(),
            "revision": self.revision.to_string(),
        });
        Ok(value.to_string())
    }

    fn text(&self, _view: &View) -> String {
        format!(
            "{}: {} bytes, revision {}",
            self.file.display(),
            self.bytes,
            self.revision
        )
    }
}
