//! Ids: one type for each kind of thing, so that a site cannot stand where a city belongs.
//!
//! A name that exists obeys the rules of its kind.

use std::{fmt, marker::PhantomData, sync::Arc};

use thiserror::Error;

use crate::limits::{NAME_BYTES_MAX, SUPPLY_ID_BYTES_MAX};

/// Id of a job: the 128 bits of a UUID, ordered by time of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

/// Revision of the state: rises by one with every durable change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// An id made of lower-case letters, digits and hyphens; cheap to clone.
///
/// ```
/// use lancang::domain::ids::SiteId;
/// assert!(SiteId::parse("kmg-chenggong").is_ok());
/// assert!(SiteId::parse("-x").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<K> {
    text: Arc<str>,
    kind: PhantomData<K>,
}

/// Id of a site.
pub type SiteId = Name<SiteKind>;
/// Id of a pool within its site.
pub type PoolId = Name<PoolKind>;
/// Id of a supply: the id of its site, a slash and a name.
pub type SupplyId = Name<SupplyIdKind>;
/// Id of a latency zone.
pub type ZoneId = Name<ZoneKind>;
/// Id of a client city.
pub type CityId = Name<CityKind>;
/// Id of a gateway.
pub type GatewayId = Name<GatewayKind>;
/// Id of a window of a site, unique within it.
pub type WindowId = Name<WindowIdKind>;

/// What kind of thing a [`Name`] names.
pub trait NameKind {
    /// The kind for people, with its article.
    const WHAT: &'static str;
    /// Whether it is two names with a slash between.
    const HAS_SLASH: bool = false;
}

/// Marks names of sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKind;
/// Marks names of pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKind;
/// Marks names of supplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SupplyIdKind;
/// Marks names of latency zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneKind;
/// Marks names of cities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CityKind;
/// Marks names of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowIdKind;
/// Marks names of gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayKind;

impl NameKind for SiteKind {
    const WHAT: &'static str = "a site id";
}
impl NameKind for PoolKind {
    const WHAT: &'static str = "a pool id";
}
impl NameKind for SupplyIdKind {
    const WHAT: &'static str = "a supply id";
    const HAS_SLASH: bool = true;
}
impl NameKind for ZoneKind {
    const WHAT: &'static str = "a zone id";
}
impl NameKind for CityKind {
    const WHAT: &'static str = "a city id";
}
impl NameKind for WindowIdKind {
    const WHAT: &'static str = "a window id";
}
impl NameKind for GatewayKind {
    const WHAT: &'static str = "a gateway id";
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is empty.
    #[error("{what} is required")]
    Empty {
        /// The kind of name.
        what: &'static str,
    },
    /// It is too long.
    #[error("{what} has at most {bytes_max} characters")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The bound.
        bytes_max: usize,
    },
    /// It has other characters.
    #[error(
        "{what} is made of lower-case letters, digits and inner hyphens{}",
        if *.has_slash { ", as <site id>/<name>" } else { "" }
    )]
    Malformed {
        /// The kind of name.
        what: &'static str,
        /// Whether a slash is part of it.
        has_slash: bool,
    },
}

impl<K: NameKind> Name<K> {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, too long, or has characters other than `[a-z0-9-]`, or begins or ends with a hyphen.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::check(text)?;
        Ok(Self {
            text: text.into(),
            kind: PhantomData,
        })
    }

    /// Reads a name from a text that others share, without a copy.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_shared(text: Arc<str>) -> Result<Self, NameError> {
        Self::check(&text)?;
        Ok(Self {
            text,
            kind: PhantomData,
        })
    }

    fn check(text: &str) -> Result<(), NameError> {
        let what = K::WHAT;
        if text.is_empty() {
            return Err(NameError::Empty { what });
        }
        let bytes_max = if K::HAS_SLASH {
            SUPPLY_ID_BYTES_MAX
        } else {
            NAME_BYTES_MAX
        };
        if text.len() > bytes_max {
            return Err(NameError::TooLong { what, bytes_max });
        }
        let well_formed = if K::HAS_SLASH {
            text.split_once('/')
                .is_some_and(|(site, name)| is_name(site) && is_name(name))
        } else {
            is_name(text)
        };
        if !well_formed {
            let has_slash = K::HAS_SLASH;
            return Err(NameError::Malformed { what, has_slash });
        }
        Ok(())
    }
}

impl<K> Name<K> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl SupplyId {
    /// The part before the slash.
    #[must_use]
    pub fn site_part(&self) -> &str {
        self.as_str().split('/').next().unwrap_or_default()
    }
}

impl<K> fmt::Display for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> fmt::Debug for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

/// Prints as a UUID: `01890a5d-ac96-774b-bcce-b302099a8057`.
impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let (a, rest) = hex.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let (d, e) = rest.split_at(4);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

impl JobId {
    /// Reads what `Display` prints; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let groups = [8, 4, 4, 4, 12];
        let parts: Vec<&str> = text.split('-').collect();
        let fits = parts.len() == groups.len()
            && parts.iter().zip(groups).all(|(part, len)| {
                part.len() == len
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            });
        if !fits {
            return None;
        }
        u128::from_str_radix(&parts.concat(), 16).ok().map(Self)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_could_be_a_path_an_option_or_a_trick() {
        for text in ["", "-a", "a-", "A", "a/b", "../x", "a b", "a\0", "ä", "a\n"] {
            assert!(SiteId::parse(text).is_err(), "{text:?}");
        }
        assert!(SiteId::parse(&"a".repeat(63)).is_ok());
        assert!(SiteId::parse(&"a".repeat(64)).is_err());
    }

    #[test]
    fn a_supply_is_named_after_its_site() {
        let supply = SupplyId::parse("dli-dali/wind").unwrap();
        assert_eq!(supply.site_part(), "dli-dali");
        for text in ["dli-dali", "/wind", "dli-dali/", "a/b/c"] {
            assert!(SupplyId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_job_id_reads_back_as_printed() {
        let id = JobId(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
        assert_eq!(id.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(JobId::parse(&id.to_string()), Some(id));
        for text in [
            "",
            "01890A5D-ac96-774b-bcce-b302099a8057",
            "01890a5dac96774bbcceb302099a8057",
        ] {
            assert_eq!(JobId::parse(text), None, "{text:?}");
        }
    }
}
