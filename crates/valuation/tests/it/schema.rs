//! The schema goes up and down again.

use portal_store::migrate;
use portal_testkit::each_database;
use portal_valuation::Migrations;

each_database! {
    async fn goes_up_and_down_and_up(database) {
        let database = database.connect().await;
        migrate::up::<Migrations>(&database).await.unwrap();
        let all = migrate::status::<Migrations>(&database).await.unwrap();
        assert!(all.iter().all(|migration| migration.applied));
        let steps = u32::try_from(all.len()).unwrap();
        migrate::down::<Migrations>(&database, steps).await.unwrap();
        migrate::up::<Migrations>(&database).await.unwrap();
    }
}
