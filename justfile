# `just` lists these. CI runs the same steps: `.ci/run`.

_default:
    @just --list

# The mesh on an embedded database, in ./portal-data.
up *ARGS:
    cargo run --release -- up {{ARGS}}

# All tests; those that need what is not installed say so. `just test-all` lets none be skipped.
test *ARGS:
    cargo test --workspace {{ARGS}}

test-all *ARGS:
    PORTAL_REQUIRE_ALL=1 cargo test --workspace {{ARGS}}

# What a change must pass before it is reviewed, in a few minutes.
check:
    .ci/run format clippy protos spelling scripts dependencies advisories

# Everything CI does.
ci:
    .ci/run

fmt:
    cargo fmt --all

# The Rust and TypeScript code of the protos.
codegen:
    cargo xtask codegen
    cd web && npm run generate

# The console's built assets, which are checked in.
web:
    cd web && npm ci && npm run build

# Writes the golden files and the generated part of docs/errors anew: read the diff.
golden:
    UPDATE_GOLDEN=1 cargo test --workspace
    UPDATE_GOLDEN=1 python3 -m pytest tests/helm

doc:
    cargo doc --workspace --no-deps --open
