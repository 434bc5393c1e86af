//! What clients were given: rows as they are found and written. Earlier versions don't know the tables: whatever the form of
//! other rows, these have digests.

use std::collections::{BTreeSet, HashMap, HashSet};

use portal_core::id::{ClientId, Id, SessionId};
use portal_core::{Scope, Timestamp};
use portal_store::sealed::RowDigests;
use portal_store::{Corruption, Inserts, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};

use super::live::Token;
use super::{client_token, grant_token, rows, session_grant};
use crate::domain::grant::{parse_scopes, scope_text};
use crate::domain::session::StoredPair;
use crate::domain::{Grant, HandleHash, Session};

/// Ids in one statement: a database takes only so many.
const CHUNK: usize = 500;

/// Tokens of a grant as they are stored, and checked.
pub struct StoredGrantTokens {
    model: grant_token::Model,
    pair: StoredPair,
}

impl StoredGrantTokens {
    /// The pair.
    #[must_use]
    pub const fn pair(&self) -> &StoredPair {
        &self.pair
    }

    /// By what the keys of bound tokens are found.
    #[must_use]
    pub fn refresh_hash(&self) -> &[u8] {
        &self.model.refresh_hash
    }
}

/// An access token that a client holds for itself.
#[derive(Clone, Debug)]
pub struct ClientToken {
    /// The client.
    pub client: ClientId,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The tables.
pub struct Grants {
    digests: RowDigests,
}

impl Grants {
    /// The tables, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// Adds a grant, of a session that is added before it.
    pub fn add(&self, inserts: &mut Inserts, new: &Grant) -> Result<(), StoreError> {
        let mut model = session_grant::Model {
            session_id: new.session.uuid(),
            client_id: new.client.uuid(),
            issuer: new.issuer.clone(),
            scopes: scope_text(&new.scopes),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        rows::add::<session_grant::Entity>(inserts, model)
    }

    /// The grant that a session is, if it is one.
    pub async fn find(&self, tx: &ReadTx, session: SessionId) -> Result<Option<Grant>, StoreError> {
        let model = session_grant::Entity::find_by_id(session.uuid()).one(tx.conn()).await?;
        model.map(|model| self.checked(&model)).transpose()
    }

    /// The grants that these sessions are, those of them that are one.
    pub async fn find_all(
        &self,
        tx: &ReadTx,
        sessions: impl Iterator<Item = SessionId> + Send,
    ) -> Result<HashMap<SessionId, Grant>, StoreError> {
        let these = session_grant::Column::SessionId.is_in(sessions.map(Id::uuid));
        let found = session_grant::Entity::find().filter(these).all(tx.conn()).await?;
        let by_id = |model: session_grant::Model| {
            let grant = self.checked(&model)?;
            Ok((grant.session, grant))
        };
        found.into_iter().map(by_id).collect()
    }

    /// The sessions that are grants of `client`.
    pub async fn sessions_of(&self, tx: &ReadTx, client: ClientId) -> Result<Vec<SessionId>, StoreError> {
        let of_client = session_grant::Column::ClientId.eq(client.uuid());
        let ids = session_grant::Entity::find()
            .select_only()
            .column(session_grant::Column::SessionId)
            .filter(of_client);
        let ids: Vec<Uuid> = ids.into_tuple().all(tx.conn()).await?;
        Ok(ids.into_iter().map(SessionId::from_uuid).collect())
    }

    /// The client that a session was given to, whatever else its row says: to end more than is sound harms nobody.
    pub async fn client_of(&self, tx: &ReadTx, session: SessionId) -> Result<Option<ClientId>, StoreError> {
        let found = session_grant::Entity::find_by_id(session.uuid()).one(tx.conn()).await?;
        Ok(found.map(|model| ClientId::from_uuid(model.client_id)))
    }

    /// Those of these sessions that are grants of `client`, corrupt ones too.
    pub async fn among(
        &self,
        tx: &ReadTx,
        sessions: &[SessionId],
        client: ClientId,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut found = Vec::new();
        for sessions in sessions.chunks(CHUNK) {
            let these = session_grant::Column::SessionId.is_in(sessions.iter().map(|id| id.uuid()));
            let ids = session_grant::Entity::find()
                .select_only()
                .column(session_grant::Column::SessionId)
                .filter(these)
                .filter(session_grant::Column::ClientId.eq(client.uuid()));
            let ids: Vec<Uuid> = ids.into_tuple().all(tx.conn()).await?;
            found.extend(ids.into_iter().map(SessionId::from_uuid));
        }
        Ok(found)
    }

    /// Those of these sessions that go on without their person. One that is corrupt does not.
    pub async fn offline_among(
        &self,
        tx: &ReadTx,
        sessions: &[SessionId],
    ) -> Result<HashSet<SessionId>, StoreError> {
        let mut offline = HashSet::new();
        for sessions in sessions.chunks(CHUNK) {
            let these = session_grant::Column::SessionId.is_in(sessions.iter().map(|id| id.uuid()));
            for model in session_grant::Entity::find().filter(these).all(tx.conn()).await? {
                match self.checked(&model) {
                    Ok(grant) => offline.extend(grant.is_offline().then_some(grant.session)),
                    Err(error @ StoreError::Corrupt { .. }) => {
                        tracing::error!(%error, "what a client was given ends with its person: the row is corrupt");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(offline)
    }

    /// Adds the tokens that `session` gives out now.
    pub fn add_tokens(
        &self,
        inserts: &mut Inserts,
        session: &Session,
        (access, refresh): (&HandleHash, &HandleHash),
    ) -> Result<(), StoreError> {
        let mut model = grant_token::Model {
            refresh_hash: refresh.as_bytes().to_vec(),
            access_hash: access.as_bytes().to_vec(),
            session_id: session.id.uuid(),
            issued_at: session.last_used_at.as_micros(),
            access_expires_at: session.access_expires_at.as_micros(),
            refresh_expires_at: session.refresh_expires_at.as_micros(),
            spent_at: None,
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        rows::add::<grant_token::Entity>(inserts, model)
    }

    /// The pair with this token.
    pub async fn tokens(
        &self,
        tx: &ReadTx,
        token: Token<'_>,
    ) -> Result<Option<StoredGrantTokens>, StoreError> {
        let wanted = match token {
            Token::Access(hash) => grant_token::Column::AccessHash.eq(hash.as_bytes().as_slice()),
            Token::Refresh(hash) => grant_token::Column::RefreshHash.eq(hash.as_bytes().as_slice()),
        };
        let model = grant_token::Entity::find().filter(wanted).one(tx.conn()).await?;
        model.map(|model| self.checked_tokens(model)).transpose()
    }

    /// Spends the refresh token of a pair, once: of two who try, the other's transaction is run again and finds it spent.
    pub async fn spend(&self, tx: &Tx, tokens: StoredGrantTokens, now: Timestamp) -> Result<(), StoreError> {
        let mut model = tokens.model;
        model.spent_at = Some(now.as_micros());
        self.digests.stamp(&mut model)?;
        let done = grant_token::Entity::update_many()
            .col_expr(grant_token::Column::SpentAt, Expr::value(model.spent_at))
            .col_expr(grant_token::Column::RowDigest, Expr::value(model.row_digest))
            .filter(grant_token::Column::RefreshHash.eq(model.refresh_hash))
            .filter(grant_token::Column::SpentAt.is_null())
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Adds a token that a client gets for itself.
    pub async fn insert_client_token(
        &self,
        tx: &Tx,
        hash: &HandleHash,
        new: &ClientToken,
    ) -> Result<(), StoreError> {
        let mut model = client_token::Model {
            access_hash: hash.as_bytes().to_vec(),
            client_id: new.client.uuid(),
            scopes: scope_text(&new.scopes),
            issued_at: new.issued_at.as_micros(),
            expires_at: new.expires_at.as_micros(),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        client_token::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The token that a client holds for itself, unless it has ended.
    pub async fn client_token(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
        now: Timestamp,
    ) -> Result<Option<ClientToken>, StoreError> {
        let found = client_token::Entity::find_by_id(hash.as_bytes().to_vec())
            .filter(client_token::Column::ExpiresAt.gt(now.as_micros()))
            .one(tx.conn())
            .await?;
        found.map(|model| self.checked_client_token(&model)).transpose()
    }

    /// Ends a token that a client holds for itself.
    pub async fn delete_client_token(&self, tx: &Tx, hash: &HandleHash) -> Result<(), StoreError> {
        let id = hash.as_bytes().to_vec();
        client_token::Entity::delete_by_id(id).exec(tx.conn()).await?;
        Ok(())
    }

    /// Forgets tokens that have expired, and says how many rows.
    pub async fn purge(&self, tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
        let expired = grant_token::Column::RefreshExpiresAt.lte(now.as_micros());
        let of_people = grant_token::Entity::delete_many().filter(expired).exec(tx.conn()).await?;
        let expired = client_token::Column::ExpiresAt.lte(now.as_micros());
        let of_clients = client_token::Entity::delete_many().filter(expired).exec(tx.conn()).await?;
        Ok(of_people.rows_affected + of_clients.rows_affected)
    }

    /// The grant in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: &session_grant::Model) -> Result<Grant, StoreError> {
        self.digests.check(model)?;
        let invalid =
            || rows::corrupt("session_grant", "scopes", &model.session_id, Corruption::ValueInvalid);
        Ok(Grant {
            session: SessionId::from_uuid(model.session_id),
            client: ClientId::from_uuid(model.client_id),
            issuer: model.issuer.clone(),
            scopes: parse_scopes(&model.scopes).ok_or_else(invalid)?,
        })
    }

    /// The tokens in `model`, if that is what was written.
    pub(crate) fn checked_tokens(&self, model: grant_token::Model) -> Result<StoredGrantTokens, StoreError> {
        self.digests.check(&model)?;
        let pair = StoredPair {
            session: SessionId::from_uuid(model.session_id),
            access_expires_at: Timestamp::from_micros(model.access_expires_at),
            refresh_expires_at: Timestamp::from_micros(model.refresh_expires_at),
            issued_at: Timestamp::from_micros(model.issued_at),
            spent_at: model.spent_at.map(Timestamp::from_micros),
        };
        Ok(StoredGrantTokens { model, pair })
    }

    /// The token in `model`, if that is what was written.
    pub(crate) fn checked_client_token(
        &self,
        model: &client_token::Model,
    ) -> Result<ClientToken, StoreError> {
        self.digests.check(model)?;
        let invalid = || rows::corrupt("client_token", "scopes", &model.client_id, Corruption::ValueInvalid);
        Ok(ClientToken {
            client: ClientId::from_uuid(model.client_id),
            scopes: parse_scopes(&model.scopes).ok_or_else(invalid)?,
            issued_at: Timestamp::from_micros(model.issued_at),
            expires_at: Timestamp::from_micros(model.expires_at),
        })
    }
}
