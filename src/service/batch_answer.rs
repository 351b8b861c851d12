//! The answer to a batch, made short enough for a client to take.
//!
//! What became of each item is always told; only what another call tells too is left out, and only where it must be.

use prost::Message;

use crate::{
    limits,
    proto::v1::{self, submit_jobs_item::Outcome},
};

/// Leaves out details until the answer has at most so many bytes: first all but each site's first refusal, then, from
/// the last item on, the details of errors, then those of jobs.
pub(super) fn shorten(answer: &mut v1::SubmitJobsResponse, bytes_max: usize) {
    if answer.encoded_len() <= bytes_max {
        return;
    }
    for item in &mut answer.items {
        if let Some(Outcome::Error(error)) = &mut item.outcome {
            keep_first_refusals(error);
        }
    }
    let mut n_bytes = answer.encoded_len();
    for leave_out in [leave_out_of_error, leave_out_of_job] {
        for item in answer.items.iter_mut().rev() {
            if n_bytes <= bytes_max {
                return;
            }
            let before = item.encoded_len();
            if let Some(outcome) = &mut item.outcome {
                leave_out(outcome);
            }
            // The length of a length may shrink too: the sum errs on the safe side.
            n_bytes = n_bytes.saturating_sub(before.saturating_sub(item.encoded_len()));
        }
    }
}

fn keep_first_refusals(error: &mut v1::ItemError) {
    error.sites.truncate(limits::BATCH_REFUSAL_SITES_MAX);
    for site in &mut error.sites {
        site.refusals.truncate(1);
    }
}

fn leave_out_of_error(outcome: &mut Outcome) {
    if let Outcome::Error(error) = outcome {
        error.sites.clear();
        error.field_violations.truncate(1);
    }
}

fn leave_out_of_job(outcome: &mut Outcome) {
    if let Outcome::Accepted(accepted) = outcome
        && let Some(job) = &mut accepted.job
    {
        job.spec = None;
        if let Some(placement) = &mut job.placement {
            let n_runs = placement.runs.len();
            // The first and the last run say when it starts and ends.
            if n_runs > 2 {
                placement.runs.drain(1..n_runs - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infeasible(n_sites: usize, n_refusals: usize) -> v1::SubmitJobsItem {
        let refusal = v1::Refusal {
            reason: v1::RefusalReason::CapacityBusy.into(),
            need: 64,
            have: 32,
            unit: "cpu_cores".into(),
            until: None,
            message: "the pool is taken by other jobs; ask for fewer cores".into(),
        };
        let sites = (0..n_sites).map(|i| v1::SiteRefusals {
            site_id: format!("site-{i}"),
            refusals: vec![refusal.clone(); n_refusals],
        });
        let error = v1::ItemError {
            code: 9,
            reason: v1::ErrorReason::JobInfeasible.into(),
            message: "no site can run the job as asked".into(),
            field_violations: Vec::new(),
            sites: sites.collect(),
        };
        v1::SubmitJobsItem {
            outcome: Some(Outcome::Error(error)),
        }
    }

    fn accepted(n_runs: usize) -> v1::SubmitJobsItem {
        let spec = v1::JobSpec {
            name: "x".repeat(63),
            labels: [("note".to_owned(), "y".repeat(128))].into(),
            ..v1::JobSpec::default()
        };
        let moment = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let runs = (0..i64::try_from(n_runs).unwrap()).map(|i| v1::Run {
            start_time: moment(1_000 + i),
            end_time: moment(2_000 + i),
            units: 1,
        });
        let job = v1::Job {
            job_id: "id".into(),
            spec: Some(spec),
            placement: Some(v1::Placement {
                runs: runs.collect(),
                ..v1::Placement::default()
            }),
            ..v1::Job::default()
        };
        let accepted = v1::SubmitJobResponse {
            job: Some(job),
            already_existed: false,
        };
        v1::SubmitJobsItem {
            outcome: Some(Outcome::Accepted(accepted)),
        }
    }

    fn refusals(item: &v1::SubmitJobsItem) -> Vec<usize> {
        match item.outcome.as_ref().unwrap() {
            Outcome::Error(error) => error.sites.iter().map(|site| site.refusals.len()).collect(),
            Outcome::Accepted(_) => panic!("{item:?}"),
        }
    }

    #[test]
    fn an_answer_that_fits_is_left_as_it_is() {
        let items = vec![infeasible(10, 5), accepted(9)];
        let whole = v1::SubmitJobsResponse { items };
        let mut answer = whole.clone();
        shorten(&mut answer, whole.encoded_len());
        assert_eq!(answer, whole);
    }

    #[test]
    fn a_thousand_infeasible_items_fit_and_each_still_says_why() {
        let bound = limits::BATCH_ANSWER_BYTES_MAX;
        let items = vec![infeasible(10, 8); limits::BATCH_JOBS_MAX];
        let mut answer = v1::SubmitJobsResponse { items };
        assert!(answer.encoded_len() > 4 << 20);
        shorten(&mut answer, bound);
        assert!(answer.encoded_len() <= bound);
        assert_eq!(answer.items.len(), limits::BATCH_JOBS_MAX);
        let expected = vec![1; limits::BATCH_REFUSAL_SITES_MAX];
        assert!(answer.items.iter().all(|item| refusals(item) == expected));
    }

    #[test]
    fn details_go_from_the_last_item_on_and_those_of_jobs_go_last() {
        let items = vec![accepted(9), infeasible(2, 1), accepted(9), infeasible(2, 1)];
        let whole = v1::SubmitJobsResponse { items };
        let mut answer = whole.clone();
        shorten(&mut answer, whole.encoded_len() - 1);
        assert_eq!(answer.items[..3], whole.items[..3]);
        assert!(refusals(&answer.items[3]).is_empty());
        shorten(&mut answer, 0);
        assert!(refusals(&answer.items[1]).is_empty());
        let Some(Outcome::Accepted(first)) = &answer.items[0].outcome else {
            panic!("{answer:?}");
        };
        let job = first.job.as_ref().unwrap();
        assert_eq!((job.job_id.as_str(), &job.spec), ("id", &None));
        let runs = &job.placement.as_ref().unwrap().runs;
        let times: Vec<i64> = runs
            .iter()
            .map(|run| run.start_time.unwrap().seconds)
            .collect();
        assert_eq!(times, [1_000, 1_008]);
    }
}
