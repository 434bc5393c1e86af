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
    fn look(&self) -> (bool, Option<Self::Error>);

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
    let mut told = Told { certificate, metrics, last: None };
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
    /// The failure of the last look, and whether it was logged.
    last: Option<(String, bool)>,
}

impl Told {
    fn tell(&mut self, new: bool, failed: Option<impl Error>) {
        let certificate = self.certificate;
        if new {
            tracing::info!(certificate, "a new certificate is in use");
            self.metrics.reloaded(certificate, "loaded");
        }
        let Some(error) = failed.map(|error| Chain(&error).to_string()) else {
            self.last = None;
            return;
        };
        match &mut self.last {
            Some((last, logged)) if *last == error => {
                if !std::mem::replace(logged, true) {
                    tracing::warn!(
                        certificate,
                        error,
                        "kept the old certificate: the new files can't be used"
                    );
                }
                self.metrics.reloaded(certificate, "refused");
            }
            last => *last = Some((error, false)),
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
        let mut told = Told { certificate: "edge", metrics: metrics.tls(), last: None };
        let count = |outcome: &str| {
            let line =
                format!("portal_certificate_reloads_total{{certificate=\"edge\",outcome=\"{outcome}\"}} ");
            let text = metrics.encode().unwrap();
            text.lines().find_map(|found| found.strip_prefix(line.as_str())?.parse().ok()).unwrap_or(0)
        };
        told.tell(false, Some(Failed("a")));
        told.tell(true, None::<Failed>);
        assert_eq!((count("refused"), count("loaded")), (0, 1), "between two renewed files");
        told.tell(false, Some(Failed("a")));
        told.tell(false, Some(Failed("b")));
        assert_eq!(count("refused"), 0, "two failures, each seen once");
        told.tell(false, Some(Failed("b")));
        assert!(told.last.as_ref().is_some_and(|(_, logged)| *logged));
        told.tell(false, Some(Failed("b")));
        assert_eq!(count("refused"), 2);
        told.tell(false, None::<Failed>);
        assert_eq!((count("refused"), count("loaded"), told.last), (2, 1, None));
    }
}
