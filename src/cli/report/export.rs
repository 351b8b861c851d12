//! `lancang report export`: all lines of a window in a file, for any engine.
//!
//! The file appears when the server has said that the lines are complete, or not at all.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    columns::{Form, LinesFile},
    window::WindowArgs,
};
use crate::{
    cli::{
        bulk,
        client::{ClientArgs, Session},
        failure::Failure,
        files::Fresh,
        output::Present,
        time::View,
    },
    proto::v1,
};

/// Flags of `report export`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ExportArgs {
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its form; absent means by its name, `.csv` or `.parquet`.
    #[arg(long, value_name = "FORM")]
    format: Option<Form>,
    /// Only this site.
    #[arg(long, value_name = "SITE", default_value = "")]
    site: String,
    /// Only this job.
    #[arg(long, value_name = "JOB", default_value = "")]
    job: String,
    #[command(flatten)]
    window: WindowArgs,
}

/// Writes the file.
pub(super) async fn export(client: &ClientArgs, args: ExportArgs) -> Result<(), Failure> {
    let form = args.format.or_else(|| form_of(&args.out)).ok_or_else(|| {
        Failure::Usage(format!(
            "the name {} does not say which form is meant; pass --format csv or --format parquet",
            args.out.display()
        ))
    })?;
    let mut session = client.connect().await?;
    let (start_time, end_time) = args.window.resolve(&session)?;
    let request = v1::StreamLinesRequest {
        site_id: args.site,
        job_id: args.job,
        start_time,
        end_time,
    };
    let end = receive(&session, request, form, &args.out).await?;
    session.show(&Receipt {
        file: args.out,
        end,
    })
}

fn form_of(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "csv" => Some(Form::Csv),
        "parquet" => Some(Form::Parquet),
        _ => None,
    }
}

async fn receive(
    session: &Session,
    request: v1::StreamLinesRequest,
    form: Form,
    path: &Path,
) -> Result<v1::LinesEnd, Failure> {
    let failed = |source| Failure::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    // Asked first: a request that is refused touches no file.
    let mut parts = session.reports().stream_lines(request).await?.into_inner();
    let mut file = LinesFile::begin(form, Fresh::create(path)?).map_err(failed)?;
    let bar = bulk::counter("lines");
    let mut n_lines = 0;
    while let Some(part) = parts.message().await? {
        n_lines += u64::try_from(part.lines.len()).unwrap_or(u64::MAX);
        file.add(part.lines).map_err(failed)?;
        bar.set_position(n_lines);
        if let Some(end) = part.end {
            bar.finish_and_clear();
            if end.n_lines != n_lines {
                break;
            }
            file.end(&end).map_err(failed)?.finish()?;
            return Ok(end);
        }
    }
    Err(Failure::LinesCut { n_lines })
}

/// What was written, and what it lacks.
struct Receipt {
    file: PathBuf,
    end: v1::LinesEnd,
}

impl Present for Receipt {
    fn json(&self) -> Result<String, Failure> {
        // 64-bit numbers are strings, as in protobuf JSON.
        let value = json!({
            "file": self.file.to_string_lossy(),
            "lines": self.end.n_lines.to_string(),
            "openSlots": self.end.n_open_slots.to_string(),
            "slotsWithoutLines": self.end.n_slots_without_lines.to_string(),
            "revision": self.end.revision.to_string(),
        });
        Ok(value.to_string())
    }

    fn text(&self, _view: &View) -> String {
        let mut text = format!(
            "{}: {} lines, revision {}",
            self.file.display(),
            self.end.n_lines,
            self.end.revision
        );
        if self.end.n_open_slots > 0 {
            text.push_str(&format!(
                "\n{} site-slots are OPEN: their lines are to come",
                self.end.n_open_slots
            ));
        }
        if self.end.n_slots_without_lines > 0 {
            text.push_str(&format!(
                "\n{} settled site-slots are too old for lines",
                self.end.n_slots_without_lines
            ));
        }
        text
    }
}
