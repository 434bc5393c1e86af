//! Canaries: every personal field that a client can fill holds a value that occurs nowhere else, through the whole story,
//! its wrong turns included. Afterwards they are looked for in every file of the data directory (databases, WAL, what the
//! process wrote to standard error), in the metrics and in the errors' bytes. Nothing may be found there.
//!
//! That the search can find something is shown by two values that may be found: the name of a purpose, in a database
//! file, and of a metric.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use portal_proto::auth::v1 as auth;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::consent::v1 as consent;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::valuation::v1 as valuation;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_tests::{Channel, PASSWORD, Person, Portal, dataset, published_notice, published_purpose, uuid};
use tonic::Status;

/// A personal value, and how it may stand in a file.
struct Canary {
    field: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    /// Text: as it is, in lower and upper case, in hexadecimal, and in the three alignments of Base64.
    fn text(field: &'static str, value: &str) -> Self {
        let mut forms: Vec<Vec<u8>> =
            [value.to_owned(), value.to_lowercase(), value.to_uppercase()].map(String::into_bytes).into();
        forms.extend(encodings(value.as_bytes()));
        Self { field, forms }
    }

    fn bytes(field: &'static str, value: &[u8]) -> Self {
        let mut forms = vec![value.to_vec()];
        forms.extend(encodings(value));
        Self { field, forms }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(haystack, form))
    }
}

fn encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skip in 0..3 {
        // Whole groups only: what comes before and after shares their first and last characters.
        let groups = bytes[skip..].chunks_exact(3).flat_map(|group| {
            let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
        });
        forms.push(groups.collect());
    }
    forms
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// One person's values.
struct Values {
    email: String,
    password: String,
    display_name: String,
    device_name: String,
    reason: String,
    evidence: Vec<u8>,
    features: [f32; 2],
}

impl Values {
    fn new() -> Self {
        let unique = uuid().replace('-', "");
        Self {
            email: format!("Canary.{unique}@Example.ORG"),
            password: format!("canary-password-{unique}"),
            display_name: format!("Canary Name {unique}"),
            device_name: format!("canary device {unique}"),
            reason: format!("canary reason {unique}"),
            evidence: format!("canary evidence {unique}").into_bytes(),
            features: [1_234.567_8, -9_876.543],
        }
    }

    fn canaries(&self) -> Vec<Canary> {
        let local = self.email.split('@').next().unwrap();
        let features: Vec<u8> = self.features.iter().flat_map(|feature| feature.to_le_bytes()).collect();
        vec![
            Canary::text("account.email", local),
            Canary::text("account.password", &self.password),
            Canary::text("account.display_name", &self.display_name),
            Canary::text("session.device_name", &self.device_name),
            Canary::text("consent_event.reason", &self.reason),
            Canary::bytes("evidence.content", &self.evidence),
            Canary::bytes("batch.features", &features),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_value_is_written_anywhere_in_the_clear() {
    let portal = Portal::start().await;
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await.on(&channel);
    let purpose = published_purpose(&controller, "SoughtAndFound").await.purpose_id;
    let notice = published_notice(&controller, "Notice", &[&purpose]).await.notice_id;
    let values = Values::new();
    let mut errors = Vec::new();

    let person = sign_up(&portal, &values, &mut errors).await;
    decide(&person.on(&channel), &person, &values, (&purpose, &notice), &mut errors).await;
    value(&controller, &person, &values, &purpose, &mut errors).await;
    read(&portal, &channel, &operator, &person, &values).await;

    let mut places: Vec<(String, Vec<u8>)> = vec![("metrics".to_owned(), metrics(&portal).await)];
    let errors = errors
        .iter()
        .map(|status| ("an error".to_owned(), [status.message().as_bytes(), status.details()].concat()));
    places.extend(errors);
    // While it runs, with the WAL as it is, and after it has stopped and written all back.
    collect(portal.directory(), &mut places);
    let directory = portal.terminate().await;
    collect(directory.path(), &mut places);

    let found: Vec<String> = values
        .canaries()
        .iter()
        .flat_map(|canary| {
            let places = places.iter().filter(|(_, bytes)| canary.is_in(bytes));
            places.map(|(place, _)| format!("{} in {place}", canary.field)).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "in the clear:\n  {}", found.join("\n  "));
    let is_somewhere = |text: &str| places.iter().any(|(_, bytes)| Canary::text("", text).is_in(bytes));
    assert!(is_somewhere("SoughtAndFound"), "the search finds nothing in a database");
    assert!(is_somewhere("store_transactions"), "the search finds nothing in the metrics");
}

/// An account and a session under the canaries; and the refusals that hold them.
async fn sign_up(portal: &Portal, values: &Values, errors: &mut Vec<Status>) -> Person {
    let channel = portal.channel().await;
    let mut accounts = AccountServiceClient::new(channel.clone());
    let mut sessions = SessionServiceClient::new(channel);
    let create = auth::CreateAccountRequest {
        email: values.email.clone(),
        password: values.password.clone(),
        display_name: values.display_name.clone(),
        request_id: uuid(),
    };
    accounts.create_account(create.clone()).await.unwrap();
    // Kept and repeated; used for another request; taken; not an address at all.
    accounts.create_account(create.clone()).await.unwrap();
    let other = auth::CreateAccountRequest { display_name: values.reason.clone(), ..create.clone() };
    let taken = auth::CreateAccountRequest { request_id: uuid(), ..create.clone() };
    let wrong = auth::CreateAccountRequest { email: values.email.replace('@', " "), ..taken.clone() };
    for request in [other, taken, wrong] {
        errors.push(accounts.create_account(request).await.unwrap_err());
    }
    let sign_in = auth::CreateSessionRequest {
        email: values.email.clone(),
        password: values.password.clone(),
        device_name: values.device_name.clone(),
        ..auth::CreateSessionRequest::default()
    };
    let wrong = auth::CreateSessionRequest { password: values.device_name.clone(), ..sign_in.clone() };
    errors.push(sessions.create_session(wrong).await.unwrap_err());
    let long = auth::CreateSessionRequest { device_name: values.device_name.repeat(99), ..sign_in.clone() };
    errors.push(sessions.create_session(long).await.unwrap_err());
    let reply = sessions.create_session(sign_in).await.unwrap().into_inner();
    let Some(auth::create_session_response::Result::Session(session)) = reply.result else {
        panic!("a sign-in without a session");
    };
    Person {
        account_id: session.account_id,
        subject_id: session.subject_id,
        email: values.email.clone(),
        session_id: session.session_id,
        token: session.access_token,
        refresh_token: session.refresh_token,
    }
}

async fn decide(
    channel: &Channel,
    person: &Person,
    values: &Values,
    (purpose, notice): (&str, &str),
    errors: &mut Vec<Status>,
) {
    let mut consents = ConsentServiceClient::new(channel.clone());
    let evidence = consent::Evidence {
        kind: consent::EvidenceKind::Form.into(),
        media_type: "text/plain".to_owned(),
        content: values.evidence.clone(),
        content_hash: Vec::new(),
    };
    let give = consent::GiveConsentRequest {
        subject_id: person.subject_id.clone(),
        purpose_id: purpose.to_owned(),
        notice_id: notice.to_owned(),
        language: "en".to_owned(),
        method: consent::IndicationMethod::Button.into(),
        evidence: vec![evidence.clone()],
        request_id: uuid(),
        ..consent::GiveConsentRequest::default()
    };
    let wrong = consent::Evidence { content_hash: vec![7; 48], ..evidence };
    let wrong = consent::GiveConsentRequest { evidence: vec![wrong], request_id: uuid(), ..give.clone() };
    errors.push(consents.give_consent(wrong).await.unwrap_err());
    consents.give_consent(give.clone()).await.unwrap();
    let withdraw = consent::WithdrawConsentRequest {
        subject_id: person.subject_id.clone(),
        purpose_id: purpose.to_owned(),
        reason: values.reason.clone(),
        request_id: uuid(),
        ..consent::WithdrawConsentRequest::default()
    };
    let long = consent::WithdrawConsentRequest { reason: values.reason.repeat(999), ..withdraw.clone() };
    errors.push(consents.withdraw_consent(long).await.unwrap_err());
    consents.withdraw_consent(withdraw.clone()).await.unwrap();
    consents.withdraw_consent(withdraw).await.unwrap();
    let again = consent::GiveConsentRequest { request_id: uuid(), ..give };
    consents.give_consent(again).await.unwrap();
}

async fn value(
    controller: &Channel,
    person: &Person,
    values: &Values,
    purpose: &str,
    errors: &mut Vec<Status>,
) {
    let dataset_id = dataset(controller, purpose).await.dataset_id;
    let mut datasets = DatasetServiceClient::new(controller.clone());
    let batch = valuation::RecordBatch {
        record_ids: vec!["r1".to_owned(), "r2".to_owned()],
        subject_ids: vec![person.subject_id.clone(); 2],
        features: values.features.repeat(2),
        labels: vec![0.0, 1.0],
        split: valuation::Split::Train.into(),
        ..valuation::RecordBatch::default()
    };
    let request = valuation::AppendRecordBatchRequest { dataset_id, batch: Some(batch), request_id: uuid() };
    datasets.append_record_batch(request.clone()).await.unwrap();
    let twice = valuation::AppendRecordBatchRequest { request_id: uuid(), ..request };
    errors.push(datasets.append_record_batch(twice).await.unwrap_err());
}

/// What was written can be read by whom it is for.
async fn read(portal: &Portal, channel: &Channel, operator: &Person, person: &Person, values: &Values) {
    let request = auth::GetAccountRequest { account_id: person.account_id.clone() };
    for reader in [person, operator] {
        let mut accounts = AccountServiceClient::new(reader.on(channel));
        let account = accounts.get_account(request.clone()).await.unwrap().into_inner();
        assert_eq!(account.email, values.email.to_lowercase());
        assert_eq!(account.display_name, values.display_name);
    }
    let mut consents = ConsentServiceClient::new(person.on(channel));
    let request = consent::ListConsentEventsRequest {
        subject_id: person.subject_id.clone(),
        ..consent::ListConsentEventsRequest::default()
    };
    let events = consents.list_consent_events(request).await.unwrap().into_inner().events;
    assert!(events.iter().any(|event| event.reason == values.reason));
    assert!(portal.sign_in(&values.email, PASSWORD).await.is_err());
}

async fn metrics(portal: &Portal) -> Vec<u8> {
    for address in portal.listeners() {
        let request = Request::get("/metrics").body(Full::new(Bytes::new())).unwrap();
        if let Some(text) = portal.try_http_at(address, request).await.filter(|text| text.starts_with(b"# "))
        {
            return text;
        }
    }
    panic!("nobody serves /metrics");
}

fn collect(directory: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, places);
        } else if let Ok(bytes) = fs::read(&path) {
            places.push((path.file_name().unwrap().to_string_lossy().into_owned(), bytes));
        }
    }
}
