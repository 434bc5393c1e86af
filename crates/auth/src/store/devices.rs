//! What devices without a browser ask for: rows as they are found and written. Earlier versions don't know the table: whatever
//! the form of other rows, these have digests.

use std::time::Duration;

use portal_core::id::{AccountId, ClientId, Id, SessionId};
use portal_core::{Acr, Timestamp};
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter};
use serde::{Deserialize, Serialize};

use super::device_authorization::{self, Column};
use super::rows;
use crate::domain::device::{Approver, DeviceState};
use crate::domain::grant::{parse_scopes, scope_text};
use crate::domain::{DeviceRequest, HandleHash};

const TABLE: &str = "device_authorization";
const APPROVED: &str = "approved";
const DENIED: &str = "denied";
const USED: &str = "used";
const WAITING: &str = "waiting";

/// What is asked for, as it is stored.
#[derive(Deserialize, Serialize)]
struct Terms {
    issuer: String,
    scopes: String,
}

/// By which of its codes a request is found.
#[derive(Clone, Copy)]
pub enum Code<'a> {
    /// That which the device holds.
    Device(&'a HandleHash),
    /// That which it shows.
    User(&'a HandleHash),
}

/// A request as it is stored, and checked.
pub struct StoredDevice {
    model: device_authorization::Model,
    request: DeviceRequest,
}

impl StoredDevice {
    /// The request.
    #[must_use]
    pub const fn request(&self) -> &DeviceRequest {
        &self.request
    }
}

/// The table.
pub struct Devices {
    digests: RowDigests,
}

impl Devices {
    /// The table, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// Adds a request. If another has one of its codes the transaction is run again.
    pub async fn insert(
        &self,
        tx: &Tx,
        (device, user): (&HandleHash, &HandleHash),
        new: &DeviceRequest,
    ) -> Result<(), StoreError> {
        let terms = Terms { issuer: new.issuer.clone(), scopes: scope_text(&new.scopes) };
        let unwritable = |_| rows::corrupt(TABLE, "terms", &Uuid::nil(), Corruption::ValueInvalid);
        let model = device_authorization::Model {
            device_hash: device.as_bytes().to_vec(),
            user_hash: user.as_bytes().to_vec(),
            client_id: new.client.uuid(),
            terms: serde_json::to_string(&terms).map_err(unwritable)?,
            state: String::new(),
            account_id: None,
            session_id: None,
            acr: None,
            authenticated_at: None,
            interval_seconds: 0,
            polled_at: None,
            expires_at: new.expires_at.as_micros(),
            revision: 1,
            row_digest: None,
        };
        let row = self.stamped(model, new)?.into_active_model().reset_all();
        device_authorization::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The request with this code, over or not.
    pub async fn find(&self, tx: &ReadTx, code: Code<'_>) -> Result<Option<StoredDevice>, StoreError> {
        let wanted = match code {
            Code::Device(hash) => Column::DeviceHash.eq(hash.as_bytes().as_slice()),
            Code::User(hash) => Column::UserHash.eq(hash.as_bytes().as_slice()),
        };
        let found = device_authorization::Entity::find().filter(wanted).one(tx.conn()).await?;
        found.map(|model| self.checked(model)).transpose()
    }

    /// Stores what has become of a request: of two who try, the other's transaction is run again and finds it changed.
    pub async fn update(
        &self,
        tx: &Tx,
        stored: StoredDevice,
        changed: &DeviceRequest,
    ) -> Result<(), StoreError> {
        let mut model = stored.model;
        let (hash, before) = (model.device_hash.clone(), model.revision);
        model.revision = before + 1;
        let done = device_authorization::Entity::update_many()
            .set(self.stamped(model, changed)?.into_active_model().reset_all())
            .filter(Column::DeviceHash.eq(hash))
            .filter(Column::Revision.eq(before))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Forgets what `account` approved and no device came for, for `client` or for all of them.
    pub async fn forget_approved(
        &self,
        tx: &Tx,
        account: AccountId,
        client: Option<ClientId>,
    ) -> Result<(), StoreError> {
        let these = Condition::all()
            .add(Column::AccountId.eq(account.uuid()))
            .add(Column::State.eq(APPROVED))
            .add_option(client.map(|client| Column::ClientId.eq(client.uuid())));
        device_authorization::Entity::delete_many().filter(these).exec(tx.conn()).await?;
        Ok(())
    }

    /// Forgets what ended `kept` ago, and says how many rows.
    pub async fn purge(&self, tx: &Tx, now: Timestamp, kept: Duration) -> Result<u64, StoreError> {
        let ended = Column::ExpiresAt.lte(now.minus(kept).as_micros());
        Ok(device_authorization::Entity::delete_many().filter(ended).exec(tx.conn()).await?.rows_affected)
    }

    /// The request in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: device_authorization::Model) -> Result<StoredDevice, StoreError> {
        self.digests.check(&model)?;
        let invalid = |column| {
            let row = Uuid::from_bytes(model.row().id);
            rows::corrupt(TABLE, column, &row, Corruption::ValueInvalid)
        };
        let terms: Terms = serde_json::from_str(&model.terms).map_err(|_| invalid("terms"))?;
        let interval = u64::try_from(model.interval_seconds).map_err(|_| invalid("interval_seconds"))?;
        let request = DeviceRequest {
            client: ClientId::from_uuid(model.client_id),
            issuer: terms.issuer,
            scopes: parse_scopes(&terms.scopes).ok_or_else(|| invalid("terms"))?,
            state: state(&model).ok_or_else(|| invalid("state"))?,
            interval: Duration::from_secs(interval),
            polled_at: model.polled_at.map(Timestamp::from_micros),
            expires_at: Timestamp::from_micros(model.expires_at),
        };
        Ok(StoredDevice { model, request })
    }

    /// `model` with what changes of a request.
    fn stamped(
        &self,
        mut model: device_authorization::Model,
        request: &DeviceRequest,
    ) -> Result<device_authorization::Model, StoreError> {
        let (state, approver) = match request.state {
            DeviceState::Approved(approver) => (APPROVED, Some(approver)),
            DeviceState::Denied => (DENIED, None),
            DeviceState::Used(approver) => (USED, Some(approver)),
            DeviceState::Waiting => (WAITING, None),
        };
        state.clone_into(&mut model.state);
        model.account_id = approver.map(|approver| approver.account.uuid());
        model.session_id = approver.map(|approver| approver.session.uuid());
        model.acr = approver.map(|approver| approver.authentication.0.name().to_owned());
        model.authenticated_at = approver.map(|approver| approver.authentication.1.as_micros());
        model.interval_seconds = i64::try_from(request.interval.as_secs()).unwrap_or(i64::MAX);
        model.polled_at = request.polled_at.map(Timestamp::as_micros);
        self.digests.stamp(&mut model)?;
        Ok(model)
    }
}

/// What has become of a request; `None` if its columns don't belong together.
fn state(model: &device_authorization::Model) -> Option<DeviceState> {
    let approver = match (model.account_id, model.session_id, &model.acr, model.authenticated_at) {
        (None, None, None, None) => None,
        (Some(account), Some(session), Some(acr), Some(at)) => {
            let acr = Acr::ALL.into_iter().find(|known| known.name() == acr)?;
            let (account, session) = (AccountId::from_uuid(account), SessionId::from_uuid(session));
            Some(Approver { account, session, authentication: (acr, Timestamp::from_micros(at)) })
        }
        _ => return None,
    };
    match (model.state.as_str(), approver) {
        (APPROVED, Some(approver)) => Some(DeviceState::Approved(approver)),
        (DENIED, None) => Some(DeviceState::Denied),
        (USED, Some(approver)) => Some(DeviceState::Used(approver)),
        (WAITING, None) => Some(DeviceState::Waiting),
        _ => None,
    }
}
