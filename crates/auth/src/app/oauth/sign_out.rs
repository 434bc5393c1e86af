//! Who is signed out here is signed out where Portal signed them in: what clients are to be told is written by the transaction
//! that ends the session (OpenID Connect Back-Channel Logout 1.0). The [herald](crate::app::herald) tells them.

use std::collections::HashMap;

use portal_core::Timestamp;
use portal_core::id::{AccountId, ClientId, Id, OperationId, SessionId};
use portal_store::{Inserts, Tx};

use crate::app::App;
use crate::domain::{ClientSignIn, Target};
use crate::error::Error;

impl App {
    /// Signs people out where they were signed in through these sessions, which end. What a client was given for no longer than
    /// that ends with it; what goes on without the person (`offline_access`) goes on.
    pub(in crate::app) async fn sign_out_of_clients(
        &self,
        tx: &Tx,
        ended: &[SessionId],
        now: Timestamp,
    ) -> Result<(), Error> {
        let sign_ins = self.sign_ins.of_sessions(tx, ended).await?;
        if sign_ins.is_empty() {
            return Ok(());
        }
        let mut with_it = Vec::new();
        for sign_in in sign_ins.iter().filter(|sign_in| !ended.contains(&sign_in.session)) {
            let session = self.sessions.find(tx, sign_in.session).await?;
            let grant = self.grants.find(tx, sign_in.session).await?;
            let lives = session.is_some_and(|found| found.session().is_live(now));
            if lives && grant.is_some_and(|grant| !grant.is_offline()) {
                with_it.push(sign_in.session);
            }
        }
        if !with_it.is_empty() {
            self.sessions.revoke(tx, &with_it, now).await?;
            let targets: Vec<_> = with_it.into_iter().map(Target::Session).collect();
            self.revocations.append(tx, &targets, now).await?;
        }
        self.say_that_over(tx, &sign_ins, now).await
    }

    /// Signs people out of all clients, as their account is deleted.
    pub(in crate::app) async fn sign_account_out_of_clients(
        &self,
        tx: &Tx,
        account: AccountId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sign_ins = self.sign_ins.of_account(tx, account).await?;
        self.say_that_over(tx, &sign_ins, now).await
    }

    /// Puts down what the clients that asked for it are to be told, once.
    async fn say_that_over(&self, tx: &Tx, sign_ins: &[ClientSignIn], now: Timestamp) -> Result<(), Error> {
        let mut wants: HashMap<ClientId, bool> = HashMap::new();
        let mut inserts = Inserts::of(tx);
        for sign_in in sign_ins {
            let wanted = match wants.get(&sign_in.client) {
                Some(wanted) => *wanted,
                None => {
                    let client = self.clients.find(tx, sign_in.client).await?;
                    let options = client.map(|client| client.settings.options);
                    options.is_some_and(|options| options.backchannel_logout_uri.is_some())
                }
            };
            wants.insert(sign_in.client, wanted);
            if wanted {
                let id = OperationId::generate(now, self.entropy.as_ref());
                self.notices.add(&mut inserts, &sign_in.notice(id, now))?;
            }
        }
        inserts.run(tx).await?;
        Ok(self.sign_ins.delete(tx, sign_ins).await?)
    }
}
