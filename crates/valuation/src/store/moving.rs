//! The data migration that gives rows of earlier versions their new form: what is personal sealed, and a digest, as
//! [`portal_upkeep::migration::sealing`] says.
//!
//! | module | holds |
//! |---|---|
//! | [`batches`] | the records of a batch |
//! | [`stamped`] | tables with nothing personal, which get digests |
//! | [`values`] | what records and people are worth |

mod batches;
mod stamped;
mod values;

use std::sync::Arc;

use portal_keys::Keys;
use portal_upkeep::migration::sealing::Rows;
use portal_upkeep::migration::{DataMigration, TableMigration, Tables};

use super::Seals;
pub(super) use batches::Batches;
pub(super) use stamped::{Appends, Datasets, Exclusions, Valuations};
pub(super) use values::{RecordValues, SubjectValues};

/// The name of the migration, by which every transaction asks in which form it finds and leaves rows.
pub const NAME: &str = "d0001_seal_records";
const DESCRIPTION: &str = "Seals the numbers of records and what they are worth, and gives the rows digests";

/// What rows are sealed with.
#[derive(Clone)]
pub struct Crypto {
    pub seals: Seals,
    pub keys: Keys,
}

/// All data migrations, in the order in which they apply.
pub fn migrations(crypto: &Crypto) -> Vec<Arc<dyn DataMigration>> {
    let parts: Vec<Box<dyn TableMigration>> = vec![
        Box::new(Rows(Batches(crypto.clone()))),
        Box::new(Rows(RecordValues(crypto.clone()))),
        Box::new(Rows(SubjectValues(crypto.clone()))),
        Box::new(Rows(Datasets(crypto.clone()))),
        Box::new(Rows(Appends(crypto.clone()))),
        Box::new(Rows(Valuations(crypto.clone()))),
        Box::new(Rows(Exclusions(crypto.clone()))),
    ];
    vec![Arc::new(Tables::new(NAME, DESCRIPTION, parts).sealed_with(&crypto.keys))]
}
