//! `cargo xtask TASK`: what a contributor runs now and then, and no build needs.
#![forbid(unsafe_code)]

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let task: Vec<String> = std::env::args().skip(1).collect();
    match task.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["codegen"] => xtask::codegen::generate(&xtask::codegen::proto_dir(), &xtask::codegen::gen_dir()),
        _ => bail!("usage: cargo xtask codegen"),
    }
}
