//! Names and e-mail addresses: confirmed by a mail, changed by whoever may.

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use prost_types::FieldMask;
use tonic::{Code, Status};

use crate::fixture::{Auth, PASSWORD, refused};
use crate::sql;

const ANNA: &str = "anna@example.org";
const ANNE: &str = "anne@example.org";

impl Auth {
    pub async fn update(
        &self,
        by: &pb::Session,
        account: pb::Account,
        paths: &[&str],
    ) -> Result<pb::Account, Status> {
        let update_mask = Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
        let request = pb::UpdateAccountRequest { account: Some(account), update_mask, ..Default::default() };
        Ok(self.accounts().update_account(self.by(by, request).await).await?.into_inner())
    }

    /// Asks for another e-mail address, a minute after the last mail.
    pub async fn readdress(&self, by: &pb::Session, email: &str) -> Result<pb::Account, Status> {
        self.advance(60);
        self.readdress_at_once(by, email).await
    }

    pub async fn readdress_at_once(&self, by: &pb::Session, email: &str) -> Result<pb::Account, Status> {
        let (account_id, email) = (by.account_id.clone(), email.to_owned());
        self.update(by, pb::Account { account_id, email, ..Default::default() }, &["email"]).await
    }
}

impl Auth {
    /// Asks for [`ANNE`] as the address of whoever has [`ANNA`], and returns the token that confirms it.
    async fn asked(&self, session: &pb::Session) -> String {
        assert_eq!(self.readdress(session, ANNE).await.unwrap().pending_email, ANNE);
        let token = self.mails(2).await.iter().find(|mail| mail.to == ANNE).unwrap().token("verify-email");
        self.no_more_mails(2).await;
        token
    }

    async fn lock(&self, operator: &pb::Session, account_id: &str) -> pb::Account {
        let lock = pb::LockAccountRequest { account_id: account_id.to_owned(), ..Default::default() };
        self.accounts().lock_account(self.by(operator, lock).await).await.unwrap().into_inner()
    }

    async fn unlock(&self, operator: &pb::Session, account_id: &str) {
        let unlock = pb::UnlockAccountRequest { account_id: account_id.to_owned(), ..Default::default() };
        self.accounts().unlock_account(self.by(operator, unlock).await).await.unwrap();
    }
}

#[track_caller]
fn rejected<T: std::fmt::Debug>(result: Result<T, Status>) {
    refused(result, Code::InvalidArgument, "INVALID_FIELD");
}

each_database! {
    /// A token confirms an address once, for a day; rubbish and the tokens of recoveries do not.
    async fn an_address_is_confirmed_once(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        assert_eq!(anna.email_verify_time, None);
        let token = auth.mails(1).await[0].token("verify-email");
        let mut other = token.clone().into_bytes();
        other[0] = if other[0] == b'A' { b'B' } else { b'A' };
        for wrong in ["", "x", &String::from_utf8(other).unwrap(), &format!("{token}=")] {
            rejected(auth.verify(wrong).await);
        }
        let verified = auth.verify(&token).await.unwrap();
        assert_eq!(verified.account_id, anna.account_id);
        assert!(verified.email_verify_time.is_some());
        rejected(auth.verify(&token).await);
        let auth = auth.restart().await;
        let found = auth.get(&session, &anna.account_id).await.unwrap();
        assert_eq!((found.email_verify_time, found.email.as_str()), (verified.email_verify_time, ANNA));
        assert_ne!(found.etag, anna.etag);
        let operator = auth.operator().await;
        let (listed, _) = auth.listed(&operator).await;
        assert!(listed.contains(&found));

        auth.no_more_mails(1).await;
        auth.sign_up("bert@example.org").await;
        let late = auth.mails(1).await[0].token("verify-email");
        auth.advance(24 * 3_600);
        rejected(auth.verify(&late).await);
        let actions = auth.actions(&auth.operator().await).await;
        // One that was made up, one that was used, one that was late; what can't be a token leaves no trace.
        assert_eq!(actions.iter().filter(|it| **it == "account.verify_email/MAIL_TOKEN_REJECTED").count(), 3);
    }

    /// A request that is sent again gets the reply that was lost, though its token is used.
    async fn a_lost_reply_is_told_again(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up(ANNA).await;
        let request = pb::VerifyEmailRequest {
            verification_token: auth.mails(1).await[0].token("verify-email"),
            request_id: "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned(),
        };
        let first = auth.accounts().verify_email(request.clone()).await.unwrap().into_inner();
        auth.advance(60);
        assert_eq!(auth.accounts().verify_email(request.clone()).await.unwrap().into_inner(), first);
        let foreign = pb::VerifyEmailRequest { verification_token: "x".repeat(43), ..request };
        assert!(auth.accounts().verify_email(foreign).await.is_err());
    }

    /// The new address signs in when it is confirmed, and the old one until then; the old one is told, before and after.
    async fn an_address_changes_when_it_is_confirmed(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let first = auth.mails(1).await[0].token("verify-email");
        auth.no_more_mails(1).await;
        let asked = auth.readdress(&session, " Anne@Example.ORG").await.unwrap();
        assert_eq!((asked.email.as_str(), asked.pending_email.as_str()), (ANNA, ANNE));
        let mails = auth.mails(2).await;
        let to = |address: &str| mails.iter().find(|mail| mail.to == address).unwrap();
        assert_eq!(to(ANNA).subject, "Your e-mail address is to change");
        assert!(!to(ANNA).text.contains("#verify"));
        let token = to(ANNE).token("verify-email");
        assert!(auth.try_sign_in(ANNE, PASSWORD).await.is_err());
        rejected(auth.verify(&first).await);
        auth.no_more_mails(2).await;

        auth.verify(&token).await.unwrap();
        let changed = auth.get(&session, &anna.account_id).await.unwrap();
        assert_eq!((changed.email.as_str(), changed.pending_email.as_str()), (ANNE, ""));
        assert!(changed.email_verify_time.is_some());
        assert!(auth.try_sign_in(ANNA, PASSWORD).await.is_err());
        assert!(auth.try_sign_in(ANNE, PASSWORD).await.is_ok());
        let mails = auth.mails(1).await;
        assert_eq!((mails[0].to.as_str(), mails[0].subject.as_str()), (ANNA, "Your e-mail address was changed"));
        auth.sign_up(ANNA).await;
        assert!(auth.try_sign_in(ANNA, PASSWORD).await.is_ok(), "the address is free again");
    }

    /// A later change, and the address of now again, give up what waits: its token is worth nothing.
    async fn a_change_is_taken_back(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        auth.verify(&auth.mails(1).await[0].token("verify-email")).await.unwrap();
        auth.no_more_mails(1).await;
        auth.readdress(&session, ANNE).await.unwrap();
        let given_up = auth.mails(2).await.iter().find(|mail| mail.to == ANNE).unwrap().token("verify-email");
        auth.no_more_mails(2).await;
        auth.readdress(&session, "other@example.org").await.unwrap();
        rejected(auth.verify(&given_up).await);
        let other = auth.mails(2).await.iter().find(|mail| mail.to == "other@example.org").unwrap().token("verify-email");
        auth.no_more_mails(2).await;
        let taken_back = auth.readdress(&session, ANNA).await.unwrap();
        assert_eq!(taken_back.pending_email, "");
        assert!(taken_back.email_verify_time.is_some());
        rejected(auth.verify(&other).await);
        assert_eq!(auth.get(&session, &anna.account_id).await.unwrap().email, ANNA);
    }

    /// A person who lost the mail gets another, and the first is worth nothing; nobody learns that an address is taken but who
    /// confirms it.
    async fn again_and_taken(database) {
        let auth = Auth::with_mail(database).await;
        let (_, session) = auth.person(ANNA).await;
        let first = auth.mails(1).await[0].token("verify-email");
        auth.no_more_mails(1).await;
        auth.advance(59);
        let early = auth.readdress_at_once(&session, ANNA).await;
        refused(early, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        auth.readdress(&session, ANNA).await.unwrap();
        let again = auth.mails(1).await[0].token("verify-email");
        rejected(auth.verify(&first).await);
        auth.verify(&again).await.unwrap();
        auth.no_more_mails(1).await;

        auth.sign_up("bert@example.org").await;
        auth.no_more_mails(1).await;
        let taken = auth.readdress(&session, "bert@example.org").await.unwrap();
        assert_eq!(taken.pending_email, "bert@example.org");
        let mails = auth.mails(2).await;
        let token = mails.iter().find(|mail| mail.to == "bert@example.org").unwrap().token("verify-email");
        refused(auth.verify(&token).await, Code::AlreadyExists, "EMAIL_TAKEN");
        assert!(auth.try_sign_in("bert@example.org", PASSWORD).await.is_ok());
        assert!(auth.try_sign_in(ANNA, PASSWORD).await.is_ok());
    }

    /// Whoever sets a new password, recovers an account or locks it ends what somebody else may have begun: another address is
    /// asked for no longer, and its token is worth nothing.
    async fn who_secures_an_account_takes_an_address_back(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let id = &*anna.account_id;
        auth.no_more_mails(1).await;
        let token = auth.asked(&session).await;
        let words = "words that nobody else would choose";
        auth.change_password(&session, (id, PASSWORD, words), "").await.unwrap();
        assert_eq!(auth.get(&session, id).await.unwrap().pending_email, "");
        rejected(auth.verify(&token).await);

        let token = auth.asked(&session).await;
        auth.start_recovery(ANNA).await.unwrap();
        let recovery = auth.mails(1).await[0].token("recover");
        auth.recover(&recovery, PASSWORD).await.unwrap();
        auth.no_more_mails(2).await;
        let session = auth.sign_in(ANNA).await;
        assert_eq!(auth.get(&session, id).await.unwrap().pending_email, "");
        rejected(auth.verify(&token).await);

        let token = auth.asked(&session).await;
        let operator = auth.operator().await;
        assert_eq!(auth.lock(&operator, id).await.pending_email, "");
        assert_eq!(auth.get(&operator, id).await.unwrap().pending_email, "");
        auth.unlock(&operator, id).await;
        rejected(auth.verify(&token).await);
        let found = auth.get(&operator, id).await.unwrap();
        assert_eq!((found.email.as_str(), found.pending_email.as_str()), (ANNA, ""));
        assert!(auth.try_sign_in(ANNE, PASSWORD).await.is_err());
    }

    /// Nobody confirms anything for an account that is locked; afterwards the same token does.
    async fn a_locked_account_confirms_nothing(database) {
        let auth = Auth::with_mail(database).await;
        let anna = auth.sign_up(ANNA).await;
        let token = auth.mails(1).await[0].token("verify-email");
        let operator = auth.operator().await;
        auth.lock(&operator, &anna.account_id).await;
        rejected(auth.verify(&token).await);
        assert_eq!(auth.get(&operator, &anna.account_id).await.unwrap().email_verify_time, None);
        auth.unlock(&operator, &anna.account_id).await;
        auth.verify(&token).await.unwrap();
    }

    /// Whoever takes a change back and asks again gets no mail sooner for it.
    async fn a_minute_is_between_two_mails_whatever_is_taken_back(database) {
        let auth = Auth::with_mail(database).await;
        let (_, session) = auth.person(ANNA).await;
        auth.verify(&auth.mails(1).await[0].token("verify-email")).await.unwrap();
        auth.no_more_mails(1).await;
        let token = auth.asked(&session).await;
        for _ in 0..2 {
            assert_eq!(auth.readdress_at_once(&session, ANNA).await.unwrap().pending_email, "");
            rejected(auth.verify(&token).await);
            for email in [ANNE, "other@example.org"] {
                let early = auth.readdress_at_once(&session, email).await;
                refused(early, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
            }
            auth.advance(29);
        }
        auth.advance(2);
        assert_eq!(auth.readdress_at_once(&session, ANNE).await.unwrap().pending_email, ANNE);
        rejected(auth.verify(&token).await);
    }

    /// A profile is changed by who has just proven who they are: a session that was left open is not enough.
    async fn an_old_sign_in_changes_no_profile(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        auth.advance(8 * 60);
        let session = auth.refresh(&session).await.unwrap();
        auth.advance(8 * 60);
        let stale = auth.readdress_at_once(&session, ANNE).await;
        refused(stale, Code::Unauthenticated, "STEP_UP_REQUIRED");
        let renamed = pb::Account { display_name: "Anne".to_owned(), ..anna.clone() };
        let stale = auth.update(&session, renamed.clone(), &["display_name"]).await;
        refused(stale, Code::Unauthenticated, "STEP_UP_REQUIRED");
        let read = auth.get(&session, &anna.account_id).await.unwrap();
        assert_eq!((read.display_name, read.pending_email.as_str()), (anna.display_name, ""));
        let fresh = auth.sign_in(ANNA).await;
        auth.update(&fresh, renamed, &["display_name"]).await.unwrap();
    }

    /// A list names what is wrong with what is known of an address: it does not show one that was confirmed as one that was not.
    async fn a_list_leaves_out_what_is_corrupt(database) {
        crate::logs::capture();
        let auth = Auth::with_mail(database).await;
        let anna = auth.sign_up(ANNA).await;
        auth.verify(&auth.mails(1).await[0].token("verify-email")).await.unwrap();
        let operator = auth.operator().await;
        let (listed, withheld) = auth.listed(&operator).await;
        assert_eq!((listed.len(), withheld), (2, 0));
        let store = database.connect().await;
        let of = sql::id(&store, &anna.account_id);
        let corrupt = format!("UPDATE account_contact SET verified_at = verified_at + 1 WHERE account_id = {of}");
        assert_eq!(sql::run(&store, &corrupt, []).await, 1);
        let (listed, withheld) = auth.listed(&operator).await;
        assert!(listed.iter().all(|account| account.email != ANNA));
        assert_eq!((listed.len(), withheld), (1, 1));
        refused(auth.get(&operator, &anna.account_id).await, Code::DataLoss, "ROW_CORRUPT");
        let told = |line: &&str| line.contains("left out of a list") && line.contains(&anna.account_id);
        assert!(crate::logs::captured().lines().any(|line| told(&line)));
    }

    /// Only what the mask names changes, of the version that was read, by its owner or an operator.
    async fn masks_etags_and_strangers(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let (_, berts) = auth.person("bert@example.org").await;
        let wanted = pb::Account { display_name: "Anne".to_owned(), email: "rubbish".to_owned(), ..anna.clone() };
        let renamed = auth.update(&session, wanted.clone(), &["display_name"]).await.unwrap();
        assert_eq!((renamed.display_name.as_str(), renamed.email.as_str()), ("Anne", ANNA));
        let stale = auth.update(&session, wanted.clone(), &["display_name"]).await;
        refused(stale, Code::Aborted, "ETAG_MISMATCH");
        let wanted = pb::Account { etag: String::new(), ..wanted };
        rejected(auth.update(&session, wanted.clone(), &["email"]).await);
        rejected(auth.update(&session, wanted.clone(), &["roles"]).await);
        rejected(auth.update(&session, wanted.clone(), &[]).await);
        let long = pb::Account { display_name: "x".repeat(201), ..wanted.clone() };
        rejected(auth.update(&session, long, &["display_name"]).await);
        let foreign = auth.update(&berts, wanted.clone(), &["display_name"]).await;
        refused(foreign, Code::PermissionDenied, "NOT_YOUR_DATA");
        let operator = auth.operator().await;
        let by_operator = pb::Account { display_name: "By the operator".to_owned(), ..wanted };
        assert!(auth.update(&operator, by_operator, &["display_name"]).await.is_ok());
        let found = auth.get(&session, &anna.account_id).await.unwrap();
        assert_eq!((found.display_name.as_str(), found.email.as_str()), ("By the operator", ANNA));
        assert_eq!(auth.try_sign_in(ANNA, PASSWORD).await.unwrap().account_id, anna.account_id);
    }
}
