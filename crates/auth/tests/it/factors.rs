//! Second factors: asked for at the sign-in, good once, and nobody's but their owner's.

use futures_util::future::join_all;
use portal_core::Clock;
use portal_mesh::MeshChannel;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_proto::auth::v1::factor_proof::Proof;
use portal_proto::auth::v1::mfa_service_client::MfaServiceClient;
use portal_testkit::each_database;
use tonic::{Code, Request, Status};
use totp_rs::{Builder, Secret};

use crate::fixture::{Auth, PASSWORD, new_account, refused, retry_seconds, sign_in, subject};
use crate::sql;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const TOTP: i32 = pb::FactorType::Totp as i32;
const CODES: i32 = pb::FactorType::RecoveryCodes as i32;

/// Somebody with an authenticator and recovery codes.
pub struct Holder {
    pub session: pb::Session,
    pub secret: String,
    pub factor: pb::Factor,
    pub codes: Vec<String>,
}

pub fn totp(code: String) -> Option<pb::FactorProof> {
    Some(pb::FactorProof { proof: Some(Proof::TotpCode(code)) })
}

pub fn recovery(code: &str) -> Option<pb::FactorProof> {
    Some(pb::FactorProof { proof: Some(Proof::RecoveryCode(code.to_owned())) })
}

impl Auth {
    pub fn factors(&self) -> MfaServiceClient<MeshChannel> {
        MfaServiceClient::new(self.channel())
    }

    /// What an authenticator with this secret shows now.
    pub fn code(&self, secret: &str) -> String {
        let secret = Secret::try_from_base32(secret).unwrap();
        let now = u64::try_from(self.mesh.clock.now().as_seconds()).unwrap();
        Builder::new().with_secret(secret).build().unwrap().generate(now).to_string()
    }

    fn wrong_code(&self, secret: &str) -> String {
        let right: u32 = self.code(secret).parse().unwrap();
        format!("{:06}", (right + 500_000) % 1_000_000)
    }

    pub async fn enroll(&self, session: &pb::Session) -> pb::EnrollTotpResponse {
        let account_id = session.account_id.clone();
        let request = pb::EnrollTotpRequest { account_id, display_name: "Anna's phone".to_owned() };
        self.factors().enroll_totp(self.by(session, request).await).await.unwrap().into_inner()
    }

    pub async fn confirm(
        &self,
        session: &pb::Session,
        factor_id: &str,
        code: String,
    ) -> Result<pb::ConfirmTotpResponse, Status> {
        let (account_id, factor_id) = (session.account_id.clone(), factor_id.to_owned());
        let request = pb::ConfirmTotpRequest { account_id, factor_id, code };
        Ok(self.factors().confirm_totp(self.by(session, request).await).await?.into_inner())
    }

    /// Signs somebody up and in, and turns TOTP on.
    pub async fn holder(&self, email: &str) -> Holder {
        let (_, session) = self.person(email).await;
        let enrolled = self.enroll(&session).await;
        let code = self.code(&enrolled.secret);
        let confirmed = self.confirm(&session, &enrolled.factor_id, code).await.unwrap();
        // The code that confirmed it is used up.
        self.advance(30);
        let factor = confirmed.factor.unwrap();
        Holder { session, secret: enrolled.secret, factor, codes: confirmed.recovery_codes }
    }

    /// A sign-in with the right password that asks for more.
    pub async fn challenge(&self, email: &str) -> pb::MfaChallenge {
        let reply = self.sessions().create_session(sign_in(email, PASSWORD, true)).await.unwrap();
        match reply.into_inner().result {
            Some(SignIn::MfaChallenge(challenge)) => challenge,
            other => panic!("no challenge: {other:?}"),
        }
    }

    pub async fn complete(&self, token: &str, proof: Option<pb::FactorProof>) -> Result<pb::Session, Status> {
        let request =
            pb::CompleteMfaRequest { challenge_token: token.to_owned(), proof, raise_session: false };
        Ok(self.sessions().complete_mfa(request).await?.into_inner())
    }

    pub async fn factors_of(&self, session: &pb::Session) -> Vec<pb::Factor> {
        let request = pb::ListFactorsRequest { account_id: session.account_id.clone(), ..Default::default() };
        self.factors().list_factors(self.by(session, request).await).await.unwrap().into_inner().factors
    }

    pub async fn disable(&self, session: &pb::Session, proof: Option<pb::FactorProof>) -> Result<(), Status> {
        let request = pb::DisableTotpRequest { account_id: session.account_id.clone(), proof };
        self.factors().disable_totp(self.by(session, request).await).await.map(drop)
    }
}

#[track_caller]
fn rejected(result: Result<pb::Session, Status>) {
    refused(result, Code::Unauthenticated, "CHALLENGE_REJECTED");
}

each_database! {
    /// What waits for its first code changes nothing; from then on the password alone gives a challenge and no token.
    async fn a_second_factor_is_asked_for(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let enrolled = auth.enroll(&session).await;
        assert!(enrolled.otpauth_uri.starts_with("otpauth://totp/Portal:anna%40example.org?"), "{}", enrolled.otpauth_uri);
        assert!(auth.sign_in(ANNA).await.acr == "pwd" && auth.factors_of(&session).await.is_empty());
        let wrong = auth.confirm(&session, &enrolled.factor_id, auth.wrong_code(&enrolled.secret)).await;
        refused(wrong, Code::InvalidArgument, "INVALID_FIELD");
        let confirmed = auth.confirm(&session, &enrolled.factor_id, auth.code(&enrolled.secret)).await.unwrap();
        assert_eq!(confirmed.recovery_codes.len(), 10);
        let again = auth.confirm(&session, &enrolled.factor_id, auth.code(&enrolled.secret)).await;
        refused(again, Code::FailedPrecondition, "NOTHING_TO_CONFIRM");

        let challenge = auth.challenge(ANNA).await;
        let mut kinds = challenge.factor_types.clone();
        kinds.sort_unstable();
        assert_eq!(kinds, [TOTP, CODES]);
        assert!(auth.exchange(&challenge.challenge_token, "consent").await.is_err());
        refused(auth.try_sign_in(ANNA, "wrong").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        // The code that confirmed it is used up.
        rejected(auth.complete(&challenge.challenge_token, totp(auth.code(&enrolled.secret))).await);
        auth.advance(30);
        let signed_in = auth.complete(&challenge.challenge_token, totp(auth.code(&enrolled.secret))).await.unwrap();
        assert!(signed_in.acr == "mfa" && signed_in.remember_me && signed_in.device_name == "Anna's laptop");
        assert!(auth.exchange(&signed_in.access_token, "consent").await.is_ok());
        let request = pb::EnrollTotpRequest { account_id: session.account_id.clone(), ..Default::default() };
        let again = auth.factors().enroll_totp(auth.by(&signed_in, request).await).await;
        refused(again.map(drop), Code::FailedPrecondition, "TOTP_ON");
        let introspected = pb::IntrospectTokenRequest { token: signed_in.access_token.clone(), ..Default::default() };
        assert_eq!(auth.tokens().introspect_token(introspected).await.unwrap().into_inner().acr, "mfa");
        assert_eq!(auth.refresh(&signed_in).await.unwrap().acr, "mfa", "it stays so");
    }

    /// A code, whatever its challenge; a challenge, whatever its code; a recovery code.
    async fn everything_is_good_once(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let [first, second, third] = [auth.challenge(ANNA).await, auth.challenge(ANNA).await, auth.challenge(ANNA).await];
        let code = auth.code(&anna.secret);
        auth.complete(&first.challenge_token, totp(code.clone())).await.unwrap();
        rejected(auth.complete(&second.challenge_token, totp(code)).await);
        rejected(auth.complete(&first.challenge_token, recovery(&anna.codes[0])).await);
        let typed = anna.codes[0].to_lowercase().replace('-', " ");
        auth.complete(&second.challenge_token, recovery(&typed)).await.unwrap();
        rejected(auth.complete(&third.challenge_token, recovery(&anna.codes[0])).await);
        auth.complete(&third.challenge_token, recovery(&anna.codes[1])).await.unwrap();
        let factors = auth.factors_of(&anna.session).await;
        let codes = factors.iter().find(|factor| factor.r#type == CODES).unwrap();
        assert!(codes.remaining_codes == 8 && codes.last_use_time.is_some());
        let phone = factors.iter().find(|factor| factor.r#type == TOTP).unwrap();
        assert!(phone.display_name == "Anna's phone" && phone.factor_id == anna.factor.factor_id);
    }

    /// Of many who send the same code at once one gets in, whichever challenges they have.
    async fn a_code_is_good_once_at_once(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let challenges = join_all((0..4).map(|_| auth.challenge(ANNA))).await;
        let code = auth.code(&anna.secret);
        let all = challenges.iter().flat_map(|challenge| [challenge; 2]);
        let all = join_all(all.map(|challenge| auth.complete(&challenge.challenge_token, totp(code.clone())))).await;
        assert_eq!(all.iter().filter(|result| result.is_ok()).count(), 1, "{all:?}");
    }

    /// After five minutes, after any change of the account, after it was locked; and one that nobody gave.
    async fn a_challenge_ends(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let operator = auth.operator().await;
        let late = auth.challenge(ANNA).await;
        auth.advance(300);
        rejected(auth.complete(&late.challenge_token, totp(auth.code(&anna.secret))).await);
        rejected(auth.complete("not-a-challenge", totp(auth.code(&anna.secret))).await);
        rejected(auth.complete(&anna.session.refresh_token, totp(auth.code(&anna.secret))).await);
        let changed = auth.challenge(ANNA).await;
        let roles = pb::SetRolesRequest { account_id: anna.session.account_id.clone(), roles: vec!["auditor".to_owned()], ..Default::default() };
        auth.accounts().set_roles(auth.by(&operator, roles).await).await.unwrap();
        rejected(auth.complete(&changed.challenge_token, totp(auth.code(&anna.secret))).await);
        let locked = auth.challenge(ANNA).await;
        let lock = pb::LockAccountRequest { account_id: anna.session.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        rejected(auth.complete(&locked.challenge_token, totp(auth.code(&anna.secret))).await);
        let unlock = pb::UnlockAccountRequest { account_id: anna.session.account_id.clone(), ..Default::default() };
        auth.accounts().unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        // It is in the database: a restart, or another replica, does not end it.
        let open = auth.challenge(ANNA).await;
        let auth = auth.restart().await;
        auth.complete(&open.challenge_token, totp(auth.code(&anna.secret))).await.unwrap();
    }

    /// Five wrong proofs lock the factors for a growing time, in sign-ins and elsewhere; the right one is refused meanwhile.
    async fn guesses_lock(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let challenge = auth.challenge(ANNA).await;
        for _ in 0..3 {
            rejected(auth.complete(&challenge.challenge_token, totp(auth.wrong_code(&anna.secret))).await);
        }
        for _ in 0..2 {
            let wrong = auth.disable(&anna.session, recovery("AAAA-BBBB-CCCC-DDDD")).await;
            refused(wrong, Code::PermissionDenied, "FACTOR_REJECTED");
        }
        for proof in [totp(auth.code(&anna.secret)), recovery(&anna.codes[0])] {
            let locked = auth.complete(&challenge.challenge_token, proof).await.unwrap_err();
            assert_eq!(retry_seconds(&locked), 60);
            refused::<()>(Err(locked), Code::ResourceExhausted, "FACTOR_LOCKED");
        }
        let locked = auth.disable(&anna.session, recovery(&anna.codes[0])).await;
        refused(locked, Code::ResourceExhausted, "FACTOR_LOCKED");
        // Whoever does not know the password learns nothing of it.
        refused(auth.try_sign_in(ANNA, "wrong").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        auth.advance(60);
        auth.complete(&challenge.challenge_token, totp(auth.code(&anna.secret))).await.unwrap();

        let challenge = auth.challenge(ANNA).await;
        for _ in 0..5 {
            rejected(auth.complete(&challenge.challenge_token, totp(auth.wrong_code(&anna.secret))).await);
        }
        let operator = auth.operator().await;
        let unlock = pb::UnlockAccountRequest { account_id: anna.session.account_id.clone(), ..Default::default() };
        auth.accounts().unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        let challenge = auth.challenge(ANNA).await;
        auth.complete(&challenge.challenge_token, recovery(&anna.codes[0])).await.unwrap();
    }

    /// Without the owner's token nobody reads, sets or removes a factor: not another person, not an operator.
    async fn factors_are_their_owners_alone(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let (_, bert) = auth.person(BERT).await;
        let operator = auth.operator().await;
        let (account_id, factor_id) = (anna.session.account_id.clone(), anna.factor.factor_id.clone());
        let proof = || totp(auth.code(&anna.secret));
        for other in [Some(&bert), Some(&operator), None] {
            let (code, reason) = match other {
                Some(_) => (Code::PermissionDenied, "NOT_YOUR_DATA"),
                None => (Code::Unauthenticated, "TOKEN_MISSING"),
            };
            macro_rules! refuses {
                ($method:ident, $message:expr) => {
                    let message = $message;
                    let request = match other {
                        Some(session) => auth.by(session, message).await,
                        None => Request::new(message),
                    };
                    refused(auth.factors().$method(request).await.map(drop), code, reason);
                };
            }
            refuses!(enroll_totp, pb::EnrollTotpRequest { account_id: account_id.clone(), ..Default::default() });
            refuses!(confirm_totp, pb::ConfirmTotpRequest { account_id: account_id.clone(), factor_id: factor_id.clone(), code: auth.code(&anna.secret) });
            refuses!(disable_totp, pb::DisableTotpRequest { account_id: account_id.clone(), proof: proof() });
            refuses!(regenerate_recovery_codes, pb::RegenerateRecoveryCodesRequest { account_id: account_id.clone(), proof: proof() });
            refuses!(list_factors, pb::ListFactorsRequest { account_id: account_id.clone(), ..Default::default() });
            refuses!(delete_factor, pb::DeleteFactorRequest { account_id: account_id.clone(), factor_id: factor_id.clone(), proof: proof() });
        }
        // With one's own account and somebody else's factor there is nothing to be found.
        let request = pb::DeleteFactorRequest { account_id: bert.account_id.clone(), factor_id, proof: proof() };
        let status = auth.factors().delete_factor(auth.by(&bert, request).await).await;
        refused(status.map(drop), Code::NotFound, "FACTOR_NOT_FOUND");
        assert_eq!(auth.factors_of(&anna.session).await.len(), 2);
    }

    /// Whoever removes a factor has to prove one; without any the password is enough again.
    async fn removing_takes_a_factor(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let account_id = anna.session.account_id.clone();
        refused(auth.disable(&anna.session, None).await, Code::InvalidArgument, "INVALID_FIELD");
        refused(auth.disable(&anna.session, totp("12345".to_owned())).await, Code::InvalidArgument, "INVALID_FIELD");
        refused(auth.disable(&anna.session, totp(auth.wrong_code(&anna.secret))).await, Code::PermissionDenied, "FACTOR_REJECTED");
        let regenerate = |proof| pb::RegenerateRecoveryCodesRequest { account_id: account_id.clone(), proof };
        let request = auth.by(&anna.session, regenerate(recovery(&anna.codes[0]))).await;
        let codes = auth.factors().regenerate_recovery_codes(request).await.unwrap().into_inner().recovery_codes;
        assert_eq!(codes.len(), 10);
        refused(auth.disable(&anna.session, recovery(&anna.codes[1])).await, Code::PermissionDenied, "FACTOR_REJECTED");
        auth.disable(&anna.session, recovery(&codes[0])).await.unwrap();
        assert!(auth.factors_of(&anna.session).await.is_empty(), "what they stand in for is gone");
        let session = auth.sign_in(ANNA).await;
        refused(auth.disable(&session, recovery(&codes[1])).await, Code::NotFound, "FACTOR_NOT_FOUND");

        // On again, and off by the id of the factor.
        let enrolled = auth.enroll(&session).await;
        let confirmed = auth.confirm(&session, &enrolled.factor_id, auth.code(&enrolled.secret)).await.unwrap();
        assert_eq!(confirmed.recovery_codes.len(), 10);
        auth.advance(30);
        let delete = pb::DeleteFactorRequest { account_id, factor_id: enrolled.factor_id, proof: totp(auth.code(&enrolled.secret)) };
        let open = auth.challenge(ANNA).await;
        auth.factors().delete_factor(auth.by(&session, delete).await).await.unwrap();
        rejected(auth.complete(&open.challenge_token, totp(auth.code(&enrolled.secret))).await);
        auth.sign_in(ANNA).await;
    }

    /// Nothing of a secret stands in the database; a row that somebody changed lets nobody in, and a lost person's neither.
    async fn what_is_stored_is_of_no_use(database) {
        let auth = Auth::start(database).await;
        let anna = auth.holder(ANNA).await;
        let bert = auth.holder(BERT).await;
        let store = database.connect().await;
        let secret = Secret::try_from_base32(&anna.secret).unwrap();
        let cells = sql::everything(&store, "factor").await;
        let holds = |needle: &[u8]| cells.windows(needle.len()).any(|part| part == needle);
        assert!(holds(b"recovery_codes") && !holds(secret.as_bytes()) && !holds(anna.secret.as_bytes()) && !holds(b"phone"));
        assert!(!holds(anna.codes[0].as_bytes()));
        let challenge = auth.challenge(ANNA).await;
        let id = sql::id(&store, &anna.factor.factor_id);
        let other = sql::id(&store, &bert.factor.factor_id);
        for change in [
            "last_step = NULL".to_owned(),
            "confirmed_at = NULL, pending_until = 1".to_owned(),
            "revision = 1".to_owned(),
            format!("sealed_secret = (SELECT sealed_secret FROM factor WHERE id = {other})"),
        ] {
            sql::run(&store, "CREATE TABLE kept AS SELECT * FROM factor", []).await;
            sql::run(&store, &format!("UPDATE factor SET {change} WHERE id = {id}"), []).await;
            let known = auth.complete(&challenge.challenge_token, totp(auth.code(&anna.secret))).await;
            refused(known, Code::DataLoss, "ROW_CORRUPT");
            refused(auth.try_sign_in(ANNA, PASSWORD).await, Code::DataLoss, "ROW_CORRUPT");
            assert_eq!(auth.challenge(BERT).await.factor_types.len(), 2, "nobody else is kept out");
            sql::run(&store, "DELETE FROM factor", []).await;
            sql::run(&store, "INSERT INTO factor SELECT * FROM kept", []).await;
            sql::run(&store, "DROP TABLE kept", []).await;
        }
        auth.complete(&challenge.challenge_token, totp(auth.code(&anna.secret))).await.unwrap();
        let challenge = auth.challenge(ANNA).await;
        auth.keys().await.erase(subject(&anna.session.subject_id)).await.unwrap();
        auth.advance(61);
        rejected(auth.complete(&challenge.challenge_token, recovery(&anna.codes[0])).await);
    }

    /// A session says how its person proved who they are, and from which network it was used last.
    async fn sessions_say_from_where(database) {
        let auth = Auth::start(database).await;
        auth.accounts().create_account(new_account(ANNA, PASSWORD)).await.unwrap();
        let from = |address: &str, message| {
            let mut request = Request::new(message);
            request.metadata_mut().insert("portal-client-address", address.parse().unwrap());
            request
        };
        let reply = auth.sessions().create_session(from("192.0.2.77", sign_in(ANNA, PASSWORD, false))).await.unwrap();
        let session = crate::fixture::session_of(reply.into_inner());
        assert_eq!((session.last_address.as_str(), session.acr.as_str()), ("192.0.2.0/24", "pwd"));
        let refresh = |session: &pb::Session, address: &str| {
            let refresh_token = session.refresh_token.clone();
            let mut request = Request::new(pb::RefreshSessionRequest { refresh_token });
            request.metadata_mut().insert("portal-client-address", address.parse().unwrap());
            request
        };
        let moved = auth.sessions().refresh_session(refresh(&session, "2001:db8:1:2::3")).await.unwrap().into_inner();
        assert_eq!(moved.last_address, "2001:db8:1::/48");
        let (listed, _) = auth.sessions_of(&moved).await.unwrap();
        assert_eq!(listed[0].last_address, "2001:db8:1::/48");
        let store = database.connect().await;
        let cells = sql::everything(&store, "session_context").await;
        assert!(sql::contains(&cells, "pwd") && !sql::contains(&cells, "2001"));
        sql::run(&store, "UPDATE session_context SET acr = 'mfa'", []).await;
        refused(auth.refresh(&moved).await, Code::DataLoss, "ROW_CORRUPT");
        assert!(auth.exchange(&moved.access_token, "consent").await.is_err());
    }
}
