//! What stands in the database: nothing personal in the clear; and with its key it is gone.

use std::time::Duration;

use portal_crypto::hash::sha256;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use prost::Message;
use tonic::{Code, Status};

use crate::sql;
use crate::world::{Offer, World, pb, question, refused};

pub const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
const OTHER_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c073991";
pub const REASON: &str = "canary-of-a-reason";
const EVIDENCE: &str = "canary-of-evidence";
const TABLES: [&str; 4] = ["consent", "consent_event", "evidence", "idempotency_key"];

/// One document.
pub fn evidence() -> Vec<pb::Evidence> {
    vec![pb::Evidence {
        kind: pb::EvidenceKind::Form.into(),
        media_type: "text/plain".to_owned(),
        content: EVIDENCE.into(),
        ..Default::default()
    }]
}

/// Gives and withdraws, with evidence and a reason.
pub async fn give_and_withdraw(world: &World, user: &TestUser, offer: &Offer) -> pb::ConsentReply {
    let give = pb::GiveConsentRequest { evidence: evidence(), ..offer.give(user.subject) };
    world.consents(user).give_consent(give).await.unwrap();
    world.consents(user).withdraw_consent(withdrawal(user, offer)).await.unwrap().into_inner()
}

/// A withdrawal with a reason and a request id: the same each time.
pub fn withdrawal(user: &TestUser, offer: &Offer) -> pb::WithdrawConsentRequest {
    pb::WithdrawConsentRequest {
        reason: REASON.to_owned(),
        request_id: REQUEST_ID.to_owned(),
        ..offer.withdraw(user.subject)
    }
}

/// May the person's data be used, as an officer asks?
pub async fn decided(
    world: &World,
    user: &TestUser,
    offer: &Offer,
) -> Result<pb::CheckConsentResponse, Status> {
    let mut decisions = world.decisions(&world.officer);
    decisions.check_consent(question(user.subject, &offer.purpose)).await.map(tonic::Response::into_inner)
}

each_database! {
    /// Neither the words nor the evidence nor a kept reply stand anywhere; who may read them does, also after a restart
    /// and from another replica, and the same request is answered as before.
    async fn nothing_personal_is_in_the_clear(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        let reply = give_and_withdraw(&world, &world.anna, &offer).await;
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
        assert_eq!(sql::one::<Vec<u8>>(&store, "SELECT content_hash FROM evidence").await, b"", "could be guessed");
        for table in ["consent", "consent_event", "evidence", "notice", "notice_revision", "purpose", "purpose_revision"] {
            let unstamped = format!("SELECT COUNT(*) FROM {table} WHERE row_digest IS NULL");
            assert_eq!(sql::one::<i64>(&store, &unstamped).await, 0, "{table}");
        }

        let before = world.placed_events(&world.anna).await;
        assert_eq!(before[0].reason, REASON);
        world.restart().await;
        assert_eq!(world.events(&world.anna).await, before);
        let replica = world.second_replica().await;
        assert_eq!(world.events(&world.anna).await, before);
        let again = withdrawal(&world.anna, &offer);
        assert_eq!(world.consents(&world.anna).withdraw_consent(again).await.unwrap().into_inner(), reply);
        assert_eq!(world.events(&world.anna).await, before);
        replica.stop().await;
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
        let again = withdrawal(anna, &offer);
        refused(world.consents(anna).withdraw_consent(again).await, Code::NotFound, "SUBJECT_ERASED");
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        keys.close().await;
    }

    /// What an earlier generation of somebody's key has sealed still opens, beside what the next one seals.
    async fn generations_open_side_by_side(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        let reply = give_and_withdraw(&world, &world.anna, &offer).await;
        // Almost as often as a key may seal.
        let keys = world.key_database().await;
        assert_eq!(sql::run(&keys, "UPDATE subject_key SET seals = 268435000", []).await, 1);
        world.restart().await;
        give_and_withdraw(&world, &world.bert, &offer).await;
        world.give(&world.anna, &offer).await.unwrap();
        let later = pb::WithdrawConsentRequest { reason: "later".to_owned(), ..offer.withdraw(world.anna.subject) };
        world.consents(&world.anna).withdraw_consent(later).await.unwrap();
        assert_eq!(sql::one::<i64>(&keys, "SELECT COUNT(*) FROM subject_key WHERE generation = 2").await, 1);
        let events = world.events(&world.anna).await;
        let reasons: Vec<_> = events.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["later", "", REASON, ""]);
        let again = withdrawal(&world.anna, &offer);
        assert_eq!(world.consents(&world.anna).withdraw_consent(again).await.unwrap().into_inner(), reply);
    }

    /// Without the provider keys serve for their time; then what is sealed is not to be had, and neither opened nor written
    /// in the clear. What needs no key goes on: decisions, lists, and withdrawing.
    async fn without_the_provider(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        give_and_withdraw(&world, anna, &offer).await;
        world.give(anna, &offer).await.unwrap();
        let before = world.placed_events(anna).await;
        world.provider_is_there(false);
        world.mesh.clock.advance(Duration::from_millis(59_999));
        assert_eq!(world.events(anna).await, before);
        world.mesh.clock.advance(Duration::from_millis(1));

        let gone = (Code::Unavailable, "KEYS_UNAVAILABLE");
        let list = pb::ListConsentEventsRequest { subject_id: anna.subject.to_string(), ..Default::default() };
        refused(world.consents(anna).list_consent_events(list.clone()).await, gone.0, gone.1);
        let mut consents = world.consents(anna);
        refused(consents.withdraw_consent(withdrawal(anna, &offer)).await, gone.0, gone.1);
        let words = pb::WithdrawConsentRequest { reason: REASON.to_owned(), ..offer.withdraw(anna.subject) };
        refused(consents.withdraw_consent(words.clone()).await, gone.0, gone.1);
        let give = pb::GiveConsentRequest { evidence: evidence(), ..offer.give(world.bert.subject) };
        refused(world.consents(&world.bert).give_consent(give.clone()).await, gone.0, gone.1);
        let store = database.connect().await;
        for table in TABLES {
            assert!(!sql::contains(&sql::everything(&store, table).await, REASON));
        }

        let for_others = world.consents(&world.controller).list_consent_events(list).await.unwrap().into_inner();
        assert_eq!(for_others.events.len(), before.len());
        assert_eq!(decided(&world, anna, &offer).await.unwrap().decision(), pb::Decision::Permit);
        let everybody = pb::ListConsentsRequest::default();
        assert_eq!(world.consents(&world.officer).list_consents(everybody).await.unwrap().into_inner().consents.len(), 1);
        let wordless = pb::WithdrawConsentRequest { request_id: OTHER_ID.to_owned(), ..offer.withdraw(anna.subject) };
        let reply = consents.withdraw_consent(wordless.clone()).await.unwrap().into_inner();
        assert_eq!(decided(&world, anna, &offer).await.unwrap().reason(), pb::Reason::ConsentWithdrawn);
        assert_eq!(consents.withdraw_consent(wordless.clone()).await.unwrap().into_inner(), reply);
        let kept = "SELECT COUNT(*) FROM idempotency_key WHERE subject_id IS NULL AND LENGTH(reply) = 0 AND method LIKE '%/WithdrawConsent'";
        assert_eq!(sql::one::<i64>(&store, kept).await, 1);

        world.provider_is_there(true);
        world.mesh.clock.advance(Duration::from_secs(1));
        assert_eq!(world.events(anna).await[1..], before[..]);
        assert_eq!(world.consents(anna).withdraw_consent(wordless).await.unwrap().into_inner(), reply);
        world.consents(&world.bert).give_consent(give).await.unwrap();
    }

    /// What was sealed by an algorithm that is switched off is not opened, and nothing is sealed by it; what needs none
    /// goes on. Nothing is lost.
    async fn without_the_algorithm(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        let before = world.placed_events(&world.anna).await;
        world.restart_with(|keys| keys.disabled_algorithms = vec!["AES-256-GCM".to_owned()]).await;
        let anna = &world.anna;
        let off = (Code::FailedPrecondition, "ALGORITHM_DISABLED");
        let list = pb::ListConsentEventsRequest { subject_id: anna.subject.to_string(), ..Default::default() };
        refused(world.consents(anna).list_consent_events(list).await, off.0, off.1);
        refused(world.consents(anna).withdraw_consent(withdrawal(anna, &offer)).await, off.0, off.1);
        let give = pb::GiveConsentRequest { evidence: evidence(), ..offer.give(anna.subject) };
        refused(world.consents(anna).give_consent(give).await, off.0, off.1);
        let wordless = pb::GiveConsentRequest { request_id: OTHER_ID.to_owned(), ..offer.give(anna.subject) };
        world.consents(anna).give_consent(wordless).await.unwrap();
        assert_eq!(decided(&world, anna, &offer).await.unwrap().decision(), pb::Decision::Permit);
        world.restart_with(|keys| keys.disabled_algorithms.clear()).await;
        assert_eq!(world.events(&world.anna).await[1..], before[..]);
    }

    /// A key that is gone although nobody destroyed it is no erasure: what it has sealed is lost, and that is told.
    async fn a_lost_key_is_no_erasure(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        give_and_withdraw(&world, &world.bert, &offer).await;
        let keys = world.key_database().await;
        let anna = sql::id(&keys, &world.anna.subject.to_string());
        assert_eq!(sql::run(&keys, &format!("DELETE FROM subject_key WHERE subject_id = {anna}"), []).await, 1);
        world.restart().await;
        for (user, events) in [(&world.anna, 1), (&world.bert, 2)] {
            let list = pb::ListConsentEventsRequest { subject_id: user.subject.to_string(), ..Default::default() };
            let reply = world.consents(user).list_consent_events(list).await.unwrap();
            assert_eq!(reply.metadata().contains_key("portal-rows-withheld"), events == 1);
            assert_eq!(reply.into_inner().events.len(), events);
        }
        let again = world.consents(&world.anna).withdraw_consent(withdrawal(&world.anna, &offer)).await;
        refused(again, Code::DataLoss, "ROW_CORRUPT");
    }

    /// Whatever has become of somebody's key: withdrawing with a request id and without words is recorded, once, and the
    /// same request again has the same answer.
    async fn withdrawing_needs_no_key(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        for user in [&world.anna, &world.bert] {
            give_and_withdraw(&world, user, &offer).await;
            world.give(user, &offer).await.unwrap();
        }
        let keys = world.keys().await;
        keys.erase(world.bert.subject).await.unwrap();
        keys.close().await;
        let keys = world.key_database().await;
        let anna = sql::id(&keys, &world.anna.subject.to_string());
        let broken = format!("UPDATE subject_key SET record = (SELECT e.record FROM epoch_key e) WHERE subject_id = {anna}");
        assert_eq!(sql::run(&keys, &broken, []).await, 1);
        world.restart().await;
        for user in [&world.anna, &world.bert] {
            let wordless = pb::WithdrawConsentRequest { request_id: OTHER_ID.to_owned(), ..offer.withdraw(user.subject) };
            let reply = world.consents(user).withdraw_consent(wordless.clone()).await.unwrap().into_inner();
            assert_eq!(decided(&world, user, &offer).await.unwrap().reason(), pb::Reason::ConsentWithdrawn);
            assert_eq!(world.consents(user).withdraw_consent(wordless).await.unwrap().into_inner(), reply);
            world.give(user, &offer).await.unwrap();
            let all = pb::WithdrawAllConsentsRequest {
                subject_id: user.subject.to_string(), request_id: OTHER_ID.to_owned(), ..Default::default()
            };
            world.consents(user).withdraw_all_consents(all).await.unwrap();
            assert_eq!(decided(&world, user, &offer).await.unwrap().reason(), pb::Reason::ConsentWithdrawn);
        }
    }

    /// Asking for what is not there makes no keys, for whomever it is asked.
    async fn nobody_leaves_keys_behind(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let request = pb::WithdrawConsentRequest { request_id: OTHER_ID.to_owned(), ..offer.withdraw(world.anna.subject) };
        let status = world.consents(&world.anna).withdraw_consent(request).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let keys = world.key_database().await;
        assert_eq!(sql::one::<i64>(&keys, "SELECT COUNT(*) FROM subject_key").await, 0);
    }

    /// A request that is known again says nothing to who guesses its content: its hash is keyed.
    async fn requests_are_known_by_keyed_hashes(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let reply = give_and_withdraw(&world, &world.anna, &offer).await;
        let request = withdrawal(&world.anna, &offer);
        let guessed = sha256(&request.encode_to_vec()).to_vec();
        let store = database.connect().await;
        let kept = sql::one::<Vec<u8>>(&store, "SELECT request_hash FROM idempotency_key").await;
        assert_eq!(kept.len(), 32);
        assert_ne!(kept, guessed);
        let other = pb::WithdrawConsentRequest { reason: "another".to_owned(), ..request.clone() };
        let reused = world.consents(&world.anna).withdraw_consent(other).await;
        refused(reused, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let again = world.consents(&world.anna).withdraw_consent(request.clone()).await.unwrap().into_inner();
        assert_eq!(again, reply);
    }
}
