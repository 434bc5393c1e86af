//! The feed of revocations, as watchers see it.
//!
//! One task asks the database for the last place, at least every 150 ms and at once after a change of this process, so
//! replicas on one database see each other's revocations. Each watcher then reads what it has not seen. A heartbeat is
//! only ever sent after the database was asked: when it can't be, watchers hear nothing and trust nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use portal_core::Timestamp;
use portal_mesh::{Drain, Permit};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::App;
use crate::domain::Revocation;
use crate::error::Error;
use crate::service::policy::WatchRevocations;
use crate::store::revocations;

/// How often the database is asked.
const POLL: Duration = Duration::from_millis(150);
/// A watcher that got nothing for this long gets a heartbeat with the next poll.
const QUIET: Duration = Duration::from_millis(300);
/// The longest time between two messages that a watcher may count on: two polls fit in the rest of it.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Entries read at a time.
const BATCH: u64 = 500;

/// Wakes the watchers of this process.
pub struct Feed {
    polled: watch::Sender<Polled>,
    nudged: Notify,
    /// For whoever tells clients of what ended.
    pub(super) ended: Notify,
}

/// The last place of the feed, and when it was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Polled {
    head: i64,
    at: Timestamp,
}

/// What a watcher is sent.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// A sign of life.
    Heartbeat {
        /// The place up to which everything was sent.
        position: i64,
        /// The time of the service.
        at: Timestamp,
        /// Whether everything that was revoked up to then was sent.
        caught_up: bool,
    },
    /// An entry.
    Revoked(Revocation),
}

impl Default for Feed {
    fn default() -> Self {
        Self { polled: watch::Sender::new(Polled::default()), nudged: Notify::new(), ended: Notify::new() }
    }
}

impl Feed {
    /// Says that something may have been revoked.
    pub(super) fn nudge(&self) {
        self.nudged.notify_one();
        self.ended.notify_one();
    }
}

/// Asks the database until `drain` starts.
pub async fn run(app: Arc<App>, drain: Drain) {
    let stopping = drain.started();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = app.feed.nudged.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        if app.feed.polled.receiver_count() == 0 {
            continue;
        }
        match app.poll().await {
            Ok(polled) => drop(app.feed.polled.send_replace(polled)),
            Err(error) => tracing::warn!(%error, "the feed of revocations could not be read"),
        }
    }
}

/// One watcher.
struct Watcher {
    app: Arc<App>,
    polls: watch::Receiver<Polled>,
    polled: Polled,
    position: i64,
    pending: VecDeque<Revocation>,
    last_sent: Option<Instant>,
}

impl App {
    async fn poll(&self) -> Result<Polled, Error> {
        let at = self.now();
        let head = |tx| async move { Ok::<_, Error>(revocations::head(&tx).await?) };
        Ok(Polled { head: self.database.read("poll_revocations", head).await?, at })
    }

    /// Everything that is revoked after `resume`, or from now on. The first message is a heartbeat.
    pub(crate) async fn watch_revocations(
        self: Arc<Self>,
        _: Permit<WatchRevocations>,
        resume: Option<i64>,
    ) -> Result<impl Stream<Item = Result<Message, Error>> + Send + 'static, Error> {
        // Subscribed before the feed is read: nothing can come in between unnoticed.
        let polls = self.feed.polled.subscribe();
        let polled = self.poll().await?;
        let position = resume.unwrap_or(polled.head);
        if position > polled.head {
            // From before the database was restored from a copy.
            return Err(Error::ResumeUnknown);
        }
        let mut watcher =
            Watcher { app: self, polls, polled, position, pending: VecDeque::new(), last_sent: None };
        watcher.fetch().await?;
        Ok(unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(Some(message)) => Some((Ok(message), Some(watcher))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

impl Watcher {
    /// The next message; `None` when the service stops.
    async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if self.last_sent.is_none() {
                return Ok(Some(self.heartbeat()));
            }
            if self.pending.is_empty() {
                self.fetch().await?;
            }
            if let Some(revocation) = self.pending.pop_front() {
                self.position = revocation.position;
                self.last_sent = Some(Instant::now());
                return Ok(Some(Message::Revoked(revocation)));
            }
            if self.polls.changed().await.is_err() {
                return Ok(None);
            }
            self.polled = *self.polls.borrow_and_update();
            let quiet = self.last_sent.is_none_or(|sent| sent.elapsed() >= QUIET);
            if quiet && self.polled.head <= self.position {
                return Ok(Some(self.heartbeat()));
            }
        }
    }

    fn heartbeat(&mut self) -> Message {
        self.last_sent = Some(Instant::now());
        let caught_up = self.position >= self.polled.head;
        Message::Heartbeat { position: self.position, at: self.polled.at, caught_up }
    }

    /// Reads what comes after the last entry sent, if the last poll saw any.
    async fn fetch(&mut self) -> Result<(), Error> {
        let (position, head) = (self.position, self.polled.head);
        if position >= head {
            return Ok(());
        }
        let app = &self.app;
        let read = |tx| async move { Ok::<_, Error>(app.revocations.after(&tx, position, BATCH).await?) };
        let read = app.database.read("read_revocations", read).await?;
        // Places have no gaps: if the next is not there, it was forgotten.
        if read.first().is_none_or(|next| next.position != position + 1) {
            return Err(Error::ResumeUnknown);
        }
        self.pending = read.into();
        Ok(())
    }
}
