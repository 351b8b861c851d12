//! The handlers of `AgentService`.
//!
//! A session and a poll take the same way: check the credential, report to the writer, answer with orders made of the
//! state that holds the report.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    Api,
    audit::{self, Note},
    certificates::Voice,
    from_proto,
    outbox::{Answers, Ending, Outbox, outbox},
    status::{Resume, ServiceError, with_reason},
    to_proto,
};
use crate::{
    controller::{Enrollment, Published},
    domain::{agent::Token, ids::SiteId},
    proto::v1::{self, agent_service_server::AgentService},
    slot::Slot,
    state::{Rejection, command::Report},
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

/// What orders depend on, in short: equal ones were made of the same jobs in the same slot.
type Fingerprint = (u64, u64, usize, u64, Slot);

#[tonic::async_trait]
impl AgentService for Api {
    type SessionStream = Answers<v1::SessionResponse>;

    async fn enroll_agent(
        &self,
        request: Request<v1::EnrollAgentRequest>,
    ) -> Result<Response<v1::EnrollAgentResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let note = Note::of(request.extensions());
        let voice = Voice::of(request.extensions());
        let enroll = from_proto::enroll(&request.into_inner())?;
        voice.check(&enroll.site)?;
        let credential = secret()?;
        let site = enroll.site.clone();
        let site_epoch = self
            .handle
            .enroll_agent(Enrollment {
                site: enroll.site,
                token_sha256: hash(&enroll.token),
                instance: enroll.instance,
                credential_sha256: hash(&credential),
            })
            .await?;
        if let Some(note) = note {
            note.by_agent(site.as_str());
        }
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
        let session = Session {
            note: Note::of(request.extensions()),
            api: self.clone(),
            shown,
            speaker: None,
            sent: None,
            answered_report: 0,
        };
        tokio::spawn(session.hold(request.into_inner(), answers, ending));
        Ok(Response::new(read))
    }

    async fn poll(
        &self,
        request: Request<v1::PollRequest>,
    ) -> Result<Response<v1::PollResponse>, Status> {
        let note = Note::of(request.extensions());
        let shown = Shown::of(&request)?;
        let v1::PollRequest { report, log_chunks } = request.into_inner();
        let answered_report = report.as_ref().map_or(0, |report| report.report_number);
        from_proto::log_chunks(&log_chunks)?;
        let report = from_proto::report(report.as_ref())?;
        if let Some(note) = &note {
            note.about(report.site.as_str());
        }
        let site = self.take_report(&shown, report, note.as_ref()).await?;
        for chunk in log_chunks {
            self.shared.logs.answer(&site, chunk);
        }
        let orders = v1::AgentOrders {
            answered_report,
            ..self.orders(&site)
        };
        Ok(Response::new(v1::PollResponse {
            orders: Some(orders),
            log_reads: Some(self.shared.logs.wanted(&site)),
        }))
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

    /// Brings a report to the writer; answers with its site once it is durable, and what of it was refused is told.
    async fn take_report(
        &self,
        shown: &Shown,
        report: Report,
        note: Option<&Note>,
    ) -> Result<SiteId, Rejection> {
        let site = report.site.clone();
        self.check_speaker(shown, &site, &report.instance)?;
        let receipt = self.handle.report(report).await?;
        if let Some(note) = note {
            note.by_agent(site.as_str());
            for evidence in &receipt.refused {
                note.refused_part(&to_proto::refused_report(evidence), receipt.revision);
            }
        }
        Ok(site)
    }

    /// Whether who shows this speaks for a site as this instance.
    fn check_speaker(
        &self,
        shown: &Shown,
        site: &SiteId,
        instance: &Arc<str>,
    ) -> Result<(), Rejection> {
        shown.voice.check(site)?;
        let published = self.handle.published();
        let agent = published.state.agent(site);
        let member = agent.and_then(|agent| agent.member.as_ref());
        let is_known = member.is_some_and(|member| {
            member.credential_sha256 == shown.credential_sha256 && member.instance == *instance
        });
        is_known.then_some(()).ok_or(Rejection::AgentRefused)
    }

    fn orders(&self, site: &SiteId) -> v1::AgentOrders {
        let published: Arc<_> = self.handle.published();
        let times = self.handle.options().leases;
        to_proto::orders(&published, site, times, self.now())
    }
}

/// One session: reports and answers of an agent, orders and reads of logs of the server.
struct Session {
    note: Option<Note>,
    api: Api,
    shown: Shown,
    /// Who reported first; everything after is of the same.
    speaker: Option<Speaker>,
    /// What the last orders were made of.
    sent: Option<Fingerprint>,
    answered_report: u64,
}

struct Speaker {
    site: SiteId,
    instance: Arc<str>,
    /// Wakes when other reads of logs are wanted.
    reads: watch::Receiver<()>,
}

/// What a session says next.
enum Next {
    Orders,
    Reads,
    Nothing,
}

impl Session {
    async fn hold(
        mut self,
        mut messages: Streaming<v1::SessionRequest>,
        answers: Outbox<v1::SessionResponse>,
        ending: Ending,
    ) {
        let mut published = self.api.handle.subscribe();
        let stop = self.api.stop();
        let stopping = || ServiceError::Stopping {
            resume: Some(Resume::Anew),
        };
        let end = loop {
            let next = tokio::select! {
                message = messages.next() => {
                    let Some(Ok(message)) = message else { return };
                    match self.hear(message).await {
                        Ok(next) => next,
                        Err(rejection) => break self.refused(rejection),
                    }
                }
                changed = published.changed(), if self.speaker.is_some() => {
                    if changed.is_err() {
                        break stopping().into();
                    }
                    self.look(&published.borrow_and_update())
                }
                () = reads_change(&mut self.speaker) => Next::Reads,
                () = stop.cancelled() => break stopping().into(),
            };
            let Some(answer) = self.answer(&next) else {
                continue;
            };
            if answers.send(answer).await.is_err() {
                return;
            }
        };
        ending.with(end);
    }

    /// Takes in a message.
    async fn hear(&mut self, message: v1::SessionRequest) -> Result<Next, Rejection> {
        let v1::SessionRequest { report, log_chunks } = message;
        from_proto::log_chunks(&log_chunks)?;
        if report.is_some() || log_chunks.is_empty() {
            self.answered_report = report.as_ref().map_or(0, |report| report.report_number);
            self.hear_report(from_proto::report(report.as_ref())?)
                .await?;
        }
        if log_chunks.is_empty() {
            return Ok(Next::Orders);
        }
        let speaker = self.speaker.as_ref().ok_or(Rejection::AgentRefused)?;
        let Speaker { site, instance, .. } = speaker;
        self.api.check_speaker(&self.shown, site, instance)?;
        for chunk in log_chunks {
            self.api.shared.logs.answer(site, chunk);
        }
        Ok(match report {
            Some(_) => Next::Orders,
            None => Next::Nothing,
        })
    }

    async fn hear_report(&mut self, report: Report) -> Result<(), Rejection> {
        if let Some(speaker) = &self.speaker
            && speaker.site != report.site
        {
            return Err(Rejection::AgentRefused);
        }
        let instance = report.instance.clone();
        if let (Some(note), None) = (&self.note, &self.speaker) {
            note.about(report.site.as_str());
        }
        let note = self.note.as_ref();
        let site = self.api.take_report(&self.shown, report, note).await?;
        match &mut self.speaker {
            Some(speaker) => speaker.instance = instance,
            None => {
                if let Some(note) = &self.note {
                    note.accepted(&self.api.handle);
                }
                self.speaker = Some(Speaker {
                    reads: self.api.shared.logs.subscribe(&site),
                    site,
                    instance,
                });
            }
        }
        Ok(())
    }

    /// The status that ends the session, which is told.
    fn refused(&self, rejection: Rejection) -> Status {
        let status = rejection.into();
        if let Some(note) = &self.note {
            note.refused(&status, &self.api.handle);
        }
        status
    }

    /// Whether a new state, or a new slot, makes other orders.
    fn look(&self, published: &Published) -> Next {
        let site = self.speaker.as_ref().map(|speaker| &speaker.site);
        match site.map(|site| fingerprint(published, site)) == self.sent {
            true => Next::Nothing,
            false => Next::Orders,
        }
    }

    fn answer(&mut self, next: &Next) -> Option<v1::SessionResponse> {
        let site = &self.speaker.as_ref()?.site;
        match next {
            Next::Nothing => None,
            Next::Reads => Some(v1::SessionResponse {
                orders: None,
                log_reads: Some(self.api.shared.logs.wanted(site)),
            }),
            Next::Orders => {
                self.sent = Some(fingerprint(&self.api.handle.published(), site));
                let orders = v1::AgentOrders {
                    answered_report: self.answered_report,
                    ..self.api.orders(site)
                };
                Some(v1::SessionResponse {
                    orders: Some(orders),
                    log_reads: None,
                })
            }
        }
    }
}

/// Waits until other reads of logs are wanted of who speaks; for ever while nobody does.
async fn reads_change(speaker: &mut Option<Speaker>) {
    if let Some(speaker) = speaker
        && speaker.reads.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
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

fn fingerprint(Published { state, slot, .. }: &Published, site: &SiteId) -> Fingerprint {
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
        *slot,
    )
}
