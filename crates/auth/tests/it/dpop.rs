//! Tokens that are bound to a key (RFC 9449), as the gateway asks for them: it says which key was proven.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::client::Type;
use portal_proto::auth::v1::grant_token_response::Result as Granted;
use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::fixture::{Auth, refused};
use crate::oauth::{Parameters, VERIFIER, credentials, error, machine, newsletter, query, tokens, wire};
use crate::sql;

/// RFC 9449, section 6.1, and another one.
pub const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
pub const OTHER: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

impl Auth {
    async fn ask_for(
        &self,
        client: &pb::Client,
        parameters: Parameters<'_>,
        proof: Option<(&str, &str)>,
    ) -> pb::GrantTokenResponse {
        let dpop = proof.map(|(jkt, nonce)| pb::DpopProof { jkt: jkt.to_owned(), nonce: nonce.to_owned() });
        let request =
            pb::GrantTokenRequest { client: Some(credentials(client)), parameters: wire(parameters), dpop };
        self.endpoints().grant_token(request).await.unwrap().into_inner()
    }

    /// The nonce of now.
    async fn nonce(&self, client: &pb::Client) -> String {
        let told = self.ask_for(client, &[("grant_type", &client.grant_types[0])], Some((KEY, ""))).await;
        assert_eq!(error(told.result.unwrap()), "use_dpop_nonce");
        told.dpop_nonce
    }

    /// What comes of a request with a proof by `key`.
    pub async fn with_key(&self, client: &pb::Client, parameters: Parameters<'_>, key: &str) -> Granted {
        let nonce = self.nonce(client).await;
        self.ask_for(client, parameters, Some((key, &nonce))).await.result.unwrap()
    }

    async fn refresh_with(&self, client: &pb::Client, refresh: &str, key: &str) -> Granted {
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        self.with_key(client, &parameters, key).await
    }

    async fn bound_tokens(&self, session: &pb::Session, client: &pb::Client, key: &str) -> pb::TokenSet {
        let code = self.approved(session, client).await;
        let parameters =
            [("grant_type", "authorization_code"), ("code", &*code), ("code_verifier", VERIFIER)];
        tokens(self.with_key(client, &parameters, key).await)
    }

    async fn exchange_with(&self, access: &str, key: &str) -> Result<pb::ExchangeTokenResponse, Status> {
        let request = pb::ExchangeTokenRequest {
            access_token: access.to_owned(),
            audience: "auth".to_owned(),
            dpop_jkt: key.to_owned(),
        };
        Ok(self.tokens().exchange_token(request).await?.into_inner())
    }
}

fn public() -> pb::Client {
    pb::Client { r#type: Type::Public.into(), ..newsletter() }
}

each_database! {
    /// A token is bound to the key that was proven for it, and of no use with another or with none, in whatever way.
    async fn a_token_takes_its_key(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        for client in [auth.newsletter().await, auth.register(public()).await.unwrap()] {
            let given = auth.bound_tokens(&anna, &client, KEY).await;
            assert_eq!(given.dpop_jkt, KEY);
            assert_eq!(auth.exchange_with(&given.access_token, KEY).await.unwrap().dpop_jkt, KEY);
            refused(auth.exchange_with(&given.access_token, "").await, Code::Unauthenticated, "DPOP_PROOF_NEEDED");
            refused(auth.exchange_with(&given.access_token, OTHER).await, Code::Unauthenticated, "TOKEN_INVALID");
            refused(auth.exchange_with(&given.access_token, "short").await, Code::InvalidArgument, "INVALID_FIELD");
            let told = auth.told(&client, &given.access_token).await;
            assert!(told.active && told.dpop_jkt == KEY);
            let told = pb::IntrospectTokenRequest { token: given.access_token.clone(), ..Default::default() };
            assert_eq!(auth.tokens().introspect_token(told).await.unwrap().into_inner().dpop_jkt, KEY);
            // What is bound to none is no DPoP token; nor is a person's own.
            let free = auth.tokens_of(&anna, &client).await;
            assert_eq!(free.dpop_jkt, "");
            refused(auth.exchange_with(&free.access_token, KEY).await, Code::Unauthenticated, "TOKEN_INVALID");
            refused(auth.exchange_with(&anna.access_token, KEY).await, Code::Unauthenticated, "TOKEN_INVALID");
            auth.revoke_grant(&client, &given.access_token).await;
            assert!(!auth.told(&client, &given.access_token).await.active);
            refused(auth.exchange_with(&given.access_token, KEY).await, Code::Unauthenticated, "TOKEN_INVALID");
        }
    }

    /// A public client refreshes with its key alone, one with a secret with any; nobody without one. Who has a copy and not the key
    /// spends nothing and ends nothing.
    async fn a_refresh_takes_a_key(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let (public, secret) = (auth.register(public()).await.unwrap(), auth.newsletter().await);
        let first = auth.bound_tokens(&anna, &public, KEY).await;
        assert_eq!(error(auth.refresh_grant(&public, &first.refresh_token).await), "invalid_grant");
        assert_eq!(error(auth.refresh_with(&public, &first.refresh_token, OTHER).await), "invalid_grant");
        let nonce = auth.nonce(&public).await;
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", &*first.refresh_token)];
        let all = (0..8).map(|_| auth.ask_for(&public, &refresh, Some((KEY, &nonce))));
        let all: Vec<_> = futures_util::future::join_all(all).await.into_iter().map(|it| tokens(it.result.unwrap())).collect();
        assert!(all.iter().all(|given| given.refresh_token == all[0].refresh_token && given.dpop_jkt == KEY), "one successor");
        auth.exchange_with(&all[0].access_token, KEY).await.unwrap();
        auth.advance(60);
        assert_eq!(error(auth.refresh_with(&public, &first.refresh_token, OTHER).await), "invalid_grant");
        assert!(auth.told(&public, &all[0].access_token).await.active, "without the key it is no replay");
        assert_eq!(error(auth.refresh_with(&public, &first.refresh_token, KEY).await), "invalid_grant");
        assert!(!auth.told(&public, &all[0].access_token).await.active);

        let first = auth.bound_tokens(&anna, &secret, KEY).await;
        assert_eq!(error(auth.refresh_grant(&secret, &first.refresh_token).await), "invalid_grant");
        let second = tokens(auth.refresh_with(&secret, &first.refresh_token, OTHER).await);
        assert_eq!(second.dpop_jkt, OTHER);
        refused(auth.exchange_with(&second.access_token, KEY).await, Code::Unauthenticated, "TOKEN_INVALID");
        assert_eq!(error(auth.refresh_with(&secret, &first.refresh_token, KEY).await), "invalid_grant", "another key is no retry");
        tokens(auth.refresh_with(&secret, &first.refresh_token, OTHER).await);
    }

    /// A code whose request named a key takes that key; a client that must prove one gets nothing without.
    async fn a_code_may_take_a_key(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let client = auth.newsletter().await;
        let code = async |key: &str| {
            let request_uri = auth.started(&client, &[("dpop_jkt", key)]).await;
            let decided = auth.decide(&anna, &request_uri, pb::decide_authorization_request::Decision::Approve).await;
            query(&decided.unwrap().redirect_uri)["code"].clone()
        };
        let asked = code(KEY).await;
        let redeem = [("grant_type", "authorization_code"), ("code", &*asked), ("code_verifier", VERIFIER)];
        assert_eq!(error(auth.grant(&client, &redeem).await), "invalid_grant");
        assert_eq!(error(auth.with_key(&client, &redeem, OTHER).await), "invalid_grant");
        assert_eq!(tokens(auth.with_key(&client, &redeem, KEY).await).dpop_jkt, KEY);
        match auth.start_with(&client, &[("dpop_jkt", "short")]).await {
            pb::start_authorization_response::Result::RedirectUri(uri) => assert_eq!(query(&uri)["error"], "invalid_request"),
            other => panic!("{other:?}"),
        }

        let strict = auth.register(pb::Client { require_dpop: true, ..machine() }).await.unwrap();
        assert!(strict.require_dpop);
        let own = [("grant_type", "client_credentials"), ("scope", "consent.check")];
        assert_eq!(error(auth.grant(&strict, &own).await), "invalid_dpop_proof");
        let given = tokens(auth.with_key(&strict, &own, KEY).await);
        assert_eq!(given.dpop_jkt, KEY);
        refused(auth.exchange_with(&given.access_token, "").await, Code::Unauthenticated, "DPOP_PROOF_NEEDED");
        auth.exchange_with(&given.access_token, KEY).await.unwrap();
        assert_eq!(auth.told(&strict, &given.access_token).await.dpop_jkt, KEY);
        auth.revoke_grant(&strict, &given.access_token).await;
        assert!(!auth.told(&strict, &given.access_token).await.active);
    }

    /// A nonce is good for two to three minutes, at every replica; without one nothing is used up.
    async fn a_nonce_is_of_now(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(machine()).await.unwrap();
        let own = [("grant_type", "client_credentials")];
        let nonce = auth.nonce(&client).await;
        let (replica, channel) = auth.replica().await;
        let mut there = portal_proto::auth::v1::o_auth_service_client::OAuthServiceClient::new(channel.as_workload());
        let request = pb::GrantTokenRequest {
            client: Some(credentials(&client)),
            parameters: wire(&own),
            dpop: Some(pb::DpopProof { jkt: KEY.to_owned(), nonce: nonce.clone() }),
        };
        tokens(there.grant_token(request).await.unwrap().into_inner().result.unwrap());
        replica.stop().await;
        auth.advance(120);
        let told = auth.ask_for(&client, &own, Some((KEY, &nonce))).await;
        tokens(told.result.unwrap());
        assert_ne!(told.dpop_nonce, nonce, "the next one");
        auth.advance(60);
        assert_eq!(error(auth.ask_for(&client, &own, Some((KEY, &nonce))).await.result.unwrap()), "use_dpop_nonce");
        for wrong in ["", "x", &nonce[1..]] {
            assert_eq!(error(auth.ask_for(&client, &own, Some((KEY, wrong))).await.result.unwrap()), "use_dpop_nonce");
        }
        let told = auth.ask_for(&client, &own, None).await;
        assert_eq!((tokens(told.result.unwrap()).dpop_jkt.as_str(), told.dpop_nonce.as_str()), ("", ""));
    }

    /// Whoever takes away that a client must prove a key has it prove nothing, and get nothing; a new secret changes nothing.
    async fn a_client_that_must_prove_a_key_is_not_freed(database) {
        let auth = Auth::start(database).await;
        let strict = auth.register(pb::Client { require_dpop: true, ..machine() }).await.unwrap();
        let free = auth.register(machine()).await.unwrap();
        let operator = auth.operator().await;
        let rotate = pb::RotateClientSecretRequest { client_id: strict.client_id.clone(), ..Default::default() };
        let rotated = auth.clients().rotate_client_secret(auth.by(&operator, rotate).await).await.unwrap().into_inner();
        let own = [("grant_type", "client_credentials")];
        tokens(auth.with_key(&rotated, &own, KEY).await);
        tokens(auth.grant(&free, &own).await);
        let store = database.connect().await;
        assert_eq!(sql::run(&store, "DELETE FROM client_option", []).await, 2);
        for client in [&rotated, &free] {
            let request =
                pb::GrantTokenRequest { client: Some(credentials(client)), parameters: wire(&own), dpop: None };
            refused(auth.endpoints().grant_token(request).await, Code::DataLoss, "ROW_CORRUPT");
        }
    }

    /// Whoever takes a binding away, or puts another key into it, opens nothing.
    async fn tampered_bindings_open_nothing(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let client = auth.newsletter().await;
        let given = auth.bound_tokens(&anna, &client, KEY).await;
        let store = database.connect().await;
        let zeros = vec![0_u8; 32];
        assert_eq!(sql::run(&store, "UPDATE token_binding SET jkt = $1", [zeros.into()]).await, 1);
        refused(auth.exchange_with(&given.access_token, KEY).await, Code::DataLoss, "ROW_CORRUPT");
        assert_eq!(sql::run(&store, "DELETE FROM token_binding", []).await, 1);
        for key in ["", KEY] {
            refused(auth.exchange_with(&given.access_token, key).await, Code::DataLoss, "ROW_CORRUPT");
        }
    }
}
