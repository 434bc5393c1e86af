//! What happened in a service: one row for each change, and one entry in its ledger, both in the transaction of the change.
//!
//! Invariants:
//! - [`Audit::append`] is called once by whatever changes something, in its transaction; they are committed together or not
//!   at all.
//! - Nothing in it is personal: ids, names of states, numbers. So it stays when somebody is erased.
//! - An entry is a commitment to the row's [`Recorded::content`] under a salt that is sealed in the row: with both it is
//!   checked, without them it says nothing.
//!
//! The content is `event id 16 ‖ recorded_at, µs 8 ‖ action ‖ actor ‖ account ‖ target ‖ details`; each of the last five has
//! its length before it, u32 big-endian, and an id that is not there has the length 0.

mod scan;
pub(crate) mod table;

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{AccountId, EventId, Id};
use portal_core::{Entropy, Timestamp};
use portal_crypto::kdf::Label;
use portal_keys::{Keys, ServiceCells, ServiceColumn};
use portal_ledger::{Append, Commitment, Kind, Leaf, Salt};
use portal_mesh::caller::VIA;
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, Inserts, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, Iterable, QueryFilter,
    QueryOrder, QuerySelect,
};

use table::{Column, Entity, Model};

use crate::Host;

/// The kind of these entries in the ledger of every service; the reference is the id of the event.
pub const EVENT: Kind = Kind(100);
/// Who acts when nobody asked for it.
pub const SERVICE: &str = "service";

const TABLE: &str = "audit_event";
const COLUMN: ServiceColumn = ServiceColumn {
    key: Label::AuditSealing,
    label: b"portal/audit-event/v1\0",
    table: TABLE,
    column: "sealed_details",
};

/// Something that happens now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Happened {
    action: &'static str,
    actor: String,
    account: Option<AccountId>,
    target: Option<Uuid>,
    details: String,
}

impl Happened {
    /// `action`, for example `account.lock`, by `actor`, as [`portal_mesh::Caller::key`] names it, or [`SERVICE`].
    #[must_use]
    pub fn new(action: &'static str, actor: impl Into<String>) -> Self {
        let (account, target, details) = (None, None, String::new());
        Self { action, actor: actor.into(), account, target, details }
    }

    /// To this account, or what is this account's.
    #[must_use]
    pub fn on(mut self, account: AccountId) -> Self {
        self.account = Some(account);
        self
    }

    /// To this resource.
    #[must_use]
    pub fn to(mut self, target: impl Id) -> Self {
        self.target = Some(target.uuid());
        self
    }

    /// What else there is to tell. Never anything personal.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        // One detail a line, whatever is in it. Writing to a string does not fail.
        let _ = writeln!(self.details, "{name}={}", value.to_string().escape_default());
        self
    }
}

/// Something that happened, as it was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its id.
    pub id: EventId,
    /// When.
    pub recorded_at: Timestamp,
    /// What.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// To which account, or whose resource.
    pub account: Option<AccountId>,
    /// To which resource.
    pub target: Option<Uuid>,
    /// What else is told: a line `name=value` each.
    pub details: String,
    /// Hides its entry in the ledger.
    pub salt: Salt,
    kind: Arc<str>,
}

impl Recorded {
    /// What the ledger has a commitment to.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let bytes = |id: Option<Uuid>| id.map(|id| id.into_bytes().to_vec()).unwrap_or_default();
        let parts = [
            self.action.clone().into_bytes(),
            self.actor.clone().into_bytes(),
            bytes(self.account.map(Id::uuid)),
            bytes(self.target),
            self.details.clone().into_bytes(),
        ];
        let mut content = self.id.bytes().to_vec();
        content.extend_from_slice(&self.recorded_at.as_micros().to_be_bytes());
        for part in parts {
            // None is 4 GiB long.
            content.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            content.extend_from_slice(&part);
        }
        content
    }

    /// The detail with this name; the first of several.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&str> {
        let mut details = self.details.lines().filter_map(|line| line.split_once('='));
        details.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// What the ledger has, if this is what was recorded.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        Commitment::of(Leaf { kind: &self.kind, content: &self.content() }, &self.salt)
    }
}

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// Those that this account caused, or that concern it.
    pub account: Option<AccountId>,
    /// Those of these actions; all of them if there is none.
    pub actions: Vec<String>,
    /// Those at this time or after.
    pub start: Option<Timestamp>,
    /// Those before this time.
    pub end: Option<Timestamp>,
}

impl Sought {
    fn condition(&self) -> Condition {
        let account = self.account.map(|account| {
            let by = format!("account/{account}");
            let through = Column::Actor.starts_with(format!("{by}{VIA}"));
            Condition::any().add(Column::AccountId.eq(account.uuid())).add(Column::Actor.eq(by)).add(through)
        });
        let actions = (!self.actions.is_empty()).then(|| Column::Action.is_in(&self.actions));
        // Ids begin with the time in milliseconds, so the key finds the time; the rest of it is in the row.
        let first = |at: Timestamp| {
            let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
            Uuid::from_u128(u128::from(millis) << 80)
        };
        Condition::all()
            .add_option(account)
            .add_option(actions)
            .add_option(self.start.map(|start| Column::EventId.gte(first(start))))
            .add_option(self.start.map(|start| Column::RecordedAt.gte(start.as_micros())))
            .add_option(self.end.map(|end| Column::EventId.lt(first(end.plus(Duration::from_millis(1))))))
            .add_option(self.end.map(|end| Column::RecordedAt.lt(end.as_micros())))
    }
}

/// An event as it is stored: `Err` if it is not what was written.
pub type Found = (EventId, Result<Recorded, StoreError>);

/// Records what happens. Clones share it.
#[derive(Clone)]
pub struct Audit {
    /// What the kind of its leaves is called.
    kind: Arc<str>,
    cells: ServiceCells,
    digests: RowDigests,
    entropy: Arc<dyn Entropy>,
}

impl Audit {
    /// What happens in the service of `host`, which has the table of [`crate::schema::AuditTable`].
    #[must_use]
    pub fn new(host: &Host, keys: &Keys, digests: RowDigests) -> Self {
        let kind = format!("{}.event", host.service.name()).into();
        let cells = ServiceCells::new(keys, COLUMN, Arc::clone(&host.entropy));
        Self { kind, cells, digests, entropy: Arc::clone(&host.entropy) }
    }

    /// Records what happens, in the transaction in which it does, and appends it to the ledger.
    ///
    /// # Errors
    /// [`StoreError`]; return it, so that the transaction is rolled back.
    pub async fn append(&self, tx: &Tx, happened: Happened, now: Timestamp) -> Result<(), StoreError> {
        let mut inserts = Inserts::of(tx);
        self.add(&mut inserts, happened, now)?;
        inserts.run(tx).await
    }

    /// The same, with what else is inserted.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn add(&self, inserts: &mut Inserts, happened: Happened, now: Timestamp) -> Result<(), StoreError> {
        let recorded = Recorded {
            id: EventId::generate(now, &*self.entropy),
            recorded_at: now,
            action: happened.action.to_owned(),
            actor: happened.actor,
            account: happened.account,
            target: happened.target,
            details: happened.details,
            salt: Salt::generate(&*self.entropy),
            kind: Arc::clone(&self.kind),
        };
        let entry = Append { kind: EVENT, reference: recorded.id.uuid(), commitment: recorded.commitment() };
        let row = self.row(recorded)?.into_active_model();
        let columns: Vec<Column> = Column::iter().collect();
        let values = columns.iter().filter_map(|column| row.get(*column).into_value()).collect();
        inserts.add::<Entity>(&columns, vec![values])?;
        portal_ledger::append_many(inserts, &[entry], now)
    }

    fn row(&self, recorded: Recorded) -> Result<Model, StoreError> {
        let mut row = Model {
            event_id: recorded.id.uuid(),
            recorded_at: recorded.recorded_at.as_micros(),
            action: recorded.action,
            actor: recorded.actor,
            account_id: recorded.account.map(Id::uuid),
            target_id: recorded.target,
            sealed_details: Vec::new(),
            row_digest: None,
        };
        let details = [recorded.salt.expose().as_slice(), recorded.details.as_bytes()].concat();
        row.sealed_details = self.cells.seal(row.row(), &details)?;
        self.digests.stamp(&mut row)?;
        Ok(row)
    }

    /// What happened, in the order of its ids, after the event `after`; `limit` events at most.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a row is not what was written; others.
    pub async fn page(
        &self,
        tx: &ReadTx,
        after: Option<EventId>,
        limit: u64,
    ) -> Result<Vec<Recorded>, StoreError> {
        let after = after.map(|after| Column::EventId.gt(after.uuid()));
        let rows = Entity::find()
            .filter(Condition::all().add_option(after))
            .order_by_asc(Column::EventId)
            .limit(limit);
        rows.all(tx.conn()).await?.into_iter().map(|row| self.recorded(row)).collect()
    }

    /// What is sought, newest first, before the event `before`; `limit` events at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn search(
        &self,
        tx: &ReadTx,
        sought: &Sought,
        (before, limit): (Option<EventId>, u64),
    ) -> Result<Vec<Found>, StoreError> {
        let before = before.map(|before| Column::EventId.lt(before.uuid()));
        let rows = Entity::find()
            .filter(sought.condition().add_option(before))
            .order_by_desc(Column::EventId)
            .limit(limit);
        Ok(rows.all(tx.conn()).await?.into_iter().map(|row| self.found(row)).collect())
    }

    /// The events with these ids, in no order; one whose row is gone is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events(&self, tx: &ReadTx, ids: &[Uuid]) -> Result<Vec<Found>, StoreError> {
        let rows = Entity::find().filter(Column::EventId.is_in(ids.iter().copied()));
        Ok(rows.all(tx.conn()).await?.into_iter().map(|row| self.found(row)).collect())
    }

    fn found(&self, row: Model) -> Found {
        (EventId::from_uuid(row.event_id), self.recorded(row))
    }

    /// What `row` tells. Earlier versions don't know the table: its rows have digests whatever the form of others.
    fn recorded(&self, row: Model) -> Result<Recorded, StoreError> {
        self.digests.check(&row)?;
        let details = self.cells.open(row.row(), &row.sealed_details)?;
        let invalid = || corrupt(row.event_id, Corruption::ValueInvalid);
        let (salt, details) = details.split_first_chunk().ok_or_else(invalid)?;
        Ok(Recorded {
            id: EventId::from_uuid(row.event_id),
            recorded_at: Timestamp::from_micros(row.recorded_at),
            details: String::from_utf8(details.to_vec()).map_err(|_| invalid())?,
            action: row.action,
            actor: row.actor,
            account: row.account_id.map(AccountId::from_uuid),
            target: row.target_id,
            salt: Salt::new(*salt),
            kind: Arc::clone(&self.kind),
        })
    }
}

fn corrupt(row: Uuid, cause: Corruption) -> StoreError {
    StoreError::Corrupt { table: TABLE, column: COLUMN.column, row: row.as_hyphenated().to_string(), cause }
}
