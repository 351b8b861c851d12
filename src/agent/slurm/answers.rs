//! Answers of slurmrestd, read leniently: the jobs of others may hold anything, and versions differ in what they leave out.
//!
//! A job counts as ours only by the whole mark: its name, and in its comment this agent and the same attempt again.

use serde::Deserialize;

use crate::agent::{
    attempt::AttemptKey,
    slurm::state::{JobState, SlurmJob},
};

/// What the names of our jobs begin with.
const NAME_HEAD: &str = "lancang-";

/// Codes of errors that the same request will meet again: of the controller, and of slurmrestd's reading. Those between and
/// below are of the way to Slurm (`slurm_errno.h`).
const REFUSALS: [std::ops::Range<i64>; 2] = [2_000..3_000, 9_000..10_000];

/// The marks that a job of Slurm bears.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) comment: String,
}

impl Mark {
    /// The mark of an attempt under an agent.
    pub(super) fn new(instance: &str, key: AttemptKey) -> Self {
        Self {
            name: format!("{NAME_HEAD}{key}"),
            comment: format!("lancang {instance} {key}"),
        }
    }
}

/// What became of a submission.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    /// Slurm has it under this number.
    Taken(u32),
    /// Slurm will not have it, and says why.
    Refused(String),
    /// It is not known; the same may be asked again later.
    Unclear(String),
}

#[derive(Debug, Deserialize)]
struct JobsAnswer {
    jobs: Vec<JobAnswer>,
}

#[derive(Debug, Deserialize)]
struct JobAnswer {
    job_id: Option<u32>,
    name: Option<String>,
    comment: Option<String>,
    job_state: Option<String>,
    state_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorsAnswer {
    job_id: Option<i64>,
    #[serde(default)]
    errors: Vec<ErrorAnswer>,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    /// Its name differs between requests.
    #[serde(alias = "error_number")]
    error_code: Option<i64>,
    error: Option<String>,
    description: Option<String>,
}

/// The jobs of this agent among all that Slurm lists.
pub(super) fn jobs(body: &[u8], instance: &str) -> Result<Vec<SlurmJob>, serde_json::Error> {
    // Slurm does not promise that names of others are UTF-8.
    let answer: JobsAnswer = serde_json::from_str(&String::from_utf8_lossy(body))?;
    let ours = answer.jobs.into_iter().filter_map(|job| {
        let name = job.name?;
        let key = AttemptKey::parse(name.strip_prefix(NAME_HEAD)?)?;
        let is_ours = job.comment? == Mark::new(instance, key).comment;
        is_ours.then_some(SlurmJob {
            key,
            id: job.job_id?,
            state: JobState::parse(job.job_state.as_deref().unwrap_or_default())
                .because(job.state_reason.as_deref().unwrap_or_default()),
        })
    });
    Ok(ours.collect())
}

/// What a submission came to: a job exists if and only if it has a number, whatever errors say.
pub(super) fn submitted(body: &[u8]) -> Submitted {
    let text = String::from_utf8_lossy(body);
    let Ok(answer) = serde_json::from_str::<ErrorsAnswer>(&text) else {
        return Submitted::Unclear("the answer makes no sense".to_owned());
    };
    if let Some(id) = answer.job_id.and_then(|id| u32::try_from(id).ok())
        && id > 0
    {
        return Submitted::Taken(id);
    }
    let said = said(&answer);
    let mut codes = answer.errors.iter().filter_map(|error| error.error_code);
    match codes.any(|code| REFUSALS.iter().any(|range| range.contains(&code))) {
        true => Submitted::Refused(said),
        false => Submitted::Unclear(said),
    }
}

/// What errors in an answer say, in one line.
pub(super) fn errors(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    said(&serde_json::from_str(&text).unwrap_or_default())
}

fn said(answer: &ErrorsAnswer) -> String {
    let texts = answer.errors.iter().flat_map(|error| {
        let description = error.description.as_deref();
        [description, error.error.as_deref()]
    });
    let texts: Vec<&str> = texts.flatten().collect();
    match texts.is_empty() {
        true => "without a reason".to_owned(),
        false => texts.join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agent::slurm::state::Ending, domain::ids::JobId};

    /// As slurmrestd 22.05.8 answered.
    const JOBS: &[u8] = include_bytes!("recorded/jobs.json");
    const INSTANCE: &str = "01a21bb5-15b6-7427-9896-ce20f32a97ff";

    fn job(letter: u128, attempt: u32, id: u32, state: JobState) -> SlurmJob {
        let key = AttemptKey {
            job_id: JobId::parse(&format!("019a0000-0000-7000-8000-{letter:012x}")).unwrap(),
            site_epoch: 3,
            attempt,
        };
        SlurmJob { key, id, state }
    }

    #[test]
    fn our_jobs_are_read_from_a_list() {
        assert_eq!(
            jobs(JOBS, INSTANCE).unwrap(),
            [
                job(10, 1, 1, JobState::Holding),
                job(11, 1, 2, JobState::Waiting),
                job(12, 2, 3, JobState::Over(Ending::Failed)),
                job(13, 1, 4, JobState::Over(Ending::Cancelled)),
                job(14, 1, 5, JobState::Over(Ending::Completed)),
            ]
        );
    }

    #[test]
    fn jobs_of_others_are_none_of_ours() {
        assert_eq!(jobs(JOBS, "another-agent").unwrap(), []);
        let listed = |name: &str, comment: &str| {
            let job = serde_json::json!({"job_id": 1, "name": name, "comment": comment, "job_state": "RUNNING"});
            let list = serde_json::json!({ "jobs": [job] }).to_string();
            jobs(list.as_bytes(), "i").unwrap().len()
        };
        let key = "019a0000-0000-7000-8000-00000000000a.1.1";
        let ours = (format!("lancang-{key}"), format!("lancang i {key}"));
        assert_eq!(listed(&ours.0, &ours.1), 1);
        for (name, comment) in [
            (&*ours.0, ""),
            ("", &*ours.1),
            (
                &ours.0,
                "lancang i 019a0000-0000-7000-8000-00000000000a.1.2",
            ),
            ("lancang-../../x", "lancang i ../../x"),
            ("lancang-019a0000-0000-7000-8000-00000000000a.1.01", &ours.1),
            (&ours.0, &format!("{} ", ours.1)),
        ] {
            assert_eq!(listed(name, comment), 0, "{name} {comment}");
        }
    }

    #[test]
    fn what_others_put_into_their_jobs_blinds_nobody() {
        let list = b"{\"jobs\": [{\"job_id\": 7, \"name\": \"\xff\xfe\", \"comment\": null}, {}]}";
        assert_eq!(jobs(list, INSTANCE).unwrap(), []);
        assert!(jobs(b"{\"jobs\": [", INSTANCE).is_err());
        assert!(jobs(b"{}", INSTANCE).is_err());
    }

    #[test]
    fn a_submission_is_taken_if_it_has_a_number() {
        let held = include_bytes!("recorded/submit-held.json");
        assert_eq!(submitted(held), Submitted::Taken(2));
        let refused = include_bytes!("recorded/submit-refused.json");
        let said = "Invalid partition name specified".to_owned();
        assert_eq!(submitted(refused), Submitted::Refused(said));
        let down = include_bytes!("recorded/submit-down.json");
        let said = "Unable to contact slurm controller (connect failure)".to_owned();
        assert_eq!(submitted(down), Submitted::Unclear(said));
        for unclear in [
            &b""[..],
            b"{}",
            b"[]",
            b"{\"job_id\": 0}",
            b"{\"job_id\": -1}",
        ] {
            assert!(matches!(submitted(unclear), Submitted::Unclear(_)));
        }
    }

    #[test]
    fn errors_are_told_in_one_line() {
        let said = errors(include_bytes!("recorded/jobs-down.json"));
        assert_eq!(said, "Failed while looking for jobs: Unspecified error");
        assert_eq!(errors(b"no json"), "without a reason");
    }
}
