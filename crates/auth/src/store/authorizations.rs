//! Authorization requests and codes: rows as they are found and written. Earlier versions don't know the tables: whatever the
//! form of other rows, these have digests.

use std::time::Duration;

use portal_core::id::{AccountId, ClientId, Id, SessionId};
use portal_core::{Acr, Timestamp};
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter};
use serde::{Deserialize, Serialize};

use super::{authorization_code, authorization_request, rows};
use crate::domain::grant::{CodeChallenge, parse_scopes, scope_text};
use crate::domain::{AuthorizationCode, AuthorizationRequest, HandleHash, Prompt, ProofKey};

const ANEW: &str = "login";
const ASK: &str = "consent";
const SILENT: &str = "none";

/// What is asked for, as it is stored.
#[derive(Deserialize, Serialize)]
struct Terms {
    issuer: String,
    redirect_uri: String,
    scopes: String,
    nonce: Option<String>,
    code_challenge: String,
    /// Of requests alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prompt: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age_seconds: Option<u64>,
    /// Of codes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin_session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_jkt: Option<String>,
}

/// The tables.
pub struct Authorizations {
    digests: RowDigests,
}

impl Authorizations {
    /// The tables, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// Adds a request.
    pub async fn insert(
        &self,
        tx: &Tx,
        hash: &HandleHash,
        new: &AuthorizationRequest,
    ) -> Result<(), StoreError> {
        let terms = Terms {
            issuer: new.issuer.clone(),
            redirect_uri: new.redirect_uri.clone(),
            scopes: scope_text(&new.scopes),
            nonce: new.nonce.clone(),
            code_challenge: new.code_challenge.to_text(),
            state: new.state.clone(),
            prompt: words(new.prompt),
            max_age_seconds: new.max_age.map(|age| age.as_secs()),
            origin_session_id: None,
            dpop_jkt: new.proof_key.map(ProofKey::to_text),
        };
        let mut model = authorization_request::Model {
            request_hash: hash.as_bytes().to_vec(),
            client_id: new.client.uuid(),
            terms: written("authorization_request", &terms)?,
            started_at: new.started_at.as_micros(),
            expires_at: new.expires_at.as_micros(),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        authorization_request::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The request with this reference, unless it has ended.
    pub async fn find(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
        now: Timestamp,
    ) -> Result<Option<AuthorizationRequest>, StoreError> {
        let found = authorization_request::Entity::find_by_id(hash.as_bytes().to_vec())
            .filter(authorization_request::Column::ExpiresAt.gt(now.as_micros()))
            .one(tx.conn())
            .await?;
        found.map(|model| self.request(&model)).transpose()
    }

    /// Ends a request: of two who decide, the other's transaction is run again and does not find it.
    pub async fn delete(&self, tx: &Tx, hash: &HandleHash) -> Result<(), StoreError> {
        let id = hash.as_bytes().to_vec();
        let done = authorization_request::Entity::delete_by_id(id).exec(tx.conn()).await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Adds a code.
    pub async fn insert_code(
        &self,
        tx: &Tx,
        hash: &HandleHash,
        new: &AuthorizationCode,
    ) -> Result<(), StoreError> {
        let row = self.code_row(hash, new)?.into_active_model().reset_all();
        authorization_code::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The code with this hash, used or over or not.
    pub async fn find_code(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
    ) -> Result<Option<AuthorizationCode>, StoreError> {
        let id = hash.as_bytes().to_vec();
        let found = authorization_code::Entity::find_by_id(id).one(tx.conn()).await?;
        found.map(|model| self.code(&model)).transpose()
    }

    /// Uses a code, once: of two who try, the other's transaction is run again and finds it used.
    pub async fn use_code(
        &self,
        tx: &Tx,
        hash: &HandleHash,
        code: &AuthorizationCode,
        session: SessionId,
    ) -> Result<(), StoreError> {
        let used = AuthorizationCode { used_for: Some(session), ..code.clone() };
        let done = authorization_code::Entity::update_many()
            .set(self.code_row(hash, &used)?.into_active_model().reset_all())
            .filter(authorization_code::Column::CodeHash.eq(hash.as_bytes().as_slice()))
            .filter(authorization_code::Column::SessionId.is_null())
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Forgets the codes that `account` approved and nobody used, for `client` or for all of them.
    pub async fn forget_codes(
        &self,
        tx: &Tx,
        account: AccountId,
        client: Option<ClientId>,
    ) -> Result<(), StoreError> {
        use authorization_code::Column::{
            AccountId as OfAccount, ClientId as OfClient, SessionId as UsedFor,
        };
        let these = Condition::all()
            .add(OfAccount.eq(account.uuid()))
            .add(UsedFor.is_null())
            .add_option(client.map(|client| OfClient.eq(client.uuid())));
        authorization_code::Entity::delete_many().filter(these).exec(tx.conn()).await?;
        Ok(())
    }

    /// Forgets what has ended, and says how many rows. Codes are kept as long again, to know a replay.
    pub async fn purge(&self, tx: &Tx, now: Timestamp, codes_kept: Duration) -> Result<u64, StoreError> {
        let ended = authorization_request::Column::ExpiresAt.lte(now.as_micros());
        let requests = authorization_request::Entity::delete_many().filter(ended).exec(tx.conn()).await?;
        let ended = authorization_code::Column::ExpiresAt.lte(now.minus(codes_kept).as_micros());
        let codes = authorization_code::Entity::delete_many().filter(ended).exec(tx.conn()).await?;
        Ok(requests.rows_affected + codes.rows_affected)
    }

    /// The request in `model`, if that is what was written.
    pub(crate) fn request(
        &self,
        model: &authorization_request::Model,
    ) -> Result<AuthorizationRequest, StoreError> {
        self.digests.check(model)?;
        let invalid = || invalid("authorization_request", "terms", model);
        let terms: Terms = serde_json::from_str(&model.terms).map_err(|_| invalid())?;
        let asks = |word: &str| terms.prompt.iter().any(|asked| asked == word);
        let prompt = Prompt { anew: asks(ANEW), ask: asks(ASK), silent: asks(SILENT) };
        Ok(AuthorizationRequest {
            client: ClientId::from_uuid(model.client_id),
            issuer: terms.issuer,
            redirect_uri: terms.redirect_uri,
            scopes: parse_scopes(&terms.scopes).ok_or_else(invalid)?,
            state: terms.state,
            nonce: terms.nonce,
            code_challenge: CodeChallenge::parse(&terms.code_challenge).ok_or_else(invalid)?,
            proof_key: proof_key(terms.dpop_jkt.as_deref()).ok_or_else(invalid)?,
            prompt,
            max_age: terms.max_age_seconds.map(Duration::from_secs),
            started_at: Timestamp::from_micros(model.started_at),
            expires_at: Timestamp::from_micros(model.expires_at),
        })
    }

    /// The code in `model`, if that is what was written.
    pub(crate) fn code(&self, model: &authorization_code::Model) -> Result<AuthorizationCode, StoreError> {
        self.digests.check(model)?;
        let invalid = |column| invalid("authorization_code", column, model);
        let terms: Terms = serde_json::from_str(&model.terms).map_err(|_| invalid("terms"))?;
        let acr = Acr::ALL.into_iter().find(|acr| acr.name() == model.acr);
        let challenge = CodeChallenge::parse(&terms.code_challenge);
        let origin = terms.origin_session_id.as_deref().map(SessionId::parse).transpose();
        Ok(AuthorizationCode {
            client: ClientId::from_uuid(model.client_id),
            account: AccountId::from_uuid(model.account_id),
            issuer: terms.issuer,
            redirect_uri: terms.redirect_uri,
            scopes: parse_scopes(&terms.scopes).ok_or_else(|| invalid("terms"))?,
            nonce: terms.nonce,
            code_challenge: challenge.ok_or_else(|| invalid("terms"))?,
            proof_key: proof_key(terms.dpop_jkt.as_deref()).ok_or_else(|| invalid("terms"))?,
            acr: acr.ok_or_else(|| invalid("acr"))?,
            authenticated_at: Timestamp::from_micros(model.authenticated_at),
            expires_at: Timestamp::from_micros(model.expires_at),
            used_for: model.session_id.map(SessionId::from_uuid),
            origin: origin.map_err(|_| invalid("terms"))?,
        })
    }

    fn code_row(
        &self,
        hash: &HandleHash,
        code: &AuthorizationCode,
    ) -> Result<authorization_code::Model, StoreError> {
        let terms = Terms {
            issuer: code.issuer.clone(),
            redirect_uri: code.redirect_uri.clone(),
            scopes: scope_text(&code.scopes),
            nonce: code.nonce.clone(),
            code_challenge: code.code_challenge.to_text(),
            state: None,
            prompt: Vec::new(),
            max_age_seconds: None,
            origin_session_id: code.origin.map(|origin| origin.to_string()),
            dpop_jkt: code.proof_key.map(ProofKey::to_text),
        };
        let mut model = authorization_code::Model {
            code_hash: hash.as_bytes().to_vec(),
            client_id: code.client.uuid(),
            account_id: code.account.uuid(),
            terms: written("authorization_code", &terms)?,
            acr: code.acr.name().to_owned(),
            authenticated_at: code.authenticated_at.as_micros(),
            expires_at: code.expires_at.as_micros(),
            session_id: code.used_for.map(Id::uuid),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        Ok(model)
    }
}

/// The key in the terms; `None` if what stands there is none.
fn proof_key(text: Option<&str>) -> Option<Option<ProofKey>> {
    text.map_or(Some(None), |text| ProofKey::parse(text).map(Some))
}

fn words(prompt: Prompt) -> Vec<String> {
    let all = [(prompt.anew, ANEW), (prompt.ask, ASK), (prompt.silent, SILENT)];
    all.into_iter().filter(|(asked, _)| *asked).map(|(_, word)| word.to_owned()).collect()
}

fn written(table: &'static str, terms: &Terms) -> Result<String, StoreError> {
    let invalid = |_| rows::corrupt(table, "terms", &Uuid::nil(), Corruption::ValueInvalid);
    serde_json::to_string(terms).map_err(invalid)
}

fn invalid(table: &'static str, column: &'static str, model: &impl DigestedRow) -> StoreError {
    rows::corrupt(table, column, &Uuid::from_bytes(model.row().id), Corruption::ValueInvalid)
}
