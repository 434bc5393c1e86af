//! Legacy records become imported ones and back, on both databases; none is lost, whatever is wrong with it.

use portal_core::id::Id;
use portal_legacy_import::importer::{Refused, Unreadables};
use portal_legacy_import::kem::Disagreement;
use portal_legacy_import::open::OpenError;
use portal_legacy_import::record::Parts;
use portal_legacy_import::{Cause, Unreadable};
use portal_upkeep::migration::{OperationError, State, Step, TransitionError};

use crate::world::{World, blob, bytes, digest, id, records, sql_id, subject, values};
use crate::writer::{Value, Writer, clone};

const N: u64 = 60;

/// Nothing that a value says, in a cell.
fn holds_no_plaintext(rows: &[Vec<Vec<u8>>], values: &[Value]) {
    for value in values.iter().filter(|value| value.plaintext.len() > 4) {
        let cells = rows.iter().flatten();
        let holds = |cell: &Vec<u8>| cell.windows(value.plaintext.len()).any(|part| part == value.plaintext);
        assert!(!cells.clone().any(holds), "{}", value.record_id);
    }
}

portal_testkit::each_database! {
    /// All the way: in, back, in again, and for good.
    async fn there_and_back_and_for_good(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..N)).await;
        let (before, says) = (world.legacy_bytes().await, digest(&values(0..N)));
        let survey = world.importer.survey_legacy().await.unwrap();
        assert_eq!((survey.records, survey.unreadable, survey.digest), (N, 0, says));

        let run = world.run().await;
        assert_eq!((run.record.state, run.record.committed), (State::Done, false));
        assert_eq!((run.progress.rows_done, run.progress.rows_verified), (N, N));
        assert_eq!(world.counts().await, (N, N));
        assert_eq!(world.imported_digest().await, says);
        assert!(world.legacy_bytes().await == before, "not touched by the import");
        let columns = ["record_id", "subject_id", "source_table", "source_field", "value", "row_digest"];
        let imported = bytes(&world.database, "imported_record", &columns).await;
        holds_no_plaintext(&imported, &values(0..N));
        let verified = "DELETE FROM imported_record WHERE verified_at IS NULL";
        world.execute(verified).await;
        assert_eq!(world.counts().await, (N, N), "each says when it was verified");

        assert_eq!(world.roll_back().await, State::RolledBack);
        assert_eq!(world.counts().await, (N, 0));
        assert!(world.legacy_bytes().await == before, "not touched by the rollback");
        let refused = world.importer.commit(Unreadables::Leave).await.unwrap_err();
        assert!(matches!(
            refused,
            Refused::Operation(OperationError::Transition(TransitionError::NotDone))
        ));

        assert_eq!(world.run().await.record.state, State::Done);
        assert_eq!(world.imported_digest().await, says);
        world.importer.commit(Unreadables::Refuse).await.unwrap();
        let committed = world.drive().await;
        assert_eq!((committed.record.state, committed.record.committed), (State::Done, true));
        assert_eq!(world.counts().await, (0, N));
        assert_eq!(world.imported_digest().await, says);
        for refused in
            [world.importer.roll_back().await.unwrap_err(), world.importer.verify().await.unwrap_err()]
        {
            let committed = TransitionError::Committed;
            assert!(matches!(refused, Refused::Operation(OperationError::Transition(why)) if why == committed));
        }
    }

    /// Another export after a commit: what was committed is not touched by what happens to the new records.
    async fn a_second_export(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..20)).await;
        world.run().await;
        world.importer.commit(Unreadables::Refuse).await.unwrap();
        world.drive().await;
        world.load(records(&writer, 15..30)).await;
        assert_eq!(world.importer.counts().await.unwrap().left, 10, "five are there");
        assert_eq!(world.run().await.record.state, State::Done);
        assert_eq!(world.counts().await, (15, 30));
        assert_eq!(world.imported_digest().await, digest(&values(0..30)));
        assert_eq!(world.roll_back().await, State::RolledBack);
        assert_eq!(world.counts().await, (15, 15), "those without a legacy record stay");
        assert_eq!(world.imported_digest().await, digest(&values(0..15)));
        world.run().await;
        world.importer.commit(Unreadables::Refuse).await.unwrap();
        world.drive().await;
        assert_eq!(world.counts().await, (0, 30));
        assert_eq!(world.imported_digest().await, digest(&values(0..30)));
    }

    /// What can't be read stops nothing, is not lost, is told by its cause, and is imported when its key is found.
    async fn records_that_are_refused(test) {
        let (writer, other) = (Writer::new(60), Writer::new(61));
        let world = World::new(test, &[&writer]).await;
        let mut parts = records(&writer, 0..N);
        parts[3].sealed[0] ^= 1;
        parts[3] = writer.sign(clone(&parts[3]));
        parts[4].signature[100] ^= 1;
        parts[7] = other.parts(&Value::new(60, 7));
        let (signer, sealed) = (writer.key_ids().1, other.parts(&Value::new(60, 11)));
        parts[11] = writer.sign(Parts { signer, ..sealed });
        world.load(parts).await;
        world.execute(&format!("UPDATE legacy_record SET nonce = {} WHERE record_id = {}",
            blob(test, b"short"), sql_id(test, id(13)))).await;
        world.keys.subject_or_new(subject(50)).await.unwrap();
        world.keys.erase(subject(50)).await.unwrap();
        let before = world.legacy_bytes().await;

        assert_eq!(world.run().await.record.state, State::Done);
        let expected = [
            (id(3), Cause::Tag),
            (id(4), Cause::Signature),
            (id(7), Cause::UnknownSigner),
            (id(11), Cause::UnknownKemKey),
            (id(13), Cause::Malformed),
            (id(50), Cause::SubjectErased),
            (id(51), Cause::SubjectErased),
            (id(52), Cause::SubjectErased),
            (id(53), Cause::SubjectErased),
            (id(54), Cause::SubjectErased),
        ];
        assert_eq!(world.refusals().await, expected);
        assert_eq!(world.counts().await, (N, N - 10));
        let good = |value: &&Value| !expected.iter().any(|(id, _)| *id == value.record_id);
        let says = digest(values(0..N).iter().filter(good));
        assert_eq!(world.imported_digest().await, says);

        let refused = world.importer.commit(Unreadables::Refuse).await.unwrap_err();
        assert!(matches!(refused, Refused::Unreadable(5)), "{refused}");
        assert!(world.legacy_bytes().await == before);
        world.importer.commit(Unreadables::Leave).await.unwrap();
        assert!(world.drive().await.record.committed);
        let left: Vec<_> = [3, 4, 7, 11, 13].map(|at: usize| before[at].clone()).into();
        assert!(world.legacy_bytes().await == left, "as they were; those of the erased person are gone");
        assert_eq!(world.refusals().await, expected[..5]);
        assert_eq!(world.imported_digest().await, says);

        // The other keys are found.
        let world = World::new(test, &[&writer, &other]).await;
        world.importer.start(None).await.unwrap();
        assert_eq!(world.importer.counts().await.unwrap().left, 5, "all are looked at again");
        assert_eq!(world.drive().await.record.state, State::Done);
        assert_eq!(world.refusals().await, [expected[0], expected[1], expected[4]]);
        assert_eq!(world.counts().await, (5, N - 8));
    }

    /// What was refused and has become readable is imported when all is verified once more.
    async fn verifying_looks_again_at_what_was_refused(test) {
        let writer = Writer::new(60);
        let stranger = Writer::new(62);
        let world = World::new(test, &[&stranger]).await;
        world.load(records(&writer, 0..10)).await;
        assert_eq!(world.run().await.record.state, State::Done);
        assert_eq!(world.refusals().await.len(), 10);
        let world = World::new(test, &[&writer]).await;
        world.importer.verify().await.unwrap();
        let verified = world.drive().await;
        assert_eq!((verified.record.state, world.refusals().await.len()), (State::Done, 0));
        assert_eq!(world.counts().await, (10, 10));
        assert_eq!(world.imported_digest().await, digest(&values(0..10)));
    }

    /// An imported record that is not what was imported stops everything, and a rollback and a run mend it.
    async fn damage_to_what_was_imported(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..20)).await;
        let (one, two) = (sql_id(test, id(3)), sql_id(test, id(8)));
        let set = |what: &str, from: &str| {
            format!("UPDATE imported_record SET {what} = (SELECT {what} FROM imported_record WHERE record_id = {from}) WHERE record_id = {one}")
        };
        let damages = [
            set("value", &two),
            set("row_digest", &two),
            format!("UPDATE imported_record SET source_field = 'phone' WHERE record_id = {one}"),
            format!("UPDATE imported_record SET verified_at = 7 WHERE record_id = {one}"),
            format!("UPDATE imported_record SET imported_at = imported_at + 1 WHERE record_id = {one}"),
            format!("UPDATE imported_record SET value = {} WHERE record_id = {one}", blob(test, b"no envelope")),
        ];
        for damage in damages {
            world.run().await;
            world.execute(&damage).await;
            world.importer.verify().await.unwrap();
            let failed = world.drive().await.record;
            assert_eq!((failed.state, failed.step), (State::Failed, Step::Verify), "{damage}");
            assert_eq!(failed.failure_reason.as_deref(), Some("ROW_CORRUPT"), "{damage}");
            world.importer.commit(Unreadables::Leave).await.unwrap_err();
            assert_eq!(world.counts().await, (20, 20));
            assert_eq!(world.roll_back().await, State::RolledBack, "{damage}");
        }
        assert_eq!(world.run().await.record.state, State::Done);
        // Also between the last look and the commit.
        world.execute(&set("value", &two)).await;
        world.importer.commit(Unreadables::Leave).await.unwrap();
        let failed = world.drive().await.record;
        assert_eq!((failed.state, failed.step), (State::Failed, Step::Commit));
        assert_eq!(world.counts().await, (20, 20), "the batch with the damaged one deleted nothing");
    }

    /// A legacy record that was exchanged for another one after its import.
    async fn forms_that_differ(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..5)).await;
        world.run().await;
        world.execute(&format!("DELETE FROM legacy_record WHERE record_id = {}", sql_id(test, id(2)))).await;
        let other = Value { plaintext: b"something else".to_vec(), ..Value::new(60, 2) };
        world.load([writer.parts(&other)]).await;
        world.importer.verify().await.unwrap();
        let failed = world.drive().await.record;
        assert_eq!(failed.failure_reason.as_deref(), Some("MIGRATION_MISMATCH"));
    }

    /// A rollback does not delete the last copy of what only the imported record still says.
    async fn the_last_copy_stays(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..20)).await;
        world.run().await;
        let broken = format!("UPDATE legacy_record SET signature = {} WHERE record_id = {}",
            blob(test, &[1; 3_293]), sql_id(test, id(6)));
        world.execute(&broken).await;
        world.importer.verify().await.unwrap();
        assert_eq!(world.drive().await.record.state, State::Done);
        assert_eq!(world.refusals().await, [(id(6), Cause::Signature)]);
        assert!(matches!(world.importer.commit(Unreadables::Refuse).await, Err(Refused::Unreadable(1))));
        assert_eq!(world.roll_back().await, State::RolledBack);
        assert_eq!(world.counts().await, (20, 1));
        assert_eq!(world.imported_digest().await, digest(&[Value::new(60, 6)]));
        assert_eq!(world.refusals().await, [(id(6), Cause::Signature)], "and it is told");
        // Committed, both stay.
        world.run().await;
        world.importer.commit(Unreadables::Leave).await.unwrap();
        world.drive().await;
        assert_eq!(world.counts().await, (1, 20));
        assert_eq!(world.imported_digest().await, digest(&values(0..20)));
    }

    /// Whoever is erased after the import is erased from both tables.
    async fn erased_meanwhile(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..20)).await;
        world.run().await;
        world.keys.erase(subject(5)).await.unwrap();
        world.importer.verify().await.unwrap();
        assert_eq!(world.drive().await.record.state, State::Done);
        assert_eq!(world.counts().await, (20, 15));
        assert_eq!(world.refusals().await.iter().filter(|(_, cause)| *cause == Cause::SubjectErased).count(), 5);
        world.keys.erase(subject(10)).await.unwrap();
        world.importer.commit(Unreadables::Refuse).await.unwrap();
        assert!(world.drive().await.record.committed);
        assert_eq!(world.counts().await, (0, 10), "the one erased between verifying and committing as well");
        assert_eq!(world.refusals().await, []);
        let left = values(0..20);
        assert_eq!(world.imported_digest().await, digest(left[..5].iter().chain(&left[15..])));
    }

    /// Nothing is committed that was loaded after the import.
    async fn what_is_not_imported_is_not_committed(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..5)).await;
        world.run().await;
        world.load(records(&writer, 5..7)).await;
        let refused = world.importer.commit(Unreadables::Leave).await.unwrap_err();
        assert!(matches!(refused, Refused::Unimported(2)), "{refused}");
    }

    /// A run does not go on with a rollback, nor the other way round.
    async fn an_operation_that_was_stopped(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..300)).await;
        world.importer.start(Some(100)).await.unwrap();
        let stopped = world.importer.drive(std::future::ready(()), |_| {}).await.unwrap();
        assert_eq!((stopped.record.state, stopped.record.step), (State::Paused, Step::Move));
        assert_eq!(world.run().await.record.state, State::Done);
        world.importer.roll_back().await.unwrap();
        world.importer.drive(std::future::ready(()), |_| {}).await.unwrap();
        let refused = world.importer.start(None).await.unwrap_err();
        assert!(matches!(refused, Refused::Busy(Step::Undo)), "{refused}");
        assert_eq!(world.roll_back().await, State::RolledBack);
        assert_eq!(world.counts().await, (300, 0));
    }
}

#[test]
fn every_cause_has_a_name_of_its_own() {
    for cause in Cause::ALL {
        assert_eq!(Cause::parse(cause.name()), Some(cause));
    }
    assert_eq!(Cause::from(Unreadable::Open(OpenError::Disagreement(Disagreement))), Cause::Disagreement);
    assert!(Cause::ALL.iter().all(|cause| cause.stays() != (*cause == Cause::SubjectErased)));
    assert_eq!(id(1).uuid().get_version_num(), 7);
}
