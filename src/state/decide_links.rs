//! Decisions on links.
//!
//! A link may become too narrow for what is booked on it: the plan follows the link, never the other way round.

use std::sync::Arc;

use crate::{
    domain::{ids::GatewayId, link::Link, violation::Violations},
    limits,
    slot::TimeMs,
    state::{
        Core, Rejection, State,
        command::LinkCommand,
        event::{Event, Record},
        rejection::Missing,
    },
};

impl State {
    /// A link that exists.
    ///
    /// # Errors
    /// When it does not; names the known ones when they are few.
    pub fn known_link(&self, gateway: &GatewayId) -> Result<&Arc<Link>, Rejection> {
        self.link(gateway)
            .ok_or_else(|| Rejection::not_found(Missing::Link, gateway, self.links.keys()))
    }
}

impl Core {
    /// Decides to set a link; `None` when it is as asked already, or a record without events when only the request is to
    /// be remembered.
    ///
    /// # Errors
    /// When it has changed since it was read, is new though an etag says otherwise, or would be wrong or one too many.
    pub fn decide_link(
        &self,
        command: &LinkCommand,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        if self.is_repeat(command.request.as_ref())? {
            return Ok(None);
        }
        if let Some(etag) = command.etag {
            let link = self.state.known_link(&command.gateway)?;
            if etag != link.revision {
                return Err(Rejection::StaleEtag {
                    now: format!("r{}", link.revision),
                });
            }
        }
        let wanted = Link {
            gateway: command.gateway.clone(),
            bandwidth_bits_per_second: command.bandwidth_bits_per_second,
            updated_at: now,
            revision: self.state.revision.next(),
        };
        let violations = wanted.violations();
        if !violations.is_empty() {
            let mut found = Violations::new();
            found.extend_under("link", violations);
            return Err(Rejection::InvalidFields(found.into_vec()));
        }
        match self.state.link(&command.gateway) {
            Some(link) if link.bandwidth_bits_per_second == wanted.bandwidth_bits_per_second => {
                // A request is remembered all the same, so that a late repeat of it does nothing either.
                let request = command.request.clone();
                return Ok(request.map(|request| self.record(now, Some(request), Vec::new())));
            }
            None if self.state.links.len() >= limits::LINKS_MAX => {
                return Err(Rejection::LimitReached {
                    what: "links",
                    max: u64::try_from(limits::LINKS_MAX).unwrap_or(u64::MAX),
                    remedy: "run a second server for another region",
                });
            }
            Some(_) | None => {}
        }
        let events = vec![Event::LinkPut(Arc::new(wanted))];
        Ok(Some(self.record(now, command.request.clone(), events)))
    }
}
