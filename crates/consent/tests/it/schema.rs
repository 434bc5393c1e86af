//! The schema goes up, down and up again, and the service finds its data on it.

use portal_consent::Migrations;
use portal_store::migrate::{down, status, up};
use portal_testkit::each_database;

use crate::world::World;

each_database! {
    async fn up_down_up(database) {
        let store = database.connect().await;
        up::<Migrations>(&store).await.unwrap();
        assert!(status::<Migrations>(&store).await.unwrap().iter().all(|migration| migration.applied));
        down::<Migrations>(&store, crate::world::migrations()).await.unwrap();
        assert!(status::<Migrations>(&store).await.unwrap().iter().all(|migration| !migration.applied));
        store.close().await;
        let world = World::start(database).await;
        world.give(&world.anna, &world.offer().await).await.unwrap();
    }
}
