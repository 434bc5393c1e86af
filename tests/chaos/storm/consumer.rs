//! Who follows the stream of changes: a process of its own, so that it can be killed as one, which goes on after the last
//! change that it has written down.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portal_proto::consent::v1::WatchConsentChangesRequest;
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_tests::Channel;

use super::stream::Seen;

const ADDRESS: &str = "STORM_ADDRESS";
const TOKEN: &str = "STORM_TOKEN";
const FILE: &str = "STORM_FILE";

/// A running one.
pub struct Consumer(Child);

impl Consumer {
    /// Starts this binary again, as [`follow`] alone.
    pub fn start(address: SocketAddr, token: &str, file: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storm::consumer::follow", "--nocapture"])
            .envs([(ADDRESS, address.to_string()), (TOKEN, token.to_owned())])
            .env(FILE, file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Kills it, wherever it is.
    pub fn kill9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end: the service that it follows is gone.
    pub fn ended(mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What [`Consumer::start`] runs; nothing without the variables that that sets.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how a process that is started again is told its part")]
async fn follow() {
    let (Ok(address), Ok(token), Ok(file)) =
        (std::env::var(ADDRESS), std::env::var(TOKEN), std::env::var(FILE))
    else {
        return;
    };
    let file = Path::new(&file);
    let resume_token = Seen::mend(file);
    let channel = Channel::connect(address.parse().unwrap()).await.unwrap().with_token(&token);
    let request = WatchConsentChangesRequest { resume_token, purpose_ids: Vec::new() };
    let mut changes =
        ConsentChangeServiceClient::new(channel).watch_consent_changes(request).await.unwrap().into_inner();
    let mut file = File::options().append(true).create(true).open(file).unwrap();
    while let Ok(Some(change)) = changes.message().await {
        let event = change.event.unwrap();
        let line = format!(
            "{} {} {} {} {}\n",
            change.resume_token,
            event.event_id,
            event.subject_id,
            event.ledger_index.unwrap(),
            change.consent.unwrap().etag,
        );
        file.write_all(line.as_bytes()).unwrap();
    }
}
