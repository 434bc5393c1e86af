//! Before a password is looked at it is asked how many were, by this client, with this address and in all.

use std::num::NonZeroU32;

use portal_auth::PasswordConfig;
use portal_testkit::{TestDatabase, TestMesh, each_database};
use tonic::{Code, Request, Status};

use crate::fixture::{self, Auth, PASSWORD, new_account, refused, retry_seconds, sign_in};

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";

async fn start(database: &TestDatabase, limit: impl FnOnce(&mut PasswordConfig, NonZeroU32)) -> Auth {
    let mesh = TestMesh::start().await;
    let mut config = fixture::config(&mesh, database).await;
    limit(&mut config.passwords, NonZeroU32::new(3).unwrap());
    Auth::with(mesh, config).await
}

fn from<T>(client: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("portal-client-address", client.parse().unwrap());
    request
}

impl Auth {
    async fn sign_in_from(&self, client: &str, email: &str) -> Result<(), Status> {
        self.sessions().create_session(from(client, sign_in(email, PASSWORD, false))).await.map(drop)
    }

    async fn sign_up_from(&self, client: &str, email: &str) -> Result<(), Status> {
        self.accounts().create_account(from(client, new_account(email, PASSWORD))).await.map(drop)
    }
}

/// The attempt was one too many: the next may be made after so many seconds.
fn limited(result: Result<(), Status>) -> u64 {
    let status = result.unwrap_err();
    let seconds = retry_seconds(&status);
    refused::<()>(Err(status), Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
    seconds
}

each_database! {
    /// Three a minute with one address, by whomever, with the right password too; nobody else is kept from anything.
    async fn with_one_address(database) {
        let auth = start(database, |config, three| config.account_per_minute = three).await;
        auth.sign_up_from("192.0.2.1", ANNA).await.unwrap();
        auth.sign_in_from("192.0.2.2", ANNA).await.unwrap();
        auth.sign_in_from("192.0.2.3", " Anna@Example.org ").await.unwrap();
        assert_eq!(limited(auth.sign_in_from("192.0.2.4", ANNA).await), 20);
        assert_eq!(limited(auth.sign_up_from("192.0.2.4", ANNA).await), 20);
        auth.sign_up_from("192.0.2.4", BERT).await.unwrap();
        auth.advance(20);
        auth.sign_in_from("192.0.2.4", ANNA).await.unwrap();
        limited(auth.sign_in_from("192.0.2.4", ANNA).await);
    }

    /// Three a minute from one client, with whatever addresses.
    async fn from_one_client(database) {
        let auth = start(database, |config, three| config.client_per_minute = three).await;
        for email in [ANNA, BERT, "carl@example.org"] {
            auth.sign_up_from("2001:db8::1", email).await.unwrap();
        }
        assert_eq!(limited(auth.sign_in_from("2001:db8::2", ANNA).await), 20);
        auth.sign_in_from("2001:db8:0:1::1", ANNA).await.unwrap();
        auth.sign_in_from("192.0.2.1", ANNA).await.unwrap();
    }

    /// Three a second in all. What is turned away was not looked at: no failure is counted.
    async fn from_everybody(database) {
        let auth = start(database, |config, three| config.per_second = Some(three)).await;
        auth.sign_up(ANNA).await;
        auth.sign_in(ANNA).await;
        refused(auth.try_sign_in(BERT, "wrong").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        for _ in 0..10 {
            limited(auth.try_sign_in(ANNA, "wrong").await.map(drop));
        }
        auth.advance(1);
        auth.sign_in(ANNA).await;
    }
}
