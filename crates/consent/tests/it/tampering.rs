//! Somebody writes to the database: what the service has not written is not believed, and everything else goes on.

use portal_consent::Source;
use portal_core::Clock;
use portal_core::id::SubjectId;
use portal_store::Database;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm::Value;
use tonic::{Code, Response};

use crate::sealed::{REASON, REQUEST_ID, decided, give_and_withdraw, withdrawal};
use crate::sql::{self, keep, put_back, tamper};
use crate::world::{HOUR, Offer, World, pb, question, refused};

const CORRUPT: (Code, &str) = (Code::DataLoss, "ROW_CORRUPT");

/// How many rows a list has left out.
fn withheld<T>(reply: &Response<T>) -> usize {
    reply.metadata().get("portal-rows-withheld").map_or(0, |rows| rows.to_str().unwrap().parse().unwrap())
}

/// The first page of somebody's events, and how many rows are left out of it.
async fn listed(world: &World, user: &TestUser) -> (usize, Vec<pb::ConsentEvent>) {
    let request = pb::ListConsentEventsRequest { subject_id: user.subject.to_string(), ..Default::default() };
    let reply = world.consents(user).list_consent_events(request).await.unwrap();
    (withheld(&reply), reply.into_inner().events)
}

/// The condition that hits what is about `subject`.
fn about(store: &Database, subject: SubjectId) -> String {
    format!("subject_id = {}", sql::id(store, &subject.to_string()))
}

async fn is_denied(world: &World, user: &TestUser, offer: &Offer, change: &str) {
    match decided(world, user, offer).await {
        Ok(answer) => assert_eq!(answer.decision(), pb::Decision::Deny, "{change}"),
        Err(status) => refused::<()>(Err(status), CORRUPT.0, CORRUPT.1),
    }
}

each_database! {
    /// Whatever is changed in a consent: it permits nothing and is not shown. The others are.
    async fn a_forged_consent_permits_nothing(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        let given = world.give(anna, &offer).await.unwrap();
        let store = database.connect().await;
        sql::run(&store, "CREATE TABLE older AS SELECT * FROM consent", []).await;
        world.mesh.clock.advance(HOUR);
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        world.give(bert, &offer).await.unwrap();
        let older = |columns: &[&str]| {
            let set = |column: &&str| format!("{column} = (SELECT {column} FROM older)");
            columns.iter().map(set).collect::<Vec<_>>().join(", ")
        };
        let others = |column| {
            format!("{column} = (SELECT b.{column} FROM consent b WHERE b.subject_id <> consent.subject_id)")
        };
        let in_place = [
            "status = 'given'".to_owned(),
            "status = 'perhaps'".to_owned(),
            "event_at = event_at - 1".to_owned(),
            "recorded_at = recorded_at + 1".to_owned(),
            "expires_at = COALESCE(expires_at, 0) + 1".to_owned(),
            "purpose_revision = purpose_revision + 1".to_owned(),
            "notice_id = purpose_id".to_owned(),
            "notice_revision = notice_revision + 1".to_owned(),
            "version = version + 1".to_owned(),
            "row_digest = NULL".to_owned(),
            others("row_digest"),
            older(&["row_digest"]),
            older(&["status", "event_at", "recorded_at", "expires_at"]),
            older(&["status", "event_at", "recorded_at", "expires_at", "row_digest"]),
        ];
        let moved = ["subject_id = consent_id", "purpose_id = consent_id"].map(str::to_owned);
        for (change, in_place) in in_place.iter().map(|change| (change, true)).chain(moved.iter().map(|change| (change, false))) {
            keep(&store, "consent").await;
            tamper(&store, &format!("UPDATE consent SET {change} WHERE {}", about(&store, anna.subject))).await;
            is_denied(&world, anna, &offer, change).await;
            assert_eq!(decided(&world, bert, &offer).await.unwrap().decision(), pb::Decision::Permit);
            let requests = vec![question(anna.subject, &offer.purpose), question(bert.subject, &offer.purpose)];
            let batch = pb::BatchCheckConsentsRequest { requests };
            let answers = world.decisions(&world.officer).batch_check_consents(batch).await.unwrap().into_inner();
            let answers: Vec<_> = answers.responses.iter().map(|answer| (answer.decision(), answer.reason())).collect();
            let expected = if in_place { pb::Reason::RecordCorrupt } else { pb::Reason::NoConsent };
            assert_eq!(answers, [(pb::Decision::Deny, expected), (pb::Decision::Permit, pb::Reason::ConsentGiven)], "{change}");

            let mut officer = world.consents(&world.officer);
            let get = officer.get_consent(pb::GetConsentRequest { consent_id: given.consent_id.clone(), ..Default::default() }).await;
            let status = get.as_ref().unwrap_err();
            assert!(status.message().contains(&format!("the row {} of consent", given.consent_id)), "{status:?}");
            refused(get, CORRUPT.0, CORRUPT.1);
            let list = officer.list_consents(pb::ListConsentsRequest::default()).await.unwrap();
            assert_eq!(withheld(&list), 1, "{change}");
            let list = list.into_inner().consents;
            assert_eq!((list.len(), &list[0].subject_id), (1, &bert.subject.to_string()), "{change}");
            if in_place {
                refused(world.give(anna, &offer).await, CORRUPT.0, CORRUPT.1);
                refused(world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await, CORRUPT.0, CORRUPT.1);
            }
            put_back(&store, "consent").await;
            assert_eq!(decided(&world, anna, &offer).await.unwrap().reason(), pb::Reason::ConsentWithdrawn);
        }
    }

    /// An envelope that was taken away does not make room for any reply in the clear: who repeats a withdrawal is not told
    /// that it was never made.
    async fn a_kept_reply_is_not_replaced(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        give_and_withdraw(&world, anna, &offer).await;
        let store = database.connect().await;
        let forged = "UPDATE idempotency_key SET sealed_reply = NULL, reply = $1";
        assert_eq!(sql::run(&store, forged, [Value::from(Vec::<u8>::new())]).await, 1);
        let again = world.consents(anna).withdraw_consent(withdrawal(anna, &offer)).await;
        refused(again, CORRUPT.0, CORRUPT.1);
    }

    /// The first of two pages ends with a corrupt row: the second begins where it would.
    async fn pages_go_on_after_corrupt_rows(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        world.give(anna, &offer).await.unwrap();
        let store = database.connect().await;
        tamper(&store, "UPDATE consent_event SET actor = 'nobody' WHERE sequence = 2").await;
        let mut pages = Vec::new();
        let mut request = pb::ListConsentEventsRequest {
            subject_id: anna.subject.to_string(),
            page_size: 2,
            ..Default::default()
        };
        loop {
            let reply = world.consents(anna).list_consent_events(request.clone()).await.unwrap();
            pages.push((withheld(&reply), reply.get_ref().events.len()));
            request.page_token = reply.into_inner().next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(pages, [(1, 1), (0, 1)]);
    }

    /// Whatever is changed in an event, or put there from another row, column or person: it is not shown, the others are.
    async fn forged_events_are_withheld(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        give_and_withdraw(&world, anna, &offer).await;
        world.give(anna, &offer).await.unwrap();
        let again = pb::WithdrawConsentRequest { reason: "once more".to_owned(), ..offer.withdraw(anna.subject) };
        world.consents(anna).withdraw_consent(again).await.unwrap();
        give_and_withdraw(&world, bert, &offer).await;
        let store = database.connect().await;
        let row = |column: &str, of: &str| format!(
            "{column} = (SELECT b.{column} FROM consent_event b WHERE b.reason IS NULL AND b.sealed_reason IS NOT NULL AND {of})"
        );
        let same = "b.subject_id = consent_event.subject_id AND b.sequence = 4";
        let other = "b.subject_id <> consent_event.subject_id";
        let changes = [
            row("sealed_reason", same),
            row("sealed_reason", other),
            "sealed_reason = (SELECT sealed_content FROM evidence e JOIN consent_event b ON b.event_id = e.event_id \
             WHERE b.subject_id = consent_event.subject_id)".to_owned(),
            "sealed_reason = NULL".to_owned(),
            "sealed_reason = substr(sealed_reason, 1, 20)".to_owned(),
            row("row_digest", same),
            row("row_digest", other),
            format!("{}, {}", row("sealed_reason", same), row("row_digest", same)),
            "row_digest = NULL".to_owned(),
            "reason = 'I love it', sealed_reason = NULL".to_owned(),
            "reason = 'I love it'".to_owned(),
            row("subject_id", other),
            "consent_id = event_id".to_owned(),
            "purpose_id = event_id".to_owned(),
            "sequence = 9".to_owned(),
            "purpose_revision = 7".to_owned(),
            "notice_id = event_id".to_owned(),
            "notice_revision = 7".to_owned(),
            "language = 'de'".to_owned(),
            "previous_status = 'refused'".to_owned(),
            "status = 'given'".to_owned(),
            "method = 'checkbox'".to_owned(),
            "actor = 'nobody'".to_owned(),
            "event_at = event_at + 1".to_owned(),
            "recorded_at = recorded_at + 1".to_owned(),
            "expires_at = 1".to_owned(),
        ];
        for change in changes {
            keep(&store, "consent_event").await;
            tamper(&store, &format!("UPDATE consent_event SET {change} WHERE sequence = 2 AND {}", about(&store, anna.subject))).await;
            let (of_anna, of_bert) = (listed(&world, anna).await, listed(&world, bert).await);
            assert_eq!(of_anna.0 + of_bert.0, 1, "{change}");
            assert_eq!(of_anna.1.len() + of_bert.1.len(), 5, "{change}");
            assert_eq!(of_bert.1[0].reason, REASON, "{change}");
            put_back(&store, "consent_event").await;
        }
        assert_eq!(listed(&world, anna).await.1[2].reason, REASON);
    }

    /// One bit of any byte of what is sealed, or of the digest.
    async fn each_byte_of_an_event_counts(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        give_and_withdraw(&world, anna, &offer).await;
        let store = database.connect().await;
        for (column, length) in [("sealed_reason", 64 + 34), ("row_digest", 32)] {
            let read = format!("SELECT {column} FROM consent_event WHERE sequence = 2");
            let write = format!("UPDATE consent_event SET {column} = $1 WHERE sequence = 2");
            let right: Vec<u8> = sql::one(&store, &read).await;
            assert_eq!(right.len(), length);
            for at in 0..length {
                let mut wrong = right.clone();
                wrong[at] ^= 1 << (at % 8);
                assert_eq!(sql::run(&store, &write, [Value::from(wrong)]).await, 1);
                let (withheld, events) = listed(&world, anna).await;
                assert_eq!((withheld, events.len()), (1, 1), "byte {at} of {column}");
            }
            assert_eq!(sql::run(&store, &write, [Value::from(right)]).await, 1);
            assert_eq!(listed(&world, anna).await.1[0].reason, REASON);
        }
    }

    /// A decision about the past rests on all events: none can be hidden by another time.
    async fn a_forged_time_hides_no_withdrawal(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let start = world.mesh.clock.now().as_micros() / 1_000_000;
        world.give(anna, &offer).await.unwrap();
        world.mesh.clock.advance(HOUR);
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        world.mesh.clock.advance(HOUR);
        world.give(anna, &offer).await.unwrap();
        let at = |minutes: i64| pb::CheckConsentRequest {
            at: Some(prost_types::Timestamp { seconds: start + minutes * 60, nanos: 0 }),
            ..question(anna.subject, &offer.purpose)
        };
        let ask = async |minutes| world.decisions(&world.officer).check_consent(at(minutes)).await;
        assert_eq!(ask(30).await.unwrap().into_inner().reason(), pb::Reason::ConsentGiven);
        assert_eq!(ask(90).await.unwrap().into_inner().reason(), pb::Reason::ConsentWithdrawn);
        let store = database.connect().await;
        tamper(&store, "UPDATE consent_event SET event_at = event_at + 2400000000 WHERE sequence = 2").await;
        for minutes in [30, 90] {
            refused(ask(minutes).await, CORRUPT.0, CORRUPT.1);
        }
        assert_eq!(ask(120).await.unwrap().into_inner().decision(), pb::Decision::Permit);
    }

    /// What a purpose covers, that it is archived, and that a notice has changed its terms: decisions rest on it.
    async fn forged_terms_permit_nothing(database) {
        let world = World::deciding_from(database, Source::Database).await;
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
            keep(&store, table).await;
            tamper(&store, &format!("UPDATE {table} SET {change}")).await;
            refused(decided(&world, anna, &offer).await, CORRUPT.0, CORRUPT.1);
            assert_eq!(decided(&world, anna, &other).await.unwrap().decision(), pb::Decision::Permit, "{change}");
            put_back(&store, table).await;
            assert_eq!(decided(&world, anna, &offer).await.unwrap().reason(), pb::Reason::RevisionOutdated);
        }
    }

    /// Every column of purposes and their revisions: a changed one is not shown, nor can anybody decide on it.
    async fn forged_purposes_are_withheld(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, other) = (world.offer().await, world.offer().await);
        let store = database.connect().await;
        let id = sql::id(&store, &offer.purpose.purpose_id);
        let others = |table: &str| format!(
            "row_digest = (SELECT b.row_digest FROM {table} b WHERE b.purpose_id <> {table}.purpose_id)"
        );
        for (table, changes) in [
            ("purpose", vec![
                "newest_revision = 2", "published_revision = NULL", "archived_at = 1", "version = 9", "created_at = 1",
                "updated_at = 1", "row_digest = NULL", &others("purpose"),
            ]),
            ("purpose_revision", vec![
                "revision = 2", "published_at = NULL", "display_name = 'x'", "description = 'x'", "dpv_purposes = '[]'",
                "legal_basis = 'contract'", "personal_data = '[]'", "special_category = (1 = 1)", "recipients = '[]'",
                "retention = 1", "validity = NULL", "jurisdiction = 'AT'", "record = '{}'",
                "material_change = (1 = 1)", "row_digest = NULL", &others("purpose_revision"),
            ]),
        ] {
            for change in changes {
                keep(&store, table).await;
                tamper(&store, &format!("UPDATE {table} SET {change} WHERE purpose_id = {id}")).await;
                let mut purposes = world.purposes(&world.controller);
                if change != "revision = 2" {
                    let get = pb::GetPurposeRequest { purpose_id: offer.purpose.purpose_id.clone(), ..Default::default() };
                    refused(purposes.get_purpose(get).await, CORRUPT.0, CORRUPT.1);
                    refused(world.give(&world.anna, &offer).await, CORRUPT.0, CORRUPT.1);
                }
                let list = purposes.list_purposes(pb::ListPurposesRequest::default()).await.unwrap();
                assert_eq!(withheld(&list), 1, "{change}");
                let list = list.into_inner().purposes;
                assert_eq!((list.len(), &list[0].purpose_id), (1, &other.purpose.purpose_id), "{change}");
                put_back(&store, table).await;
            }
        }
        world.give(&world.anna, &offer).await.unwrap();
    }

    /// And of notices.
    async fn forged_notices_are_withheld(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (offer, other) = (world.offer().await, world.offer().await);
        let store = database.connect().await;
        let id = sql::id(&store, &offer.notice.notice_id);
        let others = |table: &str| format!(
            "row_digest = (SELECT b.row_digest FROM {table} b WHERE b.notice_id <> {table}.notice_id)"
        );
        for (table, changes) in [
            ("notice", vec![
                "newest_revision = 2", "published_revision = NULL", "archived_at = 1", "version = 9", "created_at = 1",
                "updated_at = 1", "row_digest = NULL", &others("notice"),
            ]),
            ("notice_revision", vec![
                "revision = 2", "published_at = NULL", "title = 'x'", "bodies = '{}'", "purposes = '[]'",
                "material_change = (1 = 1)", "content_hash = NULL", "row_digest = NULL", &others("notice_revision"),
            ]),
        ] {
            for change in changes {
                keep(&store, table).await;
                tamper(&store, &format!("UPDATE {table} SET {change} WHERE notice_id = {id}")).await;
                let mut notices = world.notices(&world.controller);
                if change != "revision = 2" {
                    let get = pb::GetNoticeRequest { notice_id: offer.notice.notice_id.clone(), ..Default::default() };
                    refused(notices.get_notice(get).await, CORRUPT.0, CORRUPT.1);
                    refused(world.give(&world.anna, &offer).await, CORRUPT.0, CORRUPT.1);
                }
                let list = notices.list_notices(pb::ListNoticesRequest::default()).await.unwrap();
                assert_eq!(withheld(&list), 1, "{change}");
                let list = list.into_inner().notices;
                assert_eq!((list.len(), &list[0].notice_id), (1, &other.notice.notice_id), "{change}");
                put_back(&store, table).await;
            }
        }
        world.give(&world.anna, &offer).await.unwrap();
    }

    /// Withdrawing everything: what is corrupt is left out and counted, whatever it says, and does not keep the rest.
    async fn the_rest_is_withdrawn(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let (first, second, third) = (world.offer().await, world.offer().await, world.offer().await);
        let anna = &world.anna;
        for offer in [&first, &second, &third] {
            world.give(anna, offer).await.unwrap();
        }
        let store = database.connect().await;
        for (offer, change) in [(&first, "expires_at = NULL"), (&third, "status = 'withdrawn'")] {
            let id = sql::id(&store, &offer.purpose.purpose_id);
            tamper(&store, &format!("UPDATE consent SET {change} WHERE purpose_id = {id}")).await;
        }
        let request = pb::WithdrawAllConsentsRequest { subject_id: anna.subject.to_string(), reason: REASON.to_owned(), request_id: REQUEST_ID.to_owned(), ..Default::default() };
        let reply = world.consents(anna).withdraw_all_consents(request.clone()).await.unwrap();
        assert_eq!(withheld(&reply), 2);
        let again = world.consents(anna).withdraw_all_consents(request).await.unwrap();
        assert_eq!(withheld(&again), 2, "who asks again is told so too");
        assert_eq!(reply.get_ref(), again.get_ref());
        assert_eq!(reply.into_inner().replies.len(), 1);
        assert_eq!(decided(&world, anna, &second).await.unwrap().reason(), pb::Reason::ConsentWithdrawn);
        refused(decided(&world, anna, &first).await, CORRUPT.0, CORRUPT.1);
        refused(decided(&world, anna, &third).await, CORRUPT.0, CORRUPT.1);
    }

    /// A kept reply is bound to its request: neither another one's nor a changed one opens in its place.
    async fn a_forged_reply_is_refused(database) {
        let world = World::deciding_from(database, Source::Database).await;
        let offer = world.offer().await;
        let give = |user: &TestUser| pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(user.subject) };
        let given = world.consents(&world.anna).give_consent(give(&world.anna)).await.unwrap().into_inner();
        world.consents(&world.bert).give_consent(give(&world.bert)).await.unwrap();
        let store = database.connect().await;
        let caller = format!("LIKE '%{}%'", world.anna.account);
        let hit = format!("WHERE caller {caller}");
        let right: Vec<u8> = sql::one(&store, &format!("SELECT sealed_reply FROM idempotency_key {hit}")).await;
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let others: Vec<u8> = sql::one(&store, &format!("SELECT sealed_reply FROM idempotency_key WHERE caller NOT {caller}")).await;
        let write = format!("UPDATE idempotency_key SET sealed_reply = $1 {hit}");
        for forged in [wrong, others] {
            assert_eq!(sql::run(&store, &write, [Value::from(forged)]).await, 1);
            refused(world.consents(&world.anna).give_consent(give(&world.anna)).await, CORRUPT.0, CORRUPT.1);
        }
        assert_eq!(sql::run(&store, &write, [Value::from(right)]).await, 1);
        let again = world.consents(&world.anna).give_consent(give(&world.anna)).await.unwrap().into_inner();
        assert_eq!(again, given);
    }
}
