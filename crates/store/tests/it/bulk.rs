//! Many rows at once do what as many statements would.

use portal_store::{Database, Inserts, Sealed, StoreError, bulk};
use portal_testkit::each_database;
use sea_orm::prelude::Uuid;
use sea_orm::{EntityTrait, QueryOrder, Value};

use crate::sealed::{person, prepared_persons};
use person::Column;

/// More than one piece on SQLite, and a rest.
const ROWS: u128 = 601;
const COLUMNS: [Column; 7] =
    [Column::Id, Column::Subject, Column::Name, Column::Note, Column::Kind, Column::SeenAt, Column::Version];

fn row(id: u128) -> Vec<Value> {
    let note = id.is_multiple_of(3).then(|| id.to_be_bytes().to_vec());
    vec![
        Uuid::from_u128(id).into(),
        Uuid::from_u128(id + 1).into(),
        vec![0_u8, 255].into(),
        note.into(),
        format!("kind '{id}\"").into(),
        id.is_multiple_of(2).then_some(-1_i64).into(),
        1_i64.into(),
    ]
}

async fn all(database: &Database) -> Vec<person::Model> {
    let all = database.read("all", |tx| async move {
        Ok::<_, StoreError>(person::Entity::find().order_by_asc(Column::Id).all(tx.conn()).await?)
    });
    all.await.unwrap()
}

async fn inserted(database: &portal_testkit::TestDatabase) -> Database {
    let database = prepared_persons(database).await;
    let insert = database.run_tx("insert", |tx| async move {
        bulk::insert::<person::Entity>(&tx, &COLUMNS, (0..ROWS).map(row).collect()).await
    });
    insert.await.unwrap();
    database
}

each_database! {
    /// Every value arrives in its row, NULL as NULL.
    async fn inserts(database) {
        let database = inserted(database).await;
        let rows = all(&database).await;
        assert_eq!(rows.len() as u128, ROWS);
        for (id, row) in (0_u128..).zip(rows) {
            assert_eq!((row.id.as_u128(), row.subject.as_u128()), (id, id + 1));
            assert_eq!(row.note.map(Sealed::into_envelope), id.is_multiple_of(3).then(|| id.to_be_bytes().to_vec()));
            assert_eq!((row.kind, row.version), (format!("kind '{id}\""), 1));
            assert_eq!((row.seen_at, row.digest), (id.is_multiple_of(2).then_some(-1), None));
        }
        let again = database.run_tx("again", |tx| async move {
            bulk::insert::<person::Entity>(&tx, &COLUMNS, (ROWS - 1..ROWS + 1).map(row).collect()).await
        });
        assert!(matches!(again.await, Err(StoreError::Duplicate { .. })));
    }

    /// All or none: one that is there by now makes the transaction run again, until it gives up.
    async fn inserts_together(database) {
        let database = prepared_persons(database).await;
        let insert = async |parts: [std::ops::Range<u128>; 3]| {
            let parts = &parts;
            let insert = database.run_tx("insert", |tx| async move {
                let mut inserts = Inserts::of(&tx);
                for part in parts.clone() {
                    inserts.add::<person::Entity>(&COLUMNS, part.map(row).collect())?;
                }
                inserts.run(&tx).await
            });
            insert.await
        };
        insert([0..ROWS, 0..0, ROWS..ROWS + 1]).await.unwrap();
        let before = all(&database).await;
        assert_eq!(before.len() as u128, ROWS + 1);
        for (id, row) in (0_u128..).zip(&before) {
            assert_eq!((row.id.as_u128(), &row.kind), (id, &format!("kind '{id}\"")));
            assert_eq!(row.note.is_some(), id.is_multiple_of(3));
        }
        let again = insert([700..710, 710..720, 5..6]).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
        assert_eq!(all(&database).await, before);
        insert([0..0, 0..0, 0..0]).await.unwrap();
    }

    /// Only the rows that are named and only the columns that are set; a row that is not there is not counted.
    async fn updates_and_deletes(database) {
        let database = inserted(database).await;
        let updated = database.run_tx("update", |tx| async move {
            let rows = (100..ROWS + 10).map(|id| {
                let digest = id.is_multiple_of(2).then(|| vec![7_u8]);
                vec![Uuid::from_u128(id).into(), 1_i64.into(), 2_i64.into(), digest.into()]
            });
            let (key, set) = ([Column::Id, Column::Version], [Column::Version, Column::Digest]);
            bulk::update::<person::Entity>(&tx, &key, &set, rows.collect()).await
        });
        assert_eq!(u128::from(updated.await.unwrap()), ROWS - 100);
        for (id, row) in (0_u128..).zip(all(&database).await) {
            assert_eq!(row.version, if id < 100 { 1 } else { 2 });
            assert_eq!(row.digest.is_some(), id >= 100 && id.is_multiple_of(2));
            assert_eq!(row.kind, format!("kind '{id}\""));
        }
        let deleted = database.run_tx("delete", |tx| async move {
            let keys = (50..ROWS + 10).map(|id| vec![Uuid::from_u128(id).into()]);
            bulk::delete::<person::Entity>(&tx, &[Column::Id], keys.collect()).await
        });
        assert_eq!(u128::from(deleted.await.unwrap()), ROWS - 50);
        assert_eq!(all(&database).await.len(), 50);
    }

    /// The rows that are there, and no others; by a key that is not unique all of them.
    async fn finds(database) {
        let database = inserted(database).await;
        let found = database.read("find", |tx| async move {
            let ids = (590..ROWS + 10).chain([3]).map(|id| vec![Uuid::from_u128(id).into(), 1_i64.into()]);
            let key = [Column::Id, Column::Version];
            let by_id = bulk::find::<person::Entity>(&tx, &key, ids.collect()).await?;
            let one = |version: i64| vec![vec![Uuid::from_u128(1).into(), version.into()]];
            let single = bulk::find::<person::Entity>(&tx, &key, one(1)).await?;
            let none = bulk::find::<person::Entity>(&tx, &key, one(2)).await?;
            let short = bulk::find::<person::Entity>(&tx, &key, vec![vec![1_i64.into()]]).await;
            assert!(matches!(short, Err(StoreError::Database(_))), "{short:?}");
            let versions = |versions: &[i64]| versions.iter().map(|version| vec![(*version).into()]).collect();
            let all = bulk::find_all::<person::Entity>(&tx, &[Column::Version], versions(&[1])).await?;
            let of_both = bulk::find_all::<person::Entity>(&tx, &[Column::Version], versions(&[1, 2])).await?;
            assert_eq!(of_both, all);
            Ok::<_, StoreError>((by_id, single, none, all))
        });
        let (by_id, single, none, mut all) = found.await.unwrap();
        assert_eq!(single.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>(), [1]);
        let mut ids: Vec<u128> = by_id.iter().map(|row| row.id.as_u128()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [3].into_iter().chain(590..ROWS).collect::<Vec<_>>());
        assert_eq!(none, []);
        all.sort_unstable_by_key(|row| row.id);
        assert_eq!(all, self::all(&database).await);
    }

    /// Nothing is nothing; a value of another type, a NULL where none may be and a short row are refused.
    async fn refuses_what_does_not_fit(database) {
        let database = prepared_persons(database).await;
        let insert = |rows: Vec<Vec<Value>>| {
            let database = database.clone();
            async move {
                let rows = &rows;
                let insert = database.run_tx("insert", |tx| async move {
                    bulk::insert::<person::Entity>(&tx, &COLUMNS, rows.clone()).await
                });
                insert.await
            }
        };
        insert(Vec::new()).await.unwrap();
        let mut short = row(1);
        short.pop();
        assert!(insert(vec![row(0), short]).await.is_err());
        let mut null = row(1);
        null[4] = Value::String(None);
        assert!(insert(vec![row(0), null]).await.is_err());
        assert_eq!(all(&database).await, []);
    }
}
