//! One person's story with values that occur nowhere else, its wrong turns included; and the search for them.

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
use portal_tests::{Channel, PASSWORD, Person, Portal, dataset, uuid};
use tonic::Status;

/// A personal value, and how it may stand in a file.
pub struct Canary {
    pub field: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    /// Text: as it is, in lower and upper case, in hexadecimal, and in the three alignments of Base64.
    pub fn text(field: &'static str, value: &str) -> Self {
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

    pub fn is_in(&self, haystack: &[u8]) -> bool {
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
pub struct Values {
    pub email: String,
    pub password: String,
    pub display_name: String,
    pub device_name: String,
    pub reason: String,
    pub evidence: Vec<u8>,
    pub features: [f32; 2],
}

impl Values {
    pub fn new() -> Self {
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

    pub fn canaries(&self) -> Vec<Canary> {
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

/// An account and a session under the canaries; and the refusals that hold them.
pub async fn sign_up(portal: &Portal, values: &Values, errors: &mut Vec<Status>) -> Person {
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

pub async fn decide(
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

/// A dataset with records of the person, and its id; and the refusals.
pub async fn value(
    controller: &Channel,
    person: &Person,
    values: &Values,
    purpose: &str,
    errors: &mut Vec<Status>,
) -> String {
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
    let request = valuation::AppendRecordBatchRequest {
        dataset_id: dataset_id.clone(),
        batch: Some(batch),
        request_id: uuid(),
    };
    datasets.append_record_batch(request.clone()).await.unwrap();
    let twice = valuation::AppendRecordBatchRequest { request_id: uuid(), ..request };
    errors.push(datasets.append_record_batch(twice).await.unwrap_err());
    dataset_id
}

/// What was written can be read by whom it is for.
pub async fn read(portal: &Portal, channel: &Channel, operator: &Person, person: &Person, values: &Values) {
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

pub async fn metrics(portal: &Portal) -> Vec<u8> {
    for address in portal.listeners() {
        let request = Request::get("/metrics").body(Full::new(Bytes::new())).unwrap();
        if let Some(text) = portal.try_http_at(address, request).await.filter(|text| text.starts_with(b"# "))
        {
            return text;
        }
    }
    panic!("nobody serves /metrics");
}

pub fn collect(directory: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, places);
        } else if let Ok(bytes) = fs::read(&path) {
            places.push((path.file_name().unwrap().to_string_lossy().into_owned(), bytes));
        }
    }
}
