//! How the person of a session proved who they are, and from where it was used last: rows as they are found, opened and
//! written. Earlier versions don't know the table: everything in it is sealed and stamped, whatever the form of other rows.

use std::collections::HashMap;

use portal_core::id::{Id, SessionId, SubjectId};
use portal_core::{Acr, Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, Inserts, ReadTx, StoreError, Tx};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use super::rows;
use super::session_context::{self, Column};
use crate::domain::session::{Context, Network};

const TABLE: &str = "session_context";
const LAST_NETWORK: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_last_network", Padding::To64);

/// A context as it is stored, checked and not opened.
pub struct StoredContext {
    model: session_context::Model,
    acr: Acr,
}

impl StoredContext {
    /// How the person proved who they are, and when.
    #[must_use]
    pub const fn authentication(&self) -> (Acr, Timestamp) {
        (self.acr, Timestamp::from_micros(self.model.authenticated_at))
    }

    /// Whose key it takes to open it.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        SubjectId::from_uuid(self.model.subject_id)
    }
}

/// The table.
pub struct Contexts {
    sealing: Sealing,
    digests: RowDigests,
}

impl Contexts {
    /// The table, sealed and checked with these.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// What is known of these sessions beside what every session has.
    pub async fn find_all(
        &self,
        tx: &ReadTx,
        sessions: impl Iterator<Item = SessionId> + Send,
    ) -> Result<HashMap<SessionId, StoredContext>, StoreError> {
        let these = Column::SessionId.is_in(sessions.map(Id::uuid));
        let found = session_context::Entity::find().filter(these).all(tx.conn()).await?;
        let by_id = |model: session_context::Model| {
            Ok((SessionId::from_uuid(model.session_id), self.checked(model)?))
        };
        found.into_iter().map(by_id).collect()
    }

    /// Adds the context of a session of before, or of one that is added before it.
    pub fn add(
        &self,
        inserts: &mut Inserts,
        (session, context): (SessionId, &Context),
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        rows::add::<session_context::Entity>(inserts, self.sealed((session, context), 1, key)?)
    }

    /// Writes `context` over what was found before.
    pub async fn update(
        &self,
        tx: &Tx,
        (session, context): (SessionId, &Context),
        before: &StoredContext,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let revision = before.model.revision;
        let model = self.sealed((session, context), revision + 1, key)?;
        let done = session_context::Entity::update_many()
            .set(model.into_active_model().reset_all())
            .filter(Column::SessionId.eq(session.uuid()))
            .filter(Column::Revision.eq(revision))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    fn sealed(
        &self,
        (session, context): (SessionId, &Context),
        revision: i64,
        key: &SubjectKey,
    ) -> Result<session_context::Model, StoreError> {
        let mut model = session_context::Model {
            session_id: session.uuid(),
            subject_id: key.owner().subject.uuid(),
            acr: context.acr.name().to_owned(),
            authenticated_at: context.authenticated_at.as_micros(),
            sealed_last_network: None,
            revision,
            row_digest: None,
        };
        let network =
            context.last_network.as_ref().map(|network| Sensitive::new(network.expose().to_owned()));
        let row = model.row();
        model.sealed_last_network = LAST_NETWORK.seal_option(&self.sealing, key, row, network.as_ref())?;
        self.digests.stamp(&mut model)?;
        Ok(model)
    }

    /// All of it.
    pub fn open(&self, stored: &StoredContext, key: &SubjectKey) -> Result<Context, StoreError> {
        let model = &stored.model;
        if key.owner().subject != stored.subject() {
            return Err(rows::corrupt(
                TABLE,
                "sealed_last_network",
                &model.session_id,
                Corruption::KeyMissing,
            ));
        }
        let sealed = model.sealed_last_network.as_ref();
        let network = LAST_NETWORK.open_option(&self.sealing, key, model.row(), sealed)?;
        let (acr, authenticated_at) = stored.authentication();
        Ok(Context { acr, authenticated_at, last_network: network.map(Network::from) })
    }

    /// The context in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: session_context::Model) -> Result<StoredContext, StoreError> {
        self.digests.check(&model)?;
        let invalid = |_| rows::corrupt(TABLE, "acr", &model.session_id, Corruption::ValueInvalid);
        Ok(StoredContext { acr: model.acr.parse().map_err(invalid)?, model })
    }
}
