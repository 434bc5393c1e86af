//! What is held of a person, for that person.

use portal_core::Timestamp;
use portal_core::id::{AccountId, EventId, Id};
use portal_ledger::feed;
use portal_mesh::Permit;
use portal_store::Tx;
use portal_upkeep::audit::{EVENT, Happened, Sought};

use super::App;
use super::audit::Event;
use crate::domain::{Approval, Factor, NamedSession, Profiled};
use crate::error::Error;
use crate::service::policy::ExportAccount;
use crate::store::Listed;

/// Sessions that are told of at most: nobody has as many devices.
const MOST_SESSIONS: usize = 1_000;

/// A page of what is held.
pub struct Export {
    /// All but the events; on the first page.
    pub held: Option<Held>,
    /// What happened to the account.
    pub events: Listed<Event, EventId>,
    /// When this was read.
    pub at: Timestamp,
}

/// What is held of a person beside what happened.
pub struct Held {
    /// The account.
    pub owner: Profiled,
    /// Its second factors that count.
    pub factors: Vec<Factor>,
    /// Its live sessions, those of clients among them.
    pub sessions: Vec<NamedSession>,
    /// What its person allowed clients.
    pub approvals: Vec<Approval>,
}

impl App {
    /// A page of what is held of whoever calls: `size` events at most, newest first, before `before`.
    pub(crate) async fn export_account(
        &self,
        permit: &Permit<ExportAccount>,
        account: AccountId,
        (before, size): (Option<EventId>, usize),
    ) -> Result<Export, Error> {
        let (owner, key) = self.owner(permit, account).await?;
        let (now, owner, key) = (self.now(), &owner, &*key);
        let held = if before.is_none() {
            let happened = &Happened::new("account.export", permit.caller().key()).on(account);
            let note = |tx: Tx| async move { self.note(&tx, happened.clone(), now).await };
            self.database.run_tx("note_export", note).await?;
            let held = |tx| async move {
                let mut factors = self.factors.of_account(&tx, account, key).await?;
                factors.retain(Factor::is_confirmed);
                let sessions = self.sessions.list(&tx, account, (None, MOST_SESSIONS), now).await?;
                let ids = sessions.rows.iter().map(|session| session.session().id);
                let contexts = self.contexts.find_all(&tx, ids.clone()).await?;
                let grants = self.grants.find_all(&tx, ids).await?;
                let sessions = sessions.opened(|session| {
                    let id = session.session().id;
                    let named = self.named(&session, contexts.get(&id), Some(key))?;
                    Ok(Some(NamedSession { client: grants.get(&id).map(|grant| grant.client), ..named }))
                })?;
                let owner = self.with_contact(&tx, owner.clone(), Some(key)).await?;
                let approvals = self.clients.approvals(&tx, account).await?.rows;
                Ok::<_, Error>(Held { owner, factors, sessions: sessions.rows, approvals })
            };
            Some(self.database.read("export_account", held).await?)
        } else {
            None
        };
        Ok(Export { held, events: self.events_about(account, (before, size)).await?, at: now })
    }

    /// What concerns an account; what it did to others is not held of it.
    async fn events_about(
        &self,
        account: AccountId,
        (before, size): (Option<EventId>, usize),
    ) -> Result<Listed<Event, EventId>, Error> {
        let sought = &Sought { account: Some(account), ..Sought::default() };
        let (mut found, mut positions) = self
            .database
            .read("export_events", |tx| async move {
                let found = self.audit.search(&tx, sought, (before, size as u64 + 1)).await?;
                let ids: Vec<_> = found.iter().map(|(id, _)| id.uuid()).collect();
                Ok::<_, Error>((found, feed::positions(&tx, EVENT, &ids).await?))
            })
            .await?;
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(|(id, _)| *id);
        let found = found.into_iter().map(|(id, recorded)| {
            recorded.map(|recorded| Event { recorded, position: positions.remove(&id.uuid()) })
        });
        let mut listed = Listed::of(found, next)?;
        listed.rows.retain(|event| event.recorded.account == Some(account));
        Ok(listed)
    }
}
