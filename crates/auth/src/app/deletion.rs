//! Deleting an account. Its rows go in one transaction, which leaves a tombstone; the keys of its person are in another
//! database and go right after it. Whatever comes in between, the tombstone says what is left to be done.

use portal_core::Timestamp;
use portal_core::id::SubjectId;
use portal_mesh::Permit;
use portal_store::Tx;
use portal_store::idempotency::KeptReply;
use portal_upkeep::audit::Happened;

use super::accounts::AccountChange;
use super::change::Outcome;
use super::{App, Change, Reply, check_reach};
use crate::domain::{Target, Tombstone};
use crate::error::Error;
use crate::service::policy::DeleteAccount;

/// Deletions that are finished at a time.
const BATCH: u64 = 16;

/// How deleting an account ended.
struct Deleted {
    outcome: Outcome<Timestamp>,
    stone: Option<Tombstone>,
}

impl App {
    /// Deletes an account, and says when. Its sessions are dead at once, and whoever follows revocations is told.
    pub(crate) async fn delete_account(
        &self,
        permit: &Permit<DeleteAccount>,
        asked: &AccountChange<()>,
        change: &Change<Timestamp>,
    ) -> Result<Reply<Timestamp>, Error> {
        check_reach(permit, asked.account)?;
        if let Some(kept) = self.before_deletion(change).await? {
            return self.reply(change, Outcome::Again(kept)).await;
        }
        self.erasures.check().await?;
        let now = change.now;
        let happened = &Happened::new("account.delete", permit.caller().key()).on(asked.account);
        let known = &self.known_of(asked.account).await?;
        let deleted = self
            .database
            .run_tx("delete_account", |tx| async move {
                let mut stone = None;
                let delete = async {
                    let stored = self.expected(&tx, asked).await?;
                    let account = stored.account().clone();
                    self.keep_an_operator(&tx, &account, (known, now)).await?;
                    // Unless the address can't be had: then they are forgotten in a day.
                    if known.key.is_some() || !stored.is_sealed() {
                        let profile = self.accounts.open(&stored, known.key.as_deref())?;
                        self.failures.clear(&tx, &self.address_hash(&profile.email)).await?;
                    }
                    self.failures.clear(&tx, &self.factor_hash(account.id())).await?;
                    let sessions = self.sessions.delete_all(&tx, account.id()).await?;
                    self.sign_account_out_of_clients(&tx, (account.id(), None), now).await?;
                    self.accounts.delete(&tx, &account).await?;
                    let left = Tombstone {
                        account: account.id(),
                        subject: account.subject(),
                        created_at: account.created_at(),
                        deleted_at: now,
                        erased_at: None,
                    };
                    self.tombstones.insert(&tx, &left).await?;
                    stone = Some(left);
                    self.revocations.append(&tx, &[Target::Account(account.id())], now).await?;
                    self.note(&tx, happened.clone().with("sessions_ended", sessions), now).await?;
                    Ok(now)
                };
                let outcome = self.once(&tx, change, None, delete).await?;
                Ok::<_, Error>(Deleted { outcome, stone })
            })
            .await;
        self.feed.nudge();
        let Deleted { outcome, stone } = deleted?;
        if let Some(stone) = stone
            && let Err(error) = self.finish_deletion(&stone).await
        {
            tracing::warn!(account = %stone.account, %error, "the keys of a deleted account are destroyed later");
            self.due.notify_one();
        }
        self.reply(change, outcome).await
    }

    async fn before_deletion(&self, change: &Change<Timestamp>) -> Result<Option<KeptReply>, Error> {
        let before = |tx| async move { change.before(&tx, &self.seals).await };
        self.database.read("find_deletion", before).await
    }

    /// Does what was left to be done of deletions.
    pub(super) async fn finish_deletions(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let left = |tx| async move { Ok::<_, Error>(self.tombstones.unerased(&tx, after, BATCH).await?) };
            let stones = self.database.read("read_deletions", left).await?;
            let Some(last) = stones.last() else { return Ok(()) };
            after = Some(last.account);
            for stone in &stones {
                if let Err(error) = self.finish_deletion(stone).await {
                    tracing::warn!(account = %stone.account, %error, "the keys of a deleted account are destroyed later");
                }
            }
        }
    }

    /// Destroys the keys of whoever a deleted account belonged to.
    async fn finish_deletion(&self, stone: &Tombstone) -> Result<(), Error> {
        let subject: SubjectId = stone.subject;
        self.erasures.erase(subject).await?;
        let now = self.now();
        let note = |tx: Tx| async move { Ok::<_, Error>(self.tombstones.erased(&tx, stone, now).await?) };
        self.database.run_tx("note_erasure", note).await
    }
}
