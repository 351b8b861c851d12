//! Clients that ask for everything at once until their server is gone.
//!
//! Each has its own connection, its own jobs and its own ledger; every acknowledgement is told to the test.

use std::{collections::VecDeque, sync::mpsc};

use lancang::proto::v1::{
    self, submit_job_stream_response::Outcome as Streamed, submit_jobs_item::Outcome,
};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    PATIENCE, Rng,
    client::{Clients, reason},
    ledger::{Change, Cordon, ForecastEntry, Gone, JobEntry, Known, Ledger, Phase},
    world::{SMALL_SITE, at_small_site, forecast, named},
};
use crate::support::{process::ServerProcess, samples::HYDRO};

/// Clients that submit one job a call and change their jobs.
const UNARY_CALLERS: u64 = 4;

/// Submissions on a stream without an answer.
const STREAM_WINDOW: usize = 32;

/// Jobs of a batch that is accepted as a whole or not at all.
pub(super) const BATCH_JOBS: usize = 5;

/// The label that names the batch of a job.
pub(super) const BATCH_LABEL: &str = "batch";

/// Clients at work.
pub(super) struct Load {
    callers: Vec<JoinHandle<Ledger>>,
    acknowledgements: mpsc::Receiver<()>,
}

/// One client.
struct Caller {
    name: String,
    clients: Clients,
    rng: Rng,
    base: v1::JobSpec,
    ledger: Ledger,
    acknowledgements: mpsc::Sender<()>,
    n_requests: u64,
}

impl Load {
    /// Starts the clients of a round; names of the round's jobs begin with its number.
    pub(super) fn start(
        runtime: &Runtime,
        server: &ServerProcess,
        base: &v1::JobSpec,
        round: u64,
        rng: &mut Rng,
    ) -> Self {
        let (sender, acknowledgements) = mpsc::channel();
        let mut caller = |kind: &str| Caller {
            name: format!("r{round}-{kind}"),
            clients: runtime.block_on(Clients::connect(server)),
            rng: rng.fork(),
            base: base.clone(),
            ledger: Ledger::default(),
            acknowledgements: sender.clone(),
            n_requests: 0,
        };
        let mut callers: Vec<_> = (0..UNARY_CALLERS)
            .map(|i| runtime.spawn(caller(&format!("unary{i}")).run_unary()))
            .collect();
        callers.push(runtime.spawn(caller("stream").run_stream()));
        callers.push(runtime.spawn(caller("batch").run_batches()));
        // Numbers of forecast issues rise from round to round.
        let first_issue = i64::try_from(round * 10_000).unwrap();
        callers.push(runtime.spawn(caller("operator").run_operator(first_issue)));
        Self {
            callers,
            acknowledgements,
        }
    }

    /// Waits until so many requests were acknowledged.
    #[track_caller]
    pub(super) fn wait_for(&self, n_acknowledged: u64) {
        for n in 0..n_acknowledged {
            let next = self.acknowledgements.recv_timeout(PATIENCE);
            assert!(
                next.is_ok(),
                "only {n} of {n_acknowledged} requests were acknowledged"
            );
        }
    }

    /// Waits until all clients have noticed that the server is gone; what they know together.
    pub(super) fn finish(self, runtime: &Runtime) -> Ledger {
        let mut all = Ledger::default();
        for caller in self.callers {
            let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, caller).await });
            all.merge(ended.expect("a client hangs").expect("a client failed"));
        }
        all
    }
}

impl Caller {
    /// Submits jobs one by one, and changes, repeats and reads its own.
    async fn run_unary(mut self) -> Ledger {
        loop {
            let dice = self.rng.below(10);
            let went_well = match dice {
                0..=5 => self.submit().await,
                6 => self.repeat().await,
                7 => self.read().await,
                _ => self.change().await,
            };
            if went_well.is_err() {
                return self.ledger;
            }
        }
    }

    /// Submits on a stream, many at once.
    async fn run_stream(mut self) -> Ledger {
        let Err(Gone) = self.stream().await;
        self.ledger
    }

    /// Submits batches, each all or nothing.
    async fn run_batches(mut self) -> Ledger {
        while self.submit_batch().await.is_ok() {}
        self.ledger
    }

    /// Cordons and uncordons the small site, submits jobs to it, and puts forecasts for both sites.
    async fn run_operator(mut self, first_issue: i64) -> Ledger {
        for number in first_issue.. {
            if self.operate(number).await.is_err() {
                break;
            }
        }
        self.ledger
    }

    fn acknowledged(&mut self, revision: u64) {
        self.ledger.saw(revision);
        // Nobody may count any more.
        let _nobody = self.acknowledgements.send(());
    }

    fn next_name(&mut self) -> String {
        self.n_requests += 1;
        format!("{}-{}", self.name, self.n_requests)
    }

    /// A submission that is in the ledger already.
    fn new_job(&mut self, batch: Option<&str>) -> v1::SubmitJobRequest {
        let name = self.next_name();
        let mut spec = named(&self.base, &name);
        if let Some(batch) = batch {
            spec.labels.insert(BATCH_LABEL.to_owned(), batch.to_owned());
        }
        let hold = self.rng.below(10) == 0;
        self.enter(JobEntry::new(spec, hold, batch.map(str::to_owned)))
    }

    fn enter(&mut self, entry: JobEntry) -> v1::SubmitJobRequest {
        let request = entry.request.clone();
        let key = request.idempotency_key.clone();
        self.ledger.jobs.insert(key, entry);
        request
    }

    async fn submit(&mut self) -> Result<(), Gone> {
        let request = self.new_job(None);
        self.send(request).await
    }

    async fn send(&mut self, request: v1::SubmitJobRequest) -> Result<(), Gone> {
        let key = request.idempotency_key.clone();
        let answer = self.clients.jobs.submit_job(request).await?.into_inner();
        assert!(!answer.already_existed, "{key} is new");
        let job = answer.job.unwrap();
        self.knows(&key, job.job_id, job.create_revision);
        Ok(())
    }

    fn knows(&mut self, key: &str, job_id: String, create_revision: u64) {
        let entry = self.ledger.jobs.get_mut(key).unwrap();
        entry.known = Some(Known {
            job_id,
            create_revision,
        });
        self.acknowledged(create_revision);
    }

    /// Repeats a submission: the same job, not a second one.
    async fn repeat(&mut self) -> Result<(), Gone> {
        let Some(name) = self.some_job(|_| true) else {
            return Ok(());
        };
        let entry = &self.ledger.jobs[&name];
        let (request, known) = (entry.request.clone(), entry.known.clone());
        let answer = self.clients.jobs.submit_job(request).await?.into_inner();
        let job = answer.job.unwrap();
        assert!(answer.already_existed, "{name} was submitted twice");
        assert_eq!(Some(job.job_id), known.map(|known| known.job_id));
        Ok(())
    }

    /// Reads a job: it is what it was acknowledged to be.
    async fn read(&mut self) -> Result<(), Gone> {
        let Some(name) = self.some_job(|_| true) else {
            return Ok(());
        };
        let entry = &self.ledger.jobs[&name];
        let (known, phase) = (entry.known.clone().unwrap(), entry.phase);
        let request = v1::GetJobRequest {
            job_id: known.job_id,
        };
        let answer = self.clients.jobs.get_job(request).await?.into_inner();
        assert_eq!(Phase::of(&answer.job.unwrap()), phase, "{name} was read");
        Ok(())
    }

    /// Holds, releases or cancels a job.
    async fn change(&mut self) -> Result<(), Gone> {
        let Some(name) = self.some_job(|entry| !entry.phase.verbs().is_empty()) else {
            return Ok(());
        };
        let request_id = self.next_name();
        let entry = self.ledger.jobs.get_mut(&name).unwrap();
        let change = Change {
            verb: self.rng.pick(entry.phase.verbs()).unwrap(),
            note: format!("as {request_id} asked"),
            request_id,
        };
        entry.lost = Some(change.clone());
        let job_id = entry.known.clone().unwrap().job_id;
        let job = change.send(&self.clients, &job_id).await?;
        assert_eq!(Phase::of(&job), change.verb.result(), "{name} was changed");
        self.ledger.jobs.get_mut(&name).unwrap().changed(change);
        self.acknowledged(job.revision);
        Ok(())
    }

    /// One of the acknowledged jobs.
    fn some_job(&mut self, is_wanted: impl Fn(&JobEntry) -> bool) -> Option<String> {
        let known = self
            .ledger
            .jobs
            .iter()
            .filter(|(_, entry)| entry.known.is_some());
        let wanted: Vec<&String> = known
            .filter(|(_, entry)| is_wanted(entry))
            .map(|(name, _)| name)
            .collect();
        self.rng.pick(&wanted).cloned()
    }

    async fn submit_batch(&mut self) -> Result<(), Gone> {
        let batch = self.next_name();
        let items: Vec<_> = (0..BATCH_JOBS)
            .map(|_| self.new_job(Some(&batch)))
            .collect();
        let keys: Vec<_> = items
            .iter()
            .map(|item| item.idempotency_key.clone())
            .collect();
        let request = v1::SubmitJobsRequest {
            items,
            all_or_nothing: true,
        };
        let answer = self.clients.jobs.submit_jobs(request).await?.into_inner();
        for (key, item) in keys.iter().zip(answer.items) {
            let Some(Outcome::Accepted(accepted)) = item.outcome else {
                panic!("{key} was not accepted: {item:?}");
            };
            let job = accepted.job.unwrap();
            self.knows(key, job.job_id, job.create_revision);
        }
        Ok(())
    }

    async fn stream(&mut self) -> Result<std::convert::Infallible, Gone> {
        let (sender, requests) = tokio::sync::mpsc::channel(STREAM_WINDOW);
        let requests = ReceiverStream::new(requests);
        let answers = self.clients.jobs.submit_job_stream(requests).await;
        let mut answers = answers?.into_inner();
        let mut waiting = VecDeque::new();
        let mut sequence = 0;
        loop {
            while waiting.len() < STREAM_WINDOW {
                sequence += 1;
                let submission = self.new_job(None);
                waiting.push_back((sequence, submission.idempotency_key.clone()));
                let submission = Some(submission);
                let request = v1::SubmitJobStreamRequest {
                    sequence,
                    submission,
                };
                // When the stream has ended the answers say why.
                let _ended = sender.send(request).await;
            }
            match answers.message().await {
                Ok(Some(answer)) => {
                    let (expected, key) = waiting.pop_front().unwrap();
                    assert_eq!(answer.sequence, expected, "answers come in order");
                    let Some(Streamed::Accepted(job)) = answer.outcome else {
                        panic!("{key} was not accepted: {answer:?}");
                    };
                    assert!(!job.already_existed, "{key} is new");
                    self.knows(&key, job.job_id, job.revision);
                }
                Ok(None) => panic!("a stream ended without a status"),
                Err(status) => {
                    let end = (status.code(), reason(&status));
                    self.ledger.stream_ends.push(end);
                    return Err(status.into());
                }
            }
        }
    }

    async fn operate(&mut self, number: i64) -> Result<(), Gone> {
        self.uncordon().await?;
        for _ in 0..2 {
            let name = self.next_name();
            let spec = at_small_site(named(&self.base, &name));
            let request = self.enter(JobEntry::new(spec, false, None));
            self.send(request).await?;
        }
        if self.rng.below(3) == 0 {
            let watts = 1_000 * (10 + self.rng.below(30));
            let small = format!("{SMALL_SITE}/hydro");
            self.put_forecast(forecast(&small, number, watts)).await?;
        }
        self.cordon().await?;
        if self.rng.below(3) == 0 {
            let watts = 1_000_000 * (200 + self.rng.below(60));
            self.put_forecast(forecast(HYDRO, number, watts)).await?;
        }
        Ok(())
    }

    async fn put_forecast(&mut self, request: v1::PutForecastRequest) -> Result<(), Gone> {
        self.ledger.forecasts.push(ForecastEntry {
            request: request.clone(),
            forecast_id: None,
            is_repeated: false,
        });
        let answer = self.clients.forecasts.put_forecast(request).await?;
        let receipt = answer.into_inner().receipt.unwrap();
        assert!(!receipt.already_existed, "{} is new", receipt.forecast_id);
        let entry = self.ledger.forecasts.last_mut().unwrap();
        entry.forecast_id = Some(receipt.forecast_id);
        self.acknowledged(receipt.revision);
        Ok(())
    }

    async fn cordon(&mut self) -> Result<(), Gone> {
        let request_id = self.next_name();
        let reason = format!("as {request_id} asked");
        self.ledger.cordon.get_or_insert_default().lost = Some(Some(reason.clone()));
        let request = v1::CordonSiteRequest {
            site_id: SMALL_SITE.to_owned(),
            reason,
            request_id,
        };
        let answer = self.clients.sites.cordon_site(request).await?;
        self.cordon_is_known(&answer.into_inner().site.unwrap());
        Ok(())
    }

    async fn uncordon(&mut self) -> Result<(), Gone> {
        self.ledger.cordon.get_or_insert_default().lost = Some(None);
        let request = v1::UncordonSiteRequest {
            site_id: SMALL_SITE.to_owned(),
            request_id: self.next_name(),
        };
        let answer = self.clients.sites.uncordon_site(request).await?;
        self.cordon_is_known(&answer.into_inner().site.unwrap());
        Ok(())
    }

    fn cordon_is_known(&mut self, site: &v1::Site) {
        let found = site.cordon.as_ref().filter(|cordon| cordon.cordoned);
        let found = found.map(|cordon| cordon.reason.clone());
        let known = self.ledger.cordon.as_mut().unwrap();
        assert_eq!(Some(&found), known.lost.as_ref(), "the site is as asked");
        *known = Cordon {
            acknowledged: found,
            lost: None,
        };
        let revision = site.etag.trim_start_matches('r').parse();
        self.acknowledged(revision.unwrap());
    }
}
