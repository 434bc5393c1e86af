//! Consents that have ended by themselves, recorded as such.
//!
//! No decision waits for it: whether a consent has ended is judged at the time of the question. The event is for those who
//! follow the changes, and for the history. One process does it, under a lease that each transaction renews first, so
//! each end is recorded once.
//!
//! Who is to be asked in time, before the end, is seen from `expire_time` in lists and changes; who is asked again by
//! itself after it, [`super::renewal`] tells.

use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::{ConsentId, EventId, Id, OperationId};
use portal_keys::SubjectKeys;
use portal_store::{Inserts, Lease, leases};

use super::App;
use super::renewal::{Renewal, may_ask};
use crate::domain::consent::{Act, Consent, Outcome};
use crate::domain::status::Status;
use crate::error::Error;
use crate::store::consents::{self, Changed};
use crate::store::events::Appended;
use crate::store::{Reading, subjects};

/// What only one process of the service does at a time.
const LEASE: &str = "consent-expiry";
/// How long the lease lasts.
const LEASE_TIME: Duration = Duration::from_secs(15);
/// Consents of one transaction.
const PAGE: u64 = 500;
/// How long what had ended when it was recorded is left alone: an import may have more to say about it.
const SETTLING: Duration = Duration::from_secs(3_600);
/// Who acts, as events name it.
const ACTOR: &str = "workload/consent";

/// A place among what has ended: after the one that ended then.
type Place = Option<(Timestamp, ConsentId)>;

/// A page of ends that is recorded.
struct Ended {
    /// The statuses after its events.
    statuses: Vec<Status>,
    /// Where the next page begins.
    next: Place,
}

impl App {
    /// Records what has ended, unless another process is at it. Says how many. `holder` is this process.
    pub(crate) async fn end_consents(&self, holder: OperationId) -> Result<u64, Error> {
        let now = self.clock.now();
        let due = self
            .database
            .read("look_for_ended_consents", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                consents::ended(&tx, due(now), None, 1).await
            })
            .await?;
        if due.0.is_empty() && due.1.is_none() {
            return Ok(0);
        }
        let lease = self
            .database
            .run_tx("lease_expiry", |tx| async move {
                leases::acquire(&tx, LEASE, holder.uuid(), now, LEASE_TIME).await
            })
            .await?;
        let Some(lease) = lease else { return Ok(0) };
        let ended = self.end_all(&lease).await;
        let lease = &lease;
        self.database.run_tx("release_expiry", |tx| async move { leases::release(&tx, lease).await }).await?;
        ended
    }

    async fn end_all(&self, lease: &Lease) -> Result<u64, Error> {
        let (mut ended, mut place) = (0, None);
        loop {
            let Some(page) = self.end_page(lease, place).await? else { return Ok(ended) };
            page.statuses.iter().for_each(|status| self.metrics.event(*status));
            ended += page.statuses.iter().filter(|status| **status == Status::Expired).count() as u64;
            place = page.next;
            if place.is_none() {
                return Ok(ended);
            }
        }
    }

    /// Records a page of ends. `None` if the lease is lost.
    async fn end_page(&self, lease: &Lease, place: Place) -> Result<Option<Ended>, Error> {
        let now = self.clock.now();
        let keys = &self.keys_of_ended(now, place).await?;
        self.database
            .run_tx("expire_consents", |tx| async move {
                if !leases::renew(&tx, lease, now, LEASE_TIME).await? {
                    return Ok::<_, Error>(None);
                }
                let tx = self.seals.writing(&tx).await?;
                let (page, next) = consents::ended(&tx, due(now), place, PAGE).await?;
                let (changed, events) = self.end_each(&tx, page, keys, now).await?;
                let of = changed.iter().map(|changed| changed.consent.facts().subject).collect();
                let read = subjects::find_all(&tx, &of).await?;
                let mut inserts = Inserts::of(tx.tx());
                self.record_many((&tx, &mut inserts), (&changed, &events), read, now).await?;
                inserts.run(tx.tx()).await?;
                let statuses = events.iter().map(|appended| appended.event.status).collect();
                Ok(Some(Ended { statuses, next }))
            })
            .await
    }

    /// What becomes of each of `page`, and by which events: its end, and the request that follows if one does.
    async fn end_each<'a>(
        &self,
        tx: &Reading<'_>,
        page: Vec<Consent>,
        keys: &'a SubjectKeys,
        now: Timestamp,
    ) -> Result<(Vec<Changed>, Vec<Appended<'a>>), Error> {
        let renewal = match self.renewal {
            Some(stands) => Some(Renewal::read(tx, &page, stands).await?),
            None => None,
        };
        let (mut changed, mut events) = (Vec::new(), Vec::new());
        for consent in page {
            let version = consent.facts().version;
            let key = keys.get(consent.facts().subject).ok();
            let renewal = renewal.as_ref().filter(|_| may_ask(&consent, keys));
            let Outcome::Changed(mut consent, event) = consent.expire(self.end(now))? else { continue };
            events.push(Appended { event: *event, evidence: &[], key });
            if let Some((asked, event)) = renewal.and_then(|it| it.request(&consent, self.end(now))) {
                consent = asked;
                events.push(Appended { event: *event, evidence: &[], key });
            }
            changed.push(Changed { consent, version });
        }
        Ok((changed, events))
    }

    /// The keys of those whose consents have ended: for the receipts. Nobody gets a new one, and no end waits for one,
    /// unless people are asked again: then it must be known who was erased.
    async fn keys_of_ended(&self, now: Timestamp, place: Place) -> Result<SubjectKeys, Error> {
        let page = self.database.read("read_ended_consents", |tx| async move {
            let tx = self.seals.reading(&tx).await?;
            consents::ended(&tx, due(now), place, PAGE).await
        });
        let (page, _) = page.await?;
        let subjects: Vec<_> = page.iter().map(|consent| consent.facts().subject).collect();
        match self.keys.subjects(&subjects).await {
            Err(error) if self.renewal.is_some() => Err(error.into()),
            keys => Ok(keys.unwrap_or_default()),
        }
    }

    fn end(&self, now: Timestamp) -> Act {
        let event = EventId::generate(now, &*self.entropy);
        Act { event, actor: ACTOR.to_owned(), method: None, reason: None, event_at: None, now }
    }
}

/// Until when an end is looked for, and until when one that was recorded late has settled.
fn due(now: Timestamp) -> (Timestamp, Timestamp) {
    (now, now.minus(SETTLING))
}
