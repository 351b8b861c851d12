//! Pages of listings: one for jobs, sites, forecasts and links.
//!
//! All pages of a listing show the revision its first page showed, and a token opens only the listing it came from.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    status::ServiceError,
    token::{self, Kind, take},
};
use crate::{
    controller::Published,
    domain::ids::Revision,
    limits,
    state::{Rejection, State},
};

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Jobs,
    Sites,
    Forecasts,
    Links,
    RefusedReports,
    Settlements,
}

/// States of listings that are not at their end.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    by_revision: Mutex<BTreeMap<Revision, State>>,
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Which listing, with its filter and order.
    query: [u8; 9],
    /// Key of the last item shown; `None` at the start.
    after: Option<Vec<u8>>,
}

/// A page and what it was taken from.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Token of the next page; empty at the end.
    pub(super) next_page_token: String,
}

impl Cursor {
    /// Key of the last item shown; `None` at the start.
    pub(super) fn after(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }
}

impl Snapshots {
    /// The state and position that a request asks for.
    ///
    /// # Errors
    /// When the token is not one of this listing, or its snapshot is gone.
    pub(super) fn open(
        &self,
        listing: Listing,
        query_parts: &[&str],
        page_token: &str,
        published: &Published,
    ) -> Result<(State, Cursor), ServiceError> {
        let query = fingerprint(listing, query_parts);
        if page_token.is_empty() {
            let cursor = Cursor { query, after: None };
            return Ok((published.state.clone(), cursor));
        }
        let wrong = |what: &str| ServiceError::Rejected(Rejection::field("page_token", what));
        let (token_query, revision, after) = open_token(page_token)
            .ok_or_else(|| wrong("is a token as the page before answered it, or empty"))?;
        if token_query != query {
            return Err(wrong(
                "belongs to another listing; repeat the filter and order of its first page",
            ));
        }
        let state = self.find(revision, published);
        let state = state.ok_or(ServiceError::PageTokenExpired)?;
        let after = Some(after);
        Ok((state, Cursor { query, after }))
    }

    /// Keeps the state for the pages to come and makes their token.
    pub(super) fn page<T>(
        &self,
        state: &State,
        cursor: &Cursor,
        selection: Selection<T>,
    ) -> Page<T> {
        let next_page_token = match selection.next_after {
            None => String::new(),
            Some(key) => {
                self.keep(state);
                seal_token(cursor.query, state.revision(), &key)
            }
        };
        Page {
            items: selection.items,
            next_page_token,
        }
    }

    fn find(&self, revision: Revision, published: &Published) -> Option<State> {
        if published.state.revision() == revision {
            return Some(published.state.clone());
        }
        let kept = self.by_revision.lock();
        let kept = kept.unwrap_or_else(PoisonError::into_inner);
        kept.get(&revision).cloned()
    }

    fn keep(&self, state: &State) {
        let kept = self.by_revision.lock();
        let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
        kept.entry(state.revision())
            .or_insert_with(|| state.clone());
        while kept.len() > limits::LISTINGS_MAX {
            kept.pop_first();
        }
    }
}

/// Items of one page in order.
#[derive(Debug)]
pub(super) struct Selection<T> {
    items: Vec<T>,
    /// Key of the last item when more follow.
    next_after: Option<Vec<u8>>,
}

/// The `size` items that follow the cursor. Keys sort, byte by byte, as the listing does, and are different.
pub(super) fn select<T>(
    items: impl Iterator<Item = (Vec<u8>, T)>,
    cursor: &Cursor,
    size: usize,
) -> Selection<T> {
    let after = cursor.after.as_deref();
    let mut found: Vec<(Vec<u8>, T)> = items
        .filter(|(key, _)| after.is_none_or(|after| after < key.as_slice()))
        .collect();
    let more = found.len() > size;
    if more && size > 0 {
        // The page's items first, in any order; then only those are sorted.
        found.select_nth_unstable_by(size - 1, |a, b| a.0.cmp(&b.0));
        found.truncate(size);
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let last = found.last().map(|(key, _)| key.clone());
    Selection {
        next_after: last.filter(|_| more),
        items: found.into_iter().map(|(_, item)| item).collect(),
    }
}

impl Listing {
    fn byte(self) -> u8 {
        match self {
            Self::Jobs => b'j',
            Self::Sites => b's',
            Self::Forecasts => b'f',
            Self::Links => b'l',
            Self::RefusedReports => b'r',
            Self::Settlements => b'e',
        }
    }
}

/// The listing and the start of a hash of what selects and orders it.
fn fingerprint(listing: Listing, query_parts: &[&str]) -> [u8; 9] {
    let mut hash = Sha256::new();
    for part in query_parts {
        hash.update(part.as_bytes());
        // No text holds this byte, so parts cannot run into each other.
        hash.update([0xff]);
    }
    let hash: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|i| if i == 0 { listing.byte() } else { hash[i] })
}

fn seal_token(query: [u8; 9], revision: Revision, after: &[u8]) -> String {
    let mut body = query.to_vec();
    body.extend_from_slice(&revision.0.to_be_bytes());
    body.extend_from_slice(after);
    token::seal(Kind::Page, &body)
}

fn open_token(text: &str) -> Option<([u8; 9], Revision, Vec<u8>)> {
    let body = token::open(Kind::Page, text)?;
    let mut rest = body.as_slice();
    let query = take(&mut rest)?;
    let revision = Revision(u64::from_be_bytes(take(&mut rest)?));
    Some((query, revision, rest.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing;

    fn code(error: &ServiceError) -> String {
        let status = tonic::Status::from(error.clone());
        let details = tonic_types::StatusExt::get_error_details(&status);
        details
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default()
    }

    fn keys(numbers: impl Iterator<Item = u32>) -> impl Iterator<Item = (Vec<u8>, u32)> {
        numbers.map(|number| (number.to_be_bytes().to_vec(), number))
    }

    #[test]
    fn pages_together_are_the_whole_in_order() {
        let published = testing::published();
        let snapshots = Snapshots::default();
        let numbers = [7_u32, 3, 9, 1, 4, 8, 2];
        let (mut token, mut seen) = (String::new(), Vec::new());
        for _ in 0..4 {
            let (state, cursor) = snapshots
                .open(Listing::Sites, &["q"], &token, &published)
                .unwrap();
            let chosen = select(keys(numbers.into_iter()), &cursor, 2);
            let page = snapshots.page(&state, &cursor, chosen);
            seen.extend(page.items);
            token = page.next_page_token;
        }
        assert_eq!(seen, [1, 2, 3, 4, 7, 8, 9]);
        assert_eq!(token, "");
    }

    #[test]
    fn a_token_opens_only_its_own_listing() {
        let published = testing::published();
        let snapshots = Snapshots::default();
        let token = seal_token(fingerprint(Listing::Jobs, &["a", "b"]), Revision(0), &[1]);
        let open = |listing, parts: &[&str], token: &str| {
            snapshots
                .open(listing, parts, token, &published)
                .map(|_| ())
                .map_err(|e| code(&e))
        };
        assert_eq!(open(Listing::Jobs, &["a", "b"], &token), Ok(()));
        let wrong: [(Listing, &[&str], &str); 5] = [
            (Listing::Sites, &["a", "b"], &token),
            (Listing::Jobs, &["ab", ""], &token),
            (Listing::Jobs, &["a"], &token),
            (Listing::Jobs, &["a", "b"], "abc"),
            (Listing::Jobs, &["a", "b"], &token[2..]),
        ];
        for (listing, parts, token) in wrong {
            assert_eq!(
                open(listing, parts, token),
                Err("INVALID_FIELDS".into()),
                "{parts:?}"
            );
        }
    }

    #[test]
    fn a_token_whose_snapshot_is_gone_has_expired() {
        let published = testing::published();
        let snapshots = Snapshots::default();
        let token = seal_token(fingerprint(Listing::Jobs, &[]), Revision(77), &[1]);
        let error = snapshots
            .open(Listing::Jobs, &[], &token, &published)
            .unwrap_err();
        assert_eq!(code(&error), "PAGE_TOKEN_EXPIRED");
    }
}
