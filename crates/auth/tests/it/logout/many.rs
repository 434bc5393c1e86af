//! Sign-ins by the thousand: their session ends as any other, and there are not so many of them.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_authorization_request::Decision;
use portal_store::sealed::RowDigests;
use portal_store::{Database, Metrics, StoreError, Tx, bulk};
use portal_testkit::each_database;
use sea_orm::{Iterable, ModelTrait};
use tonic::Code;
use uuid::Uuid;

use super::{Answer, Application, sid};
use crate::fixture::{Auth, refused};
use crate::oauth::{ISSUER, newsletter, query, tokens};
use crate::sql;

/// A row as the service writes it.
mod client_sign_in {
    use portal_store::sealed::{DigestedRow, Row};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "client_sign_in")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub session_id: Uuid,
        pub origin_session_id: Uuid,
        pub account_id: Uuid,
        pub client_id: Uuid,
        pub issuer: String,
        pub row_digest: Option<Vec<u8>>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl DigestedRow for Model {
        const DIGEST: &'static str = "row_digest";

        fn row(&self) -> Row {
            Row { id: self.session_id.into_bytes(), version: 1 }
        }

        fn digest(&self) -> Option<&[u8]> {
            self.row_digest.as_deref()
        }

        fn set_digest(&mut self, digest: [u8; 32]) {
            self.row_digest = Some(digest.to_vec());
        }
    }
}

impl Auth {
    /// So many more sign-ins at `client` through `origin`, whose own sessions have ended and are forgotten.
    pub(super) async fn signed_in(
        &self,
        store: &Database,
        (origin, client): (&pb::Session, &pb::Client),
        count: u128,
    ) {
        let digests = RowDigests::new(self.keys().await.digest_key().clone(), &Metrics::default());
        let id = |text: &str| Uuid::parse_str(text).unwrap();
        let (origin_id, account_id) = (id(&origin.session_id), id(&origin.account_id));
        let client_id = id(&client.client_id);
        let row = |place| {
            let mut model = client_sign_in::Model {
                session_id: Uuid::from_u128(client_id.as_u128().wrapping_add(place)),
                origin_session_id: origin_id,
                account_id,
                client_id,
                issuer: ISSUER.to_owned(),
                row_digest: None,
            };
            digests.stamp(&mut model).unwrap();
            client_sign_in::Column::iter().map(|column| model.get(column)).collect::<Vec<_>>()
        };
        let rows: &Vec<_> = &(1..=count).map(row).collect();
        let fill = |tx: Tx| async move {
            let columns: Vec<_> = client_sign_in::Column::iter().collect();
            bulk::insert::<client_sign_in::Entity>(&tx, &columns, rows.clone()).await?;
            Ok::<_, StoreError>(())
        };
        store.run_tx("sign_in", fill).await.unwrap();
    }

    /// Tokens of `scope` for `client`.
    pub(super) async fn tokens_for(
        &self,
        session: &pb::Session,
        client: &pb::Client,
        scope: &str,
    ) -> pb::TokenSet {
        let request_uri = self.started(client, &[("scope", scope)]).await;
        let decided = self.decide(session, &request_uri, Decision::Approve).await.unwrap();
        tokens(self.redeem(client, &query(&decided.redirect_uri)["code"]).await)
    }
}

each_database! {
    /// Whatever was signed in through a session, it ends at once, and each sign-in is to be told of.
    async fn thousands_of_sign_ins_end(database) {
        const MANY: i64 = 10_000;
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Never).await;
        let (client, quiet) = (auth.told_at(&application, newsletter()).await, auth.newsletter().await);
        let (_, anna) = auth.person("anna@example.org").await;
        let given = auth.tokens_for(&anna, &client, "openid").await;
        let store = database.connect().await;
        auth.signed_in(&store, (&anna, &client), MANY as u128 - 1).await;
        auth.signed_in(&store, (&anna, &quiet), MANY as u128).await;
        // Within the deadline of the method.
        auth.sign_out(&anna).await;
        refused(auth.exchange(&given.access_token, "auth").await, Code::Unauthenticated, "TOKEN_INVALID");
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM logout_notice").await, MANY);
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM client_sign_in").await, 0);
    }

    /// With one more than fifty at one client through one session, the oldest ends, and the client hears of it: whoever renews
    /// theirs without end fills nothing. Other clients and sessions count for themselves.
    async fn the_oldest_sign_in_makes_room(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let other = auth.told_at(&application, newsletter()).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let elsewhere = auth.sign_in("anna@example.org").await;
        auth.tokens_for(&anna, &other, "openid").await;
        auth.tokens_for(&elsewhere, &client, "openid").await;
        let mut given = Vec::new();
        for place in 0..52 {
            auth.advance(1);
            let scope = if place == 1 { "openid offline_access" } else { "openid" };
            given.push(auth.tokens_for(&anna, &client, scope).await);
        }
        let told = auth.told_of(&application, 2).await;
        let first = given[..2].iter().map(sid);
        assert_eq!(told, first.collect());
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM client_sign_in").await, 52);
        refused(auth.exchange(&given[0].access_token, "auth").await, Code::Unauthenticated, "TOKEN_INVALID");
        for live in &given[1..3] {
            auth.exchange(&live.access_token, "auth").await.unwrap();
        }
        auth.sign_out(&anna).await;
        application.told(53).await;
    }

    /// Applications that never answer, be they so many that they could have all lanes, keep no other one waiting.
    async fn many_slow_ones_keep_nobody_waiting(database) {
        let auth = Auth::start(database).await;
        let (slow, quick) = (Application::start(Answer::Never).await, Application::start(Answer::Status(200)).await);
        let (_, anna) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let store = database.connect().await;
        for _ in 0..70 {
            let client = pb::Client { backchannel_logout_uri: slow.uri.clone(), ..newsletter() };
            let create = pb::CreateClientRequest { client: Some(client), ..Default::default() };
            let client = auth.clients().create_client(auth.by(&operator, create).await).await.unwrap().into_inner();
            auth.signed_in(&store, (&anna, &client), 10).await;
        }
        auth.advance(1);
        let client = auth.told_at(&quick, newsletter()).await;
        auth.tokens_of(&anna, &client).await;
        auth.sign_out(&anna).await;
        quick.told(1).await;
        assert!(slow.count() <= 256, "no lane had to become free first: {}", slow.count());
    }
}
