# The few commands of daily work; `just` lists them. CI runs scripts/test, which needs no just.

# List the recipes.
default:
    @just --list --unsorted

# Everything CI checks: tools, format, lints, tests, documentation.
verify:
    scripts/test

# Format Rust and protobuf.
fmt: tools
    cargo fmt
    target/tools/buf format --write

# Lint Rust and protobuf.
lint: tools
    target/tools/buf lint
    cargo clippy --all-targets -- -D warnings

# Run the tests whose names contain FILTER.
test FILTER="": tools
    cargo test {{ FILTER }}

# Fetch grpcurl and buf into target/tools.
tools:
    scripts/test --tools

# Licences, advisories, banned and doubled crates; needs `cargo install cargo-deny`.
deny:
    cargo deny check

# Refuse a change of the API that breaks a client of the branch BASE.
breaking BASE="main": tools
    target/tools/buf breaking --against '.git#branch={{ BASE }}'

# Serve with the state in DIR.
serve DIR="target/data":
    cargo run --release -- serve --data-dir {{ DIR }}

# Serve the demonstration: ten Yunnan sites, a forecast week, a mixed set of jobs.
demo:
    cargo run --release -- demo

# Benchmarks of the planner and the store.
bench:
    cargo bench

# What a real Slurm on this machine accepts; needs root.
slurm-baseline:
    scripts/slurm-baseline
