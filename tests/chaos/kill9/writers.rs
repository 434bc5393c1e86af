//! Clients that write as fast as they are answered, and remember what they were told.

use portal_proto::auth::v1::CreateAccountRequest;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{
    ConsentStatus, CreatePurposeRequest, GiveConsentRequest, IndicationMethod, WithdrawConsentRequest,
};
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::{AppendRecordBatchRequest, Split};
use portal_tests::{Channel, PASSWORD, Person, purpose, record_batch, uuid};
use tonic::Status;

/// Records in one append.
pub const BATCH: usize = 3;

/// Where writers write to.
#[derive(Clone)]
pub struct Places {
    pub purpose_id: String,
    pub notice_id: String,
    pub dataset_id: String,
}

/// What a writer writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Accounts,
    Consents,
    Purposes,
    Records,
}

/// One write, as it can be sent again.
#[derive(Clone, Debug)]
pub enum Write {
    Account(CreateAccountRequest),
    Give(GiveConsentRequest),
    Purpose(Box<CreatePurposeRequest>),
    Records(AppendRecordBatchRequest),
    Withdraw(WithdrawConsentRequest),
}

/// A client.
pub struct Writer {
    pub kind: Kind,
    pub person: Option<Person>,
    /// What was sent, and what the answer said: an id, a version. At most the last is without an answer.
    pub journal: Vec<(Write, Option<String>)>,
}

impl Write {
    /// Sends it; what the answer names is the same for the same effect only.
    pub async fn send(&self, channel: &Channel) -> Result<String, Status> {
        let channel = channel.clone();
        match self.clone() {
            Self::Account(request) => {
                let account = AccountServiceClient::new(channel).create_account(request).await?.into_inner();
                Ok(account.account_id)
            }
            Self::Give(request) => {
                let reply = ConsentServiceClient::new(channel).give_consent(request).await?.into_inner();
                assert_eq!(reply.consent.as_ref().unwrap().status(), ConsentStatus::Given);
                Ok(reply.consent.unwrap().etag)
            }
            Self::Purpose(request) => {
                let purpose = PurposeServiceClient::new(channel).create_purpose(*request).await?.into_inner();
                Ok(purpose.purpose_id)
            }
            Self::Records(request) => {
                let reply =
                    DatasetServiceClient::new(channel).append_record_batch(request).await?.into_inner();
                Ok(reply.dataset_revision.to_string())
            }
            Self::Withdraw(request) => {
                let reply = ConsentServiceClient::new(channel).withdraw_consent(request).await?.into_inner();
                assert_eq!(reply.consent.as_ref().unwrap().status(), ConsentStatus::Withdrawn);
                Ok(reply.consent.unwrap().etag)
            }
        }
    }
}

impl Writer {
    pub const fn new(kind: Kind, person: Option<Person>) -> Self {
        Self { kind, person, journal: Vec::new() }
    }

    /// Writes sent so far.
    pub fn len(&self) -> usize {
        self.journal.len()
    }

    /// The connection as this writer.
    pub fn on(&self, channel: &Channel) -> Channel {
        self.person.as_ref().map_or_else(|| channel.clone(), |person| person.on(channel))
    }

    /// Writes until a call fails.
    pub async fn run(mut self, channel: &Channel, places: &Places) -> (Self, Status) {
        let channel = self.on(channel);
        loop {
            let write = self.next(places);
            let answer = write.send(&channel).await;
            match answer {
                Ok(reply) => self.journal.push((write, Some(reply))),
                Err(status) => {
                    self.journal.push((write, None));
                    return (self, status);
                }
            }
        }
    }

    fn next(&self, places: &Places) -> Write {
        let request_id = uuid();
        let subject_id = self.person.as_ref().map(|person| person.subject_id.clone()).unwrap_or_default();
        match self.kind {
            Kind::Accounts => Write::Account(CreateAccountRequest {
                email: format!("{}@example.org", uuid()),
                password: PASSWORD.to_owned(),
                request_id,
                ..CreateAccountRequest::default()
            }),
            Kind::Consents if self.len().is_multiple_of(2) => Write::Give(GiveConsentRequest {
                subject_id,
                purpose_id: places.purpose_id.clone(),
                notice_id: places.notice_id.clone(),
                language: "en".to_owned(),
                method: IndicationMethod::Button.into(),
                request_id,
                ..GiveConsentRequest::default()
            }),
            Kind::Consents => Write::Withdraw(WithdrawConsentRequest {
                subject_id,
                purpose_id: places.purpose_id.clone(),
                request_id,
                ..WithdrawConsentRequest::default()
            }),
            Kind::Purposes => {
                let purpose = Some(purpose(&uuid()));
                Write::Purpose(Box::new(CreatePurposeRequest { purpose, request_id }))
            }
            Kind::Records => Write::Records(AppendRecordBatchRequest {
                dataset_id: places.dataset_id.clone(),
                batch: Some(record_batch((0..BATCH).map(|_| uuid()).collect(), &subject_id, Split::Train)),
                request_id,
            }),
        }
    }
}
