//! Imports: streams of records that go on after any cut.
//!
//! How far an import is, is written in the transaction of the records themselves, so whatever happens each record is in
//! once. Whoever sends records again that are in already has them skipped.

use portal_core::id::OperationId;
use portal_mesh::Permit;

use super::App;
use super::consents::actor;
use super::records::{Asked, changes};
use crate::domain::import::{Import, ImportError};
use crate::error::Error;
use crate::service::policy::ImportConsents;
use crate::store::imports;
use crate::store::{Reading, Writing};

/// How the reason of a refusal is kept.
pub(crate) type Encode = fn(&Error) -> Vec<u8>;

impl App {
    /// Begins the import or finds how far it is. The first record to come has the position `first`.
    pub(crate) async fn begin_import(
        &self,
        permit: &Permit<ImportConsents>,
        id: OperationId,
        first: u64,
    ) -> Result<Import, Error> {
        let (caller, now) = (&permit.caller().key(), self.clock.now());
        self.database
            .run_tx("begin_import", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                let import = match imports::find(&tx, id).await? {
                    Some(import) => import,
                    None => begin(&tx, Import::begin(id, caller.clone(), now)).await?,
                };
                import.skip(caller, first)?;
                Ok(import)
            })
            .await
    }

    /// Records the next records of the import, the first of which has the position `first`. Those that are in already are
    /// skipped.
    pub(crate) async fn import(
        &self,
        permit: &Permit<ImportConsents>,
        id: OperationId,
        (first, records): (u64, &[Asked]),
        encode: Encode,
    ) -> Result<Import, Error> {
        let (caller, actor, now) = (&permit.caller().key(), &actor(permit.caller()), self.clock.now());
        let keys = &self.keys_of(records.iter().flatten()).await?;
        let (import, changed) = self
            .database
            .run_tx("import_consents", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                let mut import = found(&tx, id).await?;
                let skip = usize::try_from(import.skip(caller, first)?).unwrap_or(usize::MAX);
                let Some(records) = records.get(skip..).filter(|records| !records.is_empty()) else {
                    return Ok::<_, Error>((import, Vec::new()));
                };
                let items = self.record_asked(&tx, records, (keys, actor), now).await?;
                let refused = items.iter().map(|item| item.as_ref().err().map(encode));
                let new_refusals = import.add(refused, now);
                imports::save(&tx, &import, new_refusals).await?;
                Ok((import, changes(&items)))
            })
            .await?;
        self.recorded(changed);
        Ok(import)
    }
}

async fn begin(tx: &Writing<'_>, import: Import) -> Result<Import, Error> {
    imports::insert(tx, &import).await?;
    Ok(import)
}

async fn found(tx: &Reading<'_>, id: OperationId) -> Result<Import, Error> {
    Ok(imports::find(tx, id).await?.ok_or(ImportError::Gap)?)
}
