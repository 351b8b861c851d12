//! `lancang` as a client, against the real server.
//!
//! x.
