//! What a client's certificate serves for, where the server asks for one.
//!
//! That of an agent opens `AgentService` for its own site and nothing else; no other certificate opens `AgentService`.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{
    Code, Extensions, Status,
    codegen::{Service, http},
    transport::{
        CertificateDer,
        server::{TcpConnectInfo, TlsConnectInfo},
    },
};
use tower::Layer;
use webpki::EndEntityCert;

use super::status::with_reason;
use crate::{domain::ids::SiteId, proto::v1::ErrorReason, state::Rejection};

/// What stands after the site in the DNS name of an agent's certificate.
const AGENT_SUFFIX: &str = ".agents.lancang.internal";

/// Paths of the calls that agents make, among those of all our services; health and reflection are open to all.
const AGENT_PATHS: &str = "/lancang.v1.AgentService/";
const OUR_PATHS: &str = "/lancang.v1.";

/// The only site that a call may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound(SiteId);

/// Refuses calls that the client's certificate is not for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CertificatesLayer;

/// A service behind [`CertificatesLayer`].
#[derive(Debug, Clone)]
pub(super) struct Certificates<S> {
    inner: S,
}

impl<S> Layer<S> for CertificatesLayer {
    type Service = Certificates<S>;

    fn layer(&self, inner: S) -> Certificates<S> {
        Certificates { inner }
    }
}

impl<S, B, R> Service<http::Request<B>> for Certificates<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    R: Default + 'static,
    S::Error: 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let shown = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs);
        if let Some(certificate) = shown.as_deref().and_then(|chain| chain.first()) {
            match site_of(certificate, request.uri().path()) {
                Ok(None) => {}
                Ok(Some(site)) => {
                    request.extensions_mut().insert(Bound(site));
                }
                Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
            }
        }
        Box::pin(self.inner.call(request))
    }
}

/// Whom a call may speak for, by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Voice(Option<SiteId>);

impl Voice {
    /// Of a call.
    pub(super) fn of(extensions: &Extensions) -> Self {
        Self(extensions.get::<Bound>().map(|bound| bound.0.clone()))
    }

    /// Refuses to speak for another site than the certificate names.
    pub(super) fn check(&self, site: &SiteId) -> Result<(), Rejection> {
        match &self.0 {
            Some(bound) if bound != site => Err(Rejection::CertificateRefused),
            Some(_) | None => Ok(()),
        }
    }
}

/// The site that a call under this certificate may speak for; `None` for calls that are not an agent's.
fn site_of(certificate: &CertificateDer<'_>, path: &str) -> Result<Option<SiteId>, Status> {
    if !path.starts_with(OUR_PATHS) {
        return Ok(None);
    }
    let certificate = EndEntityCert::try_from(certificate)
        .map_err(|_| refused("the certificate cannot be read"))?;
    let sites: Vec<&str> = certificate
        .valid_dns_names()
        .filter_map(|name| name.strip_suffix(AGENT_SUFFIX))
        .collect();
    match (sites.as_slice(), path.starts_with(AGENT_PATHS)) {
        ([], false) => Ok(None),
        ([], true) => Err(refused(
            "agents need a certificate with the DNS name SITE.agents.lancang.internal",
        )),
        (_, false) => Err(refused(
            "the certificate of an agent serves for AgentService alone",
        )),
        ([site], true) => SiteId::parse(site)
            .map(Some)
            .map_err(|_| refused("the certificate names no site")),
        (_, true) => Err(refused(
            "the certificate names several sites; an agent stands for one",
        )),
    }
}

fn refused(message: &str) -> Status {
    with_reason(
        Code::PermissionDenied,
        ErrorReason::CertificateRefused,
        message.into(),
    )
}
