//! Shares equal texts and data policies between values that are made one after another.
//!
//! What it gives back always equals what was asked for; its size is fixed, so that it may forget but never grow.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::domain::{
    data_policy::DataPolicy,
    ids::{Name, NameError, NameKind},
};

/// Texts remembered at most: the ids and labels of a busy server, in 64 KiB.
const TEXTS_MAX: usize = 4_096;
/// Policies remembered at most: one for each kind of work of a few hundred clients.
const POLICIES_MAX: usize = 1_024;

/// Remembers the texts and policies made last.
///
/// ```
/// use std::sync::Arc;
/// use lancang::domain::interner::Interner;
/// let mut interner = Interner::new();
/// assert!(Arc::ptr_eq(&interner.text("h100"), &interner.text("h100")));
/// ```
#[derive(Debug)]
pub struct Interner {
    texts: Slots<str>,
    policies: Slots<DataPolicy>,
}

/// One place for each hash; a newer value takes the place of an older one.
#[derive(Debug)]
struct Slots<T: ?Sized> {
    places: Box<[Option<Arc<T>>]>,
}

impl Interner {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            texts: Slots::new(TEXTS_MAX),
            policies: Slots::new(POLICIES_MAX),
        }
    }

    /// Never remembers: for a single value.
    #[must_use]
    pub fn off() -> Self {
        Self {
            texts: Slots::new(0),
            policies: Slots::new(0),
        }
    }

    /// The text, shared with an equal one made before.
    #[must_use]
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return Arc::default();
        }
        let Some(place) = self.texts.place(text) else {
            return text.into();
        };
        match place {
            Some(known) if **known == *text => known.clone(),
            Some(_) | None => place.insert(text.into()).clone(),
        }
    }

    /// The name, its text shared with an equal one made before.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn name<K: NameKind>(&mut self, text: &str) -> Result<Name<K>, NameError> {
        Name::from_shared(self.text(text))
    }

    /// The policy, shared with an equal one made before.
    #[must_use]
    pub fn policy(&mut self, policy: DataPolicy) -> Arc<DataPolicy> {
        let Some(place) = self.policies.place(&policy) else {
            return Arc::new(policy);
        };
        match place {
            Some(known) if **known == policy => known.clone(),
            Some(_) | None => place.insert(Arc::new(policy)).clone(),
        }
    }
}

impl Default for Interner {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized + Hash> Slots<T> {
    fn new(len: usize) -> Self {
        Self {
            places: std::iter::repeat_n(None, len).collect(),
        }
    }

    /// The place of a value; `None` when there is no place at all.
    fn place(&mut self, value: &T) -> Option<&mut Option<Arc<T>>> {
        let len = u64::try_from(self.places.len()).ok()?;
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let index = hasher.finish().checked_rem(len)?;
        self.places.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{data_policy::CnFlow, ids::SiteId};

    #[test]
    fn equal_policies_share_one_allocation_and_unequal_ones_do_not() {
        let mut interner = Interner::new();
        let first = interner.policy(DataPolicy::unprotected(CnFlow::NoCn));
        let again = interner.policy(DataPolicy::unprotected(CnFlow::NoCn));
        let other = interner.policy(DataPolicy::unprotected(CnFlow::Outbound));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(other.cn_flow, CnFlow::Outbound);
    }

    #[test]
    fn texts_that_meet_in_one_place_keep_their_content() {
        let mut interner = Interner::new();
        for i in 0..3 * TEXTS_MAX {
            let text = format!("text-{i}");
            assert_eq!(&*interner.text(&text), text);
            assert_eq!(&*interner.text(&text), text);
        }
    }

    #[test]
    fn a_name_keeps_its_rules() {
        let mut interner = Interner::new();
        assert!(interner.name::<crate::domain::ids::SiteKind>("-x").is_err());
        let site: SiteId = interner.name("dli-dali").unwrap();
        assert_eq!(site.as_str(), "dli-dali");
    }

    #[test]
    fn an_interner_that_is_off_still_answers() {
        let mut interner = Interner::off();
        assert_eq!(&*interner.text("a"), "a");
        let policy = DataPolicy::unprotected(CnFlow::NoCn);
        assert_eq!(*interner.policy(policy.clone()), policy);
    }
}
