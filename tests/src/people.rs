//! People with accounts, signed in.

use std::fs;

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use tonic::Status;

use crate::{Channel, Portal, uuid};

/// The first operator's e-mail address.
pub const OPERATOR: &str = "operator@portal.local";
/// Everybody's password but the operator's.
pub const PASSWORD: &str = "correct horse battery staple";

/// Somebody signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// The account.
    pub account_id: String,
    /// The person, for consent and valuation.
    pub subject_id: String,
    /// What the person signs in with.
    pub email: String,
    /// The session.
    pub session_id: String,
    /// The opaque access token.
    pub token: String,
    /// The opaque refresh token.
    pub refresh_token: String,
}

impl Person {
    /// The connection with this person's token.
    #[must_use]
    pub fn on(&self, channel: &Channel) -> Channel {
        channel.with_token(&self.token)
    }
}

impl Portal {
    /// Signs the first operator in.
    pub async fn operator(&self) -> Person {
        self.operator_signs_in().await.unwrap()
    }

    pub(crate) async fn operator_signs_in(&self) -> Result<Person, Status> {
        let file = self.directory().join("data/operator-password");
        let password =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.sign_in(OPERATOR, password.trim()).await
    }

    /// Signs somebody in.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Person, Status> {
        let request = pb::CreateSessionRequest {
            email: email.to_owned(),
            password: password.to_owned(),
            ..pb::CreateSessionRequest::default()
        };
        let reply =
            SessionServiceClient::new(self.channel().await).create_session(request).await?.into_inner();
        let Some(pb::create_session_response::Result::Session(session)) = reply.result else {
            panic!("a sign-in without a session");
        };
        Ok(Person {
            account_id: session.account_id,
            subject_id: session.subject_id,
            email: email.to_owned(),
            session_id: session.session_id,
            token: session.access_token,
            refresh_token: session.refresh_token,
        })
    }

    /// Registers an account under a new e-mail address and returns it.
    pub async fn register(&self, name: &str) -> pb::Account {
        let request = pb::CreateAccountRequest {
            email: format!("{name}.{}@example.org", uuid()),
            password: PASSWORD.to_owned(),
            display_name: name.to_owned(),
            ..pb::CreateAccountRequest::default()
        };
        let mut accounts = AccountServiceClient::new(self.channel().await);
        accounts.create_account(request).await.unwrap().into_inner()
    }

    /// Registers somebody and signs them in.
    pub async fn person(&self, name: &str) -> Person {
        let account = self.register(name).await;
        self.sign_in(&account.email, PASSWORD).await.unwrap()
    }

    /// Registers somebody to whom the operator gives `roles`, and signs them in.
    pub async fn staff(&self, operator: &Person, roles: &[&str]) -> Person {
        let account = self.register(roles.first().unwrap_or(&"staff")).await;
        let request = pb::SetRolesRequest {
            account_id: account.account_id.clone(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            ..pb::SetRolesRequest::default()
        };
        let channel = operator.on(&self.channel().await);
        AccountServiceClient::new(channel).set_roles(request).await.unwrap();
        self.sign_in(&account.email, PASSWORD).await.unwrap()
    }
}
