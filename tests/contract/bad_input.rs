//! Bad input at the edge, in all three protocols: a typed error that names what is wrong, nothing written, process alive.
//!
//! After each table the lists are as they were before: see [`Stock`].

mod grpc;
mod json;
mod tables;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::{ListAccountsRequest, RevokeSessionRequest};
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::notice_service_client::NoticeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{ListConsentEventsRequest, ListNoticesRequest, ListPurposesRequest};
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::valuation_service_client::ValuationServiceClient;
use portal_proto::valuation::v1::{ListDatasetsRequest, ListValuationsRequest};
use portal_tests::{Channel, Person, Portal, dataset, published_notice, published_purpose};

/// The one running portal of these tests, with a little in every list.
pub struct Scene {
    pub portal: Portal,
    pub channel: Channel,
    pub operator: Person,
    pub controller: Person,
    pub anna: Person,
    pub purpose_id: String,
    pub notice_id: String,
    pub dataset_id: String,
}

/// Everything that lists show.
#[derive(Debug, PartialEq)]
pub struct Stock(Vec<String>);

impl Scene {
    pub async fn new() -> Self {
        let portal = Portal::start().await;
        let channel = portal.channel().await;
        let operator = portal.operator().await;
        let controller = portal.staff(&operator, &["controller"]).await;
        let anna = portal.person("anna").await;
        let as_controller = controller.on(&channel);
        let purpose_id = published_purpose(&as_controller, "Research").await.purpose_id;
        published_purpose(&as_controller, "Second").await;
        let notice_id = published_notice(&as_controller, "Notice", &[&purpose_id]).await.notice_id;
        published_notice(&as_controller, "Second", &[&purpose_id]).await;
        let dataset_id = dataset(&as_controller, &purpose_id).await.dataset_id;
        dataset(&as_controller, &purpose_id).await;
        Self { portal, channel, operator, controller, anna, purpose_id, notice_id, dataset_id }
    }

    /// The person that `name` means in a table.
    pub fn caller(&self, name: &str) -> Option<&Person> {
        match name {
            "anna" => Some(&self.anna),
            "controller" => Some(&self.controller),
            "operator" => Some(&self.operator),
            _ => None,
        }
    }

    /// The connection as `name` means it in a table.
    pub fn on(&self, name: &str) -> Channel {
        self.caller(name).map_or_else(|| self.channel.clone(), |person| person.on(&self.channel))
    }

    /// What there is.
    pub async fn stock(&self) -> Stock {
        let controller = self.controller.on(&self.channel);
        let operator = self.operator.on(&self.channel);
        let page_size = 1_000;
        let purposes = ListPurposesRequest { page_size, ..ListPurposesRequest::default() };
        let purposes = PurposeServiceClient::new(controller.clone()).list_purposes(purposes).await.unwrap();
        let notices = ListNoticesRequest { page_size, ..ListNoticesRequest::default() };
        let notices = NoticeServiceClient::new(controller.clone()).list_notices(notices).await.unwrap();
        let datasets = ListDatasetsRequest { page_size, ..ListDatasetsRequest::default() };
        let datasets = DatasetServiceClient::new(controller.clone()).list_datasets(datasets).await.unwrap();
        let valuations = ListValuationsRequest { page_size, ..ListValuationsRequest::default() };
        let valuations = ValuationServiceClient::new(controller).list_valuations(valuations).await.unwrap();
        let accounts = ListAccountsRequest { page_size, ..ListAccountsRequest::default() };
        let accounts = AccountServiceClient::new(operator).list_accounts(accounts).await.unwrap();
        let events = ListConsentEventsRequest {
            subject_id: self.anna.subject_id.clone(),
            page_size,
            ..ListConsentEventsRequest::default()
        };
        let mut consents = ConsentServiceClient::new(self.anna.on(&self.channel));
        let events = consents.list_consent_events(events).await.unwrap();
        let purposes = purposes.into_inner().purposes.into_iter().map(|p| p.purpose_id + " " + &p.etag);
        let notices = notices.into_inner().notices.into_iter().map(|n| n.notice_id + " " + &n.etag);
        let datasets = datasets.into_inner().datasets.into_iter().map(|d| d.dataset_id + " " + &d.etag);
        let valuations = valuations.into_inner().valuations.into_iter().map(|v| v.valuation_id);
        let accounts = accounts.into_inner().accounts.into_iter().map(|a| a.account_id + " " + &a.etag);
        let events = events.into_inner().events.into_iter().map(|e| e.event_id);
        Stock(
            purposes.chain(notices).chain(datasets).chain(valuations).chain(accounts).chain(events).collect(),
        )
    }

    /// Fails unless everything is as it was and the same process answers.
    pub async fn assert_unharmed(&mut self, before: &Stock) {
        assert!(self.portal.is_alive(), "the process has ended\n{}", self.portal.log());
        assert_eq!(self.stock().await, *before, "something was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_by_name_and_write_nothing() {
    let mut scene = Scene::new().await;
    let before = scene.stock().await;
    assert!(before.0.len() > 8, "too little to notice a change: {before:?}");
    grpc::malformed(&scene).await;
    grpc::fields(&scene).await;
    grpc::page_tokens(&scene).await;
    grpc::large(&scene).await;
    json::refused(&scene).await;
    json::every_create_method(&scene).await;
    headers(&scene).await;
    scene.assert_unharmed(&before).await;
}

/// 20 KiB of headers, in HTTP/1.1 and HTTP/2, in one header and in many.
async fn headers(scene: &Scene) {
    let value = |length: usize| HeaderValue::try_from("x".repeat(length)).unwrap();
    let one = vec![("x-large".to_owned(), value(20 * 1_024))];
    let many: Vec<_> = (0..20).map(|n| (format!("x-large-{n}"), value(1_024))).collect();
    for headers in [one, many] {
        let mut request = Request::get("/v1/purposes");
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let answer = scene.portal.http(request.body(Full::new(Bytes::new())).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HTTP/1.1");
        let headers = headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value)).collect();
        let answer = portal_tests::call_with(
            scene.portal.channel().await,
            "/portal.auth.v1.TokenService/GetKeySet",
            portal_tests::frame(b""),
            headers,
        );
        assert_eq!(answer.await.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HTTP/2");
    }
    // A token of that size is no token, but no reason to fall over either.
    let request =
        Request::get("/v1/purposes").header(header::AUTHORIZATION, format!("Bearer {}", "x".repeat(9_000)));
    let answer = scene.portal.http(request.body(Full::new(Bytes::new())).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

/// Somebody who signs out in the middle of it all is signed out, and nobody else is.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_session() {
    let portal = Portal::start().await;
    let channel = portal.channel().await;
    let (anna, ben) = (portal.person("anna").await, portal.person("ben").await);
    let list = |person: &Person| {
        let channel = person.on(&channel);
        async move { PurposeServiceClient::new(channel).list_purposes(ListPurposesRequest::default()).await }
    };
    list(&anna).await.unwrap();
    list(&ben).await.unwrap();
    let request =
        RevokeSessionRequest { session_id: anna.session_id.clone(), ..RevokeSessionRequest::default() };
    let mut sessions =
        portal_proto::auth::v1::session_service_client::SessionServiceClient::new(anna.on(&channel));
    sessions.revoke_session(request).await.unwrap();
    let revoked = std::time::Instant::now();
    while list(&anna).await.is_ok() {
        assert!(revoked.elapsed().as_secs() < 30, "a revoked session's token still works");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(list(&anna).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    list(&ben).await.unwrap();
}
