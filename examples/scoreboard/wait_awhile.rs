//! To come.
//!
//! Nothing yet.
use crate::Outcome;
use std::path::Path;
pub(crate) fn section(_data: &Path) -> Outcome<String> {
    Ok(String::new())
}
