//! Tells clients that somebody is signed out (OpenID Connect Back-Channel Logout 1.0).
//!
//! What is to be told was written by the transaction that ended the session. A process holds what it is telling for half a
//! minute: if it ends meanwhile, another one tells it then. Each client has lanes of its own and each post a connection of its
//! own, and nobody has a second lane before everybody has one, so that those that are slow or dead keep no other waiting. Who does not take it is told again, after pauses that grow, for a
//! day; who refuses it is not.
//!
//! A logout token is made when it is sent: it is believed for two minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::entropy::random_bytes;
use portal_core::id::ClientId;
use portal_crypto::jose::{Claims, sign};
use portal_mesh::Drain;
use portal_store::{StoreError, Tx};
use portal_upkeep::audit::Happened;
use serde_json::json;
use tokio::task::JoinSet;
use url::form_urlencoded;

use super::{App, REASON};
use crate::domain::{Client, LogoutNotice};
use crate::error::Error;
use crate::metrics::Telling;
use crate::store::logout_notices::StoredNotice;

/// The type of a logout token (section 2.4).
const LOGOUT_TOKEN: &str = "logout+jwt";
/// The event that it tells of.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long it may be believed.
const TOKEN_LIFE: Duration = Duration::from_secs(120);
/// How often it is looked for what another process has put there, and for what is tried again.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is told to one client at a time.
const LANES: usize = 4;
/// What is told to all of them at a time.
const ALL_LANES: usize = 256;

/// How telling a client ended.
enum Told {
    /// It knows.
    Done,
    /// It says that it never will.
    Refused,
    /// It may know when it is told again.
    NotYet,
}

/// Tells what is to be told until `drain` starts.
pub async fn run(app: Arc<App>, drain: Drain) {
    let stopping = drain.started();
    tokio::pin!(stopping);
    let mut under_way = JoinSet::new();
    let mut busy: HashMap<ClientId, usize> = HashMap::new();
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = app.feed.ended.notified() => {}
            Some(told) = under_way.join_next() => free(&mut busy, &told),
            () = tokio::time::sleep(INTERVAL) => {}
        }
        while let Some(told) = under_way.try_join_next() {
            free(&mut busy, &told);
        }
        // One whose task ended early has freed no lane: with none under way all are free.
        if under_way.is_empty() {
            busy.clear();
        }
        match app.take_notices(&busy).await {
            Ok(taken) => {
                for notice in taken {
                    let client = notice.notice().client;
                    *busy.entry(client).or_default() += 1;
                    let app = Arc::clone(&app);
                    under_way.spawn(async move {
                        if let Err(error) = app.tell(&notice).await {
                            tracing::warn!(%error, "a client could not be told of a sign-out; it is tried again");
                        }
                        client
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "clients are told of sign-outs later"),
        }
    }
}

fn free(busy: &mut HashMap<ClientId, usize>, told: &Result<ClientId, tokio::task::JoinError>) {
    let Ok(client) = told else { return };
    if let Some(lanes) = busy.get_mut(client) {
        *lanes = lanes.saturating_sub(1);
        if *lanes == 0 {
            busy.remove(client);
        }
    }
}

impl App {
    /// What is due and nobody tells yet, held from now on. `busy` is how much is told to each client now.
    async fn take_notices(&self, busy: &HashMap<ClientId, usize>) -> Result<Vec<StoredNotice>, Error> {
        let now = self.now();
        let due = |tx| async move { Ok::<_, Error>(self.notices.clients_due(&tx, now).await?) };
        let mut taken = Vec::new();
        for (client, lanes) in shares(&self.database.read("clients_to_tell", due).await?, busy) {
            taken.extend(self.hold(client, lanes as u64, now).await?);
        }
        Ok(taken)
    }

    /// Holds `limit` at most of what is due to `client`. What is not what was written is taken away: whoever changed it has
    /// nobody signed out in our name.
    async fn hold(&self, client: ClientId, limit: u64, now: Timestamp) -> Result<Vec<StoredNotice>, Error> {
        self.database
            .run_tx("hold_notices", |tx| async move {
                let mut held = Vec::new();
                for (id, read) in self.notices.due(&tx, client, now, limit).await? {
                    match read {
                        Ok(stored) => {
                            let notice = stored.notice().clone().held(now);
                            held.extend(self.notices.update(&tx, &stored, notice).await?);
                        }
                        Err(error @ StoreError::Corrupt { .. }) => {
                            tracing::error!(%error, "a client is not told of a sign-out: the row is corrupt");
                            self.notices.delete(&tx, id).await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok::<_, Error>(held)
            })
            .await
    }

    /// Tells a client, and notes what became of it.
    async fn tell(&self, stored: &StoredNotice) -> Result<(), Error> {
        let (notice, now) = (stored.notice(), self.now());
        if notice.is_over(now) {
            return self.give_up(notice, Telling::GivenUp, now).await;
        }
        let find = |tx| async move { Ok::<_, Error>(self.clients.find(&tx, notice.client).await?) };
        let client = self.database.read("find_client", find).await?;
        let uri = client.as_ref().and_then(|it| it.settings.options.backchannel_logout_uri.as_deref());
        let told = match (&client, uri) {
            (Some(client), Some(uri)) => self.post_logout(client, uri, notice).await?,
            // The client is gone, and its notices with it.
            _ => return Ok(()),
        };
        match told {
            Told::Done => {
                self.metrics.telling(Telling::Told);
                let delete =
                    |tx: Tx| async move { Ok::<_, Error>(self.notices.delete(&tx, notice.id).await?) };
                self.database.run_tx("note_told", delete).await.map(drop)
            }
            Told::Refused => self.give_up(notice, Telling::Refused, now).await,
            Told::NotYet => {
                self.metrics.telling(Telling::Delayed);
                let later = notice.clone().postponed(self.now());
                let later = &later;
                let postpone = |tx: Tx| async move {
                    Ok::<_, Error>(self.notices.update(&tx, stored, later.clone()).await?)
                };
                self.database.run_tx("note_untold", postpone).await.map(drop)
            }
        }
    }

    /// Posts a logout token.
    async fn post_logout(&self, client: &Client, uri: &str, notice: &LogoutNotice) -> Result<Told, Error> {
        let key = self.signing_key(client.settings.id_token_algorithm).await?;
        let token_id: [u8; 16] = random_bytes(self.entropy.as_ref());
        let claims = claims(notice, u128::from_be_bytes(token_id), self.now());
        let token = sign(&claims, LOGOUT_TOKEN, &key.signing, self.keys.suites())?;
        let form =
            form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", &token).finish();
        let (id, failures) = (client.id, notice.failures);
        Ok(match self.outbound.post_form(uri, form).await {
            // Section 2.8.
            Ok(status) if matches!(status.as_u16(), 200 | 204) => Told::Done,
            Ok(status) if status.as_u16() == 400 => Told::Refused,
            Ok(status) => {
                let status = status.as_u16();
                tracing::warn!(client = %id, failures, status, "a client did not take a sign-out; it is told again");
                Told::NotYet
            }
            Err(error) => {
                tracing::warn!(client = %id, failures, %error, "a client can't be told of a sign-out; it is told again");
                Told::NotYet
            }
        })
    }

    /// Forgets a notice that its client will never take, and says so to whoever reads the audit log.
    async fn give_up(&self, notice: &LogoutNotice, why: Telling, now: Timestamp) -> Result<(), Error> {
        self.metrics.telling(why);
        let reason = if why == Telling::Refused { "LOGOUT_REFUSED" } else { "LOGOUT_UNDELIVERED" };
        tracing::warn!(client = %notice.client, reason, "a client was not told of a sign-out, and will not be");
        let happened = &Happened::new("client.logout", "service")
            .on(notice.account)
            .to(notice.client)
            .with("session", notice.session)
            .with(REASON, reason);
        self.database
            .run_tx("give_up_notice", |tx| async move {
                if self.notices.delete(&tx, notice.id).await? {
                    self.note(&tx, happened.clone(), now).await?;
                }
                Ok::<_, Error>(())
            })
            .await
    }
}

/// How many lanes each client gets of those that are left: nobody a second one before everybody for whom something is `due` has
/// one, and who waits longest first.
fn shares(due: &[(ClientId, usize)], busy: &HashMap<ClientId, usize>) -> Vec<(ClientId, usize)> {
    let mut left = ALL_LANES.saturating_sub(busy.values().sum());
    let mut shares: Vec<(ClientId, usize)> = due.iter().map(|(client, _)| (*client, 0)).collect();
    for lane in 0..LANES {
        for ((client, share), (_, notices)) in shares.iter_mut().zip(due) {
            let lanes = busy.get(client).copied().unwrap_or_default() + *share;
            if lanes == lane && *share < *notices && left > 0 {
                *share += 1;
                left -= 1;
            }
        }
    }
    shares.retain(|(_, share)| *share > 0);
    shares
}

/// What a logout token says (section 2.4): never a nonce, so that it passes for no ID token.
fn claims(notice: &LogoutNotice, token_id: u128, now: Timestamp) -> Claims {
    let claims = [
        ("iss", json!(notice.issuer)),
        ("aud", json!(notice.client.to_string())),
        ("sub", json!(notice.account.to_string())),
        ("sid", json!(notice.session.to_string())),
        ("jti", json!(format!("{token_id:032x}"))),
        ("iat", json!(now.as_seconds())),
        ("exp", json!(now.plus(TOKEN_LIFE).as_seconds())),
        ("events", json!({ EVENT: {} })),
    ];
    claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    fn clients(count: u64) -> Vec<ClientId> {
        let client = |seed| ClientId::generate(Timestamp::default(), &SeededEntropy::new(seed));
        (0..count).map(client).collect()
    }

    #[test]
    fn everybody_has_a_lane_before_anybody_has_a_second() {
        let all = clients(200);
        let due: Vec<_> = all.iter().map(|client| (*client, 1_000)).collect();
        let given = shares(&due, &HashMap::new());
        assert_eq!(given.iter().map(|(client, _)| *client).collect::<Vec<_>>(), all);
        let twice = given.iter().take_while(|(_, lanes)| *lanes == 2).count();
        assert_eq!((twice, given.iter().map(|(_, lanes)| lanes).sum::<usize>()), (56, ALL_LANES));
        assert!(given.iter().skip(twice).all(|(_, lanes)| *lanes == 1));
    }

    #[test]
    fn lanes_are_for_those_who_have_fewer_and_for_what_is_there() {
        let all = clients(67);
        let (slow, [quick, one, busy]) = all.split_at(64) else { unreachable!() };
        let mut taken: HashMap<_, _> = slow.iter().map(|client| (*client, LANES)).collect();
        let due: Vec<_> = all.iter().map(|client| (*client, 9)).collect();
        assert_eq!(shares(&due, &taken), [], "none is left");
        for client in slow.iter().take(2) {
            taken.insert(*client, 2);
        }
        taken.insert(*busy, 1);
        assert_eq!(shares(&due, &taken), [(*quick, 2), (*one, 1)]);
        assert_eq!(shares(&[(*one, 1), (*quick, 9)], &HashMap::new()), [(*one, 1), (*quick, LANES)]);
    }
}
