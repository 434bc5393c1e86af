//! What somebody with write access to the key database can do: nothing but harm that is noticed.

use portal_core::id::{EpochId, Id, SubjectId};
use portal_keys::error::Stored;
use portal_keys::{Keys, KeysError};

use crate::fixture::{Fixture, opens, seal, subject};

/// Keys that read each row anew.
async fn uncached(fixture: &Fixture) -> Keys {
    let mut config = fixture.config.clone();
    config.cache_max_subjects = 0;
    fixture.try_open(&config).await.unwrap()
}

async fn record(fixture: &Fixture, id: SubjectId) -> Vec<u8> {
    let rows =
        fixture.query("SELECT record FROM subject_key WHERE subject_id = $1", [id.uuid().into()]).await;
    rows[0].try_get("", "record").unwrap()
}

async fn set_record(fixture: &Fixture, id: SubjectId, record: &[u8]) {
    let values = [record.to_vec().into(), id.uuid().into()];
    assert_eq!(fixture.sql("UPDATE subject_key SET record = $1 WHERE subject_id = $2", values).await, 1);
}

async fn is_corrupt(keys: &Keys, id: SubjectId) -> bool {
    let outcomes = [keys.subject(id).await, keys.subject_or_new(id).await];
    let corrupt = |outcome: &Result<_, KeysError>| matches!(outcome, Err(KeysError::Corrupt { what: Stored::SubjectKey, id: of }) if *of == id.to_string());
    outcomes.iter().all(corrupt)
}

portal_testkit::each_database! {
    /// Each bit of each byte of a subject key's row is missed when it is changed, and no other subject is hurt.
    async fn a_changed_subject_key_is_refused(database) {
        let fixture = Fixture::new(database).await;
        let keys = uncached(&fixture).await;
        let (anna, berta) = (subject(1), subject(2));
        let envelope = seal(&keys.subject_or_new(anna).await.unwrap());
        keys.subject_or_new(berta).await.unwrap();
        let good = record(&fixture, anna).await;
        assert_eq!(good.len(), 123);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            set_record(&fixture, anna, &bad).await;
            assert!(is_corrupt(&keys, anna).await, "byte {at}");
        }
        for bad in [&good[..122], &[good.as_slice(), &[0]].concat(), &[]] {
            set_record(&fixture, anna, bad).await;
            assert!(is_corrupt(&keys, anna).await, "{} bytes", bad.len());
        }
        let both = keys.subjects(&[anna, berta]).await.unwrap();
        assert!(matches!(both.get(anna), Err(KeysError::Corrupt { .. })));
        both.get(berta).unwrap();
        set_record(&fixture, anna, &good).await;
        assert!(opens(&keys.subject(anna).await.unwrap(), &envelope));
    }

    /// A key in another subject's row, another generation's or another epoch's does not open.
    async fn a_moved_subject_key_is_refused(database) {
        let fixture = Fixture::new(database).await;
        let keys = uncached(&fixture).await;
        let (anna, berta) = (subject(1), subject(2));
        keys.subjects_or_new(&[anna, berta]).await.unwrap();
        let (of_anna, of_berta) = (record(&fixture, anna).await, record(&fixture, berta).await);
        set_record(&fixture, anna, &of_berta).await;
        set_record(&fixture, berta, &of_anna).await;
        assert!(is_corrupt(&keys, anna).await && is_corrupt(&keys, berta).await);
        set_record(&fixture, anna, &of_anna).await;
        set_record(&fixture, berta, &of_berta).await;
        keys.subject(anna).await.unwrap();

        fixture.sql("UPDATE subject_key SET generation = 2", []).await;
        assert!(is_corrupt(&keys, anna).await);
        fixture.sql("UPDATE subject_key SET generation = 1", []).await;
        let rotation = keys.rotate_epoch().await.unwrap();
        fixture.sql("UPDATE subject_key SET epoch_id = $1", [rotation.active.uuid().into()]).await;
        assert!(is_corrupt(&keys, anna).await, "the column names another epoch than the record");
        let nobodys = EpochId::from_bytes([9; 16]);
        fixture.sql("UPDATE subject_key SET epoch_id = $1", [nobodys.uuid().into()]).await;
        assert!(keys.subject(anna).await.is_err());
        fixture.sql("UPDATE subject_key SET epoch_id = $1", [rotation.retired.uuid().into()]).await;
        keys.subject(anna).await.unwrap();
    }

    /// A corrupt key is passed over by rewrapping, told, and keeps its epoch from being destroyed.
    async fn rewrapping_tells_what_is_corrupt(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subjects_or_new(&[subject(1), subject(2), subject(3)]).await.unwrap();
        let mut bad = record(&fixture, subject(2)).await;
        bad[60] ^= 1;
        set_record(&fixture, subject(2), &bad).await;
        let rotation = keys.rotate_epoch().await.unwrap();
        for (total, done) in [(3, 2), (1, 0)] {
            let progress = keys.rewrap(&|_| {}).await.unwrap();
            assert_eq!((progress.total, progress.done, progress.corrupt), (total, done, 1));
        }
        assert_eq!(record(&fixture, subject(2)).await, bad);
        let refused = keys.destroy_epoch(rotation.retired).await;
        assert!(matches!(refused, Err(KeysError::InUse { keys: 1, .. })));
    }

    /// Each byte of an epoch key's record counts, and so does its place.
    async fn a_changed_epoch_key_is_refused(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subject_or_new(subject(1)).await.unwrap();
        let read = |row: &sea_orm::QueryResult| row.try_get::<Vec<u8>>("", "record").unwrap();
        let good = read(&fixture.query("SELECT record FROM epoch_key", []).await[0]);
        assert_eq!(good.len(), 1_235);
        let fresh = fixture.open().await;
        // Each byte around the fields, and every 16th of the encapsulated key.
        for at in (0..40).chain((40..1_150).step_by(16)).chain(1_150..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fixture.sql("UPDATE epoch_key SET record = $1", [bad.into()]).await;
            let refused = fresh.subject(subject(1)).await;
            let told = matches!(
                &refused,
                Err(KeysError::Corrupt { .. } | KeysError::Unavailable(_))
            );
            assert!(told, "byte {at}: {:?}", refused.err());
            fixture.clock.advance(std::time::Duration::from_secs(1));
        }
        fixture.sql("UPDATE epoch_key SET record = $1", [good.clone().into()]).await;
        fresh.subject(subject(1)).await.unwrap();

        let rotation = keys.rotate_epoch().await.unwrap();
        keys.subject_or_new(subject(2)).await.unwrap();
        let swap = |id: EpochId, record: Vec<u8>| {
            fixture.sql("UPDATE epoch_key SET record = $1 WHERE epoch_id = $2", [record.into(), id.uuid().into()])
        };
        let sql = "SELECT record FROM epoch_key WHERE epoch_id = $1";
        let new = read(&fixture.query(sql, [rotation.active.uuid().into()]).await[0]);
        swap(rotation.active, good).await;
        swap(rotation.retired, new).await;
        let fresh = fixture.open().await;
        for id in [subject(1), subject(2)] {
            assert!(matches!(fresh.subject(id).await, Err(KeysError::Corrupt { .. })));
        }
    }

    /// A service key that was changed, or put into another one's row, keeps the service from starting.
    async fn a_changed_service_key_is_refused(database) {
        let fixture = Fixture::new(database).await;
        fixture.open().await.close().await;
        let rows = fixture.query("SELECT purpose, scope, record FROM service_key", []).await;
        let secrets: Vec<(i64, String, Vec<u8>)> = rows
            .iter()
            .map(|row| {
                let get = |column| row.try_get("", column).unwrap();
                (row.try_get("", "purpose").unwrap(), row.try_get("", "scope").unwrap(), get("record"))
            })
            .collect();
        assert_eq!(secrets.len(), 7);
        let sql = "UPDATE service_key SET record = $1 WHERE purpose = $2 AND scope = $3";
        for (at, (purpose, scope, good)) in secrets.iter().enumerate() {
            let mut changed = good.clone();
            changed[1_200] ^= 1;
            let others = secrets[(at + 1) % secrets.len()].2.clone();
            for bad in [changed, others] {
                fixture.sql(sql, [bad.into(), (*purpose).into(), scope.clone().into()]).await;
                let refused = fixture.try_open(&fixture.config).await.err().unwrap();
                assert!(matches!(refused, KeysError::Corrupt { what: Stored::ServiceKey, .. }), "{refused:?}");
            }
            fixture.sql(sql, [good.clone().into(), (*purpose).into(), scope.clone().into()]).await;
        }
        fixture.open().await;
    }
}
