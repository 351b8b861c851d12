//! Why bytes are no record or snapshot.
//!
//! Every error names the field by its path in `lancang.journal.v1`.

use thiserror::Error;

use crate::domain::ids::NameError;

/// Why bytes are no record or snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They are not protobuf of this kind.
    #[error("reading the bytes as protobuf failed")]
    Wire(#[from] prost::DecodeError),
    /// A field has a value that is never written.
    #[error("reading the field `{path}` failed")]
    Field {
        /// Path of the field.
        path: String,
        /// What is wrong with it.
        #[source]
        problem: FieldProblem,
    },
    /// The items of a snapshot do not make a whole.
    #[error("reading item {index} of the snapshot failed: {problem}")]
    Snapshot {
        /// Number of items before it.
        index: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// It must be set.
    #[error("it is missing")]
    Missing,
    /// No value of its enumeration has the number.
    #[error("the number {0} is not known")]
    UnknownNumber(i64),
    /// Too few or too many bytes or elements.
    #[error("it has {len} elements instead of {expected}")]
    WrongLength {
        /// Those it has.
        len: usize,
        /// Those it should have.
        expected: usize,
    },
    /// Its elements must rise.
    #[error("its elements are not in order")]
    Unordered,
    /// The value is outside of what its type allows.
    #[error("its value is out of range")]
    OutOfRange,
    /// It must be a name.
    #[error("it is no name: {0}")]
    Name(#[from] NameError),
    /// It does not agree with another field.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl From<FieldProblem> for DecodeError {
    fn from(problem: FieldProblem) -> Self {
        Self::Field {
            path: String::new(),
            problem,
        }
    }
}

impl From<NameError> for DecodeError {
    fn from(error: NameError) -> Self {
        FieldProblem::from(error).into()
    }
}

/// Says in which field an error came up, from the inside out.
pub(in crate::store) trait Located<T> {
    /// In this field.
    fn at(self, field: &str) -> Result<T, DecodeError>;

    /// In this element of the field.
    fn at_index(self, field: &str, index: usize) -> Result<T, DecodeError>;
}

impl<T, E: Into<DecodeError>> Located<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, DecodeError> {
        self.map_err(|error| error.into().under(field))
    }

    fn at_index(self, field: &str, index: usize) -> Result<T, DecodeError> {
        self.map_err(|error| error.into().under(&format!("{field}[{index}]")))
    }
}

impl DecodeError {
    fn under(self, field: &str) -> Self {
        match self {
            Self::Field { path, problem } if path.is_empty() => Self::Field {
                path: field.into(),
                problem,
            },
            Self::Field { path, problem } => Self::Field {
                path: format!("{field}.{path}"),
                problem,
            },
            Self::Wire(_) | Self::Snapshot { .. } => self,
        }
    }
}
