//! What has happened, as auditors read and follow it.

use std::time::Duration;

use portal_core::Clock;
use portal_mesh::MeshChannel;
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::audit_event::{Outcome, Severity};
use portal_proto::auth::v1::audit_service_client::AuditServiceClient;
use portal_testkit::each_database;
use serde_json::Value;
use tonic::{Code, Request, Status, Streaming};

use crate::fixture::{Auth, OPERATOR, PASSWORD, refused, sign_in};
use crate::sql;

const ANNA: &str = "anna@example.org";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

impl Auth {
    fn audit(&self) -> AuditServiceClient<MeshChannel> {
        AuditServiceClient::new(self.channel())
    }

    /// The events that `request` asks for, page by page.
    async fn trail(
        &self,
        by: &pb::Session,
        request: pb::ListAuditEventsRequest,
    ) -> Result<Vec<pb::AuditEvent>, Status> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListAuditEventsRequest { page_token, page_size: 2, ..request.clone() };
            let page = self.audit().list_audit_events(self.by(by, request).await).await?.into_inner();
            assert!(page.audit_events.len() <= 2);
            all.extend(page.audit_events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn follow(
        &self,
        by: &pb::Session,
        resume_token: &str,
        actions: &[&str],
    ) -> Result<Streaming<pb::AuditEvent>, Status> {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        let request = pb::WatchAuditEventsRequest { resume_token: resume_token.to_owned(), actions };
        Ok(self.audit().watch_audit_events(self.by(by, request).await).await?.into_inner())
    }
}

async fn next(events: &mut Streaming<pb::AuditEvent>) -> pb::AuditEvent {
    tokio::time::timeout(Duration::from_secs(30), events.message()).await.unwrap().unwrap().unwrap()
}

fn of_account(session: &pb::Session) -> pb::ListAuditEventsRequest {
    pb::ListAuditEventsRequest { account_id: session.account_id.clone(), ..Default::default() }
}

fn actions(events: &[pb::AuditEvent]) -> Vec<&str> {
    events.iter().map(|event| event.action.as_str()).collect()
}

each_database! {
    /// Newest first, by account, action and time; what was refused is there with its reason, and nothing personal anywhere.
    async fn auditors_read_what_happened(database) {
        let auth = Auth::start(database).await;
        // Events of one millisecond are in no order: here each has its own second.
        auth.advance(1);
        let operator = auth.operator().await;
        auth.advance(1);
        auth.sign_up(ANNA).await;
        auth.advance(1);
        let anna = auth.sign_in(ANNA).await;
        auth.advance(60);
        let later = auth.mesh.clock.now();
        let mut wrong = Request::new(sign_in(ANNA, "a wrong password", false));
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        wrong.metadata_mut().insert("traceparent", parent.parse().unwrap());
        refused(auth.sessions().create_session(wrong).await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        auth.advance(1);
        refused(auth.try_sign_in("nobody@example.org", PASSWORD).await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        auth.advance(1);
        let lock = pb::LockAccountRequest { account_id: anna.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();

        let of_anna = auth.trail(&operator, of_account(&anna)).await.unwrap();
        assert_eq!(actions(&of_anna), ["account.lock", "session.create", "session.create", "account.create"]);
        let [locked, failed, signed_in, _] = &of_anna[..] else { panic!("{of_anna:?}") };
        assert_eq!((failed.outcome(), failed.reason.as_str()), (Outcome::Failure, "CREDENTIALS_REJECTED"));
        assert_eq!((failed.severity(), failed.trace_id.as_str()), (Severity::Low, TRACE));
        assert!(failed.actor_account_id.is_empty() && failed.session_id.is_empty());
        assert_eq!((signed_in.outcome(), &signed_in.session_id), (Outcome::Success, &anna.session_id));
        assert_eq!((locked.actor_account_id.as_str(), locked.severity()), (operator.account_id.as_str(), Severity::Medium));
        let object: Value = serde_json::from_str(&locked.ocsf_json).unwrap();
        assert_eq!(object["actor"]["authorizations"][0]["policy"]["uid"], "portal.account.operator");
        assert!(object["unmapped"]["policy"].is_null(), "told once");
        let by_operator = auth.trail(&operator, of_account(&operator)).await.unwrap();
        assert_eq!(actions(&by_operator), ["account.lock", "session.create", "account.create"]);

        let since = pb::ListAuditEventsRequest { start_time: Some(timestamp(later)), ..Default::default() };
        let since = auth.trail(&operator, since).await.unwrap();
        assert_eq!(actions(&since), ["account.lock", "session.create", "session.create"]);
        assert!(since[1].account_id.is_empty(), "nobody has that address");
        let before = pb::ListAuditEventsRequest {
            end_time: Some(timestamp(later)),
            actions: vec!["account.create".to_owned()],
            ..Default::default()
        };
        assert_eq!(auth.trail(&operator, before).await.unwrap().len(), 2);

        for event in auth.trail(&operator, pb::ListAuditEventsRequest::default()).await.unwrap() {
            let text = format!("{event:?}");
            assert!(![ANNA, OPERATOR, "nobody@", "Anna", "a wrong password"].iter().any(|it| text.contains(it)), "{text}");
        }
        for (session, code) in [(Some(&anna), Code::Unauthenticated), (None, Code::Unauthenticated)] {
            let status = match session {
                // Her session ended with the lock: not even a token is to be had.
                Some(session) => auth.exchange(&session.access_token, "auth").await.map(drop).unwrap_err(),
                None => auth.audit().list_audit_events(pb::ListAuditEventsRequest::default()).await.map(drop).unwrap_err(),
            };
            assert_eq!(status.code(), code);
        }
        let (_, bert) = auth.person("bert@example.org").await;
        refused(auth.trail(&bert, of_account(&bert)).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        refused(auth.follow(&bert, "", &[]).await.map(drop), Code::PermissionDenied, "ROLE_NOT_ALLOWED");
    }

    /// A SIEM reads them by a published schema.
    async fn events_are_ocsf_objects(database) {
        let auth = Auth::start(database).await;
        // Events of one millisecond are in no order: here each has its own second.
        auth.advance(1);
        let operator = auth.operator().await;
        auth.advance(1);
        auth.sign_up(ANNA).await;
        auth.advance(1);
        let anna = auth.sign_in(ANNA).await;
        for _ in 0..5 {
            auth.advance(1);
            refused(auth.try_sign_in(ANNA, "a wrong password").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        }
        let events = auth.trail(&operator, of_account(&anna)).await.unwrap();
        let objects: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.ocsf_json).unwrap()).collect();
        let [locks, failed, .., signed_in, created] = &objects[..] else { panic!("{objects:?}") };
        for object in &objects {
            let number = |name: &str| object[name].as_u64().unwrap();
            assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
            assert!(number("category_uid") == 3 && object["metadata"]["version"] == "1.3.0");
            assert_eq!(object["user"]["uid"], anna.account_id.as_str());
        }
        let told = |object: &Value| ["class_uid", "activity_id", "status_id", "severity_id"].map(|name| object[name].as_u64().unwrap());
        assert_eq!((told(created), &created["unmapped"]["policy"]), ([3001, 1, 1, 1], &Value::from("portal.public")));
        let seconds = |object: &Value| object["time"].as_i64().unwrap() / 1_000;
        assert_eq!((seconds(locks), seconds(created)), (auth.mesh.clock.now().as_seconds(), seconds(locks) - 6));
        assert_eq!(told(signed_in), [3002, 1, 1, 1]);
        assert_eq!((told(failed), &failed["status_detail"]), ([3002, 1, 2, 2], &Value::from("CREDENTIALS_REJECTED")));
        assert_eq!((told(locks), &locks["unmapped"]["locked_seconds"]), ([3002, 1, 2, 3], &Value::from("60")));
        assert_eq!(signed_in["session"]["uid"], anna.session_id.as_str());
        assert_eq!(signed_in["metadata"]["uid"], events[events.len() - 2].audit_event_id.as_str());
    }

    /// Each event once, in the order of the ledger, from where a reader stopped, whatever happened in between.
    async fn they_are_followed(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        auth.person(ANNA).await;
        let mut events = auth.follow(&operator, "", &[]).await.unwrap();
        // What was there before is not told; it may get its place in the ledger while the stream begins.
        let bert = auth.sign_up("bert@example.org").await;
        let mut event = next(&mut events).await;
        while event.account_id != bert.account_id {
            event = next(&mut events).await;
        }
        assert_eq!(event.action, "account.create");
        auth.sign_in("bert@example.org").await;
        let mut seen = vec![event];
        while seen.last().unwrap().action != "session.create" {
            seen.push(next(&mut events).await);
        }
        let places: Vec<_> = seen.iter().map(|event| event.ledger_index.unwrap()).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        let last = seen.pop().unwrap();
        drop(events);

        let auth = auth.restart().await;
        let operator = auth.operator().await;
        auth.advance(1);
        refused(auth.try_sign_in(ANNA, "a wrong password").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        let mut events = auth.follow(&operator, &last.resume_token, &[]).await.unwrap();
        let [signed_in, failed] = [next(&mut events).await, next(&mut events).await];
        assert_eq!((signed_in.account_id, signed_in.outcome), (operator.account_id.clone(), Outcome::Success.into()));
        assert_eq!((failed.outcome, failed.reason.as_str()), (Outcome::Failure.into(), "CREDENTIALS_REJECTED"));
        let mut some = auth.follow(&operator, &last.resume_token, &["account.create"]).await.unwrap();
        auth.sign_up("carl@example.org").await;
        assert_eq!(next(&mut some).await.action, "account.create");
        // Of replicas one gives the positions; whoever asks another one is told all the same.
        let (second, channel) = auth.replica().await;
        let request = pb::WatchAuditEventsRequest { resume_token: last.resume_token.clone(), actions: vec!["account.create".to_owned()] };
        let request = auth.by(&operator, request).await;
        let mut there = AuditServiceClient::new(channel).watch_audit_events(request).await.unwrap().into_inner();
        assert_eq!(next(&mut there).await.action, "account.create");
        let dora = auth.sign_up("dora@example.org").await;
        for events in [&mut some, &mut there] {
            assert_eq!(next(events).await.account_id, dora.account_id);
        }
        drop(there);
        second.stop().await;
        let listed = auth.trail(&operator, of_account(&operator)).await.unwrap();
        assert!(listed.iter().any(|event| event.ledger_index == signed_in.ledger_index));
        refused(auth.follow(&operator, "not-a-token", &[]).await.map(drop), Code::InvalidArgument, "INVALID_FIELD");
        let foreign = auth.audit().list_audit_events(auth.by(&operator, pb::ListAuditEventsRequest { page_token: last.resume_token, ..Default::default() }).await).await;
        refused(foreign.map(drop), Code::InvalidArgument, "INVALID_FIELD");
    }

    /// What somebody changed, or took away, is told as that, and hides nothing that follows.
    async fn what_was_tampered_with_is_told(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        let mut events = auth.follow(&operator, "", &[]).await.unwrap();
        let mut people = Vec::new();
        for name in ["anna", "bert", "carl", "dora"] {
            people.push(auth.sign_up(&format!("{name}@example.org")).await.account_id);
        }
        let mut created = Vec::new();
        while created.len() < people.len() {
            let event = next(&mut events).await;
            created.extend(people.contains(&event.account_id).then_some(event));
        }
        let store = database.connect().await;
        let [before, changed, gone, kept] = &created[..] else { panic!("{created:?}") };
        let row = |event: &pb::AuditEvent| format!("WHERE event_id = {}", sql::id(&store, &event.audit_event_id));
        assert_eq!(sql::run(&store, &format!("UPDATE audit_event SET action = 'account.unlock' {}", row(changed)), []).await, 1);
        assert_eq!(sql::run(&store, &format!("DELETE FROM audit_event {}", row(gone)), []).await, 1);
        let mut again = auth.follow(&operator, &before.resume_token, &["account.create"]).await.unwrap();
        for corrupt in [changed, gone] {
            let told = next(&mut again).await;
            assert_eq!((&told.audit_event_id, told.ledger_index), (&corrupt.audit_event_id, corrupt.ledger_index));
            assert_eq!((told.reason.as_str(), told.severity()), ("ROW_CORRUPT", Severity::Critical));
            assert!(told.action.is_empty() && told.account_id.is_empty());
            let object: Value = serde_json::from_str(&told.ocsf_json).unwrap();
            assert_eq!((&object["status_detail"], &object["severity_id"]), (&Value::from("ROW_CORRUPT"), &Value::from(5)));
        }
        assert_eq!(next(&mut again).await.audit_event_id, kept.audit_event_id);
    }
}
