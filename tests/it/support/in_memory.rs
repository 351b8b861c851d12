//! A whole server in this process: the real controller and services over pipes, on a store in memory.
//!
//! Its clock stands still until a test moves it, so that every answer can be worked out by hand; its disk outlives it.

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use hyper_util::rt::TokioIo;
use lancang::{
    clock::{Clock, VirtualClock},
    controller::{self, ControllerError, Handle, Options},
    domain::ids::JobId,
    service,
    signing::SigningKey,
    slot::{SlotGrid, TimeMs},
    state::Settings,
    store::{
        self, MemoryStore,
        memory::{MemoryDisk, Survivors},
    },
};
use tokio::{io::DuplexStream, net::TcpListener, sync::mpsc};
use tokio_stream::{
    StreamExt,
    wrappers::{TcpListenerStream, UnboundedReceiverStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

/// Where the clock stands at first: 2026-11-24T00:00:00Z, 08:00 in Yunnan, the start of a slot.
pub(crate) const START_S: i64 = 1_795_478_400;
/// Length of a slot, seconds.
pub(crate) const SLOT_S: i64 = 900;
/// Slots of the horizon unless a test says otherwise: two days, so that a placement is quick in debug builds.
pub(crate) const HORIZON_SLOTS: u32 = 192;

/// Messages after which the controller has surely re-planned what was due: it lets 32 go first under load.
const TURNS_TO_SETTLE: usize = 40;

/// A server on a disk in memory.
pub(crate) struct TestServer {
    pub(crate) disk: MemoryDisk,
    options: Options,
    clock: Arc<VirtualClock>,
    /// `None` only while it restarts.
    running: Option<Running>,
}

struct Running {
    handle: Handle,
    writer: thread::JoinHandle<Result<(), ControllerError>>,
    stop: CancellationToken,
    /// The server's ends of new pipes.
    pipes: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    channel: Channel,
    routes: Routes,
}

/// The options of [`TestServer::start`].
pub(crate) fn options() -> Options {
    Options {
        // Short enough for a test to see forecasts grow old within its horizon.
        stale_after_ms: 26 * 3_600_000,
        ..Options::new(Settings {
            grid: SlotGrid::new(900).unwrap(),
            horizon_slots: HORIZON_SLOTS,
            live_jobs_max: 100_000,
        })
    }
}

impl TestServer {
    /// A server without sites, at [`START_S`].
    pub(crate) async fn start() -> Self {
        Self::with_options(options()).await
    }

    /// The same with other options.
    pub(crate) async fn with_options(options: Options) -> Self {
        let disk = MemoryDisk::new();
        let clock = Arc::new(VirtualClock::at(TimeMs(START_S * 1_000)));
        let running = Running::on(&disk, options, clock.clone()).await;
        Self {
            disk,
            options,
            clock,
            running: Some(running),
        }
    }

    /// A channel that all clients of the test may share.
    pub(crate) fn channel(&self) -> Channel {
        self.running().channel.clone()
    }

    /// A channel over a connection of its own, with its own flow control.
    pub(crate) async fn connect(&self) -> Channel {
        connect(self.running().pipes.clone()).await
    }

    /// An address of this machine at which the server listens as well, for programs of their own.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = self.running();
        let server = service::transport().add_routes(running.routes.clone());
        let stopped = running.stop.clone().cancelled_owned();
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, stopped));
        address
    }

    /// The controller's handle, for what the API does not show.
    pub(crate) fn handle(&self) -> &Handle {
        &self.running().handle
    }

    /// The present moment.
    pub(crate) fn now(&self) -> TimeMs {
        self.clock.now()
    }

    /// Moves the clock on and waits until the server has followed.
    pub(crate) async fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap();
        self.clock.set(self.now().plus_ms(ms));
        self.settle().await;
    }

    /// Moves the clock on by so many seconds, and the server has yet to notice.
    pub(crate) fn jump(&self, seconds: i64) {
        self.clock.set(self.now().plus_ms(seconds * 1_000));
    }

    /// Moves the clock on by whole slots and waits until the server has followed.
    pub(crate) async fn advance_slots(&self, slots: u32) {
        self.advance(Duration::from_secs(900) * slots).await;
    }

    /// Waits until everything that is due has been planned anew.
    pub(crate) async fn settle(&self) {
        for _ in 0..TURNS_TO_SETTLE {
            // Nobody has this job: the question costs nothing, and each one is a turn of the controller.
            let nobody = self.handle().explain(JobId(0)).await;
            assert!(nobody.is_err());
        }
    }

    /// Stops the server in order and starts it again on the same disk at the same moment.
    pub(crate) async fn reopen(&mut self) {
        self.restart(|_| ()).await;
    }

    /// The same after a power cut: what was not synced is lost.
    pub(crate) async fn reopen_after_power_cut(&mut self) {
        self.restart(|disk| disk.crash(Survivors::None)).await;
    }

    /// Whether the writer has ended because the store failed; waits for its end.
    pub(crate) async fn writer_has_failed(mut self) -> bool {
        self.running.take().unwrap().end().await.is_err()
    }

    async fn restart(&mut self, cut: impl FnOnce(&MemoryDisk)) {
        cut(&self.disk);
        // After a power cut it may end with an error: its disk was gone.
        let _either_way = self.running.take().unwrap().end().await;
        let running = Running::on(&self.disk, self.options, self.clock.clone()).await;
        self.running = Some(running);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
}

impl Running {
    async fn on(disk: &MemoryDisk, options: Options, clock: Arc<VirtualClock>) -> Self {
        let id = Uuid::from_u128(7);
        let store = MemoryStore::open_or_create(disk, 900, id).unwrap();
        let (handle, writer) = controller::start(options, Box::new(store), clock).unwrap();
        let stop = CancellationToken::new();
        let rim_options = service::Options {
            stop: stop.clone(),
            schema_version: store::SCHEMA_VERSION,
            policy_version: controller::POLICY_VERSION.into(),
            store_id: id,
            signing_key: Arc::new(SigningKey::from_seed(&[7; 32])),
        };
        let rim = service::rim(handle.clone(), rim_options).await.unwrap();
        let (pipes, incoming) = mpsc::unbounded_channel();
        let incoming = UnboundedReceiverStream::new(incoming).chain(tokio_stream::pending());
        let server = service::transport().add_routes(rim.routes.clone());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, stopped));
        let channel = connect(pipes.clone()).await;
        Self {
            handle,
            writer,
            stop,
            pipes,
            channel,
            routes: rim.routes,
        }
    }

    async fn end(self) -> Result<(), ControllerError> {
        self.stop.cancel();
        self.handle.stop().await;
        let writer = self.writer;
        let joined = tokio::task::spawn_blocking(move || writer.join()).await;
        joined.unwrap().unwrap()
    }
}

async fn connect(pipes: mpsc::UnboundedSender<io::Result<DuplexStream>>) -> Channel {
    let connector = tower::service_fn(move |_| {
        let (client, server) = tokio::io::duplex(1 << 16);
        let sent = pipes.send(Ok(server)).map_err(io::Error::other);
        async move { sent.map(|()| TokioIo::new(client)) }
    });
    let endpoint = Endpoint::from_static("http://in.memory");
    endpoint.connect_with_connector(connector).await.unwrap()
}
