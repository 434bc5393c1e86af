//! Destroyed keys stay destroyed, everywhere.

use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use portal_core::Workload;
use portal_core::id::{Id, TenantId};
use portal_crypto::hash::sha256;
use portal_crypto::pair::{PairSigningKey, PairVerifyingKey};
use portal_keys::{ErasureStatement, InvalidStatement, KeysError, Replayed};
use sea_orm::{QueryResult, Value};

use crate::fixture::{Fixture, START, opens, seal, subject, until};

portal_testkit::each_database! {
    /// Erased on one replica, a subject's key is soon used on no other, comes back on none, and a second erasure says the
    /// same as the first.
    async fn every_replica_forgets(database) {
        let fixture = Fixture::new(database).await;
        let (a, b) = (fixture.open().await, fixture.open().await);
        let (anna, berta) = (subject(1), subject(2));
        a.subjects_or_new(&[anna, berta]).await.unwrap();
        b.subjects(&[anna, berta]).await.unwrap();
        assert!(b.cached(anna).is_some());

        let erasure = a.erase(anna).await.unwrap();
        let statement = ErasureStatement {
            service: Workload::Auth,
            tenant: TenantId::DEFAULT,
            subject: anna,
            at: START,
            keys: 1,
            position: 1,
            backups_gone: START.plus(Duration::from_secs(30 * 86_400)),
        };
        assert_eq!(erasure.statement, statement);
        assert!(a.cached(anna).is_none());
        assert!(matches!(a.subject(anna).await, Err(KeysError::Erased(erased)) if erased == anna));
        // A second later no replica uses it, however far its background work has come; nor once that has gone on.
        fixture.clock.advance(Duration::from_secs(1));
        assert!(b.cached(anna).is_none());
        until("the other is in use again", || async {
            drop(b.subject(berta).await.unwrap());
            let trusts = b.cached(berta).is_some();
            assert!(b.cached(anna).is_none());
            trusts
        })
        .await;
        for keys in [&a, &b, &fixture.open().await] {
            assert!(matches!(keys.subject(anna).await, Err(KeysError::Erased(_))));
            assert!(matches!(keys.subject_or_new(anna).await, Err(KeysError::Erased(_))));
            let several = keys.subjects_or_new(&[anna, berta]).await.unwrap();
            assert!(matches!(several.get(anna), Err(KeysError::Erased(_))));
            several.get(berta).unwrap();
        }

        fixture.clock.advance(Duration::from_secs(3_600));
        assert_eq!(b.erase(anna).await.unwrap().statement, statement);
        assert_eq!(fixture.count("shred").await, 1);
        // One who never had a key is not given one later.
        assert_eq!(a.erase(subject(3)).await.unwrap().statement.keys, 0);
        assert!(matches!(a.subject_or_new(subject(3)).await, Err(KeysError::Erased(_))));
        assert_eq!(fixture.count("subject_key").await, 1);
    }

    /// Anybody with the public key can check the statement, for ever; a changed one or another service's does not verify.
    async fn the_statement_is_signed(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let erasure = keys.erase(subject(1)).await.unwrap();
        let public = keys.statement_key().to_bytes();
        keys.close().await;
        let public = PairVerifyingKey::from_bytes(&public).unwrap();
        assert_eq!(ErasureStatement::verify(&erasure.document, &public), Ok(erasure.statement));
        let text = String::from_utf8_lossy(&erasure.document).into_owned();
        assert!(text.contains("2026-12-22"), "the day the last backup is gone");
        for at in 0..erasure.document.len() {
            let mut changed = erasure.document.clone();
            changed[at] ^= 1 << (at % 8);
            // Every byte of the payload, and some of the signatures.
            if at < 600 || at % 64 == 0 {
                assert_eq!(ErasureStatement::verify(&changed, &public), Err(InvalidStatement), "byte {at}");
            }
        }
        let length = erasure.document.len();
        assert_eq!(ErasureStatement::verify(&erasure.document[..length - 1], &public), Err(InvalidStatement));
        // The key is the service's for good.
        let again = fixture.open().await;
        assert_eq!(again.statement_key().to_bytes(), public.to_bytes());
        let other = PairSigningKey::from_seed(&[1; 64]).unwrap();
        assert_eq!(ErasureStatement::verify(&erasure.document, other.verifying_key()), Err(InvalidStatement));
    }

    /// All generations go at once.
    async fn every_generation_goes(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subject_or_new(subject(1)).await.unwrap();
        fixture.sql("UPDATE subject_key SET seals = 268435450", []).await;
        let keys = fixture.open().await;
        assert_eq!(keys.subject_or_new(subject(1)).await.unwrap().generation(), 2);
        assert_eq!(keys.erase(subject(1)).await.unwrap().statement.keys, 2);
        assert_eq!(fixture.count("subject_key").await, 0);
    }

    /// Erasures and new keys at the same time: whatever the order, nobody who is in the ledger has a key.
    async fn an_erasure_wins_over_new_keys(database) {
        let fixture = Fixture::new(database).await;
        let (a, b) = (fixture.open().await, fixture.open().await);
        for number in 0..20 {
            let id = subject(number);
            let (_, made) = tokio::join!(async { a.erase(id).await.unwrap() }, b.subject_or_new(id));
            assert!(matches!(made, Ok(_) | Err(KeysError::Erased(_))));
        }
        assert_eq!(fixture.count("shred").await, 20);
        assert_eq!(fixture.count("subject_key").await, 0);
    }

    /// The ledger holds no subject: an id can't be looked for in it.
    async fn the_ledger_names_nobody(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.erase(subject(1)).await.unwrap();
        let entry = &keys.shreds(0, 10).await.unwrap()[0];
        let id = subject(1).bytes();
        assert!(!entry.tag.windows(16).any(|part| part == id));
        assert_ne!(entry.tag, sha256(&id));
        let events = fixture.query("SELECT key FROM key_event", []).await;
        for event in events {
            assert!(!event.try_get::<String>("", "key").unwrap().contains(&subject(1).to_string()));
        }
    }

    /// Key rows that were put back from a backup go again when the ledger is replayed.
    async fn restored_rows_go_again(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let all: Vec<_> = (0..1_200).map(subject).collect();
        let made = keys.subjects_or_new(&all).await.unwrap();
        let envelope = seal(made.get(all[7]).unwrap());
        fixture.sql("CREATE TABLE backup AS SELECT * FROM subject_key", []).await;
        for erased in [3, 7, 1_100] {
            keys.erase(all[erased]).await.unwrap();
        }
        fixture.sql("DELETE FROM subject_key", []).await;
        fixture.sql("INSERT INTO subject_key SELECT * FROM backup", []).await;
        assert_eq!(fixture.count("subject_key").await, 1_200);

        let restored = fixture.open().await;
        let replayed = restored.replay_shreds().await.unwrap();
        assert_eq!(replayed, Replayed { entries: 3, subjects: 3, keys: 3 });
        assert_eq!(fixture.count("subject_key").await, 1_197);
        assert!(matches!(restored.subject(all[7]).await, Err(KeysError::Erased(_))));
        assert!(!opens(&restored.subject(all[8]).await.unwrap(), &envelope));
        assert_eq!(restored.replay_shreds().await.unwrap(), Replayed { entries: 3, subjects: 0, keys: 0 });
    }

    /// A whole key database put back to an earlier time: the later entries are added from a copy of the ledger, and the
    /// erased stay erased. Nobody can add entries of their own.
    async fn a_restored_database_takes_the_later_entries(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subjects_or_new(&[subject(1), subject(2), subject(3)]).await.unwrap();
        keys.erase(subject(1)).await.unwrap();
        fixture.sql("CREATE TABLE backup AS SELECT * FROM subject_key", []).await;
        fixture.sql("CREATE TABLE backup_head AS SELECT * FROM key_head", []).await;
        keys.erase(subject(2)).await.unwrap();
        keys.erase(subject(3)).await.unwrap();
        let copy = keys.shreds(0, 1_000).await.unwrap();
        assert_eq!(copy.len(), 3);

        fixture.sql("DELETE FROM shred WHERE position > 1", []).await;
        fixture.sql("DELETE FROM key_head", []).await;
        fixture.sql("INSERT INTO key_head SELECT * FROM backup_head", []).await;
        fixture.sql("INSERT INTO subject_key SELECT * FROM backup", []).await;
        let restored = fixture.open().await;
        restored.subject(subject(2)).await.expect("as it was then");

        let mut forged = copy.clone();
        forged[2].tag[0] ^= 1;
        let gap = [copy[0].clone(), copy[2].clone()];
        for wrong in [&forged[..], &gap[..]] {
            assert!(matches!(restored.add_shreds(wrong).await, Err(KeysError::Corrupt { .. })));
        }
        assert_eq!(fixture.count("shred").await, 1);
        assert_eq!(restored.add_shreds(&copy).await.unwrap(), 2);
        assert_eq!(restored.add_shreds(&copy).await.unwrap(), 0);
        let replayed = restored.replay_shreds().await.unwrap();
        assert_eq!(replayed, Replayed { entries: 3, subjects: 2, keys: 2 });
        for erased in [1, 2, 3] {
            assert!(matches!(restored.subject(subject(erased)).await, Err(KeysError::Erased(_))));
        }
    }

    /// Each change of the ledger is found.
    async fn a_changed_ledger_is_found(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        for number in 0..4 {
            keys.erase(subject(number)).await.unwrap();
        }
        fixture.sql("CREATE TABLE backup AS SELECT * FROM shred", []).await;
        let other: Value = vec![1_u8; 32].into();
        let changes: [(&str, Vec<Value>); 7] = [
            ("UPDATE shred SET subject_tag = $1 WHERE position = 2", vec![other.clone()]),
            ("UPDATE shred SET keys = 7 WHERE position = 2", vec![]),
            ("UPDATE shred SET shredded_at = shredded_at + 1 WHERE position = 4", vec![]),
            ("UPDATE shred SET link = $1 WHERE position = 3", vec![other]),
            ("UPDATE shred SET position = 9 WHERE position = 4", vec![]),
            ("DELETE FROM shred WHERE position = 4", vec![]),
            ("DELETE FROM shred WHERE position = 1", vec![]),
        ];
        for (sql, values) in changes {
            assert_eq!(fixture.sql(sql, values).await, 1);
            let found = keys.replay_shreds().await;
            assert!(matches!(found, Err(KeysError::Corrupt { .. })), "{sql}: {found:?}");
            fixture.sql("DELETE FROM shred", []).await;
            fixture.sql("INSERT INTO shred SELECT * FROM backup", []).await;
            assert_eq!(keys.replay_shreds().await.unwrap().entries, 4);
        }
    }

    /// Of a key that was destroyed no byte is left in the files of the tables: neither a subject's, also not of one who was
    /// the last to come and whose room nobody takes again, nor an epoch's.
    async fn no_byte_is_left_in_the_files(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subjects_or_new(&(0..50).map(subject).collect::<Vec<_>>()).await.unwrap();
        keys.subject_or_new(subject(50)).await.unwrap();
        let records = &fixture.query("SELECT subject_id, record FROM subject_key", []).await;
        let of = |number: u64| -> Vec<u8> {
            let id = subject(number).uuid();
            let is = |row: &&QueryResult| row.try_get::<sea_orm::prelude::Uuid>("", "subject_id").unwrap() == id;
            records.iter().find(is).unwrap().try_get("", "record").unwrap()
        };
        let (one, last, kept) = (of(7), of(50), of(8));
        fixture.write_files().await;
        assert!([&one, &last, &kept].into_iter().all(|record| in_files(database, record)));
        keys.erase(subject(7)).await.unwrap();
        keys.erase(subject(50)).await.unwrap();
        until("the files are clean", || async { !in_files(database, &one) && !in_files(database, &last) }).await;
        fixture.write_files().await;
        assert!(in_files(database, &kept) && !in_files(database, &one) && !in_files(database, &last));

        let old_epoch: Vec<u8> =
            fixture.query("SELECT record FROM epoch_key", []).await[0].try_get("", "record").unwrap();
        let rotation = keys.rotate_epoch().await.unwrap();
        keys.rewrap(&|_| {}).await.unwrap();
        fixture.write_files().await;
        assert!(in_files(database, &old_epoch[40..]));
        keys.destroy_epoch(rotation.retired).await.unwrap();
        // Tables are written anew once a minute at most.
        fixture.clock.advance(Duration::from_secs(60));
        until("the epoch key is gone", || async { !in_files(database, &old_epoch[40..]) }).await;
        assert!(keys.subject(subject(8)).await.is_ok());
    }
}

/// Whether `bytes`, from their middle on, stand in one of the files of the tables.
fn in_files(database: &portal_testkit::TestDatabase, bytes: &[u8]) -> bool {
    stands_in(&database.tables(), &bytes[bytes.len() - 64..])
}

fn stands_in(directory: &Path, part: &[u8]) -> bool {
    // Files of other tests' databases come and go meanwhile.
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.any(|path| match path.is_dir() {
        true => stands_in(&path, part),
        false => std::fs::read(&path).is_ok_and(|content| holds(&content, part)),
    })
}

/// By the standard library's search for a byte, which is fast in every profile.
fn holds(content: &[u8], part: &[u8]) -> bool {
    let mut rest = content;
    while rest.skip_until(part[0]).unwrap() > 0 {
        if rest.starts_with(&part[1..]) {
            return true;
        }
    }
    false
}
