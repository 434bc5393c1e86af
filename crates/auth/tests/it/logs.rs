//! What must not be in a log is in none, at any level.

use std::io;
use std::sync::{Mutex, PoisonError};

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tracing_subscriber::EnvFilter;

use crate::fixture::{Auth, PASSWORD, new_account};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Capture;

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was logged since [`capture`].
pub fn captured() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// From now on everything that is logged is kept.
pub fn capture() {
    // The second test of a process finds it set.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(
            "debug,portal=trace,portal_auth=trace,portal_mesh=trace,portal_store=trace",
        ))
        .with_ansi(false)
        .with_writer(|| Capture)
        .try_init();
}

each_database! {
    /// E-mail addresses, names, passwords and tokens of calls that succeed and that fail.
    async fn hold_nothing_personal(database) {
        capture();
        let auth = Auth::start(database).await;
        let (_, session) = auth.person("log-anna@example.org").await;
        let taken = auth.accounts().create_account(new_account("log-anna@example.org", PASSWORD)).await;
        assert!(taken.is_err());
        assert!(auth.try_sign_in("log-anna@example.org", "wrong-password").await.is_err());
        let signed = auth.exchange(&session.access_token, "auth").await.unwrap().token;
        let next = auth.refresh(&session).await.unwrap();
        auth.advance(11);
        assert!(auth.refresh(&session).await.is_err());
        let list = pb::ListAccountsRequest { email: "log-anna@example.org".to_owned(), ..Default::default() };
        let operator = auth.operator().await;
        auth.accounts().list_accounts(auth.by(&operator, list).await).await.unwrap();

        let log = captured();
        assert!(log.contains("a spent refresh token was used again"), "the log was captured:\n{log}");
        for secret in [
            "log-anna", "Anna Ω", "Anna's laptop", PASSWORD, "wrong-password", &session.access_token,
            &session.refresh_token, &next.refresh_token, &signed,
        ] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
    }
}
