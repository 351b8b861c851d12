//! A report as files.
//!
//! Everything is written under other names first and renamed at the end, `report.json` last: a directory with a
//! `report.json` holds a whole report, and never parts of two.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::slot::Slot;

use super::{
    BacktestError,
    execution::Verdict,
    page,
    report::{PolicyRun, Report, late_reason},
};

/// In the order in which they get their names.
const FILES: [&str; 4] = ["jobs.csv", "slots.csv", "report.html", "report.json"];

impl Report<'_> {
    /// `report.json` as text: one JSON object, without a final line break.
    #[must_use]
    pub fn json(&self) -> String {
        // Maps with text keys and numbers always have a JSON form.
        serde_json::to_string_pretty(&self.document()).unwrap_or_default()
    }

    /// Writes `report.json`, `jobs.csv`, `slots.csv` and `report.html` into the directory, which is made if need be.
    ///
    /// # Errors
    /// When a file cannot be written; then there is no `report.json`.
    pub fn write(&self, directory: &Path) -> Result<(), BacktestError> {
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |source| BacktestError::Write { path, source }
        };
        fs::create_dir_all(directory).map_err(at(directory))?;
        let last = directory.join("report.json");
        match fs::remove_file(&last) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&last)(error)),
            _ => {}
        }
        for name in FILES {
            let part = part_of(directory, name);
            self.write_part(name, &part).map_err(at(&part))?;
        }
        for name in FILES {
            let path = directory.join(name);
            fs::rename(part_of(directory, name), &path).map_err(at(&path))?;
        }
        Ok(())
    }

    fn write_part(&self, name: &str, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        match name {
            "jobs.csv" => self.write_jobs(&mut file)?,
            "slots.csv" => self.write_slots(&mut file)?,
            "report.html" => file.write_all(page::report_page(self).as_bytes())?,
            _ => writeln!(file, "{}", self.json())?,
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }

    fn write_jobs(&self, file: &mut impl Write) -> io::Result<()> {
        let mut head = "job,submit,deadline".to_owned();
        for policy in ["", "run_now_", "perfect_"] {
            for column in [
                "verdict",
                "reason",
                "site",
                "start",
                "end",
                "slots",
                "energy_watt_seconds",
                "green_watt_seconds",
                "moves",
                "stops",
            ] {
                let _ = write!(head, ",{policy}{column}");
            }
        }
        writeln!(file, "{head}")?;
        for (position, job) in self.scenario.jobs.iter().enumerate() {
            let deadline = job.spec.timing.finish_deadline.unwrap_or_default();
            write!(
                file,
                "{},{},{}",
                job.name,
                self.scenario.written(job.submit),
                self.scenario.written(deadline)
            )?;
            for run in [&self.lancang, &self.run_now, &self.perfect] {
                write!(file, ",{}", self.job_cells(run, position))?;
            }
            writeln!(file)?;
        }
        Ok(())
    }

    fn job_cells(&self, run: &PolicyRun, position: usize) -> String {
        let (outcome, tally) = (&run.driven.outcomes[position], &run.jobs[position]);
        let deadline = self.scenario.jobs[position].spec.timing.finish_deadline;
        let time = |slot: Slot| self.scenario.written(self.scenario.grid.start_of(slot));
        let (verdict, reason, end) = match &outcome.verdict {
            Verdict::Finished(end) => {
                let is_late = deadline.is_some_and(|by| self.scenario.grid.start_of(*end) > by);
                let late = ("late", late_reason(outcome.stops));
                let (verdict, reason) = if is_late { late } else { ("in time", "") };
                (verdict, reason, time(*end))
            }
            Verdict::Refused(why) => ("refused", why.as_str(), String::new()),
            Verdict::Lost(why) => ("lost", *why, String::new()),
        };
        let site = tally
            .site
            .map_or("", |site| self.scenario.sites[site].id.as_str());
        format!(
            "{verdict},{},{site},{},{end},{},{},{},{},{}",
            reason.replace([',', '"', '\n'], " "),
            tally.start.map_or_else(String::new, time),
            tally.slots,
            tally.energy_watt_seconds,
            tally.green_watt_seconds,
            outcome.moves,
            outcome.stops,
        )
    }

    fn write_slots(&self, file: &mut impl Write) -> io::Result<()> {
        let green = "load_w,hydro_w,solar_w,wind_w,grid_w";
        writeln!(
            file,
            "ts,site,hydro_available_w,solar_available_w,wind_available_w,{green},\
             run_now_load_w,run_now_grid_w,perfect_load_w,perfect_grid_w"
        )?;
        for (position, site) in self.scenario.sites.iter().enumerate() {
            for (i, slot) in self.scenario.range.iter().enumerate() {
                let at = |run: &PolicyRun| run.score.sites[position].slots[i];
                let (ours, now, perfect) =
                    (at(&self.lancang), at(&self.run_now), at(&self.perfect));
                let [hydro, solar, wind] = ours.available_watts;
                let [used_hydro, used_solar, used_wind] = ours.used_watts;
                writeln!(
                    file,
                    "{},{},{hydro},{solar},{wind},{},{used_hydro},{used_solar},{used_wind},{},{},{},{},{}",
                    self.scenario.written(self.scenario.grid.start_of(slot)),
                    site.id,
                    ours.load_watts,
                    ours.grid_watts(),
                    now.load_watts,
                    now.grid_watts(),
                    perfect.load_watts,
                    perfect.grid_watts(),
                )?;
            }
        }
        Ok(())
    }
}

fn part_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!(".{name}.part"))
}
