//! The trail of who changed what: one event of the log for each call that changes something or copies everything, and one
//! for each that was refused or may not be made at all, or that an agent reported in vain.
//!
//! Events have the target `audit`. They name calls, ids and reasons, and never repeat what was sent: no secret can be in it.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tonic::{
    Code, Extensions, Request, Status,
    codegen::{Service, http},
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tonic_types::StatusExt;
use tower::Layer;

use crate::{controller::Handle, domain::ids::Revision, proto::v1};

/// Begin of the paths of all our calls.
const PATHS: &str = "/lancang.v1.";

/// How the names of calls begin that change nothing; all others leave an event when they are accepted.
const READS: [&str; 7] = [
    "Get",
    "List",
    "Watch",
    "Explain",
    "Quote",
    "Read",
    "StreamLines",
];

/// The call that says itself when it is accepted: who speaks is known with the first report only.
const SESSION: &str = "AgentService/Session";

/// The call that agents repeat every few seconds: accepted ones are told on the level of debugging.
const POLL: &str = "AgentService/Poll";

/// Longest id that is told, in characters: what is longer is no id.
const ABOUT_CHARS_MAX: usize = 128;

/// Leaves the events.
#[derive(Clone)]
pub(super) struct AuditLayer {
    handle: Handle,
}

/// A service behind [`AuditLayer`].
#[derive(Clone)]
pub(super) struct Audit<S> {
    inner: S,
    handle: Handle,
}

/// What is known of one call.
#[derive(Debug, Clone)]
pub(super) struct Note {
    rpc: Arc<str>,
    from: Option<SocketAddr>,
    has_certificate: bool,
    said: Arc<Mutex<Said>>,
}

/// What the handler knows of it.
#[derive(Debug, Default)]
struct Said {
    /// The site that the agent who calls stands for.
    agent_of: Option<String>,
    /// What it is about, as an id.
    about: String,
}

impl AuditLayer {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Audit<S> {
        Audit {
            inner,
            handle: self.handle.clone(),
        }
    }
}

impl<S, B, R> Service<http::Request<B>> for Audit<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    R: 'static,
    S::Error: 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let Some(rpc) = request.uri().path().strip_prefix(PATHS) else {
            return Box::pin(self.inner.call(request));
        };
        let note = Note::new(rpc, request.extensions());
        request.extensions_mut().insert(note.clone());
        let answer = self.inner.call(request);
        let handle = self.handle.clone();
        Box::pin(async move {
            let answer = answer.await?;
            // A status in the headers is an error without a body; any other answer has begun.
            let refused = answer
                .headers()
                .contains_key("grpc-status")
                .then(|| Status::from_header_map(answer.headers()))
                .flatten()
                .filter(|status| status.code() != Code::Ok);
            match refused {
                Some(status) => note.refused(&status, &handle),
                None if &*note.rpc != SESSION => note.accepted(&handle),
                None => {}
            }
            Ok(answer)
        })
    }
}

/// Says what a call is about.
pub(super) fn about<T>(request: &Request<T>, id: &str) {
    if let Some(note) = Note::of(request.extensions()) {
        note.about(id);
    }
}

impl Note {
    fn new(rpc: &str, extensions: &Extensions) -> Self {
        let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
        let tcp = tls.map(TlsConnectInfo::get_ref);
        let tcp = tcp.or_else(|| extensions.get::<TcpConnectInfo>());
        let certificates = tls.and_then(TlsConnectInfo::peer_certs);
        Self {
            rpc: rpc.into(),
            from: tcp.and_then(TcpConnectInfo::remote_addr),
            has_certificate: certificates.is_some_and(|chain| !chain.is_empty()),
            said: Arc::default(),
        }
    }

    /// The note of a call; `None` where no layer made one.
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Says what the call is about.
    pub(super) fn about(&self, id: &str) {
        let shown = id.chars().take(ABOUT_CHARS_MAX);
        self.said().about = shown.flat_map(char::escape_debug).collect();
    }

    /// Says that the agent of a site makes the call; known once its credential was checked.
    pub(super) fn by_agent(&self, site: &str) {
        let mut said = self.said();
        said.agent_of = Some(site.to_owned());
        said.about = site.to_owned();
    }

    /// Leaves the event of a call that was accepted, unless it changes nothing.
    pub(super) fn accepted(&self, handle: &Handle) {
        if self.is_read() {
            return;
        }
        // The change is in this revision: nothing is answered before it is published.
        let revision = handle.published().state.revision().0;
        let (who, about, from) = self.parts();
        let rpc = &*self.rpc;
        if rpc == POLL {
            tracing::debug!(target: "audit", rpc, who, from, about, outcome = "accepted", revision);
        } else {
            tracing::info!(target: "audit", rpc, who, from, about, outcome = "accepted", revision);
        }
    }

    /// Leaves the event of a call that was refused; of one that changes nothing, only where it may not be made.
    pub(super) fn refused(&self, status: &Status, handle: &Handle) {
        let is_barred = matches!(
            status.code(),
            Code::PermissionDenied | Code::Unauthenticated
        );
        if self.is_read() && !is_barred {
            return;
        }
        let revision = handle.published().state.revision().0;
        let (who, about, from) = self.parts();
        let details = status.get_error_details();
        let reason = details.error_info().map_or("", |info| &info.reason);
        let (rpc, code) = (&*self.rpc, status.code());
        tracing::warn!(target: "audit", rpc, who, from, about, outcome = "refused", ?code, reason, revision);
    }

    /// Leaves the event of something in a report that was refused, though not the report as a whole.
    pub(super) fn refused_part(&self, part: &v1::RefusedReport, revision: Revision) {
        let (who, site, from) = self.parts();
        let fence = part.fence.unwrap_or_default();
        let v1::Fence {
            site_epoch,
            attempt,
        } = fence;
        let about = format!("{site}/{}/{site_epoch}.{attempt}", part.job_id);
        let reason = part.reason().as_str_name();
        let reason = reason
            .strip_prefix("REFUSED_REPORT_REASON_")
            .unwrap_or(reason);
        let (rpc, Revision(revision)) = (&*self.rpc, revision);
        tracing::warn!(target: "audit", rpc, who, from, about, outcome = "refused", reason, revision);
    }

    fn is_read(&self) -> bool {
        let name = self.rpc.split_once('/').map_or("", |(_, name)| name);
        READS.iter().any(|begin| name.starts_with(begin))
    }

    fn parts(&self) -> (String, String, String) {
        let said = self.said();
        let who = match (&said.agent_of, self.has_certificate) {
            (Some(site), _) => format!("agent of {site}"),
            (None, true) => "client with a certificate".to_owned(),
            (None, false) => "client".to_owned(),
        };
        let from = self.from.map_or_else(String::new, |from| from.to_string());
        (who, said.about.clone(), from)
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
