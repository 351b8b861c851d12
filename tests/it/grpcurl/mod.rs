//! grpcurl against the real server: every RPC on its good path, and what bad input gets.
//!
//! A row of `exercises!` is a test that fails unless its RPC was called and answered; the rows of all modules together
//! are compared with the descriptors, so that an RPC without a test is found.

mod jobs;
mod watch;
mod sites;
mod forecasts;
mod admin;
mod agents;
pub(crate) mod reports;
mod bad_inputs;
pub(crate) mod readme;

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeSet,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use jiff::{Timestamp, ToSpan};
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    grpcurl::{Grpcurl, GrpcurlOutput},
    process::ServerProcess,
    samples::{SLOT_S, create_site_named, job_spec, put_forecast, put_latencies, slot_start, with},
};

/// Declares tests of good paths: `name: "Service/Method"` runs the function `name` of the module with a client.
macro_rules! exercises {
    (by $client:expr; $($name:ident: $rpc:literal,)+) => {
        /// The RPCs that this module exercises.
        pub(super) const RPCS: &[&str] = &[$($rpc),+];

        mod good {
            $(
                #[test]
                fn $name() {
                    crate::grpcurl::exercise(&$client, $rpc, super::$name);
                }
            )+
        }
    };
}
use exercises;

/// Slots from the beginning of the tests to the earliest start of their jobs: two hours, so that no test outlasts them.
pub(super) const WAIT_SLOTS: i64 = 8;

/// The beginning of the slot in which the tests began. All times are told from it, so that a slot that ends meanwhile
/// moves no time against another.
static BEGIN: LazyLock<Timestamp> = LazyLock::new(|| slot_start(0));

/// A server with its directory; both are gone when the last test that uses them has ended.
pub(super) struct World {
    port: u16,
    _server: Mutex<ServerProcess>,
    _data_dir: TempDir,
}

/// A world that tests share as long as one of them runs.
pub(super) struct Shared {
    set_up: fn(&Client),
    running: Mutex<Weak<World>>,
}

/// The server of most good paths: each test has sites and jobs of its own.
static GOOD: Shared = Shared::new(|_| {});

/// Calls a server and remembers which methods have answered.
pub(super) struct Client {
    port: u16,
    /// Kept running as long as somebody calls it.
    _world: Option<Box<dyn Any>>,
    answered: RefCell<BTreeSet<String>>,
}

impl World {
    /// A fresh server.
    #[track_caller]
    pub(super) fn start() -> Arc<Self> {
        let data_dir = tempfile::tempdir().unwrap();
        let server = ServerProcess::start(data_dir.path());
        Self::around(server, data_dir)
    }

    /// A server that runs already, with its directory.
    pub(super) fn around(server: ServerProcess, data_dir: TempDir) -> Arc<Self> {
        Arc::new(Self {
            port: server.port(),
            _server: Mutex::new(server),
            _data_dir: data_dir,
        })
    }
}

impl Shared {
    pub(super) const fn new(set_up: fn(&Client)) -> Self {
        Self {
            set_up,
            running: Mutex::new(Weak::new()),
        }
    }

    /// The running world, or a new one.
    #[track_caller]
    pub(super) fn get(&self) -> Client {
        // A set-up that failed has left nothing that a second one would mind.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = running.upgrade() {
            return Client::new(world);
        }
        let world = World::start();
        (self.set_up)(&Client::new(Arc::clone(&world)));
        *running = Arc::downgrade(&world);
        Client::new(world)
    }
}

impl Client {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self {
            port: world.port,
            _world: Some(Box::new(world)),
            answered: RefCell::default(),
        }
    }

    /// A client of a server that the test itself looks after.
    pub(super) fn of(server: &ServerProcess) -> Self {
        Self::at(server.port())
    }

    /// A client of whatever listens on a port.
    pub(super) fn at(port: u16) -> Self {
        Self {
            port,
            _world: None,
            answered: RefCell::default(),
        }
    }

    /// The same client, which keeps what it calls running.
    pub(super) fn keeping(self, world: impl Any) -> Self {
        Self {
            _world: Some(Box::new(world)),
            ..self
        }
    }

    /// A client with a server of its own, for what others would disturb: each change makes the server plan anew, and
    /// changes of several tests at once would share a cause.
    #[track_caller]
    pub(super) fn alone() -> Self {
        Self::new(World::start())
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Calls a method with one message, whatever becomes of it.
    #[track_caller]
    pub(super) fn call(&self, method: &str, message: &Value) -> GrpcurlOutput {
        self.run(method, Grpcurl::new(self.port(), method).message(message))
    }

    /// Runs a call that was prepared otherwise.
    #[track_caller]
    pub(super) fn run(&self, method: &str, call: Grpcurl) -> GrpcurlOutput {
        let output = call.run();
        if !output.messages.is_empty() {
            self.answered.borrow_mut().insert(method.to_owned());
        }
        output
    }

    /// The only message of a call that goes well.
    #[track_caller]
    pub(super) fn ok(&self, method: &str, message: &Value) -> Value {
        self.call(method, message).ok().clone()
    }

    /// Makes a site with hydro power only, 20 ms from Vientiane and Bangkok, whose forecast for the next two days has
    /// this median; gives the id.
    #[track_caller]
    pub(super) fn site(&self, site_id: &str, p50_watts: u64) -> String {
        let site = hydro_site(site_id);
        self.ok("SiteService/CreateSite", &site);
        self.ok("SiteService/PutLatencies", &put_latencies(&[site_id]));
        let forecast = put_forecast(&hydro_of(site_id), 192, p50_watts);
        self.ok("ForecastService/PutForecast", &forecast);
        site_id.to_owned()
    }

    /// Submits a job and gives it.
    #[track_caller]
    pub(super) fn submit(&self, key: &str, spec: &Value) -> Value {
        let request = json!({ "idempotency_key": key, "spec": spec });
        self.ok("JobService/SubmitJob", &request)["job"].clone()
    }

    /// The job as it is now.
    #[track_caller]
    pub(super) fn job(&self, job_id: &Value) -> Value {
        self.ok("JobService/GetJob", &json!({ "job_id": job_id }))["job"].clone()
    }

    /// The job once it is in this state: what follows a command comes a moment later.
    #[track_caller]
    pub(super) fn job_once(&self, job_id: &Value, state: &str, cause: &str) -> Value {
        const TRIES: usize = 300;
        for _ in 0..TRIES {
            let job = self.job(job_id);
            if job["state"] == state && job["cause"] == cause {
                return job;
            }
        }
        panic!("not {state} by {cause}: {:#}", self.job(job_id));
    }

    /// What the server says of itself.
    #[track_caller]
    pub(super) fn info(&self) -> Value {
        self.ok("AdminService/GetServerInfo", &json!({}))
    }
}

/// Runs the test of an RPC.
#[track_caller]
fn exercise(client: &Client, rpc: &str, test: fn(&Client)) {
    test(client);
    assert!(
        client.answered.borrow().contains(rpc),
        "the test of {rpc} got no answer from it"
    );
}

/// `CreateSiteRequest` of the usual site, without solar power.
pub(super) fn hydro_site(site_id: &str) -> Value {
    let site = create_site_named(site_id);
    let hydro = site["site"]["supplies"][0].clone();
    with(site, "/site/supplies", vec![hydro])
}

pub(super) fn hydro_of(site_id: &str) -> String {
    format!("{site_id}/hydro")
}

/// The usual job for these sites only, which starts in two hours at the earliest.
pub(super) fn job_at(site_ids: &[&str]) -> Value {
    job_from(site_ids, first())
}

/// The earliest start of the usual job.
pub(super) fn first() -> Timestamp {
    *BEGIN + (WAIT_SLOTS * SLOT_S).seconds()
}

/// The usual job for these sites only, between `first` and 16 slots later.
///
/// It draws 2 x 500 W x 1.2 = 1,200 W for an hour: 4 slots, 4,320,000 watt-seconds, 1.2 kWh.
pub(super) fn job_from(site_ids: &[&str], first: Timestamp) -> Value {
    let spec = with(job_spec(), "/data_policy/allowed_sites", site_ids.to_vec());
    let spec = with(spec, "/timing/earliest_start", first.to_string());
    with(spec, "/timing/finish_deadline", after(first, 16))
}

/// The moment this many slots after another one.
pub(super) fn after(moment: Timestamp, slots: i64) -> String {
    (moment + (slots * SLOT_S).seconds()).to_string()
}

/// The start of a slot, counted from the beginning of the tests, as the server writes it.
pub(super) fn time(slots_ahead: i64) -> String {
    after(*BEGIN, slots_ahead)
}

/// The moment this many seconds from now.
pub(super) fn from_now(seconds: i64) -> String {
    (Timestamp::now() + seconds.seconds()).to_string()
}

/// A number of the API: 64 bits are text in JSON.
#[track_caller]
pub(super) fn number(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::String(text) => text.parse().unwrap(),
        other => other.as_u64().unwrap(),
    }
}

/// The texts at one field of every entry of a list.
pub(super) fn column<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .map(|entry| entry[field].as_str().unwrap_or_default())
        .collect()
}

#[test]
fn every_rpc_has_a_test_of_its_good_path() {
    let pool = DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap();
    let described: BTreeSet<String> = pool
        .services()
        .filter(|service| service.package_name() == "lancang.v1")
        .flat_map(|service| {
            let methods = service.methods();
            methods
                .map(|method| format!("{}/{}", service.name(), method.name()))
                .collect::<Vec<_>>()
        })
        .collect();
    let modules = [
        jobs::RPCS,
        watch::RPCS,
        sites::RPCS,
        forecasts::RPCS,
        admin::RPCS,
        agents::RPCS,
        reports::RPCS,
    ];
    let exercised: BTreeSet<String> = modules.concat().iter().map(|&rpc| rpc.to_owned()).collect();
    assert_eq!(exercised, described);
    assert!(!described.is_empty());
}
