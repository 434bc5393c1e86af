//! What must be there after a kill: all that was acknowledged, once, and nothing else.

use std::collections::BTreeMap;

use portal_proto::auth::v1::ListAccountsRequest;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{ConsentStatus, ListConsentEventsRequest, ListPurposesRequest};
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::{AppendRecordBatchRequest, GetDatasetRequest};
use portal_tests::{Channel, Portal, uuid};
use tonic::Code;

use super::World;
use super::writers::{BATCH, Kind, Write, Writer};

const PAGE: i32 = 1_000;

/// Sends every write whose answer was lost again, twice, and the last acknowledged one once more: the same request id
/// always gets the same answer. Returns how many answers were lost.
pub async fn retry(portal: &Portal, world: &mut World) -> usize {
    let channel = portal.channel().await;
    let mut lost = 0;
    for writer in &mut world.writers {
        let channel = writer.on(&channel);
        let from = writer.len().saturating_sub(2);
        for (write, reply) in &mut writer.journal[from..] {
            let again = write.send(&channel).await.unwrap_or_else(|status| panic!("{write:?}: {status:?}"));
            lost += usize::from(reply.is_none());
            let first = reply.get_or_insert_with(|| again.clone());
            assert_eq!(*first, again, "another answer to the same request: {write:?}");
            assert_eq!(
                *first,
                write.send(&channel).await.unwrap(),
                "another answer the second time: {write:?}"
            );
        }
    }
    lost
}

/// Compares what the services have with what the writers were told.
pub async fn everything(portal: &Portal, world: &World) {
    let channel = portal.channel().await;
    purposes(&world.controller.on(&channel), world).await;
    accounts(&world.operator.on(&channel), world).await;
    records(&world.controller.on(&channel), world).await;
    for writer in world.writers.iter().filter(|writer| writer.kind == Kind::Consents) {
        consents(&writer.on(&channel), writer).await;
    }
}

fn journal(world: &World, kind: Kind) -> impl Iterator<Item = (&Write, &String)> {
    let writers = world.writers.iter().filter(move |writer| writer.kind == kind);
    writers.flat_map(|writer| writer.journal.iter().map(|(write, reply)| (write, reply.as_ref().unwrap())))
}

async fn purposes(controller: &Channel, world: &World) {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut request = ListPurposesRequest { page_size: PAGE, ..ListPurposesRequest::default() };
    loop {
        let page =
            PurposeServiceClient::new(controller.clone()).list_purposes(request.clone()).await.unwrap();
        let page = page.into_inner();
        for purpose in page.purposes {
            found.entry(purpose.display_name).or_default().push(purpose.purpose_id);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let mut expected = BTreeMap::from([("Research".to_owned(), vec![world.places.purpose_id.clone()])]);
    for (write, id) in journal(world, Kind::Purposes) {
        let Write::Purpose(request) = write else { continue };
        expected.insert(request.purpose.as_ref().unwrap().display_name.clone(), vec![id.clone()]);
    }
    assert_eq!(found, expected, "purposes");
}

async fn accounts(operator: &Channel, world: &World) {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut request = ListAccountsRequest { page_size: PAGE, ..ListAccountsRequest::default() };
    loop {
        let page = AccountServiceClient::new(operator.clone()).list_accounts(request.clone()).await.unwrap();
        let page = page.into_inner();
        for account in page.accounts {
            found.entry(account.email).or_default().push(account.account_id);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let mut written = 0;
    for (write, id) in journal(world, Kind::Accounts) {
        let Write::Account(request) = write else { continue };
        assert_eq!(found.get(&request.email), Some(&vec![id.clone()]), "account {}", request.email);
        written += 1;
    }
    assert_eq!(found.len(), written + world.other_accounts, "accounts that nobody was told of");
}

async fn records(controller: &Channel, world: &World) {
    let mut datasets = DatasetServiceClient::new(controller.clone());
    let request = GetDatasetRequest { dataset_id: world.places.dataset_id.clone() };
    let dataset = datasets.get_dataset(request).await.unwrap().into_inner();
    let mut revisions: Vec<i64> = journal(world, Kind::Records).map(|(_, id)| id.parse().unwrap()).collect();
    revisions.sort_unstable();
    // Each append made one revision, so the answers are 1, 2, 3, … without a gap: no effect was lost or came twice.
    assert_eq!(revisions, (1..=dataset.revision).collect::<Vec<_>>(), "appends");
    let records = i64::try_from(revisions.len() * BATCH).unwrap();
    assert_eq!(dataset.training_record_count, records, "records");
    // The records themselves are there, not only their count: each id is taken.
    let writers = world.writers.iter().filter(|writer| writer.kind == Kind::Records);
    for (write, _) in writers.filter_map(|writer| writer.journal.last()) {
        let Write::Records(request) = write else { continue };
        let request = AppendRecordBatchRequest { request_id: uuid(), ..request.clone() };
        let taken = datasets.append_record_batch(request).await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists, "{taken:?}");
    }
}

async fn consents(subject: &Channel, writer: &Writer) {
    let mut found = Vec::new();
    let mut request = ListConsentEventsRequest {
        subject_id: writer.person.as_ref().unwrap().subject_id.clone(),
        page_size: PAGE,
        ..ListConsentEventsRequest::default()
    };
    loop {
        let page =
            ConsentServiceClient::new(subject.clone()).list_consent_events(request.clone()).await.unwrap();
        let page = page.into_inner();
        found.extend(page.events.iter().map(portal_proto::consent::v1::ConsentEvent::status));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    found.reverse();
    let expected: Vec<_> = writer
        .journal
        .iter()
        .map(|(write, _)| match write {
            Write::Withdraw(_) => ConsentStatus::Withdrawn,
            _ => ConsentStatus::Given,
        })
        .collect();
    assert_eq!(found, expected, "events of one consent, oldest first");
}
