//! Recovering an account: for whoever reads its mail, and told to nobody else.

use std::time::Duration;

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::factors::totp;
use crate::fixture::{Auth, PASSWORD, refused, sign_in};
use crate::sql;

const ANNA: &str = "anna@example.org";
const NEW: &str = "an entirely different set of words";

impl Auth {
    pub async fn start_recovery(&self, email: &str) -> Result<pb::StartRecoveryResponse, Status> {
        let request = pb::StartRecoveryRequest { email: email.to_owned(), ..Default::default() };
        Ok(self.accounts().start_recovery(request).await?.into_inner())
    }

    pub async fn recover(&self, token: &str, password: &str) -> Result<pb::CompleteRecoveryResponse, Status> {
        let (recovery_token, new_password) = (token.to_owned(), password.to_owned());
        let request = pb::CompleteRecoveryRequest { recovery_token, new_password, ..Default::default() };
        Ok(self.accounts().complete_recovery(request).await?.into_inner())
    }

    /// What happened, with the reasons of refusals, as the operator reads it.
    pub async fn actions(&self, operator: &pb::Session) -> Vec<String> {
        let request = pb::ListAuditEventsRequest { page_size: 1_000, ..Default::default() };
        let mut audit = pb::audit_service_client::AuditServiceClient::new(self.channel());
        let listed = audit.list_audit_events(self.by(operator, request).await).await.unwrap().into_inner();
        let name = |event: pb::AuditEvent| match event.reason.as_str() {
            "" => event.action,
            reason => format!("{}/{reason}", event.action),
        };
        listed.audit_events.into_iter().map(name).collect()
    }

    /// Waits until every recovery that was asked for is answered.
    async fn answered(&self, store: &portal_store::Database) {
        let answered = async {
            while sql::one::<i64>(store, "SELECT COUNT(*) FROM recovery_request").await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
    }
}

#[track_caller]
fn rejected<T: std::fmt::Debug>(result: Result<T, Status>) {
    refused(result, Code::InvalidArgument, "INVALID_FIELD");
}

each_database! {
    /// A mailed token sets a password once, ends every session, and lets somebody in who was locked out.
    async fn a_password_is_set_by_mail(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        auth.no_more_mails(1).await;
        for _ in 0..5 {
            assert!(auth.try_sign_in(ANNA, "wrong-password").await.is_err());
        }
        refused(auth.try_sign_in(ANNA, PASSWORD).await, Code::ResourceExhausted, "LOCKED_OUT");
        auth.start_recovery(" Anna@Example.ORG ").await.unwrap();
        let mails = auth.mails(1).await;
        assert_eq!((mails[0].to.as_str(), mails[0].subject.as_str()), (ANNA, "Set a new password"));
        let token = mails[0].token("recover");
        rejected(auth.verify(&token).await);
        rejected(auth.recover(&token, "password1").await);
        rejected(auth.recover(&token, "short").await);
        assert_eq!(auth.recover(&token, NEW).await.unwrap().account_id, anna.account_id);
        rejected(auth.recover(&token, NEW).await);

        assert!(auth.refresh(&session).await.is_err());
        assert!(auth.exchange(&session.access_token, "auth").await.is_err());
        assert!(auth.try_sign_in(ANNA, PASSWORD).await.is_err());
        let session = auth.try_sign_in(ANNA, NEW).await.unwrap();
        assert!(auth.get(&session, &anna.account_id).await.unwrap().email_verify_time.is_some());
        auth.no_more_mails(2).await;
        let actions = auth.actions(&auth.operator().await).await;
        for action in ["account.start_recovery", "account.complete_recovery", "account.complete_recovery/MAIL_TOKEN_REJECTED"] {
            assert!(actions.iter().any(|it| it == action), "{action} in {actions:?}");
        }
    }

    /// Whoever asks gets the same answer for whomever, and no row that stays tells them apart; only who reads the mail of an
    /// account gets one, and not so many that their mailbox overflows.
    async fn nobody_learns_who_has_an_account(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up(ANNA).await;
        auth.no_more_mails(1).await;
        let store = database.connect().await;
        let known = auth.start_recovery(ANNA).await;
        let unknown = auth.start_recovery("nobody@example.org").await;
        assert_eq!(format!("{known:?}"), format!("{unknown:?}"));
        auth.answered(&store).await;
        assert_eq!(auth.mails(1).await[0].to, ANNA);
        let stored = sql::everything(&store, "mail").await;
        assert!(!sql::contains(&stored, "nobody"));

        for _ in 0..4 {
            auth.start_recovery(ANNA).await.unwrap();
        }
        auth.answered(&store).await;
        auth.mails(3).await;
        let actions = auth.actions(&auth.operator().await).await;
        let count = |name: &str| actions.iter().filter(|action| *action == name).count();
        assert_eq!(count("account.start_recovery"), 3);
        assert_eq!(count("account.start_recovery/TOO_MANY_ATTEMPTS"), 2);
        assert_eq!(count("account.start_recovery/ACCOUNT_NOT_FOUND"), 1);
        auth.advance(31 * 60);
        auth.start_recovery(ANNA).await.unwrap();
        auth.mails(4).await;
    }

    /// What is kept between asking and answering is the same for whomever, and says nothing in the clear.
    async fn a_request_waits_sealed(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up(ANNA).await;
        auth.no_more_mails(1).await;
        let store = database.connect().await;
        // Somebody else holds the lease: nothing is answered meanwhile.
        let clock = portal_core::Clock::now(&*auth.mesh.clock).as_micros();
        let lease = "UPDATE lease SET holder = $1, expires_at = $2 WHERE name = 'auth-post'";
        assert_eq!(sql::run(&store, lease, [uuid::Uuid::from_u128(1).into(), (clock + 30_000_000).into()]).await, 1);
        auth.start_recovery(ANNA).await.unwrap();
        auth.start_recovery("a-much-longer-address-of-nobody@sub.example.org").await.unwrap();
        let sizes: Vec<i32> = sql::query(&store, "SELECT CAST(LENGTH(sealed_email) AS INTEGER) FROM recovery_request").await
            .iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        assert_eq!(sizes.len(), 2);
        assert_eq!(sizes[0], sizes[1]);
        let stored = sql::everything(&store, "recovery_request").await;
        assert!(!sql::contains(&stored, "anna") && !sql::contains(&stored, "nobody"));
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail").await, 0);
        let (mesh, config) = auth.stop().await;
        mesh.clock.advance(Duration::from_secs(31));
        let auth = Auth::with(mesh, config).await;
        assert_eq!(auth.mails(1).await[0].to, ANNA);
    }

    /// A token is over after half an hour, and with the address that it was sent to.
    async fn tokens_end(database) {
        let auth = Auth::with_mail(database).await;
        let (_, session) = auth.person(ANNA).await;
        auth.no_more_mails(1).await;
        auth.start_recovery(ANNA).await.unwrap();
        let late = auth.mails(1).await[0].token("recover");
        auth.advance(30 * 60);
        rejected(auth.recover(&late, NEW).await);
        auth.no_more_mails(1).await;

        let session = auth.refresh(&session).await.unwrap();
        auth.start_recovery(ANNA).await.unwrap();
        let of_before_the_password = auth.mails(1).await[0].token("recover");
        let request = pb::ChangePasswordRequest {
            account_id: session.account_id.clone(),
            current_password: PASSWORD.to_owned(),
            new_password: "words that nobody else would choose".to_owned(),
            ..Default::default()
        };
        auth.accounts().change_password(auth.by(&session, request).await).await.unwrap();
        rejected(auth.recover(&of_before_the_password, NEW).await);
        auth.no_more_mails(1).await;

        auth.start_recovery(ANNA).await.unwrap();
        let of_before = auth.mails(1).await[0].token("recover");
        auth.no_more_mails(1).await;
        let words = "words that nobody else would choose";
        let session = auth.try_sign_in(ANNA, words).await.unwrap();
        // As it is written by a recovery that is answered while the address changes.
        let store = database.connect().await;
        sql::run(&store, "CREATE TABLE kept AS SELECT * FROM mail_token", []).await;
        auth.readdress(&session, "anne@example.org").await.unwrap();
        let mails = auth.mails(2).await;
        let confirm = mails.iter().find(|mail| mail.to == "anne@example.org").unwrap().token("verify-email");
        auth.verify(&confirm).await.unwrap();
        rejected(auth.recover(&of_before, NEW).await);
        let back = "INSERT INTO mail_token SELECT * FROM kept WHERE purpose = 'recover'";
        assert_eq!(sql::run(&store, back, []).await, 1);
        rejected(auth.recover(&of_before, NEW).await);
        assert!(auth.try_sign_in("anne@example.org", words).await.is_ok());
    }

    /// The token of one account sets the password of no other, and several tokens of one are all used up by one.
    async fn a_token_is_of_one_account(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up(ANNA).await;
        let bert = auth.sign_up("bert@example.org").await;
        auth.no_more_mails(2).await;
        auth.start_recovery("bert@example.org").await.unwrap();
        let first = auth.mails(1).await[0].token("recover");
        auth.no_more_mails(1).await;
        auth.start_recovery("bert@example.org").await.unwrap();
        let second = auth.mails(1).await[0].token("recover");
        assert_eq!(auth.recover(&second, NEW).await.unwrap().account_id, bert.account_id);
        rejected(auth.recover(&first, NEW).await);
        assert!(auth.try_sign_in(ANNA, PASSWORD).await.is_ok());
        assert!(auth.try_sign_in(ANNA, NEW).await.is_err());
    }

    /// Of many who use one token at once one sets a password.
    async fn used_once_by_many(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up(ANNA).await;
        auth.no_more_mails(1).await;
        auth.start_recovery(ANNA).await.unwrap();
        let token = auth.mails(1).await[0].token("recover");
        let calls = (0..6).map(|number| {
            let (auth, token) = (&auth, &token);
            async move { auth.recover(token, &format!("{NEW} {number}")).await }
        });
        let replies = futures_util::future::join_all(calls).await;
        assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 1);
        replies.into_iter().filter(Result::is_err).for_each(rejected);
    }

    /// Recovery does not take the place of a second factor, nor of the operator who has locked an account.
    async fn second_factors_and_locks_stay(database) {
        let auth = Auth::with_mail(database).await;
        let holder = auth.holder(ANNA).await;
        auth.no_more_mails(1).await;
        auth.start_recovery(ANNA).await.unwrap();
        let token = auth.mails(1).await[0].token("recover");
        auth.recover(&token, NEW).await.unwrap();
        auth.no_more_mails(2).await;
        let reply = auth.sessions().create_session(sign_in(ANNA, NEW, false)).await.unwrap().into_inner();
        let Some(SignIn::MfaChallenge(challenge)) = reply.result else { panic!("no second factor was asked for") };
        let session = auth.complete(&challenge.challenge_token, totp(auth.code(&holder.secret))).await.unwrap();

        auth.start_recovery(ANNA).await.unwrap();
        let token = auth.mails(1).await[0].token("recover");
        let operator = auth.operator().await;
        let lock = pb::LockAccountRequest { account_id: session.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        rejected(auth.recover(&token, PASSWORD).await);
        auth.start_recovery(ANNA).await.unwrap();
        auth.answered(&database.connect().await).await;
        auth.mails(1).await;
    }

    /// A request that is not what was written, and one of an account whose key is lost, keep nobody else waiting.
    async fn broken_requests(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up(ANNA).await;
        let bert = auth.sign_up("bert@example.org").await;
        auth.sign_up("carl@example.org").await;
        auth.no_more_mails(3).await;
        let store = database.connect().await;
        auth.emptied(&store).await;
        let (mesh, mut config) = auth.stop().await;
        // Asked of a service that answers none, since another is at it.
        let clock = portal_core::Clock::now(&*mesh.clock).as_micros();
        let lease = "UPDATE lease SET holder = $1, expires_at = $2 WHERE name = 'auth-post'";
        let other = uuid::Uuid::from_u128(1);
        assert_eq!(sql::run(&store, lease, [other.into(), (clock + 3_600_000_000).into()]).await, 1);
        config.identity = mesh.identity(portal_core::Workload::Auth);
        let auth = Auth::with(mesh, config).await;
        for email in [ANNA, "bert@example.org", "carl@example.org"] {
            auth.start_recovery(email).await.unwrap();
            auth.advance(1);
        }
        let first = "UPDATE recovery_request SET requested_at = requested_at + 1 WHERE requested_at = (SELECT MIN(requested_at) FROM recovery_request)";
        assert_eq!(sql::run(&store, first, []).await, 1);
        let entropy = std::sync::Arc::new(portal_core::SystemEntropy);
        let keys = portal_store::Database::connect(&auth.config.keys.database, entropy, Default::default()).await.unwrap();
        let lost = format!("DELETE FROM subject_key WHERE subject_id = {}", sql::id(&keys, &bert.subject_id));
        assert_eq!(sql::run(&keys, &lost, []).await, 1);
        auth.advance(3_600);
        auth.answered(&store).await;
        assert_eq!(auth.mails(1).await[0].to, "carl@example.org");
    }

    /// How often somebody asks is limited as sign-ins are.
    async fn asking_is_limited(database) {
        let auth = Auth::with_mail(database).await;
        let auth = auth.restart_with(|config| config.passwords.account_per_minute = std::num::NonZeroU32::new(3).unwrap()).await;
        for _ in 0..3 {
            auth.start_recovery("nobody@example.org").await.unwrap();
        }
        refused(auth.start_recovery("nobody@example.org").await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        auth.start_recovery("somebody@example.org").await.unwrap();
    }
}
