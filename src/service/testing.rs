//! Builders for the tests of the service, and a controller that a test plays itself.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::{
    controller::{Commit, Handle, Message, Published},
    domain::{
        data_policy::{CnFlow, DataPolicy},
        ids::{CityId, JobId, PoolId, Revision, SiteId},
        job::{
            ChangeCause, ClientPlace, Flexibility, Job, JobSpec, JobState, Origin, TaskResources,
            Timing,
        },
        latency::{NetworkPath, RttQuantile},
        outlook::Confidence,
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
        site::Amounts,
    },
    limits,
    signing::SigningKey,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    state::{
        Core, Settings, State,
        event::{Applied, Event, Record},
    },
};

/// A job to be built: queued, of city `sgn`, created at 0.
pub(super) struct JobBuilder(Job);

pub(super) fn job(id: u128, name: &str) -> JobBuilder {
    let spec = JobSpec {
        name: name.into(),
        labels: Box::default(),
        origin: Origin {
            place: ClientPlace::City(CityId::parse("sgn").unwrap()),
            max_rtt_us: None,
            path: NetworkPath::Leased,
            quantile: RttQuantile::P50,
        },
        task: TaskResources {
            cpu_cores: 1,
            memory_mib: 1,
            gpus: 0,
            gpu_model: None,
            exclusive_node: false,
        },
        task_count: 1,
        task_power_watts: 100,
        timing: Timing {
            runtime_ms: 900_000,
            earliest_start: None,
            start_deadline: None,
            finish_deadline: None,
        },
        flexibility: Flexibility::Rigid,
        min_green_share_permille: 0,
        confidence: Confidence::Even,
        data_policy: Arc::new(DataPolicy::unprotected(CnFlow::DomesticOnly)),
        weights: None,
        priority: limits::PRIORITY_DEFAULT,
        staging: None,
        execution: None,
    };
    JobBuilder(Job {
        id: JobId(id),
        idempotency_key: format!("key-{id}").into(),
        payload_sha256: [0; 32],
        spec: Arc::new(spec),
        end_by: TimeMs(86_400_000),
        state: JobState::Queued,
        cause: ChangeCause::Submitted,
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        state_since: TimeMs(0),
        create_revision: Revision(1),
        revision: Revision(1),
        replan_count: 0,
        note: "".into(),
        history: Arc::default(),
        staged: None,
        retry_of: None,
        work: None,
    })
}

impl JobBuilder {
    pub(super) fn created(mut self, ms: i64) -> Self {
        self.0.created_at = TimeMs(ms);
        self
    }

    pub(super) fn served(mut self, priority: u32) -> Self {
        Arc::make_mut(&mut self.0.spec).priority = priority;
        self
    }

    pub(super) fn labelled(mut self, key: &str, value: &str) -> Self {
        let spec = Arc::make_mut(&mut self.0.spec);
        spec.labels = Box::new([(key.into(), value.into())]);
        self
    }

    pub(super) fn placed(self, site: &str, start: u32, end: u32) -> Self {
        self.in_state(JobState::Planned(Arc::new(placement(site, start, end))))
    }

    pub(super) fn in_state(mut self, state: JobState) -> Self {
        self.0.state = state;
        self
    }

    pub(super) fn build(self) -> Job {
        self.0
    }
}

/// A placement of 1 kW, three quarters of it hydro power.
pub(super) fn placement(site: &str, start: u32, end: u32) -> Placement {
    let slots = end - start;
    let energy = u64::from(slots) * 900 * 1_000;
    Placement {
        site: SiteId::parse(site).unwrap(),
        pool: PoolId::parse("cpu").unwrap(),
        runs: Box::new([Run::single(SlotRange::new(Slot(start), Slot(end)))]),
        amounts: Amounts::default(),
        power_watts: 1_000,
        green: Box::new([GreenStretch { slots, watts: 750 }]),
        energy: EnergyMix {
            green_watt_seconds: [energy / 4 * 3, 0, 0],
            grid_watt_seconds: energy / 4,
        },
        carbon: Carbon::default(),
        cost_micro_cny: 0,
        confidence: Confidence::Even,
        rtt_us: 1,
        fallback_slots: 0,
        policy_version: "test".into(),
        decided_revision: Revision(0),
        stage_in: None,
    }
}

/// The key that statements of tests are signed with.
pub(super) fn signing_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[7; 32]))
}

pub(super) fn settings() -> Settings {
    Settings {
        grid: SlotGrid::new(900).unwrap(),
        horizon_slots: 14 * 96,
        live_jobs_max: 1_000,
    }
}

/// An empty state.
pub(super) fn published() -> Published {
    published_with(State::new(settings()))
}

fn published_with(state: State) -> Published {
    Published {
        state,
        slot: Slot(0),
        history: imbl::Vector::new(),
        oldest_resumable: Revision(0),
        n_events: 0,
    }
}

/// A controller whose part a test plays: it applies records and publishes them.
pub(super) struct Stage {
    pub(super) handle: Handle,
    pub(super) messages: mpsc::Receiver<Message>,
    core: Core,
    history: imbl::Vector<Arc<Commit>>,
    oldest_resumable: Revision,
    publish: watch::Sender<Arc<Published>>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(State::new(settings()), TimeMs(1_000))
    }

    /// One that goes on from a state, at a moment.
    pub(super) fn with(state: State, now: TimeMs) -> Self {
        let (mailbox, messages) = mpsc::channel(16);
        let (publish, receiver) = watch::channel(Arc::new(published_with(state.clone())));
        let handle = Handle::detached(mailbox, receiver, now);
        Self {
            handle,
            messages,
            core: Core::restore(state),
            history: imbl::Vector::new(),
            oldest_resumable: Revision(0),
            publish,
        }
    }

    /// Records events as one revision and publishes it.
    pub(super) fn commit(&mut self, events: Vec<Event>) {
        let record = Record {
            revision: self.core.state().revision().next(),
            at: TimeMs(1_000),
            request: None,
            events,
        };
        let applied = self.core.apply(&record);
        if applied != Applied::default() {
            self.history.push_back(Arc::new(Commit {
                revision: record.revision,
                at: record.at,
                deltas: applied.jobs,
                sites: applied.sites,
            }));
        }
        self.publish();
    }

    /// Records new jobs as one revision.
    pub(super) fn submit(&mut self, jobs: impl IntoIterator<Item = JobBuilder>) {
        let revision = self.core.state().revision().next();
        let events = jobs.into_iter().map(|builder| {
            let mut job = builder.build();
            job.revision = revision;
            job.create_revision = revision;
            Event::JobSubmitted(Arc::new(job))
        });
        self.commit(events.collect());
    }

    /// Forgets the history up to and with a revision.
    pub(super) fn compact(&mut self, revision: u64) {
        self.oldest_resumable = Revision(revision);
        self.history.retain(|commit| commit.revision.0 > revision);
        self.publish();
    }

    fn publish(&self) {
        self.publish.send_replace(Arc::new(Published {
            state: self.core.state().clone(),
            slot: Slot(0),
            history: self.history.clone(),
            oldest_resumable: self.oldest_resumable,
            n_events: 0,
        }));
    }
}
