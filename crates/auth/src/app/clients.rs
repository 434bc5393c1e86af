//! OAuth clients: registering, reading, new secrets, deleting.

use std::time::Duration;

use portal_core::id::{ClientId, Id, SessionId};
use portal_mesh::Permit;
use portal_store::Tx;
use portal_upkeep::audit::Happened;

use super::{App, Change, Reply};
use crate::domain::{Client, ClientSettings, Etag, Handle, Target};
use crate::error::Error;
use crate::service::policy::{CreateClient, DeleteClient, GetClient, ListClients, RotateClientSecret};
use crate::store::Listed;

/// A client, and the secret that was just made for it: shown once.
#[derive(Debug)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// Its secret, if it keeps one and it is new.
    pub secret: Option<Handle>,
}

/// What becomes of one client.
pub struct ClientChange<T> {
    /// Which.
    pub client: ClientId,
    /// The version the caller has read; `None` changes whatever stands.
    pub etag: Option<Etag>,
    /// What it becomes.
    pub to: T,
}

fn about(action: &'static str, actor: &str, client: ClientId) -> Happened {
    Happened::new(action, actor).to(client)
}

impl App {
    /// Registers a client.
    pub(crate) async fn create_client(
        &self,
        permit: &Permit<CreateClient>,
        settings: ClientSettings,
        change: &Change<Registered>,
    ) -> Result<Reply<Registered>, Error> {
        let (now, entropy, actor) = (change.now, self.entropy.as_ref(), &*permit.caller().key());
        let secret = Handle::generate(entropy);
        let hash = self.handles.client_secret_hash(&secret);
        let client = Client::register(ClientId::generate(now, entropy), settings, hash, now);
        let (client, secret) = (&client, &secret);
        let outcome = self
            .database
            .run_tx("create_client", |tx| async move {
                let insert = async {
                    self.clients.insert(&tx, client).await?;
                    self.note(&tx, about("client.create", actor, client.id), now).await?;
                    let secret = client.secrets.is_some().then(|| secret.clone());
                    Ok(Registered { client: client.clone(), secret })
                };
                self.once(&tx, change, None, insert).await
            })
            .await?;
        self.reply(change, outcome).await
    }

    /// Reads a client.
    pub(crate) async fn client(&self, _: &Permit<GetClient>, id: ClientId) -> Result<Client, Error> {
        let find = |tx| async move { self.clients.find(&tx, id).await?.ok_or(Error::ClientNotFound) };
        self.database.read("get_client", find).await
    }

    /// `size` clients at most, newest first, after `after`.
    pub(crate) async fn list_clients(
        &self,
        _: &Permit<ListClients>,
        after: Option<ClientId>,
        size: usize,
    ) -> Result<Listed<Client, ClientId>, Error> {
        let list = |tx| async move { Ok::<_, Error>(self.clients.list(&tx, after, size).await?) };
        self.database.read("list_clients", list).await
    }

    /// Gives a client a new secret; the one of now lives on for as long as asked.
    pub(crate) async fn rotate_client_secret(
        &self,
        permit: &Permit<RotateClientSecret>,
        asked: &ClientChange<Duration>,
        change: &Change<Registered>,
    ) -> Result<Reply<Registered>, Error> {
        let (now, actor) = (change.now, &*permit.caller().key());
        let secret = &Handle::generate(self.entropy.as_ref());
        let hash = self.handles.client_secret_hash(secret);
        let outcome = self
            .database
            .run_tx("rotate_client_secret", |tx| async move {
                let rotate = async {
                    let client = self.clients.find(&tx, asked.client).await?.ok_or(Error::ClientNotFound)?;
                    client.check_etag(asked.etag.as_ref())?;
                    let client = client.with_secret(hash, asked.to, now)?;
                    self.clients.update(&tx, &client).await?;
                    let happened = about("client.rotate_secret", actor, client.id);
                    self.note(&tx, happened.with("overlap_seconds", asked.to.as_secs()), now).await?;
                    Ok(Registered { client, secret: Some(secret.clone()) })
                };
                self.once(&tx, change, None, rotate).await
            })
            .await?;
        self.reply(change, outcome).await
    }

    /// Deletes a client, and ends every token given to it.
    pub(crate) async fn delete_client(
        &self,
        permit: &Permit<DeleteClient>,
        asked: &ClientChange<()>,
        change: &Change<()>,
    ) -> Result<Reply<()>, Error> {
        let (now, actor) = (change.now, &*permit.caller().key());
        let outcome = self
            .database
            .run_tx("delete_client", |tx| async move {
                let delete = async {
                    let client = self.clients.find(&tx, asked.client).await?.ok_or(Error::ClientNotFound)?;
                    client.check_etag(asked.etag.as_ref())?;
                    let ended = self.end_grants_of(&tx, client.id, now).await?;
                    self.clients.delete(&tx, client.id).await?;
                    let happened = about("client.delete", actor, client.id);
                    self.note(&tx, happened.with("sessions_ended", ended), now).await?;
                    Ok(())
                };
                self.once(&tx, change, None, delete).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    /// Ends all that people gave to a client, and its own tokens, whose session it is itself.
    async fn end_grants_of(
        &self,
        tx: &Tx,
        client: ClientId,
        now: portal_core::Timestamp,
    ) -> Result<usize, Error> {
        let mut live = Vec::new();
        for session in self.grants.sessions_of(tx, client).await? {
            let found = self.sessions.find(tx, session).await?;
            live.extend(found.filter(|found| found.session().is_live(now)).map(|_| session));
        }
        self.sessions.revoke(tx, &live, now).await?;
        let own = SessionId::from_uuid(client.uuid());
        let targets: Vec<_> = live.iter().copied().chain([own]).map(Target::Session).collect();
        self.revocations.append(tx, &targets, now).await?;
        Ok(live.len())
    }
}
