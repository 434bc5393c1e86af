//! One person's story with values that occur nowhere else, its wrong turns included.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use portal_proto::auth::v1 as auth;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::consent::v1 as consent;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::subject_service_client::SubjectServiceClient;
use portal_proto::valuation::v1 as valuation;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::valuation_service_client::ValuationServiceClient;
use portal_tests::{Channel, PASSWORD, Person, Portal, uuid};
use tonic::{Code, Status};

use crate::sought::Canary;

/// One person's values.
pub struct Values {
    pub email: String,
    pub new_email: String,
    pub password: String,
    pub display_name: String,
    pub device_name: String,
    pub reason: String,
    pub delegate: String,
    pub reference: String,
    pub evidence: Vec<u8>,
    pub features: [f32; 2],
    pub labels: [f32; 2],
}

impl Values {
    pub fn new() -> Self {
        let unique = uuid().replace('-', "");
        Self {
            email: format!("Canary.{unique}@Example.ORG"),
            new_email: format!("Canary.new.{unique}@Example.ORG"),
            password: format!("canary-password-{unique}"),
            display_name: format!("Canary Name {unique}"),
            device_name: format!("canary device {unique}"),
            reason: format!("canary reason {unique}"),
            delegate: format!("canary delegate {unique}"),
            reference: format!("canary reference {unique}"),
            evidence: format!("canary evidence {unique}").into_bytes(),
            features: [1_234.567_8, -9_876.543],
            labels: [7.654_321, -8.765_432],
        }
    }

    pub fn canaries(&self) -> Vec<Canary> {
        let local = |email: &str| email.split('@').next().unwrap().to_owned();
        vec![
            Canary::text("account.email", &local(&self.email)),
            Canary::text("account_contact.pending_email", &local(&self.new_email)),
            Canary::text("account.password", &self.password),
            Canary::text("account.display_name", &self.display_name),
            Canary::text("session.device_name", &self.device_name),
            Canary::text("consent_event.reason", &self.reason),
            Canary::text("consent_event.delegation", &self.delegate),
            Canary::text("subject.reference", &self.reference),
            Canary::bytes("evidence.content", &self.evidence),
            Canary::floats("batch.features", &self.features),
            Canary::floats("batch.labels", &self.labels),
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

/// Asks for another e-mail address and for a recovery: by mails that are not sent while the story lasts.
pub async fn write_to(
    portal: &Portal,
    (channel, person): (&Channel, &Person),
    values: &Values,
    errors: &mut Vec<Status>,
) {
    let mut accounts = AccountServiceClient::new(channel.clone());
    let account = auth::Account {
        account_id: person.account_id.clone(),
        email: values.new_email.clone(),
        ..auth::Account::default()
    };
    let update = auth::UpdateAccountRequest {
        account: Some(account.clone()),
        update_mask: Some(prost_types::FieldMask { paths: vec!["email".to_owned()] }),
        request_id: uuid(),
    };
    let mut updated = accounts.update_account(update.clone()).await;
    if updated.as_ref().is_err_and(|status| status.code() == Code::ResourceExhausted) {
        // A minute is between two mails of one account, and the first one went out when it was made.
        tokio::time::sleep(Duration::from_secs(61)).await;
        updated = accounts.update_account(update.clone()).await;
    }
    let updated = updated.unwrap().into_inner();
    assert_eq!(updated.pending_email, values.new_email.to_lowercase());
    let wrong = auth::Account { email: values.new_email.replace('@', " "), ..account };
    let wrong = auth::UpdateAccountRequest { account: Some(wrong), request_id: uuid(), ..update };
    errors.push(accounts.update_account(wrong).await.unwrap_err());
    let mut public = AccountServiceClient::new(portal.channel().await);
    for email in [&values.email, &values.new_email] {
        let request = auth::StartRecoveryRequest { email: email.clone(), request_id: uuid() };
        public.start_recovery(request).await.unwrap();
    }
    let wrong = auth::CompleteRecoveryRequest {
        recovery_token: values.reason.clone(),
        new_password: values.password.clone(),
        request_id: uuid(),
    };
    errors.push(public.complete_recovery(wrong).await.unwrap_err());
    let export = auth::ExportAccountRequest { account_id: person.account_id.clone(), ..Default::default() };
    assert!(accounts.export_account(export).await.unwrap().into_inner().account.is_some());
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
    let delegation = consent::Delegation {
        delegate_id: values.delegate.clone(),
        kind: consent::DelegationKind::Representative.into(),
        ..consent::Delegation::default()
    };
    let again = consent::GiveConsentRequest { request_id: uuid(), delegation: Some(delegation), ..give };
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
    let subject = consent::Subject { reference: values.reference.clone(), ..consent::Subject::default() };
    let register = consent::CreateSubjectRequest { subject: Some(subject), request_id: uuid() };
    SubjectServiceClient::new(controller.clone()).create_subject(register).await.unwrap();
    let mut datasets = DatasetServiceClient::new(controller.clone());
    let dataset = valuation::Dataset {
        display_name: "Points".to_owned(),
        task: valuation::Task::Regression.into(),
        feature_count: 2,
        purpose_id: purpose.to_owned(),
        ..valuation::Dataset::default()
    };
    let request = valuation::CreateDatasetRequest { dataset: Some(dataset), ..Default::default() };
    let dataset_id = datasets.create_dataset(request).await.unwrap().into_inner().dataset_id;
    let batch = valuation::RecordBatch {
        record_ids: vec!["r1".to_owned(), "r2".to_owned()],
        subject_ids: vec![person.subject_id.clone(); 2],
        features: values.features.repeat(2),
        labels: values.labels.to_vec(),
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

/// Values the dataset, with records of somebody else beside the person's, and returns what came of it as canaries: the
/// values of the person and of each of their records.
pub async fn finish(
    controller: &Channel,
    dataset_id: &str,
    (person, other): (&Person, &Person),
    values: &Values,
) -> Vec<Canary> {
    let mut datasets = DatasetServiceClient::new(controller.clone());
    for (record, subject, split) in [
        ("v1", person, valuation::Split::Validation),
        ("o1", other, valuation::Split::Train),
        ("v2", other, valuation::Split::Validation),
    ] {
        let batch = valuation::RecordBatch {
            record_ids: vec![record.to_owned()],
            subject_ids: vec![subject.subject_id.clone()],
            features: values.features.map(|feature| feature / 3.0).to_vec(),
            labels: vec![values.labels[0] / 3.0],
            split: split.into(),
            ..valuation::RecordBatch::default()
        };
        let request = valuation::AppendRecordBatchRequest {
            dataset_id: dataset_id.to_owned(),
            batch: Some(batch),
            request_id: uuid(),
        };
        datasets.append_record_batch(request).await.unwrap();
    }
    let mut valuations = ValuationServiceClient::new(controller.clone());
    let request = valuation::StartValuationRequest {
        dataset_id: dataset_id.to_owned(),
        method: valuation::Method::KnnShapley.into(),
        request_id: uuid(),
        ..valuation::StartValuationRequest::default()
    };
    let operation = valuations.start_valuation(request).await.unwrap().into_inner().name;
    let valuation_id = operation.rsplit('/').next().unwrap().to_owned();
    for _ in 0..600 {
        let request = valuation::GetValuationRequest { valuation_id: valuation_id.clone() };
        let valuation = valuations.get_valuation(request).await.unwrap().into_inner();
        match valuation.state() {
            valuation::ValuationState::Succeeded => break,
            valuation::ValuationState::Pending | valuation::ValuationState::Running => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => panic!("{other:?} {:?}", valuation.error),
        }
    }
    let request = valuation::ListRecordValuesRequest {
        valuation_id: valuation_id.clone(),
        ..valuation::ListRecordValuesRequest::default()
    };
    let records = valuations.list_record_values(request).await.unwrap().into_inner().record_values;
    let request = valuation::GetSubjectValueRequest { valuation_id, subject_id: person.subject_id.clone() };
    let subject = valuations.get_subject_value(request).await.unwrap().into_inner();
    let theirs: Vec<_> = records.iter().filter(|value| value.subject_id == person.subject_id).collect();
    assert_eq!((records.len(), theirs.len()), (3, 2));
    let mut canaries = vec![Canary::number("subject_value.value", subject.value)];
    canaries.extend(theirs.iter().map(|value| Canary::number("record_value.value", value.value)));
    // A value that was not estimated has no error, and 0 is everywhere.
    let errors = theirs.iter().map(|value| value.standard_error).filter(|error| *error != 0.0);
    canaries.extend(errors.map(|error| Canary::number("record_value.standard_error", error)));
    canaries
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

/// What every process tells of itself.
pub async fn metrics(portal: &Portal) -> Vec<u8> {
    let mut metrics = Vec::new();
    for address in portal.listeners() {
        let request = Request::get("/metrics").body(Full::new(Bytes::new())).unwrap();
        let text = portal.try_http_at(address, request).await;
        metrics.extend(text.into_iter().filter(|text| text.starts_with(b"# ")).flatten());
    }
    assert!(!metrics.is_empty(), "nobody serves /metrics");
    metrics
}

pub fn collect(directory: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, places);
        } else if let Ok(bytes) = fs::read(&path) {
            places.push((path.display().to_string(), bytes));
        }
    }
}
