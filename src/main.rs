//! The `lancang` binary: parse, run, exit code.

fn main() {}
