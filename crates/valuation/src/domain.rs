//! Datasets, records, valuations and their results: what may be and what follows, without IO.

pub mod batch;
pub mod dataset;
pub mod id;
pub mod outcome;
pub mod valuation;
