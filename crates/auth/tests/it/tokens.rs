//! Exchange, keys, introspection.

use std::time::Duration;

use portal_core::{Clock, Role, Workload};
use portal_crypto::sign::{Algorithm, VerifyingKey};
use portal_crypto::suite::Suites;
use portal_crypto::token::{Expect, KeySet, TokenError, verify};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_testkit::each_database;
use tonic::Code;

use crate::fixture::{Auth, refused, with_token};

pub async fn keys(auth: &Auth, workload: Workload) -> KeySet {
    let mut tokens = TokenServiceClient::new(auth.channel_from(workload).as_workload());
    let published = tokens.get_key_set(pb::GetKeySetRequest {}).await.unwrap().into_inner();
    let mut keys = KeySet::new();
    for key in published.keys.into_iter().filter(|key| key.kty == "AKP") {
        assert_eq!(key.alg, "ML-DSA-65");
        let id = keys.insert(VerifyingKey::from_bytes(Algorithm::MlDsa65, &key.r#pub).unwrap());
        assert_eq!(id.as_str(), key.kid);
    }
    keys
}

each_database! {
    /// The signed token says who, for whom and until when, and verifies with the published key, after a restart too.
    async fn exchange(database) {
        let auth = Auth::start(database).await;
        let (account, session) = auth.person("anna@example.org").await;
        let exchanged = auth.exchange(&session.access_token, "valuation").await.unwrap();
        let auth = auth.restart().await;
        let keys = keys(&auth, Workload::Valuation).await;
        let now = auth.mesh.clock.now();
        let expect = Expect { issuer: "https://portal.test", audience: "valuation", now, leeway: Duration::ZERO, suites: Suites::ALL };
        let claims = verify(&exchanged.token, &keys, &expect).unwrap();
        assert_eq!(claims.subject.to_string(), account.account_id);
        assert_eq!(claims.subject_id.to_string(), account.subject_id);
        assert_eq!(claims.session_id.to_string(), session.session_id);
        assert_eq!(claims.roles, [Role::Subject]);
        assert_eq!(claims.holder.as_deref(), Some("spiffe://portal.test/gateway"), "who asked for it");
        assert_eq!(claims.expires_at, now.plus(Duration::from_secs(300)));
        assert_eq!(exchanged.expire_time.unwrap().seconds, claims.expires_at.as_seconds());
        assert_eq!(exchanged.access_expire_time, session.access_expire_time);
        let consent = Expect { audience: "consent", ..expect };
        assert_eq!(verify(&exchanged.token, &keys, &consent), Err(TokenError::WrongAudience));

        auth.advance(15 * 60 - 20);
        let exchanged = auth.exchange(&session.access_token, "valuation").await.unwrap();
        assert_eq!(exchanged.expire_time, session.access_expire_time, "never longer than the access token");
        auth.advance(20);
        let late = auth.exchange(&session.access_token, "valuation").await;
        refused(late, Code::Unauthenticated, "TOKEN_INVALID");
    }

    /// Only the gateway exchanges, on its own behalf; keys are for everybody.
    async fn who_may_call(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person("anna@example.org").await;
        let request = pb::ExchangeTokenRequest {
            access_token: session.access_token.clone(),
            audience: "consent".to_owned(),
            ..Default::default()
        };
        for workload in [Workload::Consent, Workload::Valuation] {
            let mut tokens = TokenServiceClient::new(auth.channel_from(workload).as_workload());
            let reply = tokens.exchange_token(request.clone()).await;
            refused(reply, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
        }
        let mut for_user = TokenServiceClient::new(auth.channel_from(Workload::Gateway));
        let reply = for_user.exchange_token(auth.by(&session, request.clone()).await).await;
        refused(reply, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        refused(for_user.exchange_token(request).await, Code::Unauthenticated, "TOKEN_MISSING");
        assert!(for_user.get_key_set(pb::GetKeySetRequest {}).await.is_ok());

        for token in ["", "x", &session.access_token[1..], &format!("{}A", session.access_token), &session.refresh_token] {
            refused(auth.exchange(token, "consent").await, Code::Unauthenticated, "TOKEN_INVALID");
        }
        for audience in ["", "gateway", "Consent", "nobody"] {
            let reply = auth.exchange(&session.access_token, audience).await;
            refused(reply, Code::InvalidArgument, "INVALID_FIELD");
        }
        let for_consent = auth.exchange(&session.access_token, "consent").await.unwrap().token;
        let list = pb::ListSessionsRequest { account_id: session.account_id.clone(), ..Default::default() };
        let reply = auth.sessions().list_sessions(with_token(&for_consent, list)).await;
        refused(reply, Code::Unauthenticated, "TOKEN_INVALID");
    }

    /// A live token tells what it stands for, any other that it is not live.
    async fn introspection(database) {
        let auth = Auth::start(database).await;
        let (account, session) = auth.person("anna@example.org").await;
        let ask = |token: &str| pb::IntrospectTokenRequest { token: token.to_owned(), token_type_hint: 0 };
        let access = auth.tokens().introspect_token(ask(&session.access_token)).await.unwrap().into_inner();
        assert!(access.active);
        assert_eq!(access.token_type(), pb::TokenType::Access);
        assert_eq!(access.account_id, account.account_id);
        assert_eq!(access.expire_time, session.access_expire_time);
        let refresh = auth.tokens().introspect_token(ask(&session.refresh_token)).await.unwrap().into_inner();
        assert_eq!(refresh.token_type(), pb::TokenType::Refresh);
        auth.refresh(&session).await.unwrap();
        for dead in [session.refresh_token.as_str(), "", "rubbish"] {
            let reply = auth.tokens().introspect_token(ask(dead)).await.unwrap().into_inner();
            assert_eq!(reply, pb::IntrospectTokenResponse::default());
        }
    }
}
