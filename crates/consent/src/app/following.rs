//! Keeps a snapshot of what decisions rest on, exact: it is loaded at the start and then follows the ledger.
//!
//! What it promises:
//! - Who was answered by this process finds it in the next decision of this process: a change is in the snapshot before
//!   it is answered, or else the snapshot is not answered from until it has asked the database again.
//! - What another process committed is in the snapshot as soon as the database was asked, every 100 ms. If it was not asked
//!   for two seconds, the database answers decisions, or nobody.
//! - The snapshot begins to follow from a place in the ledger that is read before anything is loaded: nothing comes in
//!   between. A ledger that is shorter than it was is another one: then everything is loaded anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portal_core::Clock;
use portal_ledger::{Kind, feed};
use portal_mesh::Drain;
use portal_store::{ReadTx, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::App;
use crate::config::Source;
use crate::domain::consent::Consent;
use crate::domain::decision::Question;
use crate::domain::snapshot::follower::{About, Change, Follower, Heard, Read};
use crate::domain::snapshot::freshness::{Freshness, Moment};
use crate::domain::snapshot::{Answered, Snapshot};
use crate::error::Error;
use crate::store::following::{self, TermsMark};
use crate::store::leaves::{EVENT, NOTICE, PURPOSE};

/// How often the database is asked.
const POLL: Duration = Duration::from_millis(100);
/// Entries of the ledger that are taken at a time.
const ENTRIES: u64 = 1_000;
/// Consents that are loaded at a time.
const PAGE: u64 = 2_000;

/// The snapshot of a process, and how far it can be relied on.
pub(crate) struct Live {
    snapshot: Snapshot,
    freshness: Mutex<Freshness>,
    source: Source,
    clock: Arc<dyn Clock>,
    begun: Instant,
    nudged: Notify,
    /// The number of entries of the ledger that have a position.
    size: watch::Sender<u64>,
}

/// How far the process has come with following.
struct Following {
    follower: Follower,
    terms: Option<TermsMark>,
}

/// What one look at the database found.
struct Look {
    heard: Heard,
    read: Read,
    terms: TermsMark,
    /// Whether there is nothing more.
    all: bool,
}

impl Live {
    pub(crate) fn new(source: Source, clock: Arc<dyn Clock>) -> Self {
        Self {
            snapshot: Snapshot::default(),
            freshness: Mutex::default(),
            source,
            clock,
            begun: Instant::now(),
            nudged: Notify::new(),
            size: watch::Sender::new(0),
        }
    }

    /// Takes note of a consent that was committed, or found committed. To be called before anybody is told.
    pub(super) fn took(&self, consent: &Consent) {
        if self.source == Source::Snapshot {
            self.snapshot.apply(consent.facts(), None);
        }
    }

    /// Takes note that something was committed that the snapshot may not have. To be called before anybody is told.
    pub(super) fn distrust(&self) {
        let now = self.moment();
        self.freshness().distrust(now);
        self.nudged.notify_one();
    }

    /// Whether decisions can rest on the snapshot.
    pub(super) fn is_fresh(&self) -> bool {
        let now = self.moment();
        self.freshness().is_fresh(now)
    }

    /// The answer from the snapshot, if it has one.
    pub(super) fn answer(&self, question: &Question, now: portal_core::Timestamp) -> Option<Answered> {
        self.snapshot.answer(question, now)
    }

    /// Tells when the ledger has grown.
    pub(super) fn growth(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    fn moment(&self) -> Moment {
        Moment { elapsed: self.begun.elapsed(), clock: self.clock.now() }
    }

    fn freshness(&self) -> MutexGuard<'_, Freshness> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, size: u64) {
        self.size.send_if_modified(|known| std::mem::replace(known, size) != size);
    }
}

/// Follows until `drain` starts.
pub(crate) async fn follow(app: Arc<App>, drain: Drain) {
    let mut drained = std::pin::pin!(drain.started());
    let (mut following, mut failing) = (None, false);
    loop {
        let step = tokio::select! {
            () = &mut drained => return,
            step = app.follow(&mut following) => step,
        };
        match step {
            Ok(()) => failing = false,
            Err(Error::Store(error @ StoreError::Corrupt { .. })) => {
                tracing::error!(%error, "what consents are about can't be told any more: all are loaded anew");
                app.live.freshness().lost();
                following = None;
            }
            Err(error) if !failing => {
                tracing::warn!(%error, "the ledger can't be followed; the database answers decisions");
                failing = true;
            }
            Err(_) => {}
        }
        app.metrics.snapshot(app.live.snapshot.len(), app.live.freshness().age(app.live.moment()));
        tokio::select! {
            () = &mut drained => return,
            () = app.live.nudged.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

impl App {
    /// Loads what is not loaded, and looks what is new.
    async fn follow(&self, following: &mut Option<Following>) -> Result<(), Error> {
        if self.live.source == Source::Database {
            let size =
                self.database.read("ledger_size", |tx| async move { Ok::<_, Error>(feed::size(&tx).await?) });
            self.live.tell(size.await?);
            return Ok(());
        }
        let mut known = match following.take() {
            Some(known) => known,
            None => self.load().await?,
        };
        let same = self.catch_up(&mut known).await;
        if matches!(same, Ok(false)) {
            tracing::warn!("the ledger is shorter than it was: all consents are loaded anew");
            self.live.freshness().lost();
        } else {
            *following = Some(known);
        }
        same.map(drop)
    }

    /// Loads all consents.
    async fn load(&self) -> Result<Following, Error> {
        let snapshot = &self.live.snapshot;
        snapshot.clear();
        let (next, count) = self
            .database
            .read("load_consents", |tx| async move {
                let size = feed::size(&tx).await?;
                let reading = self.seals.reading(&tx).await?;
                Ok::<_, Error>((size, following::count(&reading).await?))
            })
            .await?;
        snapshot.reserve(usize::try_from(count).unwrap_or_default());
        let mut after = None;
        loop {
            let (page, positions) = self
                .database
                .read("load_consents", |tx| async move {
                    let reading = self.seals.reading(&tx).await?;
                    let page = following::page(&reading, after, PAGE).await?;
                    let events: Vec<_> = page.consents.iter().filter_map(|(_, event)| *event).collect();
                    let positions = feed::positions(&tx, EVENT, &events).await?;
                    Ok::<_, Error>((page, positions))
                })
                .await?;
            for (facts, event) in &page.consents {
                let position = event.and_then(|event| positions.get(&event).copied());
                snapshot.apply(facts, position);
            }
            page.corrupt.iter().for_each(|(subject, purpose)| snapshot.doubt(*subject, *purpose));
            if page.last.is_none() {
                return Ok(Following { follower: Follower::new(next), terms: None });
            }
            after = page.last;
        }
    }

    /// Takes what is new; not if the ledger is another one.
    async fn catch_up(&self, following: &mut Following) -> Result<bool, Error> {
        loop {
            let asked = self.live.moment();
            let known = &*following;
            let look = |tx| async move { self.look(&tx, known).await };
            let Some(Look { heard, read, terms, all }) = self.database.read("follow_ledger", look).await?
            else {
                return Ok(false);
            };
            self.metrics.followed(read.consents.len());
            following.follower.take(&self.live.snapshot, heard, read);
            following.terms = Some(terms);
            if all {
                self.live.freshness().complete(asked);
                self.live.tell(following.follower.next());
                return Ok(true);
            }
        }
    }

    /// Looks what is new, on one state of the database.
    async fn look(&self, tx: &ReadTx, known: &Following) -> Result<Option<Look>, Error> {
        let next = known.follower.next();
        let entries = feed::entries(tx, next, ENTRIES).await?;
        if entries.is_empty() && feed::size(tx).await? < next {
            return Ok(None);
        }
        let all = entries.len() < usize::try_from(ENTRIES).unwrap_or_default();
        let waiting = if all { feed::pending(tx).await? } else { Vec::new() };
        let heard = Heard {
            entries: entries.iter().map(|entry| change(entry.kind, entry.reference)).collect(),
            waiting: waiting.into_iter().map(|(kind, reference)| change(kind, reference)).collect(),
        };
        let news = known.follower.news(&heard);
        let tx = self.seals.reading(tx).await?;
        let mut read = following::changed(&tx, &news.events).await?;
        let terms = following::terms_mark(&tx).await?;
        if news.terms || known.terms != Some(terms) {
            read.terms = Some(following::terms(&tx).await?);
        }
        Ok(Some(Look { heard, read, terms, all }))
    }
}

fn change(kind: Kind, reference: uuid::Uuid) -> Change {
    let about = match kind {
        EVENT => About::Consent,
        PURPOSE | NOTICE => About::Terms,
        _ => About::Other,
    };
    Change { about, reference }
}
