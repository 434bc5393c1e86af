//! What has happened for good to the data, said in a place that whoever writes the data can't reach.
//!
//! That rows of a table are all sealed, say: a service that believed a note in the database of the data would believe rows
//! in the clear again as soon as somebody changed that note.

use std::collections::BTreeSet;

use crate::KeysError;
use crate::hierarchy::Hierarchy;
use crate::store::milestones;

impl Hierarchy {
    pub(crate) async fn reach(&self, name: &str) -> Result<(), KeysError> {
        let (tenant, now) = (self.scope.tenant, self.clock.now());
        let reach = self
            .database
            .run_tx("reach_milestone", |tx| async move { milestones::add(&tx, tenant, name, now).await });
        Ok(reach.await?)
    }

    pub(crate) async fn take_back(&self, name: &str) -> Result<bool, KeysError> {
        let tenant = self.scope.tenant;
        let take_back = self
            .database
            .run_tx("take_back_milestone", |tx| async move { milestones::remove(&tx, tenant, name).await });
        Ok(take_back.await?)
    }

    pub(crate) async fn reached(&self) -> Result<BTreeSet<String>, KeysError> {
        let tenant = self.scope.tenant;
        let reached =
            self.database.read("reached_milestones", |tx| async move { milestones::all(&tx, tenant).await });
        Ok(reached.await?)
    }
}
