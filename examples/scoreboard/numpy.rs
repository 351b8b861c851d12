//! To come.
//!
//! Nothing.
