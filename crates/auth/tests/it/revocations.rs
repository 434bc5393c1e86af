//! The feed of revocations.

use std::time::Duration;

use portal_core::Workload;
use portal_mesh::MeshChannel;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::revocation::Target;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_testkit::each_database;
use tonic::{Code, Streaming};

use crate::fixture::{Auth, refused};
use crate::sql;

pub async fn watch(
    channel: &MeshChannel,
    resume_token: &str,
) -> Result<Streaming<pb::Revocation>, tonic::Status> {
    let request = pb::WatchRevocationsRequest { resume_token: resume_token.to_owned() };
    let stream = TokenServiceClient::new(channel.as_workload()).watch_revocations(request).await?;
    Ok(stream.into_inner())
}

pub async fn next(stream: &mut Streaming<pb::Revocation>) -> pb::Revocation {
    let message = tokio::time::timeout(Duration::from_secs(2), stream.message()).await;
    message.expect("a message within two seconds").unwrap().expect("the stream goes on")
}

/// The next message that is no heartbeat.
pub async fn next_revocation(stream: &mut Streaming<pb::Revocation>) -> pb::Revocation {
    loop {
        let message = next(stream).await;
        if !matches!(message.target, Some(Target::Heartbeat(_))) {
            return message;
        }
    }
}

fn end(session: &pb::Session) -> pb::RevokeSessionRequest {
    pb::RevokeSessionRequest { session_id: session.session_id.clone(), request_id: String::new() }
}

each_database! {
    /// Heartbeats come by themselves; what is revoked at one replica is seen at the other.
    async fn across_replicas(database) {
        let auth = Auth::start(database).await;
        let (replica, other) = auth.replica().await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let mut stream = watch(&other, "").await.unwrap();
        let first = next(&mut stream).await;
        let Some(Target::Heartbeat(heartbeat)) = first.target else { panic!("{first:?}") };
        assert!(heartbeat.caught_up);
        let interval = Duration::try_from(heartbeat.interval.unwrap()).unwrap();
        assert!(interval <= Duration::from_secs(1));
        for _ in 0..3 {
            let beat = next(&mut stream).await;
            assert!(matches!(beat.target, Some(Target::Heartbeat(_))));
        }

        auth.sessions().revoke_session(auth.by(&annas, end(&annas)).await).await.unwrap();
        let seen = next_revocation(&mut stream).await;
        assert_eq!(seen.target, Some(Target::SessionId(annas.session_id.clone())));

        let operator = auth.operator().await;
        let roles = pb::SetRolesRequest { account_id: anna.account_id.clone(), ..Default::default() };
        auth.accounts().set_roles(auth.by(&operator, roles).await).await.unwrap();
        let lock = pb::LockAccountRequest { account_id: anna.account_id.clone(), ..Default::default() };
        AccountServiceClient::new(other).lock_account(auth.by(&operator, lock).await).await.unwrap();
        for _ in 0..2 {
            let seen = next_revocation(&mut stream).await;
            assert_eq!(seen.target, Some(Target::AccountId(anna.account_id.clone())));
        }
        drop(stream);
        replica.stop().await;
    }

    /// Who resumes gets everything since, once and in order, whichever replica revoked it and however it raced.
    async fn nothing_is_skipped(database) {
        let auth = Auth::start(database).await;
        let (replica, other) = auth.replica().await;
        let account = auth.sign_up("anna@example.org").await;
        let operator = auth.operator().await;
        let gateway = auth.channel_from(Workload::Gateway);
        let mut live = watch(&gateway, "").await.unwrap();
        let start = next(&mut live).await.resume_token;
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        for number in 0..16 {
            let session = auth.sign_in("anna@example.org").await;
            let request = auth.by(&operator, end(&session)).await;
            let channel = if number % 2 == 0 { gateway.clone() } else { other.clone() };
            ends.push(async move { SessionServiceClient::new(channel).revoke_session(request).await.unwrap() });
            expected.push(session.session_id);
        }
        futures_util::future::join_all(ends).await;
        let mut seen = Vec::new();
        for _ in 0..expected.len() {
            seen.push(next_revocation(&mut live).await);
        }
        let target = |message: &pb::Revocation| match &message.target {
            Some(Target::SessionId(id)) => id.clone(),
            other => panic!("{other:?}"),
        };
        let mut targets: Vec<_> = seen.iter().map(target).collect();
        let in_order = targets.clone();
        targets.sort_unstable();
        expected.sort_unstable();
        assert_eq!(targets, expected);

        // From the start, and from the middle, at the other replica.
        for (resume, rest) in [(&start, &in_order[..]), (&seen[9].resume_token, &in_order[10..])] {
            let mut stream = watch(&other, resume).await.unwrap();
            assert!(matches!(next(&mut stream).await.target, Some(Target::Heartbeat(_))));
            for id in rest {
                assert_eq!(&target(&next_revocation(&mut stream).await), id);
            }
        }
        let foreign = watch(&other, "AQAB").await.map(|_| ());
        refused(foreign, Code::InvalidArgument, "INVALID_FIELD");
        let account = pb::ListSessionsRequest { account_id: account.account_id, ..Default::default() };
        let left = auth.sessions().list_sessions(auth.by(&operator, account).await).await.unwrap().into_inner();
        assert!(left.sessions.is_empty());
        replica.stop().await;
    }

    /// The feed is for the mesh; a replayed refresh token is in it; a stopping service ends it.
    async fn who_may_watch(database) {
        let auth = Auth::start(database).await;
        for workload in [Workload::Consent, Workload::Valuation, Workload::Gateway] {
            assert!(watch(&auth.channel_from(workload), "").await.is_ok());
        }
        let (_, session) = auth.person("anna@example.org").await;
        let mut for_user = TokenServiceClient::new(auth.channel_from(Workload::Gateway));
        let reply = for_user.watch_revocations(auth.by(&session, pb::WatchRevocationsRequest::default()).await).await;
        refused(reply.map(|_| ()), Code::PermissionDenied, "ROLE_NOT_ALLOWED");

        let mut stream = watch(&auth.channel_from(Workload::Consent), "").await.unwrap();
        auth.refresh(&session).await.unwrap();
        auth.advance(11);
        assert!(auth.refresh(&session).await.is_err());
        let seen = next_revocation(&mut stream).await;
        assert_eq!(seen.target, Some(Target::SessionId(session.session_id)));

        let auth = tokio::time::timeout(Duration::from_secs(4), auth.restart()).await.expect("the feed ends");
        let mut stream = watch(&auth.channel_from(Workload::Consent), &seen.resume_token).await.unwrap();
        let Some(Target::Heartbeat(heartbeat)) = next(&mut stream).await.target else { panic!("no heartbeat") };
        assert!(heartbeat.caught_up, "a resume token survives a restart");
    }

    /// Nobody is told of a revocation that was pointed at somebody else, or postponed, or had its digest taken away: who
    /// follows the feed learns that it is corrupt.
    async fn a_changed_entry_is_refused(database) {
        let auth = Auth::start(database).await;
        let (_, annas) = auth.person("anna@example.org").await;
        let (_, berts) = auth.person("bert@example.org").await;
        let mut stream = watch(&auth.channel(), "").await.unwrap();
        let start = next(&mut stream).await.resume_token;
        drop(stream);
        auth.sessions().revoke_session(auth.by(&annas, end(&annas)).await).await.unwrap();
        let store = database.connect().await;
        sql::run(&store, "CREATE TABLE kept AS SELECT * FROM revocation", []).await;
        for change in [
            format!("target_id = {}", sql::id(&store, &berts.session_id)),
            "kind = 'account'".to_owned(),
            "revoked_at = revoked_at + 1".to_owned(),
            "row_digest = NULL".to_owned(),
        ] {
            assert_eq!(sql::run(&store, &format!("UPDATE revocation SET {change}"), []).await, 1);
            refused(watch(&auth.channel(), &start).await, Code::DataLoss, "ROW_CORRUPT");
            sql::run(&store, "DELETE FROM revocation", []).await;
            sql::run(&store, "INSERT INTO revocation SELECT * FROM kept", []).await;
            let mut stream = watch(&auth.channel(), &start).await.unwrap();
            let seen = next_revocation(&mut stream).await;
            assert_eq!(seen.target, Some(Target::SessionId(annas.session_id.clone())), "{change}");
        }
    }
}
