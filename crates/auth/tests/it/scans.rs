//! Integrity scans: everything is looked at, and what is wrong is named.

use std::time::Duration;

use portal_auth::Upkeep;
use portal_testkit::each_database;

use crate::fixture::{Auth, subject};
use crate::sql;

/// What a scan finds: table, row, column, cause; and how many rows it has read.
pub async fn scan(upkeep: &Upkeep) -> (Vec<(String, String, String, &'static str)>, u64) {
    let begun = upkeep.scans.start(&[], None).await.unwrap();
    let ended = async {
        loop {
            let (report, findings) = upkeep.scans.report(Some(begun.id)).await.unwrap().unwrap();
            if report.ended_at.is_some() {
                return (report, findings);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (report, findings) = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    let found =
        |it: portal_upkeep::scan::report::ReportedFinding| (it.table, it.row, it.column, it.cause.name());
    let mut findings: Vec<_> = findings.into_iter().map(found).collect();
    findings.sort();
    (findings, report.rows_checked)
}

each_database! {
    /// Nothing is wrong until somebody changes something, and then just that is; what was erased is no fault.
    async fn what_is_wrong_is_named(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let (bert, berts) = auth.person("bert@example.org").await;
        let (_, carls) = auth.person("carl@example.org").await;
        let (dora, _) = auth.person("dora@example.org").await;
        let operator = auth.operator().await;
        let lock = portal_proto::auth::v1::LockAccountRequest { account_id: dora.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        let upkeep = auth.upkeep().await;
        upkeep.keys.erase(subject(&dora.subject_id)).await.unwrap();
        // Five accounts with a session and its tokens each, one revocation, and that they came, signed in and were locked.
        assert_eq!(scan(&upkeep).await, (Vec::new(), 16 + 3 + 11));

        let store = database.connect().await;
        let id = |id: &str| sql::id(&store, id);
        for change in [
            format!("account SET roles = 17 WHERE id = {}", id(&anna.account_id)),
            format!("account SET row_digest = NULL WHERE id = {}", id(&bert.account_id)),
            format!("session SET revoked_at = 1 WHERE id = {}", id(&annas.session_id)),
            format!("token_pair SET session_id = {} WHERE session_id = {}", id(&annas.session_id), id(&berts.session_id)),
            format!("revocation SET target_id = {}", id(&bert.account_id)),
        ] {
            assert_eq!(sql::run(&store, &format!("UPDATE {change}"), []).await, 1, "{change}");
        }
        let (found, checked) = scan(&upkeep).await;
        let found: Vec<_> = found.iter().map(|(table, row, column, cause)| (table.as_str(), row.as_str(), column.as_str(), *cause)).collect();
        let mut expected = [
            ("account", anna.account_id.as_str(), "", "digest_mismatch"),
            ("account", bert.account_id.as_str(), "", "digest_mismatch"),
            ("session", annas.session_id.as_str(), "", "digest_mismatch"),
        ];
        expected.sort_unstable();
        let (tokens, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(table, ..)| ["revocation", "token_pair"].contains(table));
        assert_eq!(others, expected);
        let tokens: Vec<_> = tokens.into_iter().map(|(table, _, _, cause)| (table, cause)).collect();
        assert_eq!(tokens, [("revocation", "digest_mismatch"), ("token_pair", "digest_mismatch")]);
        assert_eq!(checked, 16 + 3 + 11);
        assert!(auth.exchange(&carls.access_token, "consent").await.is_ok());
        upkeep.keys.close().await;
    }

    /// A person's key that is not there, and was not erased, is a fault of the rows that need it.
    async fn a_lost_key_is_named(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let keys = portal_store::Database::connect(
            &auth.config.keys.database,
            std::sync::Arc::new(portal_core::SystemEntropy),
            Default::default(),
        );
        let keys = keys.await.unwrap();
        let lost = format!("DELETE FROM subject_key WHERE subject_id = {}", sql::id(&keys, &anna.subject_id));
        assert_eq!(sql::run(&keys, &lost, []).await, 1);
        let upkeep = auth.upkeep().await;
        auth.advance(60);
        let (found, _) = scan(&upkeep).await;
        let missing = |table: &str, row: &str, column: &str| (table.to_owned(), row.to_owned(), column.to_owned(), "key_missing");
        assert_eq!(found, [
            missing("account", &anna.account_id, "sealed_email"),
            missing("session", &annas.session_id, "sealed_device_name"),
        ]);
        upkeep.keys.close().await;
    }
}
