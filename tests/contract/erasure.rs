//! The keys of a person are destroyed by a command while the mesh is running: from then on their values open nowhere.
//!
//! The running process has had the keys in its hands when another process destroys them, as one replica does for all
//! others. And a copy of the data that was taken before, put beside the keys of now, shows nothing of the person.

use std::fs;
use std::path::Path;
use std::time::Duration;

use portal_proto::auth::v1 as auth;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::consent::v1 as consent;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::valuation::v1 as valuation;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_tests::{Channel, Person, Portal, published_notice, published_purpose, record_batch, uuid};
use prost::Message;
use tonic::{Response, Status};

use crate::story::{Values, decide, sign_up, value};

const SERVICES: [&str; 3] = ["auth", "consent", "valuation"];
/// Far beyond the second that is promised: what is measured elsewhere is not measured on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who looks, and at whom.
struct Looking<'a> {
    operator: &'a Person,
    controller: &'a Person,
    person: &'a Person,
    values: &'a Values,
    dataset: &'a str,
}

impl Looking<'_> {
    /// Everything that anybody may read of the person, answers and errors, as text.
    async fn all(&self, portal: &Portal) -> String {
        let channel = portal.channel().await;
        let Self { operator, person, values, .. } = self;
        let mut seen = Vec::new();
        for reader in [person, operator] {
            let reader = reader.on(&channel);
            self.of_auth(&reader, &mut seen).await;
            self.of_consent(&reader, &mut seen).await;
        }
        note(
            &mut seen,
            portal.sign_in(&values.email, &values.password).await.map(|_| "signed in".to_owned()),
        );
        seen.join("\n")
    }

    async fn of_auth(&self, reader: &Channel, seen: &mut Vec<String>) {
        let account_id = self.person.account_id.clone();
        let mut accounts = AccountServiceClient::new(reader.clone());
        let request = auth::GetAccountRequest { account_id: account_id.clone() };
        note(seen, accounts.get_account(request).await.map(Response::into_inner));
        note(
            seen,
            accounts.list_accounts(auth::ListAccountsRequest::default()).await.map(Response::into_inner),
        );
        let mut sessions = SessionServiceClient::new(reader.clone());
        let request = auth::ListSessionsRequest { account_id, ..auth::ListSessionsRequest::default() };
        note(seen, sessions.list_sessions(request).await.map(Response::into_inner));
    }

    async fn of_consent(&self, reader: &Channel, seen: &mut Vec<String>) {
        let subject_id = self.person.subject_id.clone();
        let mut consents = ConsentServiceClient::new(reader.clone());
        let request = consent::ListConsentEventsRequest {
            subject_id: subject_id.clone(),
            ..consent::ListConsentEventsRequest::default()
        };
        note(seen, consents.list_consent_events(request).await.map(Response::into_inner));
        let request = consent::ListConsentsRequest { subject_id, ..consent::ListConsentsRequest::default() };
        note(seen, consents.list_consents(request).await.map(Response::into_inner));
    }

    /// What valuation says to a new record of the person, which it would have to seal.
    async fn append(&self, portal: &Portal) -> Result<(), Status> {
        let batch = record_batch(vec![uuid()], &self.person.subject_id, valuation::Split::Train);
        let request = valuation::AppendRecordBatchRequest {
            dataset_id: self.dataset.to_owned(),
            batch: Some(batch),
            request_id: uuid(),
        };
        let mut datasets = DatasetServiceClient::new(self.controller.on(&portal.channel().await));
        datasets.append_record_batch(request).await.map(drop)
    }

    /// The values of the person that stand in `text`.
    fn found(&self, text: &str) -> Vec<&'static str> {
        let values = self.values;
        let sought = [
            ("email", values.email.to_lowercase()),
            ("display name", values.display_name.clone()),
            ("device", values.device_name.clone()),
            ("reason", values.reason.clone()),
        ];
        sought.into_iter().filter(|(_, value)| text.contains(value)).map(|(name, _)| name).collect()
    }
}

/// The bytes of the answer: what is personal is left out of its `Debug`.
fn note<T: Message>(seen: &mut Vec<String>, answer: Result<T, Status>) {
    seen.push(match answer {
        Ok(answer) => String::from_utf8_lossy(&answer.encode_to_vec()).into_owned(),
        Err(status) => format!("{status:?} {:?}", String::from_utf8_lossy(status.details())),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_opens_nowhere_not_even_from_a_copy_of_the_data() {
    let portal = Portal::start().await;
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await;
    let purpose = published_purpose(&controller.on(&channel), "Erasure").await.purpose_id;
    let notice = published_notice(&controller.on(&channel), "Notice", &[&purpose]).await.notice_id;
    let (values, others) = (Values::new(), Values::new());
    let errors = &mut Vec::new();
    let person = sign_up(&portal, &values, errors).await;
    let other = sign_up(&portal, &others, errors).await;
    for (person, values) in [(&person, &values), (&other, &others)] {
        decide(&person.on(&channel), person, values, (&purpose, &notice), errors).await;
    }
    let dataset = value(&controller.on(&channel), &person, &values, &purpose, errors).await;
    let others_dataset = value(&controller.on(&channel), &other, &others, &purpose, errors).await;

    // A copy of the data and of the keys, as a backup takes it.
    let directory = portal.terminate().await;
    let backup = tempfile::tempdir().unwrap();
    copy_databases(&directory.path().join("data"), backup.path(), |name| !name.contains(".keys."));

    let portal = Portal::restart(directory).await;
    let looking = Looking {
        operator: &operator,
        controller: &controller,
        person: &person,
        values: &values,
        dataset: &dataset,
    };
    let everything = ["email", "display name", "device", "reason"];
    let seen = looking.all(&portal).await;
    assert_eq!(looking.found(&seen), everything, "the search finds what is there: {seen}");
    for service in SERVICES {
        let statement = portal.directory().join(format!("{service}.statement"));
        let (code, printed) = portal.beside(&[
            "keys",
            "erase",
            "--service",
            service,
            "--subject",
            &person.subject_id,
            "--statement",
            statement.to_str().unwrap(),
        ]);
        assert_eq!(code, Some(0), "{service}: {printed}");
        assert!(printed.starts_with("1 keys of"), "{service} had another number of keys: {printed}");
    }
    // The process that had the keys in its hands lets go of them.
    let gone = async {
        while !looking.found(&looking.all(&portal).await).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the running process still has the keys");
    let refused = looking.append(&portal).await.unwrap_err();
    assert!(String::from_utf8_lossy(refused.details()).contains("SUBJECT_ERASED"), "{refused:?}");
    others_are_as_before(&portal, (&operator, &controller), (&other, &others), &others_dataset).await;

    // The data of before, the keys of now.
    let directory = portal.terminate().await;
    copy_databases(backup.path(), &directory.path().join("data"), |_| true);
    let portal = Portal::restart(directory).await;
    let seen = looking.all(&portal).await;
    assert_eq!(looking.found(&seen), [""; 0], "{seen}");
    others_are_as_before(&portal, (&operator, &controller), (&other, &others), &others_dataset).await;
    drop(portal.terminate().await);
}

async fn others_are_as_before(
    portal: &Portal,
    (operator, controller): (&Person, &Person),
    (person, values): (&Person, &Values),
    dataset: &str,
) {
    let looking = Looking { operator, controller, person, values, dataset };
    let seen = looking.all(portal).await;
    let found = looking.found(&seen);
    assert_eq!(found, ["email", "display name", "device", "reason"], "of somebody else: {seen}");
    looking.append(portal).await.unwrap();
}

/// Copies databases with their WAL, in place of those that are there. No process runs on either.
fn copy_databases(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "db") || !wanted(name) {
            continue;
        }
        for part in ["", "-wal", "-shm"] {
            let file = format!("{name}{part}");
            drop(fs::remove_file(to.join(&file)));
            if part != "-shm" && from.join(&file).exists() {
                fs::copy(from.join(&file), to.join(&file)).unwrap();
            }
        }
    }
}
