//! Turns `proto/` into `crates/proto/src/gen/`: Rust types, tonic clients and servers, and the
//! descriptor set that reflection and JSON transcoding read.
//!
//! The output depends on the protos and the locked generator versions alone, so a test can
//! regenerate and compare byte for byte. Neither protoc nor a build script is involved.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use protox::Compiler;

use crate::redact::{self, Redacted};

/// Name of the descriptor set among the generated files.
pub const DESCRIPTOR_FILE: &str = "descriptors.bin";

/// Where the protos are.
#[must_use]
pub fn proto_dir() -> PathBuf {
    workspace_dir().join("proto")
}

/// Where the generated files are checked in.
#[must_use]
pub fn gen_dir() -> PathBuf {
    workspace_dir().join("crates/proto/src/gen")
}

/// Replaces the content of `out_dir` by what `proto_dir` generates now.
///
/// # Errors
/// A proto that does not compile, or a directory that cannot be read or written.
pub fn generate(proto_dir: &Path, out_dir: &Path) -> Result<()> {
    let files = proto_files(proto_dir)?;
    ensure!(!files.is_empty(), "no protos in {}", proto_dir.display());
    // Compiled twice: comments become doc comments in Rust, but would quadruple the descriptor set.
    let commented = compile(proto_dir, &files, true)?.file_descriptor_set();
    let compiled = compile(proto_dir, &files, false)?;
    let redacted = redact::find(&compiled.descriptor_pool())?;
    empty(out_dir)?;
    tonic_prost_build::configure()
        .skip_debug(redacted.iter().map(Redacted::path))
        .out_dir(out_dir)
        .generate_default_stubs(true)
        .disable_comments([".google"])
        .emit_rerun_if_changed(false)
        .compile_fds(commented)
        .context("generating Rust")?;
    for message in &redacted {
        append(&out_dir.join(message.file_name()), &message.code())?;
    }
    drop_empty_files(out_dir)?;
    type_server_errors(out_dir)?;
    fs::write(out_dir.join(DESCRIPTOR_FILE), compiled.encode_file_descriptor_set())
        .context("writing the descriptor set")
}

fn append(path: &Path, code: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(code.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

fn compile(proto_dir: &Path, files: &[PathBuf], source_info: bool) -> Result<Compiler> {
    let mut compiler = Compiler::new([proto_dir])?;
    compiler.include_imports(true).include_source_info(source_info);
    compiler.open_files(files).context("compiling the protos")?;
    Ok(compiler)
}

/// All protos below `dir`, relative to it, sorted, so that the order of a directory does not show.
fn proto_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.push(path.strip_prefix(dir)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the files of earlier runs, so that a removed package does not linger.
fn empty(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// Packages whose types all live in `prost_types` leave files with nothing but their header.
fn drop_empty_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let code = fs::read_to_string(&path)?;
        if code.lines().all(|line| line.is_empty() || line.starts_with("//")) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Has the generated servers answer malformed requests and missing handlers with our typed errors. The generator has no
/// option for either; clients keep prost's codec, since what they decode is a server's answer.
fn type_server_errors(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let mut in_server = false;
        let mut code = String::new();
        for line in fs::read_to_string(&path)?.lines() {
            if line.starts_with("pub mod ") {
                in_server = line.ends_with("_server {");
            }
            let typed = line.replace(
                "tonic::Status::unimplemented(\"Not yet implemented\")",
                "crate::edge::not_implemented()",
            );
            let codec = if in_server { "crate::edge::ServerCodec::" } else { "tonic_prost::ProstCodec::" };
            code.push_str(&typed.replace("tonic_prost::ProstCodec::", codec));
            code.push('\n');
        }
        fs::write(&path, code).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn workspace_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
