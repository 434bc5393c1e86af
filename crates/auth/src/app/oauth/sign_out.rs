//! Who is signed out here is signed out where Portal signed them in: what clients are to be told is written by the transaction
//! that ends the session (OpenID Connect Back-Channel Logout 1.0). The [herald](crate::app::herald) tells them.
//!
//! Thousands of sign-ins are ended in a few dozen statements, and no row that is corrupt keeps one going on.

use std::collections::BTreeSet;

use portal_core::Timestamp;
use portal_core::id::{AccountId, ClientId, Id, OperationId, SessionId};
use portal_store::Tx;

use crate::app::App;
use crate::domain::{ClientSignIn, Target};
use crate::error::Error;

impl App {
    /// Signs people out where they were signed in through these sessions, which have ended.
    pub(in crate::app) async fn sign_out_of_clients(
        &self,
        tx: &Tx,
        ended: &[SessionId],
        now: Timestamp,
    ) -> Result<(), Error> {
        let sign_ins = self.sign_ins.of_sessions(tx, ended).await?;
        self.end_sign_ins(tx, &sign_ins, now).await
    }

    /// Signs a person out of a client that has nothing of them any more: of what it had for a while and forgot, too.
    pub(in crate::app) async fn sign_out_of_client(
        &self,
        tx: &Tx,
        (account, client): (AccountId, ClientId),
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut sign_ins = self.sign_ins.of_account(tx, account).await?;
        sign_ins.retain(|sign_in| sign_in.client == client);
        self.end_sign_ins(tx, &sign_ins, now).await
    }

    /// Signs a person out of all clients, as all their sessions end but `keep`.
    pub(in crate::app) async fn sign_account_out_of_clients(
        &self,
        tx: &Tx,
        (account, keep): (AccountId, Option<SessionId>),
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut sign_ins = self.sign_ins.of_account(tx, account).await?;
        sign_ins.retain(|sign_in| Some(sign_in.session) != keep);
        self.end_sign_ins(tx, &sign_ins, now).await
    }

    /// Signs a person out of what they were signed in to longest ago, if with `new` there were too much of it.
    pub(super) async fn make_room(&self, tx: &Tx, new: &ClientSignIn, now: Timestamp) -> Result<(), Error> {
        let displaced = self.sign_ins.displaced_by(tx, new).await?;
        self.end_sign_ins(tx, &displaced, now).await
    }

    /// Ends sign-ins. What a client was given for no longer than that ends with it; what goes on without the person
    /// (`offline_access`) goes on.
    async fn end_sign_ins(&self, tx: &Tx, sign_ins: &[ClientSignIn], now: Timestamp) -> Result<(), Error> {
        if sign_ins.is_empty() {
            return Ok(());
        }
        let sessions: Vec<_> = sign_ins.iter().map(|sign_in| sign_in.session).collect();
        let mut with_it = self.sessions.going_on(tx, &sessions, now).await?;
        let offline = self.grants.offline_among(tx, &with_it).await?;
        with_it.retain(|session| !offline.contains(session));
        if !with_it.is_empty() {
            self.sessions.revoke(tx, &with_it, now).await?;
            let targets: Vec<_> = with_it.into_iter().map(Target::Session).collect();
            self.revocations.append(tx, &targets, now).await?;
        }
        self.say_that_over(tx, sign_ins, now).await
    }

    /// Puts down what the clients that asked for it are to be told, once.
    async fn say_that_over(&self, tx: &Tx, sign_ins: &[ClientSignIn], now: Timestamp) -> Result<(), Error> {
        let clients: BTreeSet<ClientId> = sign_ins.iter().map(|sign_in| sign_in.client).collect();
        let told = self.clients.told_among(tx, &clients).await?;
        let notices = sign_ins.iter().filter(|sign_in| told.contains(&sign_in.client)).map(|sign_in| {
            let id = OperationId::generate(now, self.entropy.as_ref());
            sign_in.notice(id, now)
        });
        self.notices.insert_all(tx, notices).await?;
        Ok(self.sign_ins.delete(tx, sign_ins).await?)
    }
}
