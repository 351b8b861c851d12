//! Quotes as tokens: what was promised for which description, until when.
//!
//! Nothing is stored for a quote; the token carries its terms, and its checksum tells a mistyped one.

use super::token::{self, Kind, take};
use crate::slot::TimeMs;

/// What a quote promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotePromise {
    /// SHA-256 of the canonical description.
    pub(super) spec_sha256: [u8; 32],
    /// Until when the quote holds.
    pub(super) expires_at: TimeMs,
    /// Quoted end.
    pub(super) end: TimeMs,
    /// Quoted green share, thousandths.
    pub(super) green_share_permille: u32,
}

impl QuotePromise {
    /// The token.
    pub(super) fn seal(&self) -> String {
        let mut body = self.spec_sha256.to_vec();
        body.extend_from_slice(&self.expires_at.0.to_be_bytes());
        body.extend_from_slice(&self.end.0.to_be_bytes());
        body.extend_from_slice(&self.green_share_permille.to_be_bytes());
        token::seal(Kind::Quote, &body)
    }

    /// Reads a token; `None` for what was never one.
    pub(super) fn open(text: &str) -> Option<Self> {
        let body = token::open(Kind::Quote, text)?;
        let mut rest = body.as_slice();
        let promise = Self {
            spec_sha256: take(&mut rest)?,
            expires_at: TimeMs(i64::from_be_bytes(take(&mut rest)?)),
            end: TimeMs(i64::from_be_bytes(take(&mut rest)?)),
            green_share_permille: u32::from_be_bytes(take(&mut rest)?),
        };
        rest.is_empty().then_some(promise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_reads_back_as_given() {
        let promise = QuotePromise {
            spec_sha256: std::array::from_fn(|i| u8::try_from(i).unwrap()),
            expires_at: TimeMs(1_790_000_000_000),
            end: TimeMs(i64::MAX),
            green_share_permille: 982,
        };
        assert_eq!(QuotePromise::open(&promise.seal()), Some(promise));
    }

    #[test]
    fn a_token_of_another_length_is_refused() {
        for len in [0, 51, 53] {
            let token = token::seal(Kind::Quote, &vec![0; len]);
            assert_eq!(QuotePromise::open(&token), None, "{len}");
        }
    }
}
