//! Where a browser goes after its person signed out (OpenID Connect RP-Initiated Logout 1.0).

use portal_core::id::{ClientId, Id};
use portal_crypto::jose::{Expect, verify};
use portal_mesh::Permit;
use serde_json::Value;
use url::form_urlencoded;

use super::Parameters;
use super::claims::ID_TOKEN;
use crate::app::App;
use crate::error::Error;
use crate::service::policy::ResolveLogout;

impl App {
    /// The URI that a client wants and is registered with, with its `state`; `None` for any other.
    pub(crate) async fn resolve_logout(
        &self,
        _: &Permit<ResolveLogout>,
        parameters: &Parameters,
    ) -> Result<Option<String>, Error> {
        let named = parameters.get("client_id").map(ClientId::parse);
        let hinted = match parameters.get("id_token_hint") {
            Some(token) => self.audience(token).await?,
            None => None,
        };
        let client = match (named, hinted) {
            (Some(Ok(named)), None) => named,
            (Some(Ok(named)), Some(hinted)) if named == hinted => named,
            (None, Some(hinted)) => hinted,
            _ => return Ok(None),
        };
        let Some(uri) = parameters.get("post_logout_redirect_uri") else { return Ok(None) };
        let find = |tx| async move { Ok::<_, Error>(self.clients.find(&tx, client).await?) };
        let client = self.database.read("find_client", find).await?;
        let registered = client
            .is_some_and(|client| client.settings.post_logout_redirect_uris.iter().any(|known| known == uri));
        if !registered {
            return Ok(None);
        }
        let Some(state) = parameters.get("state") else { return Ok(Some(uri.to_owned())) };
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
        let separator = if uri.contains('?') { '&' } else { '?' };
        Ok(Some(format!("{uri}{separator}{query}")))
    }

    /// Whom an ID token of ours is for, be it over or not: it only says who asks.
    async fn audience(&self, token: &str) -> Result<Option<ClientId>, Error> {
        for key in self.verifying_keys().await? {
            let algorithms = [key.signing.algorithm()];
            let expect = Expect { typ: Some(ID_TOKEN), algorithms: &algorithms, suites: self.keys.suites() };
            if let Ok(claims) = verify(token, key.signing.public_key(), &expect) {
                let audience = claims.get("aud").and_then(Value::as_str);
                return Ok(audience.and_then(|audience| ClientId::parse(audience).ok()));
            }
        }
        Ok(None)
    }
}
