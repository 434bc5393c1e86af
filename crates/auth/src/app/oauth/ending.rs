//! Ending what applications were given: by their person, or with everything else that is ended.

use portal_core::Timestamp;
use portal_core::id::{AccountId, ClientId, SessionId};
use portal_store::Tx;

use crate::app::App;
use crate::error::Error;

impl App {
    /// The live sessions that are grants of `client` for `account`; whatever else it was given is taken back: codes that are not
    /// used yet, and what was approved, so that it is asked for again.
    pub(in crate::app) async fn forget_client(
        &self,
        tx: &Tx,
        (account, client): (AccountId, ClientId),
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error> {
        self.clients.forget_approvals(tx, account, Some(client)).await?;
        self.authorizations.forget_codes(tx, account, Some(client)).await?;
        self.devices.forget_approved(tx, account, Some(client)).await?;
        let live = self.sessions.live_ids(tx, account, now).await?;
        Ok(self.grants.among(tx, &live, client).await?)
    }

    /// Takes back what no session stands for yet, of every client.
    pub(in crate::app) async fn forget_clients(&self, tx: &Tx, account: AccountId) -> Result<(), Error> {
        self.clients.forget_approvals(tx, account, None).await?;
        self.forget_codes(tx, account).await
    }

    /// Takes back the codes that are not used yet, of every client.
    pub(in crate::app) async fn forget_codes(&self, tx: &Tx, account: AccountId) -> Result<(), Error> {
        self.devices.forget_approved(tx, account, None).await?;
        Ok(self.authorizations.forget_codes(tx, account, None).await?)
    }
}
