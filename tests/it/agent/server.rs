//! An agent service that does as the test says: it orders what it is told to and remembers all that it hears.
//!
//! Events count once, by number, and are acknowledged at once; offers stand in the orders until they are taken.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use lancang::{
    clock::Mono,
    proto::v1::{
        self, AttemptWish,
        agent_event::Kind,
        agent_service_server::{AgentService, AgentServiceServer},
    },
};
use tokio::{
    net::TcpListener,
    runtime,
    sync::{mpsc, oneshot, watch},
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub(crate) const SITE: &str = "kmg-chenggong";
pub(crate) const TOKEN: &str = "token-of-the-test";
const CREDENTIAL: &str = "credential-of-the-test";

/// Above everything that a loaded machine needs for one step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An attempt by job and number; the epoch is always 1.
pub(crate) type Key = (&'static str, u32);

/// What the server knows and wants.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) orders: BTreeMap<Key, v1::AttemptOrder>,
    /// Orders as they are, besides those above.
    pub(crate) raw_orders: Vec<v1::AttemptOrder>,
    /// Everything that happened, in order, each once.
    pub(crate) events: Vec<v1::AgentEvent>,
    /// What the last report said is held.
    pub(crate) held: Vec<v1::HeldAttempt>,
    pub(crate) n_reports: u64,
    pub(crate) n_polls: u64,
    pub(crate) n_enrolled: u64,
    pub(crate) stop_after: Duration,
    /// It hears but does not answer.
    pub(crate) is_silent: bool,
    /// It refuses everybody.
    pub(crate) refuses: bool,
    /// It has no streams.
    pub(crate) only_polls: bool,
}

/// The server of one test.
pub(crate) struct ScriptedServer {
    shared: Arc<Shared>,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    heard: Condvar,
    changed: watch::Sender<()>,
}

impl ScriptedServer {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                stop_after: Duration::from_secs(30),
                ..Default::default()
            }),
            heard: Condvar::new(),
            changed: watch::Sender::new(()),
        });
        let service = AgentServiceServer::new(Scripted(Arc::clone(&shared)));
        let (port_sender, port) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                port_sender
                    .send(listener.local_addr().unwrap().port())
                    .unwrap();
                let serving = Server::builder()
                    .add_service(service)
                    .serve_with_incoming(TcpListenerStream::new(listener));
                // Open streams are cut, as by a crash.
                tokio::select! {
                    served = serving => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            shared,
            port: port.blocking_recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Looks at what the server knows.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Changes what the server wants, and tells the agent.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.shared.changed.send_replace(());
        result
    }

    /// Orders that this runs.
    pub(crate) fn offer(&self, key: Key, offer: v1::AttemptOffer) {
        self.offer_as(key, offer, AttemptWish::Run);
    }

    /// Offers an attempt that is not to run yet, or not any more.
    pub(crate) fn offer_as(&self, key: Key, offer: v1::AttemptOffer, wish: AttemptWish) {
        let (job_id, attempt) = key;
        let order = v1::AttemptOrder {
            job_id: job_id.to_owned(),
            fence: Some(v1::Fence {
                site_epoch: 1,
                attempt,
            }),
            wish: wish.into(),
            offer: Some(offer),
            stop_grace: None,
            goes_on: false,
            units: 0,
        };
        self.change(|state| state.orders.insert(key, order));
    }

    /// Orders that this malleable one runs with so many units, of three at most.
    pub(crate) fn offer_units(&self, key: Key, mut offer: v1::AttemptOffer, units: u32) {
        let (job_id, attempt) = key;
        offer.max_units = 3;
        let order = v1::AttemptOrder {
            job_id: job_id.to_owned(),
            fence: Some(v1::Fence {
                site_epoch: 1,
                attempt,
            }),
            wish: AttemptWish::Run.into(),
            offer: Some(offer),
            units,
            ..v1::AttemptOrder::default()
        };
        self.change(|state| state.orders.insert(key, order));
    }

    /// Orders other units of an attempt.
    pub(crate) fn units(&self, key: Key, units: u32) {
        self.change(|state| state.orders.get_mut(&key).unwrap().units = units);
    }

    /// Orders something else of an attempt.
    pub(crate) fn wish(&self, key: Key, wish: AttemptWish, grace: Option<Duration>) {
        self.change(|state| {
            let order = state.orders.get_mut(&key).unwrap();
            order.wish = wish.into();
            order.stop_grace = grace.map(|grace| grace.try_into().unwrap());
        });
    }

    /// Orders that an attempt be stopped whose job goes on later.
    pub(super) fn pause(&self, key: Key, grace: Duration) {
        self.change(|state| {
            let order = state.orders.get_mut(&key).unwrap();
            order.wish = AttemptWish::Stop.into();
            order.stop_grace = Some(grace.try_into().unwrap());
            order.goes_on = true;
        });
    }

    /// Waits until the server has heard what it should.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&State) -> Option<T>) -> T {
        // The agent may go on reporting for ever.
        let end = Mono::now().after(PATIENCE);
        let mut state = self.state();
        loop {
            if let Some(found) = look(&state) {
                return found;
            }
            let left = end.since(Mono::now());
            if left.is_zero() {
                let events = state.events.clone();
                // What ends the agent needs the state once more.
                drop(state);
                panic!("{what}: only {events:?}");
            }
            state = self.shared.heard.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for an event of an attempt.
    #[track_caller]
    pub(crate) fn event<T>(&self, key: Key, what: &str, look: impl Fn(&Kind) -> Option<T>) -> T {
        self.wait_for(what, |state| state.kinds(key).iter().find_map(&look))
    }

    /// Waits until it began, and says what the engine calls it.
    #[track_caller]
    pub(crate) fn started(&self, key: Key) -> u32 {
        self.event(key, "started", |kind| match kind {
            Kind::Started(started) => Some(started.engine_id.parse().unwrap()),
            _ => None,
        })
    }

    /// Waits until it ended, and says how.
    #[track_caller]
    pub(crate) fn ended(&self, key: Key) -> v1::AttemptEnded {
        self.event(key, "ended", |kind| match kind {
            Kind::Ended(ended) => Some(ended.clone()),
            _ => None,
        })
    }

    /// Waits until the agent has had its say a few more times.
    #[track_caller]
    pub(crate) fn more_reports(&self, count: u64) {
        let until = self.state().n_reports + count;
        self.wait_for("reports", |state| (state.n_reports >= until).then_some(()));
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl State {
    /// What happened to an attempt, in order.
    pub(crate) fn kinds(&self, (job_id, attempt): Key) -> Vec<Kind> {
        self.events
            .iter()
            .filter(|event| event.job_id == job_id && event.fence.unwrap().attempt == attempt)
            .map(|event| event.kind.clone().unwrap())
            .collect()
    }

    fn hear(&mut self, report: v1::AgentReport) {
        assert_eq!(report.site_id, SITE);
        self.n_reports += 1;
        self.held = report.held;
        for event in report.events {
            let next = self.events.len() as u64 + 1;
            assert!(event.sequence <= next, "events have no gap");
            if event.sequence == next {
                self.events.push(event);
            } else {
                let known = &self.events[usize::try_from(event.sequence).unwrap() - 1];
                assert_eq!(&event, known, "an event never changes");
            }
        }
    }

    fn orders(&self, answered_report: u64) -> Option<v1::AgentOrders> {
        if self.is_silent {
            return None;
        }
        let is_taken = |key: &Key| !self.kinds(*key).is_empty();
        let orders = self.orders.iter().map(|(key, order)| {
            let mut order = order.clone();
            if is_taken(key) {
                order.offer = None;
            }
            order
        });
        Some(v1::AgentOrders {
            site_epoch: 1,
            server_time: None,
            heartbeat_interval: Some(Duration::from_millis(100).try_into().unwrap()),
            stop_after: Some(self.stop_after.try_into().unwrap()),
            acknowledged_sequence: self.events.len() as u64,
            attempts: orders.chain(self.raw_orders.iter().cloned()).collect(),
            revision: self.n_reports,
            answered_report,
        })
    }
}

/// The service: what the test and all streams share.
#[derive(Clone)]
struct Scripted(Arc<Shared>);

impl std::ops::Deref for Scripted {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let wanted = format!("Bearer {CREDENTIAL}");
        let given = request.metadata().get("authorization");
        let knows = given.is_some_and(|given| given.as_bytes() == wanted.as_bytes());
        if self.state.lock().unwrap().refuses || !knows {
            return Err(Status::unauthenticated("nobody knows this credential"));
        }
        Ok(())
    }

    fn hear(&self, report: Option<v1::AgentReport>) -> u64 {
        let report = report.unwrap();
        let number = report.report_number;
        self.state.lock().unwrap().hear(report);
        self.heard.notify_all();
        number
    }

    fn orders(&self, answered: u64) -> Option<v1::AgentOrders> {
        self.state.lock().unwrap().orders(answered)
    }

    async fn talk(
        &self,
        mut reports: Streaming<v1::SessionRequest>,
        orders: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    ) {
        let mut changed = self.changed.subscribe();
        let mut answered = 0;
        loop {
            tokio::select! {
                report = reports.message() => match report {
                    Ok(Some(message)) => answered = self.hear(message.report),
                    Ok(None) | Err(_) => return,
                },
                _ = changed.changed() => {}
            }
            if self.state.lock().unwrap().refuses {
                let _gone = orders
                    .send(Err(Status::unauthenticated("fenced off")))
                    .await;
                return;
            }
            if answered > 0
                && let Some(new) = self.orders(answered)
            {
                let message = v1::SessionResponse {
                    orders: Some(new),
                    log_reads: None,
                };
                if orders.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl AgentService for Scripted {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn enroll_agent(
        &self,
        request: Request<v1::EnrollAgentRequest>,
    ) -> Result<Response<v1::EnrollAgentResponse>, Status> {
        let request = request.into_inner();
        if (request.token.as_str(), request.site_id.as_str()) != (TOKEN, SITE) {
            return Err(Status::permission_denied("nobody knows this token"));
        }
        self.state.lock().unwrap().n_enrolled += 1;
        Ok(Response::new(v1::EnrollAgentResponse {
            credential: CREDENTIAL.to_owned(),
            site_epoch: 1,
        }))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.check(&request)?;
        if self.state.lock().unwrap().only_polls {
            return Err(Status::unimplemented("no streams here"));
        }
        let (orders, stream) = mpsc::channel(4);
        let service = self.clone();
        tokio::spawn(async move { service.talk(request.into_inner(), orders).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn poll(
        &self,
        request: Request<v1::PollRequest>,
    ) -> Result<Response<v1::PollResponse>, Status> {
        self.check(&request)?;
        let answered = self.hear(request.into_inner().report);
        self.state.lock().unwrap().n_polls += 1;
        match self.orders(answered) {
            Some(orders) => Ok(Response::new(v1::PollResponse {
                orders: Some(orders),
                log_reads: None,
            })),
            None => Err(Status::unavailable("silent")),
        }
    }
}
