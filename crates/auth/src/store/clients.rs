//! OAuth clients, and what people approved for them: rows as they are found and written. Earlier versions don't know the
//! tables: whatever the form of other rows, these have digests.

use std::collections::{BTreeSet, HashMap, HashSet};

use portal_core::id::{AccountId, ClientId, Id};
use portal_core::{Scope, Timestamp};
use portal_crypto::jose::Algorithm;
use portal_store::sealed::RowDigests;
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde::{Deserialize, Serialize};

use super::client::{self, Column};
use super::{Listed, client_approval, client_option, rows};
use crate::domain::client::Secrets;
use crate::domain::grant::{parse_scopes, scope_text};
use crate::domain::{Approval, Client, ClientKind, ClientOptions, ClientSettings, GrantType, HandleHash};

const TABLE: &str = "client";
const BESIDE: &str = "client_option";
const CONFIDENTIAL: &str = "confidential";
const PUBLIC: &str = "public";

/// Ids in one statement: a database takes only so many.
const CHUNK: usize = 500;

/// The settings of a client as they are stored.
#[derive(Deserialize, Serialize)]
struct Settings {
    display_name: String,
    grant_types: Vec<String>,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    scopes: String,
    id_token_signing_alg: String,
    require_par: bool,
    /// That there is a row of what is registered beside them: without it nobody knows what that was. A client of an earlier version
    /// has none, and one whose row an earlier version has written since does not say so until a later one writes it.
    #[serde(default)]
    options_beside: bool,
}

/// What is registered beside them, as it is stored.
#[derive(Deserialize, Serialize)]
struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backchannel_logout_uri: Option<String>,
    #[serde(default)]
    backchannel_logout_session_required: bool,
    #[serde(default)]
    require_dpop: bool,
}

/// What somebody approved for a client, as it is stored, and checked.
pub struct StoredApproval {
    scopes: BTreeSet<Scope>,
    revision: i64,
}

impl StoredApproval {
    /// What was approved.
    #[must_use]
    pub const fn scopes(&self) -> &BTreeSet<Scope> {
        &self.scopes
    }
}

/// The tables.
pub struct Clients {
    digests: RowDigests,
}

impl Clients {
    /// The tables, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// The client with this id.
    pub async fn find(&self, tx: &ReadTx, id: ClientId) -> Result<Option<Client>, StoreError> {
        let Some(model) = client::Entity::find_by_id(id.uuid()).one(tx.conn()).await? else {
            return Ok(None);
        };
        let beside = client_option::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
        self.read(&model, beside.as_ref()).map(Some)
    }

    /// `size` clients at most, newest first, after `after`.
    pub async fn list(
        &self,
        tx: &ReadTx,
        after: Option<ClientId>,
        size: usize,
    ) -> Result<Listed<Client, ClientId>, StoreError> {
        let mut list = client::Entity::find().order_by_desc(Column::Id).limit(size as u64 + 1);
        if let Some(after) = after {
            list = list.filter(Column::Id.lt(after.uuid()));
        }
        let found = list.all(tx.conn()).await?;
        let beside = beside(tx, &found).await?;
        let place = |model: &client::Model| ClientId::from_uuid(model.id);
        Listed::new(found, size, place, |model| self.read(&model, beside.get(&model.id)))
    }

    /// Those of these clients that are told of sign-outs. One that is corrupt is not: nobody knows where it would be.
    pub async fn told_among(
        &self,
        tx: &ReadTx,
        clients: &BTreeSet<ClientId>,
    ) -> Result<HashSet<ClientId>, StoreError> {
        let (ids, mut told): (Vec<_>, _) = (clients.iter().map(|id| id.uuid()).collect(), HashSet::new());
        for ids in ids.chunks(CHUNK) {
            let these = Column::Id.is_in(ids.iter().copied());
            let found = client::Entity::find().filter(these).all(tx.conn()).await?;
            let beside = beside(tx, &found).await?;
            for model in &found {
                match self.read(model, beside.get(&model.id)) {
                    Ok(client) => {
                        told.extend(client.settings.options.backchannel_logout_uri.map(|_| client.id));
                    }
                    Err(error @ StoreError::Corrupt { .. }) => {
                        tracing::error!(%error, "a client is not told of a sign-out: its row is corrupt");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(told)
    }

    /// Adds a client.
    pub async fn insert(&self, tx: &Tx, new: &Client) -> Result<(), StoreError> {
        let row = self.stamped(new, true)?.into_active_model().reset_all();
        client::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        let beside = &new.settings.options;
        let options = Options {
            backchannel_logout_uri: beside.backchannel_logout_uri.clone(),
            backchannel_logout_session_required: beside.backchannel_logout_session_required,
            require_dpop: beside.require_dpop,
        };
        let invalid = |_| rows::corrupt(BESIDE, "options", &new.id, Corruption::ValueInvalid);
        let options = serde_json::to_string(&options).map_err(invalid)?;
        let mut model = client_option::Model { client_id: new.id.uuid(), options, row_digest: None };
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        client_option::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// Stores `changed`, the next revision of what was found.
    pub async fn update(&self, tx: &Tx, changed: &Client) -> Result<(), StoreError> {
        let beside = client_option::Entity::find_by_id(changed.id.uuid()).one(tx.conn()).await?;
        let done = client::Entity::update_many()
            .set(self.stamped(changed, beside.is_some())?.into_active_model().reset_all())
            .filter(Column::Id.eq(changed.id.uuid()))
            .filter(Column::Revision.eq(changed.revision - 1))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Removes a client with all that was asked for, approved and given.
    pub async fn delete(&self, tx: &Tx, id: ClientId) -> Result<(), StoreError> {
        let done = client::Entity::delete_by_id(id.uuid()).exec(tx.conn()).await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// What `account` approved for `client`.
    pub async fn approval(
        &self,
        tx: &ReadTx,
        account: AccountId,
        client: ClientId,
    ) -> Result<Option<StoredApproval>, StoreError> {
        let id = (account.uuid(), client.uuid());
        let Some(model) = client_approval::Entity::find_by_id(id).one(tx.conn()).await? else {
            return Ok(None);
        };
        self.approved(&model).map(Some)
    }

    /// What `account` approved, for whichever client.
    pub async fn approvals(
        &self,
        tx: &ReadTx,
        account: AccountId,
    ) -> Result<Listed<Approval, ClientId>, StoreError> {
        let of_account = client_approval::Column::AccountId.eq(account.uuid());
        let models = client_approval::Entity::find()
            .filter(of_account)
            .order_by_asc(client_approval::Column::ClientId)
            .all(tx.conn())
            .await?;
        let these = Column::Id.is_in(models.iter().map(|model| model.client_id));
        let clients = client::Entity::find().filter(these).all(tx.conn()).await?;
        let read = |model: &client_approval::Model| {
            let client = clients.iter().find(|client| client.id == model.client_id);
            let invalid =
                || rows::corrupt("client_approval", "client_id", &model.account_id, Corruption::ValueInvalid);
            let client = self.checked(client.ok_or_else(invalid)?)?;
            Ok(Approval {
                client: client.id,
                client_name: client.settings.display_name,
                scopes: self.approved(model)?.scopes,
                approved_at: Timestamp::from_micros(model.approved_at),
            })
        };
        Listed::of(models.iter().map(read), None)
    }

    /// Writes that `account` approved `scopes` over what was found before.
    pub async fn approve(
        &self,
        tx: &Tx,
        (account, client): (AccountId, ClientId),
        (before, scopes): (Option<&StoredApproval>, &BTreeSet<Scope>),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let revision = before.map_or(0, |before| before.revision);
        let mut model = client_approval::Model {
            account_id: account.uuid(),
            client_id: client.uuid(),
            scopes: scope_text(scopes),
            revision: revision + 1,
            approved_at: now.as_micros(),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        if before.is_none() {
            client_approval::Entity::insert(row).exec_without_returning(tx.conn()).await?;
            return Ok(());
        }
        let done = client_approval::Entity::update_many()
            .set(row)
            .filter(client_approval::Column::AccountId.eq(account.uuid()))
            .filter(client_approval::Column::ClientId.eq(client.uuid()))
            .filter(client_approval::Column::Revision.eq(revision))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Forgets what `account` approved, for `client` or for all of them.
    pub async fn forget_approvals(
        &self,
        tx: &Tx,
        account: AccountId,
        client: Option<ClientId>,
    ) -> Result<(), StoreError> {
        use client_approval::Column::{AccountId as OfAccount, ClientId as OfClient};
        let these = Condition::all()
            .add(OfAccount.eq(account.uuid()))
            .add_option(client.map(|client| OfClient.eq(client.uuid())));
        client_approval::Entity::delete_many().filter(these).exec(tx.conn()).await?;
        Ok(())
    }

    /// The approval in `model`, if that is what was written.
    pub(crate) fn approved(&self, model: &client_approval::Model) -> Result<StoredApproval, StoreError> {
        self.digests.check(model)?;
        let invalid =
            || rows::corrupt("client_approval", "scopes", &model.account_id, Corruption::ValueInvalid);
        let scopes = parse_scopes(&model.scopes).ok_or_else(invalid)?;
        Ok(StoredApproval { scopes, revision: model.revision })
    }

    fn stamped(&self, new: &Client, options_beside: bool) -> Result<client::Model, StoreError> {
        let settings = &new.settings;
        let row = Settings {
            display_name: settings.display_name.clone(),
            grant_types: settings.grant_types.iter().map(|grant| grant.name().to_owned()).collect(),
            redirect_uris: settings.redirect_uris.clone(),
            post_logout_redirect_uris: settings.post_logout_redirect_uris.clone(),
            scopes: scope_text(&settings.scopes),
            id_token_signing_alg: settings.id_token_algorithm.name().to_owned(),
            require_par: settings.require_par,
            options_beside,
        };
        let invalid = |_| rows::corrupt(TABLE, "settings", &new.id, Corruption::ValueInvalid);
        let previous = new.secrets.and_then(|secrets| secrets.previous);
        let mut model = client::Model {
            id: new.id.uuid(),
            kind: match settings.kind {
                ClientKind::Confidential => CONFIDENTIAL.to_owned(),
                ClientKind::Public => PUBLIC.to_owned(),
            },
            settings: serde_json::to_string(&row).map_err(invalid)?,
            secret_hash: new.secrets.map(|secrets| secrets.current.as_bytes().to_vec()),
            previous_secret_hash: previous.map(|(hash, _)| hash.as_bytes().to_vec()),
            previous_secret_expires_at: previous.map(|(_, end)| end.as_micros()),
            revision: new.revision,
            created_at: new.created_at.as_micros(),
            updated_at: new.updated_at.as_micros(),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        Ok(model)
    }

    /// The client in `model`, with what is registered beside its settings. If that was taken away nobody takes it for nothing.
    pub(super) fn read(
        &self,
        model: &client::Model,
        beside: Option<&client_option::Model>,
    ) -> Result<Client, StoreError> {
        let (mut client, has_options) = self.parsed(model)?;
        match beside {
            Some(beside) => client.settings.options = self.options(beside)?,
            None if has_options => {
                return Err(rows::corrupt(BESIDE, "client_id", &model.id, Corruption::ValueInvalid));
            }
            None => {}
        }
        Ok(client)
    }

    /// What is registered beside the settings, if that is what was written.
    pub(crate) fn options(&self, model: &client_option::Model) -> Result<ClientOptions, StoreError> {
        self.digests.check(model)?;
        let invalid = |_| rows::corrupt(BESIDE, "options", &model.client_id, Corruption::ValueInvalid);
        let options: Options = serde_json::from_str(&model.options).map_err(invalid)?;
        Ok(ClientOptions {
            backchannel_logout_uri: options.backchannel_logout_uri,
            backchannel_logout_session_required: options.backchannel_logout_session_required,
            require_dpop: options.require_dpop,
        })
    }

    /// The client in `model`, without its options, if that is what was written.
    pub(crate) fn checked(&self, model: &client::Model) -> Result<Client, StoreError> {
        self.parsed(model).map(|(client, _)| client)
    }

    /// As [`Self::checked`], and whether it has options.
    fn parsed(&self, model: &client::Model) -> Result<(Client, bool), StoreError> {
        self.digests.check(model)?;
        let invalid = |column| rows::corrupt(TABLE, column, &model.id, Corruption::ValueInvalid);
        let kind = match model.kind.as_str() {
            CONFIDENTIAL => ClientKind::Confidential,
            PUBLIC => ClientKind::Public,
            _ => return Err(invalid("kind")),
        };
        let settings: Settings = serde_json::from_str(&model.settings).map_err(|_| invalid("settings"))?;
        let grant_types = settings.grant_types.iter().map(|name| GrantType::parse(name));
        let algorithm = Algorithm::from_name(&settings.id_token_signing_alg);
        let has_options = settings.options_beside;
        let settings = ClientSettings {
            kind,
            display_name: settings.display_name,
            grant_types: grant_types.collect::<Option<_>>().ok_or_else(|| invalid("settings"))?,
            redirect_uris: settings.redirect_uris,
            post_logout_redirect_uris: settings.post_logout_redirect_uris,
            scopes: parse_scopes(&settings.scopes).ok_or_else(|| invalid("settings"))?,
            id_token_algorithm: algorithm.ok_or_else(|| invalid("settings"))?,
            require_par: settings.require_par,
            options: ClientOptions::default(),
        };
        let client = Client {
            id: ClientId::from_uuid(model.id),
            settings,
            secrets: secrets(model).ok_or_else(|| invalid("secret_hash"))?,
            revision: model.revision,
            created_at: Timestamp::from_micros(model.created_at),
            updated_at: Timestamp::from_micros(model.updated_at),
        };
        Ok((client, has_options))
    }
}

/// What is registered beside the settings of these clients.
async fn beside(
    tx: &ReadTx,
    clients: &[client::Model],
) -> Result<HashMap<Uuid, client_option::Model>, StoreError> {
    let these = client_option::Column::ClientId.is_in(clients.iter().map(|model| model.id));
    let found = client_option::Entity::find().filter(these).all(tx.conn()).await?;
    Ok(found.into_iter().map(|model| (model.client_id, model)).collect())
}

/// The secrets of a client; `None` if their columns don't belong together.
fn secrets(model: &client::Model) -> Option<Option<Secrets>> {
    let hash = |bytes: &[u8]| Some(HandleHash::from_bytes(bytes.try_into().ok()?));
    let Some(current) = &model.secret_hash else { return Some(None) };
    let previous = match (&model.previous_secret_hash, model.previous_secret_expires_at) {
        (None, None) => None,
        (Some(previous), Some(end)) => Some((hash(previous)?, Timestamp::from_micros(end))),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    Some(Some(Secrets { current: hash(current)?, previous }))
}
