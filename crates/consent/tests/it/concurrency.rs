//! Twenty at once, and the same request again.

use std::sync::Mutex;
use std::time::Duration;

use portal_mesh::Metrics;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_store::{Database, StoreError};
use portal_testkit::mesh::TestUser;
use portal_testkit::{TestDatabase, each_database};
use sea_orm::{ConnectionTrait as _, DbBackend};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::sql;
use crate::world::{World, pb, refused, until};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

async fn twenty(world: &World, request: pb::GiveConsentRequest) -> Vec<Result<pb::ConsentReply, Status>> {
    let calls = (0..20).map(|_| {
        let (mut client, request) = (world.consents(&world.anna), request.clone());
        async move { client.give_consent(request).await.map(tonic::Response::into_inner) }
    });
    futures_util::future::join_all(calls).await
}

/// One row of everything that a change writes.
async fn once_everywhere(database: &TestDatabase) {
    let store = database.connect().await;
    let count = async |table: &str| sql::one::<i64>(&store, &format!("SELECT COUNT(*) FROM {table}")).await;
    for table in ["consent", "consent_event", "receipt"] {
        assert_eq!(count(table).await, 1, "{table}");
    }
    assert_eq!(count(&format!("{} WHERE kind = 1", sql::ENTRIES)).await, 1);
}

/// Nobody else changes consents while it lives.
struct Hold {
    release: oneshot::Sender<()>,
    held: JoinSet<()>,
}

impl Hold {
    async fn begin(world: &World) -> Self {
        let host = world.mesh.host();
        let metrics = portal_store::Metrics::default();
        let database = Database::connect(&world.database(), host.entropy, metrics).await.unwrap();
        let (release, released) = oneshot::channel();
        let (begun, began) = oneshot::channel();
        let signals = Mutex::new(Some((begun, released)));
        let mut held = JoinSet::new();
        held.spawn(async move {
            let hold = database.run_tx("hold", |tx| {
                let signals = signals.lock().unwrap().take();
                async move {
                    if tx.conn().get_database_backend() == DbBackend::Postgres {
                        tx.conn().execute_unprepared("LOCK TABLE consent").await?;
                    }
                    let (begun, released) = signals.unwrap();
                    begun.send(()).unwrap();
                    released.await.unwrap();
                    Ok::<_, StoreError>(())
                }
            });
            hold.await.unwrap();
        });
        began.await.unwrap();
        Self { release, held }
    }

    async fn end(self) {
        self.release.send(()).unwrap();
        self.held.join_all().await;
    }
}

/// Transactions of decisions so far.
fn committed(world: &World) -> u64 {
    sum(&world.metrics, "portal_store_transactions_total", &["decide_together"])
}

/// Calls that are being served.
fn under_way(world: &World) -> u64 {
    sum(&world.metrics, "portal_rpc_server_under_way", &[])
}

/// Of a metric with all of these labels.
fn sum(metrics: &Metrics, metric: &str, labels: &[&str]) -> u64 {
    let text = metrics.encode().unwrap();
    let lines = text.lines().filter(|line| line.starts_with(metric));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// A database that is gone is met by the transactions that were begun and those next in turn, not once by each who waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_met_by_few() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (world, proxy) = (World::start(&database).await, database.proxy().unwrap());
    let offer = world.offer().await;
    let (replica, there, metrics) = world.replica(proxy.config()).await;
    let hold = Hold::begin(&world).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let user = TestUser::subject();
        let request = offer.give(user.subject);
        let mut client = ConsentServiceClient::new(world.through(&user, &there));
        calls.spawn(async move { client.give_consent(request).await });
    }
    while sum(&metrics, "portal_rpc_server_under_way", &[]) < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.cut();
    for reply in calls.join_all().await {
        let status = reply.unwrap_err();
        assert!([Code::Unavailable, Code::DeadlineExceeded].contains(&status.code()), "{status:?}");
    }
    let failed =
        sum(&metrics, "portal_store_transactions_total", &["transaction=\"decide_together\"", "failed"]);
    assert!((1..=6).contains(&failed), "{failed} transactions failed");
    hold.end().await;
    proxy.heal();
    let client = ConsentServiceClient::new(world.through(&world.anna, &there));
    until(async || client.clone().give_consent(offer.give(world.anna.subject)).await.ok()).await;
    replica.stop().await;
}

each_database! {
    /// One event, twenty equal replies.
    async fn twenty_with_one_request_id(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let request = pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(world.anna.subject) };
        let replies: Vec<_> = twenty(&world, request).await.into_iter().map(Result::unwrap).collect();
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        assert_eq!(world.events(&world.anna).await.len(), 1);
        once_everywhere(database).await;
    }

    /// One event; everyone is told the same state, or to try again.
    async fn twenty_without_a_request_id(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let replies = twenty(&world, offer.give(world.anna.subject)).await;
        let given: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().ok()).collect();
        assert!(!given.is_empty());
        assert!(given.iter().all(|reply| *reply == given[0]));
        assert!(replies.iter().all(|reply| reply.as_ref().err().is_none_or(|status| status.code() == Code::Aborted)));
        assert_eq!(world.events(&world.anna).await.len(), 1);
        once_everywhere(database).await;
    }

    /// Who comes while the database is busy waits for one transaction together. Each is answered for itself: what is wrong with
    /// one is nothing to the others.
    async fn those_who_wait_share_a_transaction(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let before = committed(&world);
        let hold = Hold::begin(&world).await;
        let mut calls = JoinSet::new();
        for number in 0..20 {
            let user = TestUser::subject();
            let mut request = offer.give(user.subject);
            if number % 5 == 0 {
                request.purpose_id = user.subject.to_string();
            }
            let mut client = world.consents(&user);
            calls.spawn(async move { (number, client.give_consent(request).await) });
        }
        // The same request twice among them: never in one transaction, and one event.
        for number in 20..22 {
            let request =
                pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(world.anna.subject) };
            let mut client = world.consents(&world.anna);
            calls.spawn(async move { (number, client.give_consent(request).await) });
        }
        while under_way(&world) < 22 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hold.end().await;
        for (number, reply) in calls.join_all().await {
            if number < 20 && number % 5 == 0 {
                refused(reply, Code::NotFound, "PURPOSE_NOT_FOUND");
            } else {
                let consent = reply.unwrap().into_inner().consent.unwrap();
                assert_eq!(consent.status(), pb::ConsentStatus::Given);
            }
        }
        assert_eq!(world.events(&world.anna).await.len(), 1);
        // Two that were begun already, all who came meanwhile, and the second of the same requests.
        let transactions = committed(&world) - before;
        assert!((1..=6).contains(&transactions), "{transactions} transactions");
    }

    /// Of twenty withdrawals one happens; the others find nothing in force.
    async fn twenty_withdrawals(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let calls = (0..20).map(|_| {
            let (mut client, request) = (world.consents(anna), offer.withdraw(anna.subject));
            async move { client.withdraw_consent(request).await }
        });
        let replies = futures_util::future::join_all(calls).await;
        assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 1);
        assert_eq!(world.events(anna).await.len(), 2);
    }

    /// Same id, same body: the first reply, even after the state moved on. Same id, other body: refused. Another
    /// caller's id is another id.
    async fn request_ids(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let give = pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(anna.subject) };
        let first = world.consents(anna).give_consent(give.clone()).await.unwrap().into_inner();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        let again = world.consents(anna).give_consent(give.clone()).await.unwrap().into_inner();
        assert_eq!(again, first);
        assert_eq!(world.events(anna).await.len(), 2);
        let other = pb::GiveConsentRequest { language: "de-AT".to_owned(), ..give.clone() };
        refused(world.consents(anna).give_consent(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let as_controller = world.consents(&world.controller).give_consent(give).await.unwrap().into_inner();
        assert_ne!(as_controller, first);
        let events = world.events(anna).await;
        assert_eq!((events.len(), &events[0].actor_id), (3, &world.controller.account.to_string()));

        let create = pb::CreateNoticeRequest {
            notice: Some(crate::world::notice(&[&offer.purpose])),
            request_id: REQUEST_ID.to_owned(),
        };
        let mut notices = world.notices(&world.controller);
        let first = notices.create_notice(create.clone()).await.unwrap().into_inner();
        // A map is sent in any order: a rebuilt one must still be the same request.
        for _ in 0..8 {
            let mut rebuilt = create.clone();
            let bodies = rebuilt.notice.as_mut().unwrap();
            bodies.bodies = create.notice.clone().unwrap().bodies.into_iter().collect();
            assert_eq!(notices.create_notice(rebuilt).await.unwrap().into_inner(), first);
        }
    }
}
