//! Wiring: store, controller and service into one server that starts and stops.
//!
//! A server that stops lets calls in flight finish; one whose writer has failed stops serving and says so.

mod incoming;
mod signing_key;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use uuid::Uuid;

use self::incoming::Incoming;
pub use self::signing_key::SigningKeyError;
pub use crate::controller::VerifyReport;
use crate::{
    clock::{Clock, SystemClock},
    config::{self, Config},
    controller::{self, ControllerError, Handle, Published},
    limits,
    service::{self, Health, Rim},
    slot::SlotGrid,
    state::Settings,
    store::{self, SledStore, Store, StoreError},
};

/// A server that runs in this process.
#[derive(Debug)]
pub struct Embedded {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    health: Health,
    handle: Handle,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    writer: thread::JoinHandle<Result<(), ControllerError>>,
}

/// Why a server did not start, or did not stop well.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("the slot length of {0} s is not one of 300, 900, 1800 and 3600")]
    SlotSeconds(u32),
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A backup file cannot be opened.
    #[error("opening {}", file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the section `tls` cannot be read.
    #[error("reading {} of the configuration, {}", key, file.display())]
    TlsFile {
        /// The key that names it.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files of the section `tls` are no PEM, or do not belong together.
    #[error("using the files that the section tls of the configuration names")]
    Tls(#[source] tonic::transport::Error),
    /// The store cannot be opened.
    #[error("opening the store")]
    Store(#[source] StoreError),
    /// There is no key to sign statements with.
    #[error("reading the key that signs statements, ledger.signing_key of the configuration")]
    SigningKey(#[source] SigningKeyError),
    /// The controller cannot start.
    #[error("starting the controller")]
    Controller(#[source] ControllerError),
    /// The descriptors are broken.
    #[error("reading the descriptors for reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The signals cannot be waited for.
    #[error("waiting for signals")]
    Signals(#[source] io::Error),
    /// The transport failed.
    #[error("serving")]
    Transport(#[from] tonic::transport::Error),
    /// The writer stopped on an error: what was acknowledged is safe, nothing more is accepted.
    #[error("writing")]
    Writer(#[source] ControllerError),
    /// The writer ended without an error that could be told.
    #[error("the writer ended unexpectedly")]
    WriterGone,
}

/// Serves until SIGINT or SIGTERM, then lets calls in flight finish. Prints `listening on ADDRESS` once it serves.
///
/// # Errors
/// When it cannot start, or when the writer fails while it serves.
pub async fn run(config: Config) -> Result<(), StartError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let server = start_embedded(config).await?;
    announce(server.address);
    let mut published = server.handle.subscribe();
    let told = tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
        () = writer_gone(&mut published) => false,
    };
    if told {
        tracing::info!("stopping");
        return server.shutdown().await;
    }
    tracing::error!("the writer has stopped; no more requests are accepted");
    // A writer that ends while nobody asked it to is a failure, whatever it says.
    server.shutdown().await?;
    Err(StartError::WriterGone)
}

/// Starts a server and returns once it listens.
///
/// # Errors
/// When it cannot start.
pub async fn start_embedded(config: Config) -> Result<Embedded, StartError> {
    start_embedded_by(config, Arc::new(SystemClock)).await
}

/// Starts a server that goes by a clock of the caller's.
///
/// # Errors
/// When it cannot start.
pub async fn start_embedded_by(
    config: Config,
    clock: Arc<dyn Clock>,
) -> Result<Embedded, StartError> {
    let grid =
        SlotGrid::new(config.slot_seconds).ok_or(StartError::SlotSeconds(config.slot_seconds))?;
    let address = config.listen;
    let listening = |source| StartError::Listen { address, source };
    let mut server = service::transport();
    if let Some(tls) = &config.tls {
        server = server
            .tls_config(tls_config(tls)?)
            .map_err(StartError::Tls)?;
    }
    // Before the store is opened: a second server on the same address ends here.
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    let store = SledStore::open_or_create(&config.data_dir, config.slot_seconds, Uuid::now_v7())
        .map_err(StartError::Store)?;
    let signing_key =
        signing_key::load_or_make(&config.signing_key_file()).map_err(StartError::SigningKey)?;
    let store_id = store.info().store_id;
    let options = options(&config, grid);
    let (handle, writer) =
        controller::start(options, Box::new(store), clock).map_err(StartError::Controller)?;
    let stop = CancellationToken::new();
    let rim_options = service::Options {
        stop: stop.clone(),
        schema_version: store::SCHEMA_VERSION,
        policy_version: controller::POLICY_VERSION.into(),
        store_id,
        signing_key: Arc::new(signing_key),
    };
    let Rim { routes, health } = service::rim(handle.clone(), rim_options).await?;
    let incoming = Incoming::new(listener, limits::CONNECTIONS_MAX);
    let server = server.add_routes(routes);
    let stopped = stop.clone().cancelled_owned();
    Ok(Embedded {
        address,
        stop,
        health,
        handle,
        serving: tokio::spawn(server.serve_with_incoming_shutdown(incoming, stopped)),
        writer,
    })
}

fn tls_config(tls: &config::Tls) -> Result<ServerTlsConfig, StartError> {
    let read = |key, file: &Path| {
        std::fs::read(file).map_err(|source| StartError::TlsFile {
            key,
            file: file.into(),
            source,
        })
    };
    let certificate = read("tls.certificate", &tls.certificate)?;
    let identity = Identity::from_pem(certificate, read("tls.key", &tls.key)?);
    // Nobody holds a place for longer than who speaks without encryption.
    let patience = Duration::from_secs(limits::PREFACE_SECONDS_MAX);
    let config = ServerTlsConfig::new().identity(identity).timeout(patience);
    Ok(match &tls.client_ca {
        Some(file) => config.client_ca_root(Certificate::from_pem(read("tls.client_ca", file)?)),
        None => config,
    })
}

/// Reads the store of a directory that no server has open and says what is wrong with it.
///
/// # Errors
/// When there is no store, or a server has it open, or it cannot be read at all.
pub fn verify_directory(data_dir: &Path) -> Result<VerifyReport, StartError> {
    let mut store = SledStore::open(data_dir).map_err(StartError::Store)?;
    let seconds = store.info().slot_seconds;
    let grid = SlotGrid::new(seconds).ok_or(StartError::SlotSeconds(seconds))?;
    let config = Config::for_directory(SocketAddr::from(([127, 0, 0, 1], 0)), data_dir.into());
    let settings = options(&config, grid).settings;
    controller::check(&mut store, settings, None).map_err(StartError::Controller)
}

/// Makes a store in a directory that holds none from a backup file, and verifies it.
///
/// # Errors
/// When the file cannot be read or is damaged, or the directory holds a store; then there is no store afterwards.
pub fn restore_file(file: &Path, data_dir: &Path) -> Result<VerifyReport, StartError> {
    let input = std::fs::File::open(file).map_err(|source| StartError::Backup {
        file: file.into(),
        source,
    })?;
    store::backup::restore(io::BufReader::new(input), data_dir).map_err(StartError::Store)?;
    verify_directory(data_dir)
}

fn options(config: &Config, grid: SlotGrid) -> controller::Options {
    controller::Options {
        settings: Settings {
            grid,
            horizon_slots: config.horizon_slots,
            live_jobs_max: config.max_live_jobs,
        },
        stale_after_ms: u64::from(config.forecast_stale_after_seconds) * 1_000,
        replan_min_gain_permille: config.replan_min_gain_permille,
        replan_max_moves: usize::try_from(config.replan_max_moves_per_revision)
            .unwrap_or(usize::MAX),
        sweep_every_slots: grid.slots_for_ms(u64::from(config.replan_sweep_seconds) * 1_000),
        quote_valid_ms: i64::from(config.quote_valid_seconds) * 1_000,
        snapshot_every_records: config.snapshot_every_records,
        ended_jobs_kept_ms: i64::try_from(config.retention_terminal_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000),
        starts_as_planned: false,
        leases: controller::LeaseTimes {
            heartbeat_ms: u64::from(config.agents.heartbeat_seconds) * 1_000,
            silent_after_ms: u64::from(config.agents.silent_after_seconds) * 1_000,
            stop_after_ms: u64::from(config.agents.stop_after_seconds) * 1_000,
            lost_after_ms: u64::from(config.agents.lost_after_seconds) * 1_000,
        },
        ledger: controller::LedgerTimes {
            settle_after_ms: i64::from(config.ledger.settle_after_minutes) * 60_000,
            lines_days: config.ledger.lines_days,
            keep_days: config.ledger.keep_days,
        },
    }
}

impl Embedded {
    /// Stops: health says so, streams end with a status to resume by, calls in flight get some seconds to finish, and
    /// the store is closed.
    ///
    /// # Errors
    /// When the transport or the writer had failed.
    pub async fn shutdown(self) -> Result<(), StartError> {
        self.health.not_serving().await;
        self.stop.cancel();
        let drain = Duration::from_secs(limits::DRAIN_SECONDS_MAX);
        let mut serving = self.serving;
        let served = match timeout(drain, &mut serving).await {
            Ok(Ok(served)) => served,
            // The task ended by a panic, which the log has.
            Ok(Err(_)) => Ok(()),
            Err(_) => {
                tracing::warn!("some calls did not finish in time and are cut");
                serving.abort();
                Ok(())
            }
        };
        self.handle.stop().await;
        join(self.writer, drain).await?;
        Ok(served?)
    }
}

/// Waits for the writer to end; it ends once nobody can ask it any more.
async fn join(
    writer: thread::JoinHandle<Result<(), ControllerError>>,
    patience: Duration,
) -> Result<(), StartError> {
    let (tell, ended) = oneshot::channel();
    // Not a blocking task of the runtime: the end of the process must not wait for it.
    thread::spawn(move || {
        let _nobody_waits = tell.send(writer.join());
    });
    match timeout(patience, ended).await {
        Ok(Ok(Ok(result))) => result.map_err(StartError::Writer),
        Ok(Ok(Err(_)) | Err(_)) => Err(StartError::WriterGone),
        Err(_) => {
            tracing::warn!("the writer is still busy; what was acknowledged is safe");
            Ok(())
        }
    }
}

async fn writer_gone(published: &mut watch::Receiver<Arc<Published>>) {
    while published.changed().await.is_ok() {}
}

/// The one line that scripts wait for. A closed output must not end the server.
fn announce(address: SocketAddr) {
    let mut out = io::stdout().lock();
    let _closed = writeln!(out, "listening on {address}").and_then(|()| out.flush());
}
