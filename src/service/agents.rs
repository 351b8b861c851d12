//! The handlers of `AgentService`.
//!
//! A session and a poll take the same way: check the credential, report to the writer, answer with orders made of the
//! state that holds the report.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    Api,
    certificates::Voice,
    from_proto,
    outbox::{Answers, Ending, Outbox, outbox},
    status::{Resume, ServiceError, with_reason},
    to_proto,
};
use crate::{
    controller::Enrollment,
    domain::{agent::Token, ids::SiteId},
    proto::v1::{self, agent_service_server::AgentService},
    state::{Rejection, State, command::Report},
};

/// Answers that wait for an agent: it is told again with every report.
const SESSION_ROOM: usize = 16;

/// What a call shows of who makes it.
struct Shown {
    credential_sha256: [u8; 32],
    voice: Voice,
}

impl Shown {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        Ok(Self {
            credential_sha256: credential_of(request.metadata())?,
            voice: Voice::of(request.extensions()),
        })
    }
}

/// What orders depend on, in short: equal ones were made of the same jobs.
type Fingerprint = (u64, u64, usize, u64);

#[tonic::async_trait]
impl AgentService for Api {
    type SessionStream = Answers<v1::SessionResponse>;

    async fn enroll_agent(
        &self,
        request: Request<v1::EnrollAgentRequest>,
    ) -> Result<Response<v1::EnrollAgentResponse>, Status> {
        let voice = Voice::of(request.extensions());
        let enroll = from_proto::enroll(&request.into_inner())?;
        voice.check(&enroll.site)?;
        let credential = secret()?;
        let site_epoch = self
            .handle
            .enroll_agent(Enrollment {
                site: enroll.site,
                token_sha256: hash(&enroll.token),
                instance: enroll.instance,
                credential_sha256: hash(&credential),
            })
            .await?;
        Ok(Response::new(v1::EnrollAgentResponse {
            credential,
            site_epoch,
        }))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let shown = Shown::of(&request)?;
        let (answers, ending, read) = outbox(SESSION_ROOM, self.stop());
        let (api, reports) = (self.clone(), request.into_inner());
        tokio::spawn(async move { api.hold_session(shown, reports, answers, ending).await });
        Ok(Response::new(read))
    }

    async fn poll(
        &self,
        request: Request<v1::PollRequest>,
    ) -> Result<Response<v1::PollResponse>, Status> {
        let shown = Shown::of(&request)?;
        let message = request.into_inner().report;
        let report = from_proto::report(message.as_ref())?;
        let site = self.take_report(&shown, report).await?;
        let orders = Some(v1::AgentOrders {
            answered_report: message.map_or(0, |report| report.report_number),
            ..self.orders(&site)
        });
        Ok(Response::new(v1::PollResponse { orders }))
    }
}

impl Api {
    /// Makes a token and keeps its hash.
    pub(super) async fn make_token(
        &self,
        request: &v1::CreateAgentTokenRequest,
    ) -> Result<v1::CreateAgentTokenResponse, Status> {
        let (site, valid_ms) = from_proto::agent_token(request)?;
        let token = secret()?;
        let expires_at = self.now().plus_ms(valid_ms);
        let kept = Token {
            sha256: hash(&token),
            expires_at,
        };
        self.handle.put_agent_token(site, kept).await?;
        Ok(v1::CreateAgentTokenResponse {
            token,
            expire_time: Some(to_proto::time(expires_at)),
        })
    }

    async fn hold_session(
        &self,
        shown: Shown,
        mut reports: Streaming<v1::SessionRequest>,
        answers: Outbox<v1::SessionResponse>,
        ending: Ending,
    ) {
        let mut published = self.handle.subscribe();
        let mut site: Option<SiteId> = None;
        let mut sent: Option<Fingerprint> = None;
        let mut answered_report = 0;
        let stop = self.stop();
        let end = loop {
            tokio::select! {
                report = reports.next() => {
                    let report = match report {
                        Some(Ok(request)) => {
                            answered_report =
                                request.report.as_ref().map_or(0, |report| report.report_number);
                            from_proto::report(request.report.as_ref())
                        }
                        Some(Err(_)) | None => return,
                    };
                    let taken = match report {
                        Ok(report) if site.as_ref().is_some_and(|site| *site != report.site) => {
                            break Rejection::AgentRefused.into();
                        }
                        Ok(report) => self.take_report(&shown, report).await,
                        Err(rejection) => Err(rejection),
                    };
                    match taken {
                        Ok(of) => site = Some(of),
                        Err(rejection) => break rejection.into(),
                    }
                }
                changed = published.changed(), if site.is_some() => {
                    if changed.is_err() {
                        break ServiceError::Stopping { resume: Some(Resume::Anew) }.into();
                    }
                    let state = &published.borrow_and_update().state;
                    if site.as_ref().map(|site| fingerprint(state, site)) == sent {
                        continue;
                    }
                }
                () = stop.cancelled() => {
                    break ServiceError::Stopping { resume: Some(Resume::Anew) }.into();
                }
            }
            let Some(site) = &site else { continue };
            sent = Some(fingerprint(&self.handle.published().state, site));
            let orders = Some(v1::AgentOrders {
                answered_report,
                ..self.orders(site)
            });
            if answers.send(v1::SessionResponse { orders }).await.is_err() {
                return;
            }
        };
        ending.with(end);
    }

    /// Brings a report to the writer; answers with its site once it is durable.
    async fn take_report(&self, shown: &Shown, report: Report) -> Result<SiteId, Rejection> {
        let site = report.site.clone();
        shown.voice.check(&site)?;
        {
            let published = self.handle.published();
            let member = published
                .state
                .agent(&site)
                .and_then(|agent| agent.member.as_ref());
            let is_known = member.is_some_and(|member| {
                member.credential_sha256 == shown.credential_sha256
                    && member.instance == report.instance
            });
            if !is_known {
                return Err(Rejection::AgentRefused);
            }
        }
        self.handle.report(report).await?;
        Ok(site)
    }

    fn orders(&self, site: &SiteId) -> v1::AgentOrders {
        let published: Arc<_> = self.handle.published();
        let times = self.handle.options().leases;
        to_proto::orders(&published.state, site, times, self.now())
    }
}

/// A secret of 32 random bytes as text.
fn secret() -> Result<String, Status> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the machine gives no random bytes");
        with_reason(
            tonic::Code::Internal,
            v1::ErrorReason::Internal,
            "the server made an error; its log has the details".into(),
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// What the call shows, as `authorization: Bearer CREDENTIAL`.
fn credential_of(metadata: &MetadataMap) -> Result<[u8; 32], Status> {
    let shown = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let bearer = shown.and_then(|value| value.strip_prefix("Bearer "));
    bearer.map(hash).ok_or_else(|| {
        with_reason(
            tonic::Code::Unauthenticated,
            v1::ErrorReason::AgentRefused,
            "the call shows no credential; send the metadata `authorization: Bearer CREDENTIAL`"
                .into(),
        )
    })
}

fn fingerprint(state: &State, site: &SiteId) -> Fingerprint {
    let agent = state.agent(site);
    let member = agent.and_then(|agent| agent.member.as_ref());
    let (mut n, mut newest) = (0, 0);
    for job in state.active_at(site) {
        n += 1;
        newest = newest.max(job.revision.0);
    }
    (
        agent.map_or(0, |agent| agent.epoch),
        newest,
        n,
        member.map_or(0, |member| member.acknowledged),
    )
}
