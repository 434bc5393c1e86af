//! The wire contract of Portal as Rust types, tonic clients and tonic servers.
//!
//! Everything below [`portal`] and [`google`] is generated from `proto/` by `cargo xtask codegen` and
//! checked in under `src/gen/`: building needs neither protoc nor a build script, and a test of
//! `xtask` regenerates and compares. The only behaviour is in [`edge`]: what servers answer without a handler.
//!
//! A server trait has a default for every method, which answers UNIMPLEMENTED ([`edge::not_implemented`]).
#![forbid(unsafe_code)]

pub mod edge;

pub use portal::{auth, common, consent, ledger, valuation};

/// The encoded `google.protobuf.FileDescriptorSet` of every proto and all its imports, custom options
/// such as `google.api.http` included, comments left out. For reflection and JSON transcoding.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

/// Includes one generated package. Lints are for code that people write.
macro_rules! generated {
    ($(#[$doc:meta])* $module:ident, $file:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            rustdoc::all,
            unused_qualifications,
            clippy::all,
            clippy::nursery,
            clippy::pedantic,
            clippy::restriction
        )]
        pub mod $module {
            include!(concat!("gen/", $file));
        }
    };
}

/// Packages `google.*`, vendored.
pub mod google {
    generated!(
        /// Package `google.api`: HTTP rules and field behaviour.
        api,
        "google.api.rs"
    );
    generated!(
        /// Package `google.longrunning`: operations.
        longrunning,
        "google.longrunning.rs"
    );
    generated!(
        /// Package `google.rpc`: `Status` and the error details.
        rpc,
        "google.rpc.rs"
    );
}

/// Packages `portal.*`. The same modules are re-exported at the root of the crate.
pub mod portal {
    /// Accounts, sessions, tokens.
    pub mod auth {
        generated!(
            /// Package `portal.auth.v1`.
            v1,
            "portal.auth.v1.rs"
        );
    }
    /// Messages that every service shares.
    pub mod common {
        generated!(
            /// Package `portal.common.v1`.
            v1,
            "portal.common.v1.rs"
        );
    }
    /// Purposes, notices, consents, decisions, receipts.
    pub mod consent {
        generated!(
            /// Package `portal.consent.v1`.
            v1,
            "portal.consent.v1.rs"
        );
    }
    /// Messages that every ledger shares.
    pub mod ledger {
        generated!(
            /// Package `portal.ledger.v1`.
            v1,
            "portal.ledger.v1.rs"
        );
    }
    /// Datasets, valuations, payouts.
    pub mod valuation {
        generated!(
            /// Package `portal.valuation.v1`.
            v1,
            "portal.valuation.v1.rs"
        );
    }
}
