//! What is held of a person, for that person.

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::factors::totp;
use crate::fixture::{Auth, OPERATOR, refused};

const ANNA: &str = "anna@example.org";

impl Auth {
    pub async fn export(
        &self,
        by: &pb::Session,
        account_id: &str,
        page: (i32, &str),
    ) -> Result<pb::ExportAccountResponse, Status> {
        let (page_size, page_token) = (page.0, page.1.to_owned());
        let request = pb::ExportAccountRequest { account_id: account_id.to_owned(), page_size, page_token };
        Ok(self.accounts().export_account(self.by(by, request).await).await?.into_inner())
    }
}

each_database! {
    /// Profile, factors without secrets, sessions without tokens, and what happened; nothing of anybody else.
    async fn all_of_it_and_no_secret(database) {
        let auth = Auth::with_mail(database).await;
        let holder = auth.holder(ANNA).await;
        let (session, id) = (&holder.session, &holder.session.account_id);
        let operator = auth.operator().await;
        let roles = pb::SetRolesRequest { account_id: id.clone(), roles: vec!["auditor".to_owned()], ..Default::default() };
        auth.accounts().set_roles(auth.by(&operator, roles).await).await.unwrap();
        let challenge = auth.challenge(ANNA).await;
        let fresh = auth.complete(&challenge.challenge_token, totp(auth.code(&holder.secret))).await.unwrap();
        auth.readdress(&fresh, "anne@example.org").await.unwrap();
        auth.advance(1);

        let export = auth.export(session, id, (1_000, "")).await.unwrap();
        let account = export.account.clone().unwrap();
        assert_eq!((account.email.as_str(), account.pending_email.as_str()), (ANNA, "anne@example.org"));
        assert_eq!(account, auth.get(session, id).await.unwrap());
        let mut kinds: Vec<_> = export.factors.iter().map(pb::Factor::r#type).collect();
        kinds.sort_by_key(|kind| *kind as i32);
        assert_eq!(kinds, [pb::FactorType::Totp, pb::FactorType::RecoveryCodes]);
        assert_eq!(export.sessions.len(), 2);
        assert!(export.sessions.iter().all(|session| session.device_name == "Anna's laptop"));
        let actions: Vec<_> = export.audit_events.iter().map(|event| event.action.as_str()).collect();
        for action in ["account.export", "account.update", "account.set_roles", "factor.confirm", "session.create", "account.create"] {
            assert!(actions.contains(&action), "{action} in {actions:?}");
        }
        assert!(export.audit_events.iter().all(|event| event.account_id == *id));
        let text = format!("{export:?}");
        for secret in [&holder.secret, &session.access_token, &session.refresh_token, &operator.account_id, &OPERATOR.to_owned()] {
            assert!(!text.contains(secret.as_str()), "{secret}");
        }
        assert!(export.next_page_token.is_empty() && export.export_time.is_some());
    }

    /// Events come in pages, the rest with the first; nobody but the owner gets any.
    async fn pages_and_strangers(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let (_, berts) = auth.person("bert@example.org").await;
        for _ in 0..3 {
            auth.advance(1);
            auth.sign_in(ANNA).await;
        }
        let id = &anna.account_id;
        let (mut token, mut events, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let page = auth.export(&session, id, (2, &token)).await.unwrap();
            assert_eq!(page.account.is_some(), pages == 0);
            assert_eq!(page.sessions.is_empty(), pages != 0);
            assert!(page.audit_events.len() <= 2);
            events.extend(page.audit_events.into_iter().map(|event| event.audit_event_id));
            pages += 1;
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        // That the account was created, four sign-ins, and the export.
        assert_eq!((events.len(), pages), (6, 3));
        events.dedup();
        assert_eq!(events.len(), 6);
        refused(auth.export(&berts, id, (0, "")).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        let operator = auth.operator().await;
        refused(auth.export(&operator, id, (0, "")).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        refused(auth.export(&session, id, (-1, "")).await, Code::InvalidArgument, "INVALID_FIELD");
        refused(auth.export(&session, id, (2, "x")).await, Code::InvalidArgument, "INVALID_FIELD");
    }
}
