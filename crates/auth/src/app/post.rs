//! Mail: put into the outbox by the transaction that it is about, and sent afterwards by one process at a time. That there is
//! no server to send it keeps nobody waiting, and loses nothing: it is tried again until what it says is of no more use.
//!
//! A process that ends after it has sent a mail and before it has noted that sends it again when it is back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portal_core::Timestamp;
use portal_core::id::{AccountId, Id, OperationId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::Drain;
use portal_store::{StoreError, Tx, leases};
use uuid::Uuid;

use super::App;
use super::mailer::{Mailer, Unsent};
use crate::domain::mail::wait_after;
use crate::domain::{Email, Handle, Letter, MailToken, Purpose};
use crate::error::Error;
use crate::metrics::Posting;
use crate::store::outbox::{OpenMail, StoredMail};

/// What only one process of the service does at a time.
const LEASE: &str = "auth-post";
/// How long the lease lasts: longer than it takes to send a batch.
const LEASE_TIME: Duration = Duration::from_secs(30);
/// How long it may take to send one mail.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked for what another process has put there, and for what is tried again.
const INTERVAL: Duration = Duration::from_secs(1);
/// Mails that are sent at a time.
const BATCH: u64 = 8;

/// Who gets a mail.
#[derive(Clone, Copy)]
pub(super) struct Addressee<'a> {
    pub(super) account: AccountId,
    pub(super) email: &'a Email,
    pub(super) key: &'a SubjectKey,
}

/// How sending a mail ended.
enum Posted {
    Sent,
    Unsent(Unsent),
    /// It is of no more use, or nobody may read it any more.
    Void,
}

/// Sends what is in the outbox, and does what else was left to be done, until `drain` starts.
pub async fn run(app: Arc<App>, drain: Drain) {
    let stopping = drain.started();
    tokio::pin!(stopping);
    let holder = OperationId::generate(app.now(), app.entropy.as_ref());
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = app.due.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = app.post_due(holder).await {
            tracing::warn!(%error, "mail was not sent; it is tried again");
        }
    }
}

impl App {
    /// Puts a letter into the outbox. Without a mailer there is none.
    pub(super) async fn post(
        &self,
        tx: &Tx,
        to: Addressee<'_>,
        letter: &Letter,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(mailer) = &self.mailer else { return Ok(()) };
        let mail = letter.to(to.email.clone(), mailer.public_url(), now);
        let id = OperationId::generate(now, self.entropy.as_ref()).uuid();
        Ok(self.outbox.insert(tx, (id, to.account, &mail), now, to.key).await?)
    }

    /// Mails a token. One that confirms an address takes the place of those before it.
    pub(super) async fn post_token(
        &self,
        tx: &Tx,
        to: Addressee<'_>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.mailer.is_none() {
            return Ok(());
        }
        if purpose == Purpose::Verify {
            self.mail_tokens.delete(tx, to.account, purpose).await?;
        }
        let token = Handle::generate(self.entropy.as_ref());
        let sent = MailToken::sent(to.account, purpose, to.email.clone(), now);
        let hash = self.handles.mail_token_hash(purpose, &token);
        self.mail_tokens.insert(tx, (&hash, &sent), to.key).await?;
        self.post(tx, to, &Letter::Token(purpose, token), now).await
    }

    /// Does what is due, unless another process is at it. `holder` is this process.
    async fn post_due(&self, holder: OperationId) -> Result<(), Error> {
        let now = self.now();
        let look = |tx| async move {
            let mail = self.mailer.is_some()
                && (!self.requests.oldest(&tx, 1).await?.is_empty()
                    || !self.outbox.due(&tx, now, 1).await?.is_empty());
            Ok::<_, Error>(mail || !self.tombstones.unerased(&tx, None, 1).await?.is_empty())
        };
        if !self.database.read("look_for_post", look).await? {
            return Ok(());
        }
        let lease = self
            .database
            .run_tx("lease_post", |tx| async move {
                leases::acquire(&tx, LEASE, holder.uuid(), now, LEASE_TIME).await
            })
            .await?;
        let Some(lease) = lease else { return Ok(()) };
        let done = self.post_all(&lease).await;
        let lease = &lease;
        self.database.run_tx("release_post", |tx| async move { leases::release(&tx, lease).await }).await?;
        done
    }

    async fn post_all(&self, lease: &portal_store::Lease) -> Result<(), Error> {
        // None of these keeps the others waiting.
        if let Err(error) = self.finish_deletions().await {
            tracing::warn!(%error, "the keys of deleted accounts are destroyed later");
        }
        let Some(mailer) = &self.mailer else { return Ok(()) };
        if let Err(error) = self.answer_recoveries().await {
            tracing::warn!(%error, "recoveries are answered later");
        }
        loop {
            let now = self.now();
            let renew = |tx: Tx| async move { leases::renew(&tx, lease, now, LEASE_TIME).await };
            if !self.database.run_tx("renew_post", renew).await? {
                return Ok(());
            }
            let due = |tx| async move { Ok::<_, Error>(self.outbox.due(&tx, now, BATCH).await?) };
            let due = self.database.read("read_post", due).await?;
            if due.is_empty() {
                return Ok(());
            }
            let sound = self.sound(due).await?;
            let sent = sound.iter().map(|mail| self.send(mailer, mail, now));
            for (mail, posted) in sound.iter().zip(join_all(sent).await) {
                let posted = posted.unwrap_or_else(|error| {
                    tracing::warn!(mail = %mail.id(), %error, "a mail could not be opened");
                    Posted::Unsent(Unsent::Unreachable("what it takes to open it is not there"))
                });
                self.posted(mail, posted).await?;
            }
        }
    }

    /// Those mails that are what was written. Others are taken away: whoever changed them sends nothing in our name.
    async fn sound(
        &self,
        due: Vec<(Uuid, Result<StoredMail, StoreError>)>,
    ) -> Result<Vec<StoredMail>, Error> {
        let mut sound = Vec::with_capacity(due.len());
        for (id, read) in due {
            match read {
                Ok(mail) => sound.push(mail),
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "a mail was not sent: its row is corrupt");
                    let delete = |tx: Tx| async move { Ok::<_, Error>(self.outbox.delete(&tx, id).await?) };
                    self.database.run_tx("drop_mail", delete).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sound)
    }

    async fn send(&self, mailer: &Mailer, stored: &StoredMail, now: Timestamp) -> Result<Posted, Error> {
        if stored.is_over(now) {
            return Ok(Posted::Void);
        }
        let open = match self.keys.subject(stored.subject()).await {
            Err(KeysError::Erased(_)) => return Ok(Posted::Void),
            key => self.outbox.open(stored, &*key?),
        };
        let open: OpenMail = match open {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a mail was not sent: its row is corrupt");
                return Ok(Posted::Void);
            }
            open => open?,
        };
        let sent = tokio::time::timeout(PATIENCE, mailer.send(stored.id(), &open, now)).await;
        Ok(match sent {
            Ok(Ok(())) => Posted::Sent,
            Ok(Err(unsent)) => Posted::Unsent(unsent),
            Err(_) => Posted::Unsent(Unsent::Unreachable("it takes too long")),
        })
    }

    /// Notes what became of a mail.
    async fn posted(&self, mail: &StoredMail, posted: Posted) -> Result<(), Error> {
        let (id, failures) = (mail.id(), mail.failures() + 1);
        self.metrics.posting(match posted {
            Posted::Sent => Posting::Sent,
            Posted::Unsent(_) => Posting::Delayed,
            Posted::Void => Posting::Void,
        });
        match &posted {
            Posted::Sent => {}
            Posted::Unsent(error) => {
                tracing::warn!(mail = %id, failures, %error, "a mail was not sent; it is tried again");
            }
            Posted::Void => tracing::warn!(mail = %id, "a mail was not sent: it is of no more use"),
        }
        let (next, posted) = (self.now().plus(wait_after(failures)), &posted);
        self.database
            .run_tx("note_mail", |tx| async move {
                match posted {
                    Posted::Sent | Posted::Void => self.outbox.delete(&tx, id).await?,
                    Posted::Unsent(_) => self.outbox.postpone(&tx, mail, next).await?,
                }
                Ok::<_, Error>(())
            })
            .await
    }
}
