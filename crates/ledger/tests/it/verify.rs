//! Whatever is changed in the tables of a log is found, and named.

use portal_crypto::merkle::tiles::TileId;
use portal_ledger::{Fault, Verified};
use portal_testkit::each_database;

use crate::world::World;

const SIZE: u64 = 600;

async fn faults(world: &World) -> Vec<Fault> {
    let Verified { entries, faults, count, .. } = world.log.verify(|_, _| {}).await.unwrap();
    assert!(entries <= SIZE + 1);
    assert_eq!(count, faults.len() as u64);
    faults
}

impl World {
    /// Makes a change, looks, and takes it back.
    async fn with(&self, change: &str, back: &[&str], expected: &[Fault]) {
        for table in ["ledger_entry", "ledger_tile", "ledger_head"] {
            self.sql(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
        assert_ne!(self.sql(change).await, 0, "{change}");
        for more in back {
            self.sql(more).await;
        }
        let found = faults(self).await;
        assert_eq!(found, expected, "{change}");
        for table in ["ledger_entry", "ledger_tile", "ledger_head"] {
            self.sql(&format!("DELETE FROM {table}")).await;
            self.sql(&format!("INSERT INTO {table} SELECT * FROM kept_{table}")).await;
            self.sql(&format!("DROP TABLE kept_{table}")).await;
        }
    }
}

fn hex(bytes: &[u8], sqlite: bool) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if sqlite { format!("X'{digits}'") } else { format!("'\\x{digits}'::bytea") }
}

each_database! {
    async fn every_byte_of_an_entry(database) {
        let world = World::new(database).await;
        world.fill(usize::try_from(SIZE).unwrap()).await;
        assert_eq!(faults(&world).await, []);
        let sqlite = format!("{:?}", world.database).contains("SQLite");
        let entry = world.log.entries(321, 1).await.unwrap()[0].commitment;
        for byte in 0..32 {
            let mut bytes = *entry.as_bytes();
            bytes[byte] ^= 1;
            let change = format!("UPDATE ledger_entry SET commitment = {} WHERE position = 321", hex(&bytes, sqlite));
            world.sql(&change).await;
            assert_eq!(faults(&world).await, [Fault::WrongRoot(SIZE), Fault::EntryChanged(321)], "byte {byte}");
        }
        let back = format!("UPDATE ledger_entry SET commitment = {} WHERE position = 321", hex(entry.as_bytes(), sqlite));
        world.sql(&back).await;
        assert_eq!(faults(&world).await, []);
    }

    async fn dropped_inserted_and_reordered_rows(database) {
        use Fault::{EntryChanged, EntryMissing, EntryUnknown, WrongRoot};
        let world = World::new(database).await;
        world.fill(usize::try_from(SIZE).unwrap()).await;
        for at in [0, 255, 256, 599] {
            let drop = format!("DELETE FROM ledger_entry WHERE position = {at}");
            world.with(&drop, &[], &[EntryMissing(at), WrongRoot(SIZE)]).await;
        }
        for (one, other) in [(0, 1), (10, 500), (255, 256), (598, 599)] {
            let swap = format!(
                "UPDATE ledger_entry SET commitment = (SELECT commitment FROM kept_ledger_entry k WHERE k.position = {one} + {other} - ledger_entry.position) WHERE position IN ({one}, {other})"
            );
            world.with(&swap, &[], &[WrongRoot(SIZE), EntryChanged(one), EntryChanged(other)]).await;
        }
        // One more at the end, and one in the middle that moves all others up.
        let columns = "kind, commitment, lookup, recorded_at";
        let id = "(SELECT reference FROM ledger_entry WHERE position = 0)";
        let add = format!("INSERT INTO ledger_entry (position, reference, {columns}) SELECT 600, {id}, 99, commitment, lookup, recorded_at FROM ledger_entry WHERE position = 3");
        world.with(&add, &[], &[EntryUnknown(600)]).await;
        let up = "UPDATE ledger_entry SET position = -position - 2 WHERE position >= 597";
        let put = "UPDATE ledger_entry SET position = -position - 1 WHERE position < 0";
        let add = add.replace("SELECT 600", "SELECT 597");
        let moved = [WrongRoot(SIZE), EntryChanged(597), EntryChanged(598), EntryChanged(599), EntryUnknown(600)];
        world.with(up, &[put, &add], &moved).await;
        assert_eq!(faults(&world).await, []);
    }

    async fn changed_trees_and_heads(database) {
        let world = World::new(database).await;
        world.fill(usize::try_from(SIZE).unwrap()).await;
        let first = TileId { level: 0, index: 0 };
        let upper = TileId { level: 1, index: 0 };
        let by = |level: u8| format!("(SELECT hashes FROM ledger_tile WHERE level = {level} AND tile = 1)");
        let change = format!("UPDATE ledger_tile SET hashes = {} WHERE level = 0 AND tile = 0", by(0));
        world.with(&change, &[], &[Fault::TileChanged(first)]).await;
        world.with("DELETE FROM ledger_tile WHERE level = 1", &[], &[Fault::TileMissing(upper)]).await;
        // An entry and its tile together: the one above tells, and the signed root.
        let both = "UPDATE ledger_entry SET commitment = (SELECT commitment FROM kept_ledger_entry k WHERE k.position = 5) WHERE position = 4";
        let found = {
            world.sql("CREATE TABLE kept_ledger_entry AS SELECT * FROM ledger_entry").await;
            assert_eq!(world.sql(both).await, 1);
            let found = faults(&world).await;
            world.sql("DROP TABLE kept_ledger_entry").await;
            found
        };
        assert_eq!(found, [Fault::WrongRoot(SIZE), Fault::EntryChanged(4)]);
        world.sql("UPDATE ledger_head SET size = 500").await;
        let found = faults(&world).await;
        assert!(found.contains(&Fault::SetBack { signed: SIZE, size: 500 }), "{found:?}");
        world.sql("UPDATE ledger_head SET size = 600, checkpoint = 'forged'").await;
        let found = faults(&world).await;
        assert!(matches!(found.first(), Some(Fault::Checkpoint(_))), "{found:?}");
        assert!(found.contains(&Fault::WrongRoot(SIZE)), "what was noted elsewhere still counts: {found:?}");
    }
}
