//! Jobs, quotes, explanations and changes as text.
//!
//! A change shows the old and the new plan side by side with its cause.

use crate::{
    cli::{
        output::Table,
        render::{
            attempt_end_name, bits_per_second, bytes, card, cause_name, permille,
            placement::{
                contract_grams, end_of, placement_card, placement_phrase, start_of,
                suggestion_lines, verdict_table,
            },
            quantity::kwh,
            state_name, table, text,
        },
        time::{View, duration_text},
    },
    proto::v1,
};

impl Table for v1::Job {
    const NAME: &'static str = "lancang.v1.Job";

    fn table(&self, view: &View) -> String {
        let spec = self.spec.clone().unwrap_or_default();
        let timing = spec.timing.unwrap_or_default();
        let labels: Vec<String> = spec
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let origin = spec.origin.clone().unwrap_or_default();
        let input = spec.staging.map_or_else(String::new, |staging| {
            format!(
                "{} at up to {}",
                bytes(staging.input_bytes),
                bits_per_second(staging.max_bits_per_second)
            )
        });
        let mut parts = vec![card(&[
            ("job", self.job_id.clone()),
            ("name", spec.name.clone()),
            (
                "state",
                format!(
                    "{} ({})",
                    state_name(self.state()),
                    cause_name(self.cause())
                ),
            ),
            ("note", self.note.clone()),
            ("retry of", self.retry_of.clone()),
            ("origin", format!("{}{}", origin.city_id, origin.zone_id)),
            ("labels", labels.join(", ")),
            ("priority", spec.priority.to_string()),
            (
                "tasks",
                format!("{} x {} W", spec.task_count, spec.task_power_watts),
            ),
            ("runtime", duration_text(timing.runtime.as_ref())),
            ("speeds", speeds_text(&spec)),
            ("input", input),
            (
                "runs",
                spec.execution
                    .as_ref()
                    .map_or_else(String::new, |execution| argv_text(&execution.argv)),
            ),
            ("earliest start", view.time(timing.earliest_start.as_ref())),
            ("deadline", view.time(timing.finish_deadline.as_ref())),
            ("created", view.time(self.create_time.as_ref())),
            ("moved", format!("{} times", self.replan_count)),
            ("revision", self.revision.to_string()),
            ("etag", self.etag.clone()),
        ])];
        if let Some(placement) = &self.placement {
            parts.push(placement_card(placement, view));
        }
        if !self.attempts.is_empty() {
            parts.push(attempt_table(&self.attempts, view));
        }
        parts.join("\n\n")
    }
}

impl Table for v1::SubmitJobResponse {
    const NAME: &'static str = "lancang.v1.SubmitJobResponse";

    fn table(&self, view: &View) -> String {
        self.job
            .as_ref()
            .map_or_else(String::new, |job| job.table(view))
    }
}

impl Table for v1::ListJobsResponse {
    const NAME: &'static str = "lancang.v1.ListJobsResponse";

    fn table(&self, view: &View) -> String {
        let zone = view.zone_name();
        let mut table = table([
            "job",
            "name",
            "prio",
            "state",
            "site",
            &format!("start ({zone})"),
            "end",
            "green",
            "gCO2e",
            "cause",
        ]);
        for job in &self.jobs {
            let placement = job.placement.as_ref();
            table.add_row([
                job.job_id.clone(),
                job.spec
                    .as_ref()
                    .map(|spec| spec.name.clone())
                    .unwrap_or_default(),
                job.spec
                    .as_ref()
                    .map(|spec| spec.priority.to_string())
                    .unwrap_or_default(),
                state_name(job.state()).to_owned(),
                placement.map_or_else(|| "-".to_owned(), |p| p.site_id.clone()),
                view.time(placement.and_then(start_of)),
                view.time(placement.and_then(end_of)),
                placement.map_or_else(|| "-".to_owned(), |p| permille(p.green_share_permille)),
                placement.map_or_else(|| "-".to_owned(), contract_grams),
                cause_name(job.cause()).to_owned(),
            ]);
        }
        with_token(text(&table), &self.next_page_token)
    }
}

/// Program and arguments, each quoted where it would not read as one word.
fn argv_text(argv: &[String]) -> String {
    let words = argv.iter().map(|word| {
        let is_plain = !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || "/._-=:,".contains(c));
        if is_plain {
            word.clone()
        } else {
            format!("{word:?}")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn attempt_table(attempts: &[v1::Attempt], view: &View) -> String {
    let zone = view.zone_name();
    let mut table = table([
        "attempt",
        "site",
        &format!("assigned ({zone})"),
        "started",
        "ended",
        "end",
        "ran",
        "kWh",
        "message",
    ]);
    for attempt in attempts {
        let end = attempt_end_name(attempt.end());
        table.add_row([
            attempt.fence.map_or(0, |fence| fence.attempt).to_string(),
            attempt.site_id.clone(),
            view.time(attempt.assign_time.as_ref()),
            view.time(attempt.start_time.as_ref()),
            view.time(attempt.end_time.as_ref()),
            match attempt.end() {
                v1::AttemptEnd::Exited => format!("{end} {}", attempt.exit_code),
                v1::AttemptEnd::Signalled => format!("{end} {}", attempt.signal),
                v1::AttemptEnd::Unspecified => "-".to_owned(),
                _ => end.to_owned(),
            },
            duration_text(attempt.run_time.as_ref()),
            match attempt.energy_watt_seconds {
                0 => "-".to_owned(),
                measured => kwh(measured.into()),
            },
            attempt.message.clone(),
        ]);
    }
    text(&table)
}

/// Speeds of a malleable job by number of units; empty for any other.
fn speeds_text(spec: &v1::JobSpec) -> String {
    let kind = spec.flexibility.as_ref().and_then(|it| it.kind.as_ref());
    let Some(v1::flexibility::Kind::Malleable(malleable)) = kind else {
        return String::new();
    };
    let speeds = malleable.speed_permille.iter();
    let speeds: Vec<String> = speeds
        .map(|speed| format!("{}.{:03}", speed / 1_000, speed % 1_000))
        .collect();
    speeds.join(", ")
}

/// A list with the way to its next page, when there is one.
pub(super) fn with_token(list: String, token: &str) -> String {
    if token.is_empty() {
        list
    } else {
        format!("{list}\nmore: --page-token {token}, or --all")
    }
}

impl Table for v1::QuoteJobResponse {
    const NAME: &'static str = "lancang.v1.QuoteJobResponse";

    fn table(&self, view: &View) -> String {
        let mut parts = Vec::new();
        match &self.placement {
            Some(placement) => {
                parts.push(format!(
                    "quote {} until {}",
                    self.quote_id,
                    view.time(self.expire_time.as_ref())
                ));
                parts.push(placement_card(placement, view));
                if 0 < self.moved_job_count {
                    parts.push(format!(
                        "planned jobs that move to make room for it: {}",
                        self.moved_job_count
                    ));
                }
            }
            None => parts.push("no site can run the job as asked".to_owned()),
        }
        if let Some(run_now) = &self.run_now {
            parts.push(format!("run at once: {}", placement_phrase(run_now, view)));
        }
        if !self.sites.is_empty() {
            parts.push(verdict_table(&self.sites, view));
        }
        if !self.suggestions.is_empty() {
            parts.push(suggestion_lines(&self.suggestions, view).join("\n"));
        }
        parts.join("\n\n")
    }
}

impl Table for v1::ExplainJobResponse {
    const NAME: &'static str = "lancang.v1.ExplainJobResponse";

    fn table(&self, view: &View) -> String {
        explanation(self, view)
    }
}

/// An explanation: the sentence, every site's verdict, the past of the placement, what would help.
fn explanation(answer: &v1::ExplainJobResponse, view: &View) -> String {
    let mut parts = vec![answer.summary.clone()];
    if !answer.sites.is_empty() {
        parts.push(verdict_table(&answer.sites, view));
    }
    if !answer.history.is_empty() {
        let zone = view.zone_name();
        let mut table = table([
            "revision",
            &format!("when ({zone})"),
            "cause",
            "trigger",
            "site",
            "start",
            "green",
        ]);
        for change in &answer.history {
            table.add_row([
                change.revision.to_string(),
                view.time(change.record_time.as_ref()),
                cause_name(change.cause()).to_owned(),
                change.trigger.clone(),
                change.site_id.clone(),
                view.time(change.start_time.as_ref()),
                permille(change.green_share_permille),
            ]);
        }
        parts.push(text(&table));
    }
    if !answer.suggestions.is_empty() {
        parts.push(suggestion_lines(&answer.suggestions, view).join("\n"));
    }
    parts.join("\n\n")
}

impl Table for v1::WatchJobsResponse {
    const NAME: &'static str = "lancang.v1.WatchJobsResponse";

    /// Bookmarks are for programs: they have no text.
    fn table(&self, view: &View) -> String {
        match &self.item {
            Some(v1::watch_jobs_response::Item::Event(event)) => event_line(event, view),
            Some(v1::watch_jobs_response::Item::Bookmark(_)) | None => String::new(),
        }
    }
}

impl Table for v1::SubmitJobsItem {
    const NAME: &'static str = "lancang.v1.SubmitJobsItem";

    fn table(&self, view: &View) -> String {
        match &self.outcome {
            Some(v1::submit_jobs_item::Outcome::Accepted(answer)) => {
                answer.job.as_ref().map_or_else(String::new, |job| {
                    let place = job
                        .placement
                        .as_ref()
                        .map(|placement| placement_phrase(placement, view))
                        .unwrap_or_default();
                    format!("{}  {}  {place}", job.job_id, state_name(job.state()))
                })
            }
            Some(v1::submit_jobs_item::Outcome::Error(_)) | None => String::new(),
        }
    }
}

impl Table for v1::SubmitJobStreamResponse {
    const NAME: &'static str = "lancang.v1.SubmitJobStreamResponse";

    fn table(&self, view: &View) -> String {
        match &self.outcome {
            Some(v1::submit_job_stream_response::Outcome::Accepted(job)) => format!(
                "{}  {}  {} {} {}",
                job.job_id,
                state_name(job.state()),
                job.site_id,
                view.time(job.start_time.as_ref()),
                permille(job.green_share_permille)
            ),
            Some(v1::submit_job_stream_response::Outcome::Error(_)) | None => String::new(),
        }
    }
}

/// One change as a line: when, which job, from where to where, and why.
fn event_line(event: &v1::JobEvent, view: &View) -> String {
    let job = event.job.clone().unwrap_or_default();
    let name = job
        .spec
        .as_ref()
        .map(|spec| spec.name.clone())
        .unwrap_or_default();
    let from = side(event.from_state(), event.old_placement.as_ref(), view);
    let to = side(event.to_state(), job.placement.as_ref(), view);
    let change = match event.from_state() {
        v1::JobState::Unspecified => to,
        _ => format!("{from} -> {to}"),
    };
    let cause = match event.trigger.as_str() {
        "" => cause_name(event.cause()).to_owned(),
        trigger => format!("{} {trigger}", cause_name(event.cause())),
    };
    format!(
        "{}  r{}  {}  {name}  {change}  [{cause}]",
        view.time(event.record_time.as_ref()),
        event.revision,
        job.job_id
    )
}

fn side(state: v1::JobState, placement: Option<&v1::Placement>, view: &View) -> String {
    match placement {
        Some(placement) => {
            format!(
                "{} {}",
                state_name(state),
                placement_phrase(placement, view)
            )
        }
        None => state_name(state).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::time::{to_proto, yunnan};

    fn placement(site: &str, start: &str, green: u32) -> v1::Placement {
        v1::Placement {
            site_id: site.to_owned(),
            runs: vec![v1::Run {
                start_time: Some(to_proto(start.parse().unwrap())),
                end_time: None,
                units: 1,
            }],
            green_share_permille: green,
            ..v1::Placement::default()
        }
    }

    #[test]
    fn a_move_shows_both_plans_and_the_cause() {
        let event = v1::JobEvent {
            revision: 42,
            record_time: Some(to_proto("2026-11-24T06:03:05Z".parse().unwrap())),
            from_state: v1::JobState::Planned.into(),
            to_state: v1::JobState::Planned.into(),
            cause: v1::ChangeCause::Forecast.into(),
            trigger: "dli-dali/wind".to_owned(),
            old_placement: Some(placement("kmg-gateway", "2026-11-24T08:00:00Z", 700)),
            job: Some(v1::Job {
                job_id: "j1".to_owned(),
                placement: Some(placement("dli-dali", "2026-11-24T12:15:00Z", 951)),
                spec: Some(v1::JobSpec {
                    name: "train".to_owned(),
                    ..v1::JobSpec::default()
                }),
                ..v1::Job::default()
            }),
            ..v1::JobEvent::default()
        };
        assert_eq!(
            event_line(&event, &View { zone: yunnan() }),
            "2026-11-24 14:03:05  r42  j1  train  PLANNED kmg-gateway 2026-11-24 16:00 70.0 % -> \
             PLANNED dli-dali 2026-11-24 20:15 95.1 %  [FORECAST dli-dali/wind]"
        );
    }

    #[test]
    fn an_infeasible_quote_says_so() {
        let text = v1::QuoteJobResponse::default().table(&View { zone: yunnan() });
        assert_eq!(text, "no site can run the job as asked");
    }

    #[test]
    fn a_list_says_how_to_go_on() {
        let list = v1::ListJobsResponse {
            jobs: vec![v1::Job {
                job_id: "j1".to_owned(),
                ..v1::Job::default()
            }],
            next_page_token: "t0".to_owned(),
            revision: 1,
        };
        let text = list.table(&View { zone: yunnan() });
        assert!(text.contains("START (+08:00)"), "{text}");
        assert!(text.ends_with("more: --page-token t0, or --all"), "{text}");
    }
}
