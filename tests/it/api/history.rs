//! Random histories: what clients and operators might do to three small sites, one after the other.
//!
//! Whatever happens, a step succeeds or is refused for a reason that has to do with it; the plan has settled after it.

use std::time::Duration;

use lancang::proto::v1;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};
use tokio::runtime;
use tonic::{Code, Status};

use super::{
    client::refusal,
    world::{at, forecast, hydro, job, latencies, pool, seconds, site, submission},
};
use crate::support::in_memory::{START_S, TestServer, options};

/// The sites, in the order of their ids.
pub(super) const SITES: [&str; 3] = ["a", "b", "c"];

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Submit(Draw),
    Batch(Vec<Draw>, bool),
    /// Of jobs the steps choose the one with this number, modulo how many there are.
    Cancel(usize),
    Hold(usize),
    Release(usize),
    /// Sets a finish deadline in so many slots from now.
    Deadline(usize, i64),
    /// Sets a label.
    Label(usize, &'static str),
    Cordon(usize),
    Uncordon(usize),
    Cap(usize, u64),
    Nodes(usize, u32),
    /// A site gets this much in each of the next hours; late issues were issued an hour ago.
    Forecast {
        site: usize,
        hours: Vec<u64>,
        is_late: bool,
    },
    RoundTrip(usize, u32),
    Advance(u32),
    Restart,
}

/// A job to be.
#[derive(Debug, Clone)]
pub(super) struct Draw {
    tasks: u32,
    cores: u32,
    gpus: u32,
    is_exclusive: bool,
    watts: u64,
    slots: i64,
    /// Slots from now to the earliest start, and from the end of the soonest run to the deadline.
    window: Option<(i64, i64)>,
    /// How the run may be cut or varied, unless it may not.
    kind: Option<v1::flexibility::Kind>,
    priority: u32,
    min_share: u32,
    max_rtt_us: u32,
    weights: Option<v1::Weights>,
    team: &'static str,
    is_held: bool,
}

/// A server with what happened to it so far.
pub(super) struct History {
    pub(super) server: TestServer,
    /// All jobs that were accepted, in order.
    pub(super) job_ids: Vec<String>,
    n_steps: u32,
}

/// So many cases, or what `PROPTEST_CASES` says.
pub(super) fn config(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    Config {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(cases),
        // A failure prints its input; it is kept as a test of its own.
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    }
}

/// Runs a test on a runtime of its own.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(test)
}

/// Pieces whose resumption costs nothing or a slot, or units that help more or less.
fn kinds() -> impl Strategy<Value = v1::flexibility::Kind> {
    use v1::flexibility::Kind;
    let pieces = (0..=1_i64).prop_map(|resume| {
        Kind::Interruptible(v1::Interruptible {
            min_chunk: seconds(900),
            resume_cost: seconds(resume * 900),
        })
    });
    let speeds = vec![
        vec![1_000, 2_000, 3_000],
        vec![1_000, 1_700, 2_100],
        vec![1_000, 1_200],
    ];
    let units =
        select(speeds).prop_map(|speed_permille| Kind::Malleable(v1::Malleable { speed_permille }));
    prop_oneof![pieces, units]
}

pub(super) fn draws() -> impl Strategy<Value = Draw> {
    let size = (
        1..=3_u32,
        select(vec![4, 16, 48]),
        select(vec![0, 0, 0, 4]),
        prop::bool::weighted(0.1),
    );
    let time = (
        select(vec![500, 1_000, 1_500]),
        1..=8_i64,
        prop::option::weighted(0.7, (0..24_i64, 0..40_i64)),
        prop::option::weighted(0.5, kinds()),
    );
    let wishes = (
        select(vec![0, 0, 300, 800]),
        select(vec![0, 0, 20_000]),
        prop::option::weighted(0.2, (0..=500_000_u64, 1..=200_000_u64)),
        select(vec!["film", "bank"]),
        prop::bool::weighted(0.1),
        0..=10_u32,
    );
    (size, time, wishes).prop_map(|(size, time, wishes)| Draw {
        tasks: size.0,
        cores: size.1,
        gpus: size.2,
        is_exclusive: size.3,
        watts: time.0,
        slots: time.1,
        window: time.2,
        kind: time.3,
        priority: wishes.5,
        min_share: wishes.0,
        max_rtt_us: wishes.1,
        weights: wishes.2.map(|(grid, delay)| v1::Weights {
            grid_energy_micro_cny_per_kwh: grid,
            carbon_micro_cny_per_kg: 0,
            cost_permille: 1_000,
            delay_micro_cny_per_hour: delay,
        }),
        team: wishes.3,
        is_held: wishes.4,
    })
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let any_job = 0..1_000_usize;
    let any_site = 0..SITES.len();
    let forecasts = (
        any_site.clone(),
        vec(select(vec![0, 800, 2_000, 8_000]), 4..24),
        prop::bool::weighted(0.2),
    );
    prop_oneof![
        12 => draws().prop_map(Step::Submit),
        3 => (vec(draws(), 1..6), any::<bool>()).prop_map(|(jobs, all)| Step::Batch(jobs, all)),
        2 => any_job.clone().prop_map(Step::Cancel),
        1 => any_job.clone().prop_map(Step::Hold),
        1 => any_job.clone().prop_map(Step::Release),
        1 => (any_job.clone(), 1..60_i64).prop_map(|(i, slots)| Step::Deadline(i, slots)),
        1 => (any_job, select(vec!["film", "bank"])).prop_map(|(i, team)| Step::Label(i, team)),
        1 => any_site.clone().prop_map(Step::Cordon),
        2 => any_site.clone().prop_map(Step::Uncordon),
        1 => (any_site.clone(), select(vec![1_500, 3_000, 6_000, 12_000]))
            .prop_map(|(i, watts)| Step::Cap(i, watts)),
        1 => (any_site.clone(), 1..=3_u32).prop_map(|(i, nodes)| Step::Nodes(i, nodes)),
        4 => forecasts.prop_map(|(site, hours, is_late)| Step::Forecast { site, hours, is_late }),
        1 => (any_site, select(vec![10_000, 40_000, 60_000]))
            .prop_map(|(i, rtt_us)| Step::RoundTrip(i, rtt_us)),
        2 => (1..=4_u32).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

/// Site `c` has GPUs; the others are two nodes of 64 cores under 6 kW.
fn sites() -> Vec<v1::Site> {
    let sites = SITES.into_iter().zip([1_000, 1_200, 1_300]);
    sites
        .map(|(site_id, pue_permille)| v1::Site {
            pools: pools(site_id, 2),
            power_cap_watts: 6_000,
            pue_permille,
            ..site(site_id)
        })
        .collect()
}

fn pools(site_id: &str, nodes: u32) -> Vec<v1::Pool> {
    let mut pools = vec![pool("general", nodes)];
    if site_id == "c" {
        pools.push(v1::Pool {
            gpus_per_node: 8,
            gpu_model: "h20".into(),
            ..pool("gpus", nodes)
        });
    }
    pools
}

impl History {
    /// The three sites, and nothing has happened yet. Forecasts never go stale: that alone re-plans nothing.
    pub(super) async fn new() -> Self {
        let mut patient = options();
        patient.stale_after_ms = 365 * 86_400_000;
        let server = TestServer::with_options(patient).await;
        server.create_sites(sites()).await;
        Self {
            server,
            job_ids: Vec::new(),
            n_steps: 0,
        }
    }

    /// Seconds since the start of the tests' time.
    fn now_s(&self) -> i64 {
        self.server.now().0 / 1_000 - START_S
    }

    /// Carries out a step; panics when it is refused for a reason that no such step should meet.
    pub(super) async fn carry_out(&mut self, step: &Step) {
        self.n_steps += 1;
        if let Err(status) = self.try_step(step).await {
            let (code, reason) = refusal(&status);
            let may_be = ["JOB_INFEASIBLE", "WRONG_JOB_STATE"];
            assert_eq!(code, Code::FailedPrecondition, "{step:?}: {status:?}");
            assert!(may_be.contains(&reason.as_str()), "{step:?}: {status:?}");
        }
        self.server.settle().await;
    }

    async fn try_step(&mut self, step: &Step) -> Result<(), Status> {
        let server = &self.server;
        match step {
            Step::Submit(draw) => {
                let request = self.submission(draw, 0);
                let answer = server.try_submit(request).await?;
                self.job_ids.push(answer.job.unwrap().job_id);
            }
            Step::Batch(draws, all_or_nothing) => self.batch(draws, *all_or_nothing).await?,
            Step::Cancel(i) => drop(server.try_cancel(self.job(*i)).await?),
            Step::Hold(i) => drop(server.try_hold(self.job(*i)).await?),
            Step::Release(i) => drop(server.try_release(self.job(*i)).await?),
            Step::Deadline(i, slots) => {
                let mut spec = job();
                let deadline = at(self.now_s() / 900 + slots);
                let timing = spec.timing.as_mut().unwrap();
                timing.finish_deadline = Some(deadline);
                let paths = ["timing.finish_deadline"];
                let updated = server.try_update(self.job(*i), spec, &paths).await;
                // A deadline before the earliest start is wrong whatever the state.
                match updated {
                    Err(status) if status.code() == Code::InvalidArgument => {}
                    other => drop(other?),
                }
            }
            Step::Label(i, team) => {
                let mut spec = job();
                spec.labels.insert("team".into(), (*team).into());
                drop(server.try_update(self.job(*i), spec, &["labels"]).await?);
            }
            Step::Cordon(i) => server.cordon(SITES[*i]).await,
            Step::Uncordon(i) => server.uncordon(SITES[*i]).await,
            Step::Cap(i, watts) => {
                let capped = v1::Site {
                    power_cap_watts: *watts,
                    ..site(SITES[*i])
                };
                server.update_site(capped, &["power_cap_watts"]).await;
            }
            Step::Nodes(i, nodes) => {
                let resized = v1::Site {
                    pools: pools(SITES[*i], *nodes),
                    ..site(SITES[*i])
                };
                server.update_site(resized, &["pools"]).await;
            }
            Step::Forecast {
                site,
                hours,
                is_late,
            } => {
                // No two issues of a supply are of the same second.
                let late_by = if *is_late { 3_600 } else { 0 };
                let issued_at = self.now_s() + i64::from(self.n_steps) - late_by;
                let watts: Vec<u64> = hours.iter().flat_map(|watts| [*watts; 4]).collect();
                let from = self.now_s() / 900;
                let issue = forecast(&hydro(SITES[*site]), issued_at, from, &watts);
                server.put_forecast(issue).await;
            }
            Step::RoundTrip(i, rtt_us) => {
                let put = latencies(*rtt_us, &[SITES[*i]]);
                server.sites().put_latencies(put).await?;
            }
            Step::Advance(slots) => server.advance(Duration::from_secs(900) * *slots).await,
            Step::Restart => self.server.reopen().await,
        }
        Ok(())
    }

    async fn batch(&mut self, draws: &[Draw], all_or_nothing: bool) -> Result<(), Status> {
        use v1::submit_jobs_item::Outcome;
        let items = draws.iter().enumerate();
        let request = v1::SubmitJobsRequest {
            items: items.map(|(i, draw)| self.submission(draw, i)).collect(),
            all_or_nothing,
        };
        let answer = self.server.jobs().submit_jobs(request).await?;
        for item in answer.into_inner().items {
            match item.outcome.unwrap() {
                Outcome::Accepted(accepted) => self.job_ids.push(accepted.job.unwrap().job_id),
                Outcome::Error(error) => {
                    assert_eq!(error.reason(), v1::ErrorReason::JobInfeasible);
                }
            }
        }
        Ok(())
    }

    /// The job with this number; one that is nobody's when there is none.
    fn job(&self, number: usize) -> &str {
        match self.job_ids.len() {
            0 => panic!("histories begin with a job"),
            n => &self.job_ids[number % n],
        }
    }

    fn submission(&self, draw: &Draw, item: usize) -> v1::SubmitJobRequest {
        let key = format!("step-{}-{item}", self.n_steps);
        let mut request = submission(&key, draw.spec(self.now_s() / 900));
        request.hold = draw.is_held;
        request
    }
}

impl Draw {
    /// A job that asks for little and may always wait: the first of every history.
    pub(super) fn easy() -> Self {
        Self {
            tasks: 1,
            cores: 4,
            gpus: 0,
            is_exclusive: false,
            watts: 500,
            slots: 1,
            window: None,
            kind: None,
            priority: 0,
            min_share: 0,
            max_rtt_us: 0,
            weights: None,
            team: "film",
            is_held: false,
        }
    }

    /// The description, drawn up in slot `now`.
    pub(super) fn spec(&self, now: i64) -> v1::JobSpec {
        let mut spec = job();
        spec.labels.insert("team".into(), self.team.into());
        spec.origin.as_mut().unwrap().max_rtt_us = self.max_rtt_us;
        let task = spec.task_resources.as_mut().unwrap();
        task.cpu_cores = self.cores;
        task.memory_mib = 4_096;
        task.gpus = self.gpus;
        task.exclusive_node = self.is_exclusive;
        spec.task_count = self.tasks;
        spec.task_power_watts = self.watts;
        let timing = spec.timing.as_mut().unwrap();
        timing.runtime = seconds(self.slots * 900);
        if let Some((from, slack)) = self.window {
            timing.earliest_start = Some(at(now + from));
            // Twice as long as it takes, for a job whose resumptions cost something.
            timing.finish_deadline = Some(at(now + from + 2 * self.slots + slack));
        }
        let kind = self.kind.clone();
        spec.flexibility = kind.map(|kind| v1::Flexibility { kind: Some(kind) });
        spec.priority = self.priority;
        spec.green = Some(v1::GreenRequirement {
            min_share_permille: self.min_share,
            confidence_permille: 500,
        });
        spec.weights = self.weights;
        spec
    }
}
