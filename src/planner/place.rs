//! TBD
use crate::domain::refusal::SiteVerdict;

/// No site can run the job; every site's refusals, by site id. Empty when there is no site at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no site can run the job")]
pub struct Infeasible {
    /// One verdict for each site, all of them `Outcome::Refused`.
    pub verdicts: Vec<SiteVerdict>,
}
