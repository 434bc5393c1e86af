//! Where people are signed in: rows as they are found and written. Earlier versions don't know the table: whatever the form of
//! other rows, these have digests.

use std::collections::HashSet;

use portal_core::id::{AccountId, ClientId, Id, SessionId};
use portal_store::sealed::RowDigests;
use portal_store::{Inserts, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::client_sign_in::{self, Column};
use super::{rows, session};
use crate::domain::ClientSignIn;

/// Ids in one statement: a database takes only so many.
const CHUNK: usize = 400;
/// Of more than this at once, that are too many, nobody has heard.
const AT_ONCE: u64 = 400;

/// The table.
pub struct ClientSignIns {
    digests: RowDigests,
}

impl ClientSignIns {
    /// The table, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// Adds a sign-in.
    pub fn add(&self, inserts: &mut Inserts, new: &ClientSignIn) -> Result<(), StoreError> {
        let mut model = client_sign_in::Model {
            session_id: new.session.uuid(),
            origin_session_id: new.origin.uuid(),
            account_id: new.account.uuid(),
            client_id: new.client.uuid(),
            issuer: new.issuer.clone(),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        rows::add::<client_sign_in::Entity>(inserts, model)
    }

    /// The sign-ins that end with these sessions: approved in one of them, or granted by one.
    pub async fn of_sessions(
        &self,
        tx: &ReadTx,
        sessions: &[SessionId],
    ) -> Result<Vec<ClientSignIn>, StoreError> {
        let mut found = Vec::new();
        for ids in sessions.chunks(CHUNK) {
            let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
            let theirs = Condition::any()
                .add(Column::SessionId.is_in(ids.clone()))
                .add(Column::OriginSessionId.is_in(ids));
            found.extend(client_sign_in::Entity::find().filter(theirs).all(tx.conn()).await?);
        }
        Ok(self.sound(found))
    }

    /// The sign-ins of an account.
    pub async fn of_account(&self, tx: &ReadTx, account: AccountId) -> Result<Vec<ClientSignIn>, StoreError> {
        let theirs = Column::AccountId.eq(account.uuid());
        let found = client_sign_in::Entity::find().filter(theirs).all(tx.conn()).await?;
        Ok(self.sound(found))
    }

    /// What is too much with `new`: the oldest of its client through its session.
    pub async fn displaced_by(
        &self,
        tx: &ReadTx,
        new: &ClientSignIn,
    ) -> Result<Vec<ClientSignIn>, StoreError> {
        let beside = client_sign_in::Entity::find()
            .filter(Column::OriginSessionId.eq(new.origin.uuid()))
            .filter(Column::ClientId.eq(new.client.uuid()))
            // Ids begin with the time.
            .order_by_desc(Column::SessionId)
            .offset(ClientSignIn::KEPT - 1)
            .limit(AT_ONCE);
        Ok(self.sound(beside.all(tx.conn()).await?))
    }

    /// Forgets sign-ins.
    pub async fn delete(&self, tx: &Tx, sign_ins: &[ClientSignIn]) -> Result<(), StoreError> {
        for some in sign_ins.chunks(CHUNK) {
            let these = Column::SessionId.is_in(some.iter().map(|sign_in| sign_in.session.uuid()));
            client_sign_in::Entity::delete_many().filter(these).exec(tx.conn()).await?;
        }
        Ok(())
    }

    /// Those that are what was written. One that is not keeps nobody from being signed out: who changed it is told of in the
    /// log, and by the scan.
    fn sound(&self, found: Vec<client_sign_in::Model>) -> Vec<ClientSignIn> {
        let (mut sound, mut known) = (Vec::with_capacity(found.len()), HashSet::new());
        for model in found {
            match self.checked(&model) {
                Ok(sign_in) => sound.extend(known.insert(sign_in.session).then_some(sign_in)),
                Err(error) => {
                    tracing::error!(%error, "a client is not told of a sign-out: the row is corrupt");
                }
            }
        }
        sound
    }

    /// The sign-in in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: &client_sign_in::Model) -> Result<ClientSignIn, StoreError> {
        self.digests.check(model)?;
        Ok(ClientSignIn {
            session: SessionId::from_uuid(model.session_id),
            origin: SessionId::from_uuid(model.origin_session_id),
            account: AccountId::from_uuid(model.account_id),
            client: ClientId::from_uuid(model.client_id),
            issuer: model.issuer.clone(),
        })
    }
}

/// Forgets the sign-ins of whose sessions there is neither any more, and says how many.
pub async fn purge(tx: &Tx) -> Result<u64, StoreError> {
    let gone = |column: Column| {
        let that = Expr::col((session::Entity, session::Column::Id));
        let there = Query::select()
            .expr(Expr::val(1))
            .from(session::Entity)
            .and_where(that.equals((client_sign_in::Entity, column)))
            .take();
        Expr::exists(there).not()
    };
    let over = Condition::all().add(gone(Column::SessionId)).add(gone(Column::OriginSessionId));
    let done = client_sign_in::Entity::delete_many().filter(over).exec(tx.conn()).await?;
    Ok(done.rows_affected)
}
