//! Refuses to be optimised for size.
//!
//! The reference code of Kyber and Dilithium divides by constants. Where a compiler optimises for size it does so by a
//! division instruction, whose duration depends on the secret that is divided (KyberSlash, RUSTSEC-2023-0079); elsewhere
//! it multiplies instead. Cargo tells a package of its own level only: that no profile gives another one to the
//! dependencies is checked in `tests/isolation.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "how cargo speaks to a build script")]
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    if !matches!(level.as_str(), "0" | "1" | "2" | "3") {
        println!(
            "cargo::error=portal-legacy-import can't be built with opt-level {level:?}: optimised for size, Kyber's \
             reference code divides by an instruction whose time depends on the secret"
        );
        std::process::exit(1);
    }
}
