//! A database that was put back from a backup older than the newest checkpoint: its log signs nothing more, until it is ended
//! and another one begins.

use std::time::Duration;

use portal_auth::Upkeep;
use portal_ledger::{Continuation, LedgerError};
use portal_store::Database;
use portal_testkit::each_database;
use portal_upkeep::ledger::{Ended, end, ended};

use crate::fixture::Auth;
use crate::sql;

const TABLES: [&str; 6] =
    ["account", "audit_event", "ledger_pending", "ledger_entry", "ledger_tile", "ledger_head"];

async fn back_up(store: &Database) {
    for table in TABLES {
        sql::run(store, &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"), []).await;
    }
}

async fn put_back(store: &Database) {
    for table in TABLES {
        sql::run(store, &format!("DELETE FROM {table}"), []).await;
        sql::run(store, &format!("INSERT INTO {table} SELECT * FROM kept_{table}"), []).await;
    }
}

async fn signed(upkeep: &Upkeep, entries: u64) {
    let signed = async {
        while upkeep.log.checkpoint().await.map_or(0, |signed| signed.checkpoint.head.size) < entries {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), signed).await.unwrap();
}

each_database! {
    async fn a_log_that_was_set_back_is_ended_and_another_begins(database) {
        let auth = Auth::start(database).await;
        let upkeep = auth.upkeep().await;
        let store = database.connect().await;
        auth.sign_up("anna@example.org").await;
        signed(&upkeep, 2).await;
        back_up(&store).await;
        auth.sign_up("bert@example.org").await;
        auth.sign_up("carl@example.org").await;
        signed(&upkeep, 4).await;
        let old = upkeep.log.checkpoint().await.unwrap();
        assert!(matches!(upkeep.log.continuation(|_, _| {}).await.unwrap(), Continuation::Continues));
        let (mesh, config) = auth.stop().await;
        put_back(&store).await;

        assert!(matches!(upkeep.log.settle().await, Err(LedgerError::Forked { size: 4 })));
        // Not only set back: that is no reason to begin anew.
        let swap = "UPDATE ledger_entry SET commitment = (SELECT commitment FROM ledger_entry WHERE position = 1) WHERE position = 0";
        assert_eq!(sql::run(&store, swap, []).await, 1);
        assert!(matches!(upkeep.log.continuation(|_, _| {}).await.unwrap(), Continuation::Changed(_)));
        put_back(&store).await;
        let Continuation::SetBack(head) = upkeep.log.continuation(|_, _| {}).await.unwrap() else { panic!("not set back") };
        assert_eq!(head, old.checkpoint.head);
        assert_eq!(ended(&upkeep.keys).await.unwrap(), []);
        let last = end(&upkeep.keys, head).await.unwrap();
        assert_eq!(last, Ended { generation: 1, head });
        // Whoever still has the old one open signs nothing.
        assert!(matches!(upkeep.log.settle().await, Err(LedgerError::Forked { size: 4 })));

        let anew = Upkeep::open(&config, &mesh.host()).await.unwrap();
        assert_eq!(anew.log.origin(), format!("{}/2", upkeep.log.origin()));
        anew.log.settle().await.unwrap();
        let new = anew.log.checkpoint().await.unwrap();
        assert!(new.checkpoint.origin == anew.log.origin() && new.checkpoint.head.size == 2, "{:?}", new.checkpoint);
        assert_eq!(anew.log.verify(|_, _| {}).await.unwrap().count, 0);
        assert_eq!(ended(&anew.keys).await.unwrap(), [last]);
        // A head of the one is none of the other.
        assert!(matches!(upkeep.log.checkpoint().await, Err(LedgerError::Checkpoint(_))));

        let auth = Auth::with(mesh, config).await;
        auth.sign_up("dora@example.org").await;
        signed(&anew, 3).await;
        assert!(matches!(anew.log.continuation(|_, _| {}).await.unwrap(), Continuation::Continues));
        let (mesh, config) = auth.stop().await;
        // And the second log can be set back as the first.
        put_back(&store).await;
        let Continuation::SetBack(head) = anew.log.continuation(|_, _| {}).await.unwrap() else { panic!("not set back") };
        assert_eq!(end(&anew.keys, head).await.unwrap().generation, 2);
        let third = Upkeep::open(&config, &mesh.host()).await.unwrap();
        assert_eq!(third.log.origin(), format!("{}/3", upkeep.log.origin()));
        for keys in [upkeep.keys, anew.keys, third.keys] {
            keys.close().await;
        }
    }
}
