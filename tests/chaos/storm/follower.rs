//! Follows the stream of changes and writes each down, until it is killed or the service is gone: `follower ADDRESS FILE`, with
//! an access token on standard input. Goes on after the last change that is whole in the file. Who starts and kills it is the
//! storm (`chaos/storm.rs`).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a part of a test: what fails ends it")]

mod journal;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use portal_proto::consent::v1::WatchConsentChangesRequest;
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_tests::Channel;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [address, file]: [String; 2] = std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap();
    let token = std::io::read_to_string(std::io::stdin()).unwrap();
    let resume_token = mend(Path::new(&file));
    let channel = Channel::connect(address.parse().unwrap()).await.unwrap().with_token(&token);
    let request = WatchConsentChangesRequest { resume_token, purpose_ids: Vec::new() };
    let mut changes =
        ConsentChangeServiceClient::new(channel).watch_consent_changes(request).await.unwrap().into_inner();
    let mut file = File::options().append(true).open(file).unwrap();
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

/// Takes a line that was cut off from `file`, and returns the token of the last change that is whole.
fn mend(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let whole = journal::whole(&text);
    std::fs::write(file, whole).unwrap();
    whole.lines().last().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned()
}
