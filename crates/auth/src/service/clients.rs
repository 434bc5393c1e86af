//! `portal.auth.v1.ClientService`.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use portal_core::id::{ClientId, Id};
use portal_core::{Invalid, PageSize, Timestamp};
use portal_crypto::jose::Algorithm;
use portal_mesh::Caller;
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::client::Type;
use portal_proto::auth::v1::client_service_server::ClientService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::convert::{self, RequestId};
use super::policy::{CreateClient, DeleteClient, GetClient, ListClients, RotateClientSecret};
use super::{Api, answer, invalid};
use crate::app::clients::{ClientChange, Registered};
use crate::domain::client::{ID_TOKEN_ALGORITHMS, MAX_OVERLAP};
use crate::domain::{Client, ClientKind, ClientOptions, ClientSettings, GrantType, Handle};

/// What is kept for a repeated request: the secret is told once.
fn encode(registered: &Registered, _: Timestamp) -> Vec<u8> {
    client(&registered.client).encode_to_vec()
}

fn registered(registered: &Registered) -> pb::Client {
    let secret = registered.secret.as_ref().map(Handle::to_text);
    pb::Client { client_secret: secret.unwrap_or_default(), ..client(&registered.client) }
}

fn client(client: &Client) -> pb::Client {
    let settings = &client.settings;
    let kind = match settings.kind {
        ClientKind::Confidential => Type::Confidential,
        ClientKind::Public => Type::Public,
    };
    let previous = client.secrets.and_then(|secrets| secrets.previous);
    pb::Client {
        client_id: client.id.to_string(),
        display_name: settings.display_name.clone(),
        r#type: kind.into(),
        grant_types: settings.grant_types.iter().map(|grant| grant.name().to_owned()).collect(),
        redirect_uris: settings.redirect_uris.clone(),
        post_logout_redirect_uris: settings.post_logout_redirect_uris.clone(),
        backchannel_logout_uri: settings.options.backchannel_logout_uri.clone().unwrap_or_default(),
        backchannel_logout_session_required: settings.options.backchannel_logout_session_required,
        scopes: convert::scope_names(&settings.scopes),
        id_token_signing_alg: settings.id_token_algorithm.name().to_owned(),
        require_dpop: settings.options.require_dpop,
        require_par: settings.require_par,
        client_secret: String::new(),
        previous_secret_expire_time: previous.map(|(_, end)| timestamp(end)),
        etag: client.etag().0,
        create_time: Some(timestamp(client.created_at)),
        update_time: Some(timestamp(client.updated_at)),
    }
}

fn settings(request: &pb::CreateClientRequest) -> Result<(ClientSettings, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let asked = request.client.clone().unwrap_or_default();
    let kind = match asked.r#type() {
        Type::Confidential => Some(ClientKind::Confidential),
        Type::Public => Some(ClientKind::Public),
        Type::Unspecified => {
            invalid.add("client.type", "must be TYPE_CONFIDENTIAL or TYPE_PUBLIC");
            None
        }
    };
    let grant_types = grant_types(&mut invalid, &asked.grant_types);
    let scopes = words(&mut invalid, "client.scopes", &asked.scopes);
    let id = convert::request_id(&mut invalid, &request.request_id);
    let algorithm = id_token_algorithm(&mut invalid, &asked.id_token_signing_alg);
    let parsed = kind.zip(grant_types).zip(scopes).zip(algorithm);
    let settings = parsed.map(|(((kind, grant_types), scopes), id_token_algorithm)| ClientSettings {
        id_token_algorithm,
        kind,
        display_name: asked.display_name,
        grant_types,
        redirect_uris: asked.redirect_uris,
        post_logout_redirect_uris: asked.post_logout_redirect_uris,
        scopes,
        require_par: asked.require_par,
        options: ClientOptions {
            backchannel_logout_uri: Some(asked.backchannel_logout_uri).filter(|uri| !uri.is_empty()),
            backchannel_logout_session_required: asked.backchannel_logout_session_required,
            require_dpop: asked.require_dpop,
        },
    });
    if let Some(settings) = &settings {
        settings.check(&mut invalid);
    }
    invalid.finish(settings.zip(id))
}

/// ML-DSA-65, unless the client wants one that it knows.
fn id_token_algorithm(invalid: &mut Invalid, name: &str) -> Option<Algorithm> {
    let mut known = ID_TOKEN_ALGORITHMS.into_iter();
    let found = if name.is_empty() { known.next() } else { known.find(|known| known.name() == name) };
    invalid.check("client.id_token_signing_alg", found.ok_or("must be ML-DSA-65, ES256, EdDSA or empty"))
}

fn grant_types(invalid: &mut Invalid, names: &[String]) -> Option<BTreeSet<GrantType>> {
    let parsed: Option<BTreeSet<_>> = names.iter().map(|name| GrantType::parse(name)).collect();
    if parsed.is_none() {
        let problem = "must be of authorization_code, client_credentials and refresh_token";
        invalid.add("client.grant_types", problem);
    }
    parsed
}

fn words<T: FromStr<Err: std::fmt::Display> + Ord>(
    invalid: &mut Invalid,
    field: &str,
    names: &[String],
) -> Option<BTreeSet<T>> {
    let mut parsed = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        parsed.insert(invalid.check(&format!("{field}[{index}]"), name.parse())?);
    }
    Some(parsed)
}

fn rotation(request: &pb::RotateClientSecretRequest) -> Result<(ClientChange<Duration>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let client = invalid.check("client_id", ClientId::parse(&request.client_id));
    let overlap = Duration::try_from(request.overlap.unwrap_or_default()).ok();
    let overlap = overlap.filter(|overlap| *overlap <= MAX_OVERLAP);
    let overlap = invalid.check("overlap", overlap.ok_or("must be 0 to 30 days"));
    let id = convert::request_id(&mut invalid, &request.request_id);
    let ((client, to), id) = invalid.finish(client.zip(overlap).zip(id))?;
    Ok((ClientChange { client, etag: convert::etag(&request.etag), to }, id))
}

fn deletion(request: &pb::DeleteClientRequest) -> Result<(ClientChange<()>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let client = invalid.check("client_id", ClientId::parse(&request.client_id));
    let id = convert::request_id(&mut invalid, &request.request_id);
    let (client, id) = invalid.finish(client.zip(id))?;
    Ok((ClientChange { client, etag: convert::etag(&request.etag), to: () }, id))
}

#[async_trait]
impl ClientService for Api {
    async fn create_client(
        &self,
        request: Request<pb::CreateClientRequest>,
    ) -> Result<Response<pb::Client>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CreateClient>()?;
        let request = request.into_inner();
        let (new, id) = settings(&request).map_err(invalid)?;
        let change = self.change::<CreateClient, _>(&caller, id, &request, encode);
        let reply = self.app.create_client(&permit, new, &change).await?;
        answer(reply, registered)
    }

    async fn get_client(
        &self,
        request: Request<pb::GetClientRequest>,
    ) -> Result<Response<pb::Client>, Status> {
        let permit = Caller::of(&request)?.permit::<GetClient>()?;
        let id = convert::id("client_id", &request.get_ref().client_id).map_err(invalid)?;
        Ok(Response::new(client(&self.app.client(&permit, id).await?)))
    }

    async fn list_clients(
        &self,
        request: Request<pb::ListClientsRequest>,
    ) -> Result<Response<pb::ListClientsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListClients>()?;
        let request = request.into_inner();
        let mut problems = Invalid::new();
        let size = convert::page_size(&mut problems, request.page_size);
        let size: PageSize = problems.finish(size).map_err(invalid)?;
        let scope = Self::page_scope::<ListClients>(&caller, &pb::ListClientsRequest::default());
        let after = self.open_page(&scope, &request.page_token)?;
        let after = after.and_then(|id| Some(ClientId::from_uuid(Uuid::from_slice(&id).ok()?)));
        let listed = self.app.list_clients(&permit, after, size.get() as usize).await?;
        let next = listed.next.map(|last| self.page_tokens.seal(&scope, last.uuid().as_bytes()));
        let message = pb::ListClientsResponse {
            clients: listed.rows.iter().map(client).collect(),
            next_page_token: next.unwrap_or_default(),
        };
        Ok(withheld(Response::new(message), listed.withheld))
    }

    async fn rotate_client_secret(
        &self,
        request: Request<pb::RotateClientSecretRequest>,
    ) -> Result<Response<pb::Client>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<RotateClientSecret>()?;
        let request = request.into_inner();
        let (asked, id) = rotation(&request).map_err(invalid)?;
        let change = self.change::<RotateClientSecret, _>(&caller, id, &request, encode);
        let reply = self.app.rotate_client_secret(&permit, &asked, &change).await?;
        answer(reply, registered)
    }

    async fn delete_client(
        &self,
        request: Request<pb::DeleteClientRequest>,
    ) -> Result<Response<pb::DeleteClientResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<DeleteClient>()?;
        let request = request.into_inner();
        let (asked, id) = deletion(&request).map_err(invalid)?;
        let change = self.change::<DeleteClient, _>(&caller, id, &request, |(), _| Vec::new());
        let reply = self.app.delete_client(&permit, &asked, &change).await?;
        answer(reply, |()| pb::DeleteClientResponse {})
    }
}
