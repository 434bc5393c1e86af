//! Follows auth's feed of revocations, and says whether it can be relied on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portal_mesh::MeshChannel;
use portal_mesh::convert::parse_duration;
use portal_proto::auth::v1::revocation::Target;
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::auth::v1::{Revocation, WatchRevocationsRequest};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::cache::Cache;

/// Pauses between attempts to watch: from this, doubling, to this.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Heartbeats further apart than this are not believed: a revocation would take too long to be missed.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);
/// Longest time for the feed to begin.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of the feed.
#[derive(Default)]
pub(super) struct Feed {
    /// Two heartbeat intervals after the last message of a feed that has caught up.
    live_until: Mutex<Option<Instant>>,
}

/// A feed that ended, and why.
enum Ended {
    /// Closed, broken or silent: go on where it stopped.
    Lost,
    /// What was missed can't be had any more: forget everything.
    TooFarBehind,
}

/// Position in the feed and what the heartbeats promise.
#[derive(Default)]
struct Position {
    resume_token: String,
    interval: Option<Duration>,
    caught_up: bool,
}

impl Feed {
    /// Whether everything revoked so far (but for the last moments) is known here.
    pub(super) fn is_live(&self) -> bool {
        self.live_until().is_some_and(|until| Instant::now() < until)
    }

    fn live_until(&self) -> Option<Instant> {
        *self.live_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_live_until(&self, until: Option<Instant>) {
        *self.live_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Follows the feed for ever.
    pub(super) async fn follow(&self, auth: &MeshChannel, cache: &Cache) {
        let mut position = Position::default();
        let mut pause = FIRST_PAUSE;
        loop {
            let (before, ended) = (Instant::now(), self.watch(auth, cache, &mut position).await);
            if matches!(ended, Ended::TooFarBehind) {
                self.set_live_until(None);
                cache.clear();
                position = Position::default();
            }
            pause =
                if before.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn watch(&self, auth: &MeshChannel, cache: &Cache, position: &mut Position) -> Ended {
        position.caught_up = false;
        let request = WatchRevocationsRequest { resume_token: position.resume_token.clone() };
        let mut auth = TokenServiceClient::new(auth.clone());
        let mut feed = match tokio::time::timeout(START_TIMEOUT, auth.watch_revocations(request)).await {
            Ok(Ok(feed)) => feed.into_inner(),
            Ok(Err(status)) => return ended(&status),
            Err(_) => return Ended::Lost,
        };
        // Started anew and not resumed: what was remembered before could have been revoked unseen.
        if position.resume_token.is_empty() {
            cache.clear();
        }
        loop {
            match next(&mut feed, position.interval).await {
                Ok(message) => self.take(message, cache, position),
                Err(ended) => return ended,
            }
        }
    }

    fn take(&self, message: Revocation, cache: &Cache, position: &mut Position) {
        match &message.target {
            Some(Target::Heartbeat(heartbeat)) => {
                let interval = heartbeat.interval.and_then(|interval| parse_duration(interval).ok());
                position.interval = interval.filter(|interval| *interval <= LONGEST_INTERVAL);
                position.caught_up = heartbeat.caught_up;
            }
            Some(target) => cache.revoke(target),
            // A kind of revocation that this version does not know could be of anything.
            None => cache.clear(),
        }
        position.resume_token = message.resume_token;
        if position.caught_up {
            self.set_live_until(position.interval.map(|interval| Instant::now() + 2 * interval));
        }
    }
}

async fn next(feed: &mut Streaming<Revocation>, interval: Option<Duration>) -> Result<Revocation, Ended> {
    let silence = interval.map_or(START_TIMEOUT, |interval| 2 * interval);
    match tokio::time::timeout(silence, feed.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Err(status)) => Err(ended(&status)),
        Ok(Ok(None)) | Err(_) => Err(Ended::Lost),
    }
}

fn ended(status: &Status) -> Ended {
    match status.code() {
        Code::OutOfRange | Code::InvalidArgument => Ended::TooFarBehind,
        code => {
            tracing::debug!(?code, "the feed of revocations ended");
            Ended::Lost
        }
    }
}
