//! What is wrong with a value: a field and a sentence.
//!
//! Checks collect every violation instead of stopping at the first.

use std::fmt;

/// A wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, e.g. `spec.timing.runtime`.
    pub field: String,
    /// What is wrong and what is accepted.
    pub description: String,
}

/// Collects violations under a path.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<Violation>,
}

impl Violations {
    /// Nothing found yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a wrong field.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.found.push(Violation {
            field: field.into(),
            description: description.into(),
        });
    }

    /// Notes a wrong field unless `ok`.
    pub fn check(&mut self, ok: bool, field: &str, description: impl FnOnce() -> String) {
        if !ok {
            self.add(field, description());
        }
    }

    /// Takes over what another check found, under `prefix` and a dot; an empty prefix keeps the paths.
    pub fn extend_under(&mut self, prefix: &str, inner: impl IntoIterator<Item = Violation>) {
        self.found.extend(inner.into_iter().map(|violation| {
            if prefix.is_empty() {
                return violation;
            }
            Violation {
                field: format!("{prefix}.{}", violation.field),
                ..violation
            }
        }));
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<Violation> {
        self.found
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}
