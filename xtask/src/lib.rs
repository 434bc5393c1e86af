//! Tasks of this workspace, as functions, so that its tests can run them too.
#![forbid(unsafe_code)]

pub mod codegen;
pub mod redact;
pub mod tree;
