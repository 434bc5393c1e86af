//! Certificate files that are looked at again and again, and what is told of them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use portal_core::{Clock, Timestamp};

use crate::certificate::Algorithm;
use crate::channel::Chain;
use crate::metrics::TlsMetrics;
use crate::task;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Something that certificate files are the source of.
pub(crate) trait Reloaded: Send + Sync + 'static {
    type Error: Error + Send;

    /// Reads the files. Says whether some are others than before and are used from now on, and what can't be used.
    fn look(&self) -> (bool, Vec<Self::Error>);

    /// Until when what is in use is valid.
    fn not_after(&self) -> Vec<(Algorithm, Timestamp)>;
}

/// Looks at the files of `held` until it is dropped by everybody else.
pub(crate) fn watch<T: Reloaded>(
    certificate: &'static str,
    held: &Arc<T>,
    metrics: TlsMetrics,
    clock: Arc<dyn Clock>,
) {
    let watched = Arc::downgrade(held);
    let mut told = Told { certificate, metrics, last: Vec::new() };
    told.days_left(held.as_ref(), clock.as_ref());
    task::spawn("certificate-reload", async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(held) = watched.upgrade() else { return };
            let (new, failed) = held.look();
            told.tell(new, failed);
            told.days_left(held.as_ref(), clock.as_ref());
        }
    });
}

/// What is told of looks. A failure is believed when the next look finds it too: files that are renewed one after the other
/// do not fit each other for a moment. It is logged once, and counted at every look.
struct Told {
    certificate: &'static str,
    metrics: TlsMetrics,
    /// The failures of the last look, and whether each was logged.
    last: Vec<(String, bool)>,
}

impl Told {
    fn tell(&mut self, new: bool, failed: Vec<impl Error>) {
        let certificate = self.certificate;
        if new {
            tracing::info!(certificate, "a new certificate is in use");
            self.metrics.reloaded(certificate, "loaded");
        }
        let before = std::mem::take(&mut self.last);
        for error in failed {
            let error = Chain(&error).to_string();
            let seen = before.iter().find(|(last, _)| *last == error);
            if let Some((_, logged)) = seen {
                if !logged {
                    let text = "kept the old certificate: the new files can't be used";
                    tracing::warn!(certificate, error, "{text}");
                }
                self.metrics.reloaded(certificate, "refused");
            }
            self.last.push((error, seen.is_some()));
        }
    }

    fn days_left(&self, held: &impl Reloaded, clock: &dyn Clock) {
        let now = clock.now().as_seconds();
        for (algorithm, not_after) in held.not_after() {
            self.metrics.days_left(self.certificate, algorithm, not_after.as_seconds() - now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Metrics;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(&'static str);

    #[test]
    fn a_failure_is_believed_when_it_is_seen_twice() {
        let metrics = Metrics::default();
        let mut told = Told { certificate: "edge", metrics: metrics.tls(), last: Vec::new() };
        let count = |outcome: &str| {
            let line =
                format!("portal_certificate_reloads_total{{certificate=\"edge\",outcome=\"{outcome}\"}} ");
            let text = metrics.encode().unwrap();
            text.lines().find_map(|found| found.strip_prefix(line.as_str())?.parse().ok()).unwrap_or(0)
        };
        told.tell(false, vec![Failed("a")]);
        told.tell(true, Vec::<Failed>::new());
        assert_eq!((count("refused"), count("loaded")), (0, 1), "between two renewed files");
        told.tell(false, vec![Failed("a")]);
        told.tell(false, vec![Failed("b")]);
        assert_eq!(count("refused"), 0, "two failures, each seen once");
        told.tell(false, vec![Failed("b")]);
        assert_eq!(told.last, [("b".to_owned(), true)]);
        told.tell(false, vec![Failed("b")]);
        assert_eq!(count("refused"), 2);
        // Two at a time: the one does not hide the other.
        told.tell(false, vec![Failed("b"), Failed("c")]);
        assert_eq!(told.last, [("b".to_owned(), true), ("c".to_owned(), false)]);
        told.tell(false, vec![Failed("b"), Failed("c")]);
        assert_eq!(told.last, [("b".to_owned(), true), ("c".to_owned(), true)]);
        assert_eq!(count("refused"), 5);
        told.tell(false, Vec::<Failed>::new());
        assert_eq!((count("refused"), count("loaded"), told.last), (5, 1, Vec::new()));
    }
}
