//! What happens is in the ledger: once for each change, in its transaction, and to be opened with its salt alone.

use std::collections::HashSet;
use std::time::Duration;

use portal_auth::Upkeep;
use portal_core::id::Id;
use portal_ledger::{LeafRef, LedgerError, Salt};
use portal_proto::auth::v1 as pb;
use portal_store::ReadTx;
use portal_testkit::each_database;
use portal_upkeep::audit::Recorded;

use crate::fixture::{Auth, OPERATOR, OPERATOR_PASSWORD, PASSWORD, new_account, sign_in};
use crate::scans::scan;
use crate::sql;

/// What has happened, as another process reads it.
struct Trail {
    upkeep: Upkeep,
    seen: HashSet<String>,
}

impl Trail {
    async fn of(auth: &Auth) -> Self {
        Self { upkeep: auth.upkeep().await, seen: HashSet::new() }
    }

    async fn all(&self) -> Vec<Recorded> {
        let audit = &self.upkeep.audit;
        let all = |tx: ReadTx| async move { audit.page(&tx, None, 1_000).await };
        self.upkeep.database.read("trail", all).await.unwrap()
    }

    /// What has happened since the last time.
    async fn since(&mut self) -> Vec<Recorded> {
        let mut all = self.all().await;
        all.retain(|event| self.seen.insert(event.id.to_string()));
        all
    }

    /// The one thing that has happened since the last time.
    async fn one(&mut self, action: &str) -> Recorded {
        let mut new = self.since().await;
        let one = new.pop().unwrap_or_else(|| panic!("nothing, not {action}"));
        assert!(new.is_empty() && one.action == action, "{one:?} {new:?}");
        one
    }

    /// Waits until the ledger has signed `entries` entries.
    async fn signed(&self, entries: usize) {
        let signed = async {
            while self.upkeep.log.checkpoint().await.map_or(0, |signed| signed.checkpoint.head.size)
                < entries as u64
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), signed).await.unwrap();
    }

    /// Whether the ledger has what `event` says.
    async fn has(&self, event: &Recorded) -> bool {
        match self.upkeep.log.inclusion(LeafRef::Hash(event.commitment().leaf_hash()), None).await {
            Ok(_) => true,
            Err(LedgerError::NotFound) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn id(id: Option<impl std::fmt::Display>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

each_database! {
    async fn each_change_is_in_the_ledger_once(database) {
        let auth = Auth::start(database).await;
        let mut trail = Trail::of(&auth).await;
        let first = trail.one("account.create").await;
        assert_eq!((first.actor.as_str(), first.details.as_str()), ("service", "roles=operator,subject\n"));

        // Asked for twice, it happens once.
        let request = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned();
        let new = pb::CreateAccountRequest { request_id: request, ..new_account("anna@example.org", PASSWORD) };
        let anna = auth.accounts().create_account(new.clone()).await.unwrap().into_inner();
        auth.accounts().create_account(new).await.unwrap();
        let created = trail.one("account.create").await;
        assert_eq!((created.actor.as_str(), id(created.account)), ("anonymous", anna.account_id.clone()));
        // What failed is told, with its reason.
        assert!(auth.try_sign_in("anna@example.org", "another password").await.is_err());
        assert_eq!(trail.one("session.create").await.detail("reason"), Some("CREDENTIALS_REJECTED"));
        // What changes nothing, or only reads, is not there.
        assert!(auth.accounts().create_account(new_account("anna@example.org", PASSWORD)).await.is_err());
        assert!(trail.since().await.is_empty());

        let annas = auth.sign_in("anna@example.org").await;
        let begun = trail.one("session.create").await;
        assert_eq!((id(begun.account), id(begun.target)), (anna.account_id.clone(), annas.session_id.clone()));
        auth.refresh(&annas).await.unwrap();
        trail.one("session.refresh").await;
        auth.refresh(&annas).await.unwrap();
        assert!(trail.since().await.is_empty());
        auth.advance(60);
        assert!(auth.refresh(&annas).await.is_err());
        assert_eq!(id(trail.one("session.refresh_replay").await.target), annas.session_id);

        let operator = auth.operator().await;
        trail.one("session.create").await;
        let (account_id, roles) = (anna.account_id.clone(), vec!["auditor".to_owned()]);
        let set = pb::SetRolesRequest { account_id, roles, ..Default::default() };
        auth.accounts().set_roles(auth.by(&operator, set).await).await.unwrap();
        let set = trail.one("account.set_roles").await;
        assert_eq!((set.actor, id(set.account)), (format!("account/{}", operator.account_id), anna.account_id.clone()));
        auth.sign_in("anna@example.org").await;
        trail.one("session.create").await;
        let lock = pb::LockAccountRequest { account_id: anna.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        assert_eq!(trail.one("account.lock").await.detail("sessions_ended"), Some("1"));
        let unlock = pb::UnlockAccountRequest { account_id: anna.account_id.clone(), ..Default::default() };
        auth.accounts().unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        trail.one("account.unlock").await;

        let (annas, others) = (auth.sign_in("anna@example.org").await, auth.sign_in("anna@example.org").await);
        assert_eq!(trail.since().await.len(), 2);
        for revoked in [true, false] {
            let revoke = pb::RevokeSessionRequest { session_id: others.session_id.clone(), ..Default::default() };
            auth.sessions().revoke_session(auth.by(&annas, revoke).await).await.unwrap();
            assert_eq!(trail.since().await.len(), usize::from(revoked));
        }
        let all = pb::RevokeAllSessionsRequest { account_id: anna.account_id.clone(), ..Default::default() };
        auth.sessions().revoke_all_sessions(auth.by(&annas, all).await).await.unwrap();
        assert_eq!(trail.one("session.revoke_all").await.detail("sessions_ended"), Some("1"));

        let events = trail.all().await;
        trail.signed(events.len()).await;
        let verified = trail.upkeep.log.verify(|_, _| {}).await.unwrap();
        assert_eq!((verified.entries, verified.count), (events.len() as u64, 0));
        for event in &events {
            assert!(trail.has(event).await, "{event:?}");
            let changes: [fn(&mut Recorded); 4] = [
                |event| event.actor.push('!'),
                |event| event.details = "roles=other\n".to_owned(),
                |event| event.target = event.account.map(Id::uuid),
                |event| event.salt = Salt::new([0; 32]),
            ];
            for change in changes {
                let mut other = event.clone();
                change(&mut other);
                assert!(!trail.has(&other).await, "{other:?}");
            }
            let told = format!("{event:?}");
            assert!(!["example.org", "Anna", PASSWORD, OPERATOR, OPERATOR_PASSWORD].iter().any(|known| told.contains(known)), "{told}");
        }
        trail.upkeep.keys.close().await;
    }

    /// A change that can't be recorded does not happen, and one that does not happen is not recorded.
    async fn a_change_and_its_entry_are_committed_together(database) {
        let auth = Auth::start(database).await;
        auth.sign_up("anna@example.org").await;
        let store = database.connect().await;
        let counts = async || {
            let mut counts = Vec::new();
            for table in ["account", "session", "token_pair", "audit_event"] {
                counts.push(sql::one::<i64>(&store, &format!("SELECT COUNT(*) FROM {table}")).await);
            }
            let entries = "SELECT (SELECT COUNT(*) FROM ledger_pending) + (SELECT COUNT(*) FROM ledger_entry)";
            counts.push(sql::one::<i64>(&store, entries).await);
            counts
        };
        let before = counts().await;
        assert_eq!(before, [2, 0, 0, 2, 2]);
        for table in ["ledger_pending", "audit_event"] {
            sql::refuse_inserts(&store, table).await;
            assert!(auth.accounts().create_account(new_account("bert@example.org", PASSWORD)).await.is_err());
            assert!(auth.sessions().create_session(sign_in("anna@example.org", PASSWORD, false)).await.is_err());
            assert_eq!(counts().await, before);
            sql::allow_inserts(&store, table).await;
        }
        // The last statement of a change is that which keeps its reply.
        sql::refuse_inserts(&store, "idempotency_key").await;
        let request_id = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned();
        let bert = pb::CreateAccountRequest { request_id, ..new_account("bert@example.org", PASSWORD) };
        assert!(auth.accounts().create_account(bert.clone()).await.is_err());
        assert_eq!(counts().await, before);
        sql::allow_inserts(&store, "idempotency_key").await;
        auth.accounts().create_account(bert).await.unwrap();
        assert_eq!(counts().await, [3, 0, 0, 3, 3]);
    }

    /// A scan compares what happened with the ledger.
    async fn what_is_changed_is_named(database) {
        let auth = Auth::start(database).await;
        for name in ["anna", "bert", "carl"] {
            auth.sign_up(&format!("{name}@example.org")).await;
        }
        let trail = Trail::of(&auth).await;
        trail.signed(4).await;
        assert!(scan(&trail.upkeep).await.0.is_empty());
        let events: Vec<_> = trail.all().await.into_iter().map(|event| event.id.to_string()).collect();
        let store = database.connect().await;
        let row = |at: usize| sql::id(&store, &events[at]);
        for change in [
            format!("UPDATE audit_event SET actor = 'account/0' WHERE event_id = {}", row(0)),
            format!("UPDATE ledger_entry SET commitment = (SELECT commitment FROM ledger_entry WHERE reference = {}) WHERE reference = {}", row(3), row(1)),
            format!("DELETE FROM ledger_entry WHERE reference = {}", row(2)),
        ] {
            assert_eq!(sql::run(&store, &change, []).await, 1, "{change}");
        }
        let fault = |at: usize, column: &str, cause| ("audit_event".to_owned(), events[at].clone(), column.to_owned(), cause);
        let mut expected = [
            fault(0, "", "digest_mismatch"),
            fault(1, "sealed_details", "ledger_mismatch"),
            fault(2, "sealed_details", "ledger_mismatch"),
        ];
        expected.sort();
        assert_eq!(scan(&trail.upkeep).await.0, expected);
        trail.upkeep.keys.close().await;
    }
}
