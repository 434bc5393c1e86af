//! What stands in the database: nothing personal in the clear, and nothing that somebody else has written is believed.

use std::time::Duration;

use portal_store::Database;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::{Code, Status};

use crate::sql;
use crate::world::{Offer, World, pb, question, refused};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
const REASON: &str = "canary-of-a-reason";
const EVIDENCE: &str = "canary-of-evidence";
const TABLES: [&str; 4] = ["consent", "consent_event", "evidence", "idempotency_key"];
const CORRUPT: (Code, &str) = (Code::DataLoss, "ROW_CORRUPT");

fn evidence() -> Vec<pb::Evidence> {
    vec![pb::Evidence {
        kind: pb::EvidenceKind::Form.into(),
        media_type: "text/plain".to_owned(),
        content: EVIDENCE.into(),
        ..Default::default()
    }]
}

/// Gives and withdraws, with evidence and a reason.
pub async fn give_and_withdraw(world: &World, user: &TestUser, offer: &Offer) {
    let give = pb::GiveConsentRequest { evidence: evidence(), ..offer.give(user.subject) };
    world.consents(user).give_consent(give).await.unwrap();
    let withdraw = pb::WithdrawConsentRequest {
        reason: REASON.to_owned(),
        request_id: REQUEST_ID.to_owned(),
        ..offer.withdraw(user.subject)
    };
    world.consents(user).withdraw_consent(withdraw).await.unwrap();
}

/// Changes a row of `table` that nobody but the service may change.
async fn tamper(store: &Database, table: &str, change: &str) {
    assert_ne!(sql::run(store, &format!("UPDATE {table} SET {change}"), []).await, 0);
}

async fn decided(world: &World, user: &TestUser, offer: &Offer) -> Result<pb::CheckConsentResponse, Status> {
    let mut decisions = world.decisions(&world.officer);
    decisions.check_consent(question(user.subject, &offer.purpose)).await.map(tonic::Response::into_inner)
}

fn withheld<T>(reply: &tonic::Response<T>) -> &str {
    reply.metadata().get("portal-rows-withheld").map_or("", |rows| rows.to_str().unwrap())
}

each_database! {
    /// Neither the words nor the evidence nor a kept reply stand anywhere; who may read them does, also after a restart
    /// and from another replica, and the same request is answered as before.
    async fn nothing_personal_is_in_the_clear(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        let store = database.connect().await;
        for table in TABLES {
            let stored = sql::everything(&store, table).await;
            assert!(!stored.is_empty());
            for canary in [REASON, EVIDENCE] {
                assert!(!sql::contains(&stored, canary), "{canary} in {table}");
            }
        }
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent_event WHERE sealed_reason IS NOT NULL").await, 1);
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM evidence WHERE sealed_content IS NOT NULL").await, 1);
        assert_eq!(sql::one::<Vec<u8>>(&store, "SELECT reply FROM idempotency_key").await, b"");
        for table in ["consent", "consent_event", "evidence", "notice", "notice_revision", "purpose", "purpose_revision"] {
            let unstamped = format!("SELECT COUNT(*) FROM {table} WHERE row_digest IS NULL");
            assert_eq!(sql::one::<i64>(&store, &unstamped).await, 0, "{table}");
        }

        let before = world.events(&world.anna).await;
        assert_eq!(before[0].reason, REASON);
        world.restart().await;
        assert_eq!(world.events(&world.anna).await, before);
        let replica = world.second_replica().await;
        assert_eq!(world.events(&world.anna).await, before);
        let again = pb::WithdrawConsentRequest {
            reason: REASON.to_owned(),
            request_id: REQUEST_ID.to_owned(),
            ..offer.withdraw(world.anna.subject)
        };
        let replayed = world.consents(&world.anna).withdraw_consent(again).await.unwrap().into_inner();
        assert_eq!(replayed.consent.unwrap().status(), pb::ConsentStatus::Withdrawn);
        assert_eq!(world.events(&world.anna).await, before);
        replica.stop().await;
    }

    /// A consent that somebody turned into a yes is no yes. The others are answered.
    async fn a_forged_consent_permits_nothing(database) {
        let world = World::start(database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        let given = world.give(anna, &offer).await.unwrap();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        world.give(bert, &offer).await.unwrap();
        let store = database.connect().await;
        tamper(&store, "consent", "status = 'given' WHERE status = 'withdrawn'").await;

        refused(decided(&world, anna, &offer).await, CORRUPT.0, CORRUPT.1);
        assert_eq!(decided(&world, bert, &offer).await.unwrap().decision(), pb::Decision::Permit);
        let requests = vec![question(anna.subject, &offer.purpose), question(bert.subject, &offer.purpose)];
        let batch = pb::BatchCheckConsentsRequest { requests };
        let answers = world.decisions(&world.officer).batch_check_consents(batch).await.unwrap().into_inner();
        let reasons: Vec<_> = answers.responses.iter().map(|answer| (answer.decision(), answer.reason())).collect();
        assert_eq!(reasons, [
            (pb::Decision::Deny, pb::Reason::RecordCorrupt),
            (pb::Decision::Permit, pb::Reason::ConsentGiven),
        ]);

        let mut officer = world.consents(&world.officer);
        let get = officer.get_consent(pb::GetConsentRequest { consent_id: given.consent_id.clone() }).await;
        let status = get.unwrap_err();
        assert!(status.message().contains(&given.consent_id) && status.message().contains("consent"), "{status:?}");
        let listed = officer.list_consents(pb::ListConsentsRequest::default()).await.unwrap();
        assert_eq!(withheld(&listed), "1");
        let listed = listed.into_inner().consents;
        assert_eq!((listed.len(), &listed[0].subject_id), (1, &bert.subject.to_string()));
        refused(world.give(anna, &offer).await, CORRUPT.0, CORRUPT.1);
    }

    /// The first of two pages ends with a corrupt row: the second begins where it would.
    async fn pages_go_on_after_corrupt_rows(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        world.give(anna, &offer).await.unwrap();
        let store = database.connect().await;
        tamper(&store, "consent_event", "actor = 'nobody' WHERE sequence = 2").await;
        let mut sequence = Vec::new();
        let mut request = pb::ListConsentEventsRequest {
            subject_id: anna.subject.to_string(),
            page_size: 2,
            ..Default::default()
        };
        loop {
            let reply = world.consents(anna).list_consent_events(request.clone()).await.unwrap();
            sequence.push((withheld(&reply).to_owned(), reply.get_ref().events.len()));
            request.page_token = reply.into_inner().next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(sequence, [("1".to_owned(), 1), (String::new(), 1)]);
    }

    /// Whatever is changed in an event: it is not shown, the others are.
    async fn forged_events_are_withheld(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        give_and_withdraw(&world, &world.bert, &offer).await;
        let store = database.connect().await;
        let other = |column: &str| format!(
            "(SELECT b.{column} FROM consent_event b \
             WHERE b.sealed_reason IS NOT NULL AND b.subject_id <> consent_event.subject_id)"
        );
        let hit = "WHERE sealed_reason IS NOT NULL";
        for change in [
            format!("sealed_reason = {} {hit}", other("sealed_reason")),
            format!("row_digest = {} {hit}", other("row_digest")),
            format!("sealed_reason = NULL {hit}"),
            format!("reason = 'I love it', sealed_reason = NULL {hit}"),
            format!("reason = 'I love it' {hit}"),
            format!("row_digest = NULL {hit}"),
            format!("event_at = event_at + 1 {hit}"),
            format!("subject_id = {} {hit}", other("subject_id")),
        ] {
            sql::run(&store, "CREATE TABLE kept AS SELECT * FROM consent_event", []).await;
            tamper(&store, "consent_event", &change).await;
            for user in [&world.anna, &world.bert] {
                let request = pb::ListConsentEventsRequest { subject_id: user.subject.to_string(), ..Default::default() };
                let listed = world.consents(user).list_consent_events(request).await.unwrap();
                assert_eq!(withheld(&listed), "1", "{change}");
                assert_eq!(listed.into_inner().events.len(), 1, "{change}");
            }
            sql::run(&store, "DELETE FROM consent_event", []).await;
            sql::run(&store, "INSERT INTO consent_event SELECT * FROM kept", []).await;
            sql::run(&store, "DROP TABLE kept", []).await;
            assert_eq!(world.events(&world.anna).await[0].reason, REASON);
        }
    }

    /// What a purpose covers, that it is archived, and that a notice has changed its terms: decisions rest on it.
    async fn forged_purposes_and_notices_permit_nothing(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let other = world.offer().await;
        world.give(anna, &offer).await.unwrap();
        world.give(anna, &other).await.unwrap();
        let update = pb::UpdateNoticeRequest {
            notice: Some(pb::Notice { notice_id: offer.notice.notice_id.clone(), material_change: true, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["material_change".to_owned()] }),
            ..Default::default()
        };
        let notice = world.notices(&world.controller).update_notice(update).await.unwrap().into_inner();
        world.publish_notice(&notice).await.unwrap();
        assert_eq!(decided(&world, anna, &offer).await.unwrap().reason(), pb::Reason::RevisionOutdated);

        let store = database.connect().await;
        let of_notice = format!("WHERE notice_id = {}", sql::id(&store, &offer.notice.notice_id));
        let of_purpose = format!("WHERE purpose_id = {}", sql::id(&store, &offer.purpose.purpose_id));
        for (table, change) in [
            ("notice_revision", format!("material_change = (1 = 0) {of_notice} AND revision = 2")),
            ("notice_revision", format!("published_at = NULL {of_notice} AND revision = 2")),
            ("purpose_revision", format!("recipients = '[\"Broker\"]' {of_purpose}")),
            ("purpose_revision", format!("published_at = NULL {of_purpose}")),
            ("purpose", format!("archived_at = 1 {of_purpose}")),
        ] {
            sql::run(&store, &format!("CREATE TABLE kept AS SELECT * FROM {table}"), []).await;
            tamper(&store, table, &change).await;
            refused(decided(&world, anna, &offer).await, CORRUPT.0, CORRUPT.1);
            assert_eq!(decided(&world, anna, &other).await.unwrap().decision(), pb::Decision::Permit, "{change}");
            sql::run(&store, &format!("DELETE FROM {table}"), []).await;
            sql::run(&store, &format!("INSERT INTO {table} SELECT * FROM kept"), []).await;
            sql::run(&store, "DROP TABLE kept", []).await;
            assert_eq!(decided(&world, anna, &offer).await.unwrap().reason(), pb::Reason::RevisionOutdated);
        }
    }

    /// Withdrawing everything: what is corrupt is left out and counted, and does not keep the rest.
    async fn the_rest_is_withdrawn(database) {
        let world = World::start(database).await;
        let (first, second, anna) = (world.offer().await, world.offer().await, &world.anna);
        world.give(anna, &first).await.unwrap();
        world.give(anna, &second).await.unwrap();
        let store = database.connect().await;
        let hit = sql::id(&store, &first.purpose.purpose_id);
        tamper(&store, "consent", &format!("expires_at = NULL WHERE purpose_id = {hit}")).await;
        let request = pb::WithdrawAllConsentsRequest { subject_id: anna.subject.to_string(), reason: REASON.to_owned(), ..Default::default() };
        let reply = world.consents(anna).withdraw_all_consents(request).await.unwrap();
        assert_eq!(withheld(&reply), "1");
        assert_eq!(reply.into_inner().replies.len(), 1);
        assert_eq!(decided(&world, anna, &second).await.unwrap().reason(), pb::Reason::ConsentWithdrawn);
        refused(decided(&world, anna, &first).await, CORRUPT.0, CORRUPT.1);
    }

    /// With the key goes what was sealed under it, on every replica: the event stays, the words are gone. Nobody else
    /// loses anything, and withdrawing without words needs no key.
    async fn erased_words_are_gone(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let (anna, bert) = (&world.anna, &world.bert);
        give_and_withdraw(&world, anna, &offer).await;
        give_and_withdraw(&world, bert, &offer).await;
        world.give(anna, &offer).await.unwrap();
        assert_eq!(world.events(anna).await[1].reason, REASON);
        let keys = world.keys().await;
        keys.erase(anna.subject).await.unwrap();

        let gone = async {
            while !world.events(anna).await[1].reason.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
        assert_eq!(world.events(anna).await.len(), 3);
        assert_eq!(world.events(bert).await[0].reason, REASON);
        assert_eq!(decided(&world, anna, &offer).await.unwrap().decision(), pb::Decision::Permit);
        let with_words = pb::WithdrawConsentRequest { reason: REASON.to_owned(), ..offer.withdraw(anna.subject) };
        refused(world.consents(anna).withdraw_consent(with_words).await, Code::NotFound, "SUBJECT_ERASED");
        let again = pb::WithdrawConsentRequest {
            reason: REASON.to_owned(),
            request_id: REQUEST_ID.to_owned(),
            ..offer.withdraw(anna.subject)
        };
        refused(world.consents(anna).withdraw_consent(again).await, Code::NotFound, "SUBJECT_ERASED");
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        keys.close().await;
    }

    /// A kept reply is bound to its request: another one's does not open in its place.
    async fn a_kept_reply_of_another_request_is_refused(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        for user in [&world.anna, &world.bert] {
            let give = pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(user.subject) };
            world.consents(user).give_consent(give).await.unwrap();
        }
        let store = database.connect().await;
        let other = "(SELECT b.sealed_reply FROM idempotency_key b \
                     WHERE b.caller <> idempotency_key.caller AND b.method = idempotency_key.method)";
        let change = format!("sealed_reply = {other} WHERE method LIKE '%GiveConsent'");
        tamper(&store, "idempotency_key", &change).await;
        let give = pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(world.anna.subject) };
        refused(world.consents(&world.anna).give_consent(give).await, CORRUPT.0, CORRUPT.1);
    }
}
