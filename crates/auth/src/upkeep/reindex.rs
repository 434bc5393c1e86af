//! Starts the migration that indexes accounts anew, whenever their index has got another key.
//!
//! It is looked again until nothing is left: a process that did not know of the new key may have written a row meanwhile.
//! Rows that can't be indexed stay left, so it waits longer each time.

use std::time::Duration;

use portal_crypto::blind_index::BlindIndexKey;
use portal_mesh::Drain;
use portal_upkeep::migration::Migrations;
use portal_upkeep::migration::engine::Operation;
use tokio::time::Instant;

use crate::store::email_index::EmailIndexer;
use crate::store::moving::REINDEX;

/// How often it is looked which keys there are: that costs nothing, they are at hand.
const INTERVAL: Duration = Duration::from_secs(1);
/// By then every process knows of a new key, and has ended what it began before.
const LATE: Duration = Duration::from_secs(60);
/// The longest pause between two looks at the rows.
const LONGEST: Duration = Duration::from_secs(3_600);

pub(super) async fn run(emails: EmailIndexer, migrations: Migrations, drain: Drain) {
    let stopping = drain.started();
    tokio::pin!(stopping);
    let mut known = Vec::new();
    let mut looks = Looks::default();
    loop {
        match emails.column_keys().await {
            Ok(keys) => {
                let generations: Vec<_> = keys.all().map(BlindIndexKey::generation).collect();
                if generations != known {
                    known = generations;
                    looks = Looks::at(Instant::now());
                }
            }
            Err(error) => tracing::warn!(%error, "the keys of the index of accounts can't be had"),
        }
        if looks.is_due(Instant::now()) {
            let left = start(&migrations).await;
            looks.looked(left, Instant::now());
        }
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Whether there was anything to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    Nothing,
    Something,
    /// It could not be looked.
    Unknown,
}

/// When it is looked at the rows. The first time after a change of keys, and then until nothing is left twice, with
/// [`LATE`] between.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Looks {
    next: Option<Instant>,
    pause: Duration,
    nothing_was_left: bool,
}

impl Looks {
    const fn at(now: Instant) -> Self {
        Self { next: Some(now), pause: INTERVAL, nothing_was_left: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    fn looked(&mut self, left: Left, now: Instant) {
        *self = match left {
            Left::Nothing if self.nothing_was_left => Self::default(),
            Left::Nothing => Self { next: Some(now + LATE), nothing_was_left: true, ..*self },
            Left::Something | Left::Unknown => {
                let pause = (self.pause * 2).min(LONGEST);
                Self { next: Some(now + self.pause), pause, nothing_was_left: false }
            }
        };
    }
}

/// Starts it if there is anything to do.
async fn start(migrations: &Migrations) -> Left {
    let planned = match migrations.plan(REINDEX, None).await {
        Ok(planned) => planned,
        Err(error) => {
            tracing::debug!(%error, "accounts are not indexed anew now");
            return Left::Unknown;
        }
    };
    if planned.progress.step_total == 0 {
        return Left::Nothing;
    }
    match migrations.apply(REINDEX, Operation::Start { max_rows_per_second: None }).await {
        Ok(_) => Left::Something,
        Err(error) => {
            tracing::warn!(%error, "accounts could not be indexed anew");
            Left::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_stays_left_is_looked_at_ever_more_rarely() {
        let start = Instant::now();
        let mut looks = Looks::at(start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..14 {
            assert!(looks.is_due(now));
            looks.looked(Left::Something, now);
            let next = looks.next.unwrap();
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 3_600, 3_600]);
    }

    #[test]
    fn it_rests_once_nothing_was_left_twice() {
        let start = Instant::now();
        let mut looks = Looks::at(start);
        looks.looked(Left::Something, start);
        looks.looked(Left::Nothing, start);
        assert!(!looks.is_due(start + LATE / 2) && looks.is_due(start + LATE));
        // A process that was late has written a row.
        looks.looked(Left::Something, start + LATE);
        assert!(looks.is_due(start + LATE + Duration::from_secs(2)));
        looks.looked(Left::Nothing, start + LATE);
        looks.looked(Left::Nothing, start + LATE * 2);
        assert_eq!(looks, Looks::default());
        assert!(!looks.is_due(start + LATE * 1_000));
    }
}
