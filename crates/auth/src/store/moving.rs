//! Data migrations of auth: rows that were written in the clear get sealed cells and digests, as
//! [`portal_upkeep::migration::sealing`] says, and accounts are indexed anew.

mod accounts;
mod reindex;
mod revocations;
mod sessions;
mod token_pairs;

use std::sync::Arc;

use portal_keys::Keys;
use portal_upkeep::migration::sealing::Rows;
use portal_upkeep::migration::{DataMigration, TableMigration, Tables};

use crate::store::Seals;
use crate::store::accounts::Accounts;
use crate::store::email_index::EmailIndexer;
use crate::store::sessions::Sessions;

pub use reindex::REINDEX;

/// The name of the migration that seals what is personal.
pub const SEAL: &str = "d0001_seal_personal_data";
const DESCRIPTION: &str =
    "Seals e-mail addresses, names of accounts and names of devices, and gives the rows digests";

/// All of them, in the order in which they apply.
#[must_use]
pub fn migrations(keys: &Keys, seals: &Seals, emails: &EmailIndexer) -> Vec<Arc<dyn DataMigration>> {
    let accounts = accounts::SealAccounts {
        accounts: Accounts::new(seals.clone()),
        emails: emails.clone(),
        keys: keys.clone(),
    };
    let sessions = sessions::SealSessions { sessions: Sessions::new(seals.clone()), keys: keys.clone() };
    let pairs = token_pairs::StampTokenPairs { seals: seals.clone() };
    let revocations = revocations::StampRevocations { seals: seals.clone() };
    // Cursors count them: new ones go to the end.
    let parts: Vec<Box<dyn TableMigration>> = vec![
        Box::new(Rows(accounts)),
        Box::new(Rows(sessions)),
        Box::new(Rows(pairs)),
        Box::new(Rows(revocations)),
    ];
    let reindex = reindex::Reindex {
        accounts: Accounts::new(seals.clone()),
        emails: emails.clone(),
        keys: keys.clone(),
    };
    vec![Arc::new(Tables::new(SEAL, DESCRIPTION, parts).sealed_with(keys)), Arc::new(reindex)]
}
