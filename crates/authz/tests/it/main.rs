//! The policies, and what they decide.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod decisions;
mod folder;

mod who;

use portal_authz::{Authority, Fault, Source};

/// Portal's policies and `text` in a file of an operator.
fn with(text: &str) -> Authority {
    Authority::new(&[source("house.cedar", text)]).unwrap()
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

/// What is wrong with policies of an operator.
fn faults(sources: &[Source]) -> Vec<Fault> {
    match Authority::new(sources) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0,
    }
}
