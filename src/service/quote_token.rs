//! Quotes as tokens: what was promised for which description, until when.
//!
//! Nothing is stored for a quote; the token carries its terms, and its checksum tells a mistyped one.

use super::token::{self, Kind, take};
use crate::slot::TimeMs;

/// Last millisecond of the year 9999: no moment of the API is later.
const LAST_MS: i64 = 253_402_300_799_999;
/// No quote holds longer than a day: the configuration allows no more.
const VALID_MS_MAX: i64 = 86_400_000;

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

    /// Reads a token; `None` for what was never one. The checksum keeps no forger out, so that the terms are checked
    /// too: none is beyond what a quote given up to `now` can say.
    pub(super) fn open(text: &str, now: TimeMs) -> Option<Self> {
        let body = token::open(Kind::Quote, text)?;
        let mut rest = body.as_slice();
        let promise = Self {
            spec_sha256: take(&mut rest)?,
            expires_at: TimeMs(i64::from_be_bytes(take(&mut rest)?)),
            end: TimeMs(i64::from_be_bytes(take(&mut rest)?)),
            green_share_permille: u32::from_be_bytes(take(&mut rest)?),
        };
        (rest.is_empty() && promise.is_possible(now)).then_some(promise)
    }

    fn is_possible(&self, now: TimeMs) -> bool {
        let moments = 0..=LAST_MS;
        moments.contains(&self.expires_at.0)
            && moments.contains(&self.end.0)
            && self.expires_at <= now.plus_ms(VALID_MS_MAX)
            && self.green_share_permille <= 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    fn promise() -> QuotePromise {
        QuotePromise {
            spec_sha256: std::array::from_fn(|i| u8::try_from(i).unwrap()),
            expires_at: NOW.plus_ms(300_000),
            end: NOW.plus_ms(3_600_000),
            green_share_permille: 982,
        }
    }

    fn reads_back(promise: QuotePromise) -> bool {
        let read = QuotePromise::open(&promise.seal(), NOW);
        assert!(read.is_none() || read == Some(promise));
        read.is_some()
    }

    #[test]
    fn a_promise_reads_back_as_given() {
        assert!(reads_back(promise()));
        let widest = QuotePromise {
            expires_at: NOW.plus_ms(VALID_MS_MAX),
            end: TimeMs(LAST_MS),
            green_share_permille: 1_000,
            ..promise()
        };
        assert!(reads_back(widest));
        let long_expired = QuotePromise {
            expires_at: TimeMs(0),
            end: TimeMs(0),
            green_share_permille: 0,
            ..promise()
        };
        assert!(reads_back(long_expired));
    }

    #[test]
    fn forged_terms_are_refused() {
        type Forge = fn(&mut QuotePromise);
        let forged: [(&str, Forge); 7] = [
            ("expiry before the epoch", |p| p.expires_at = TimeMs(-1)),
            ("no expiry", |p| p.expires_at = TimeMs(i64::MAX)),
            ("expiry after more than a day", |p| {
                p.expires_at = NOW.plus_ms(VALID_MS_MAX + 1);
            }),
            ("end before the epoch", |p| p.end = TimeMs(-1)),
            ("earliest end", |p| p.end = TimeMs(i64::MIN)),
            ("end in the year 10000", |p| p.end = TimeMs(LAST_MS + 1)),
            ("more green than all", |p| p.green_share_permille = 1_001),
        ];
        for (what, forge) in forged {
            let mut promise = promise();
            forge(&mut promise);
            assert!(!reads_back(promise), "{what}");
        }
    }

    #[test]
    fn a_token_of_another_length_is_refused() {
        for len in [0, 51, 53] {
            let token = token::seal(Kind::Quote, &vec![0; len]);
            assert_eq!(QuotePromise::open(&token, NOW), None, "{len}");
        }
    }
}
