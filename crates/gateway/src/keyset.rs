//! `/.well-known/jwks.json`: auth's public keys as RFC 7517 and RFC 9964 write them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Response, header};
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::auth::v1::{GetKeySetRequest, JsonWebKey, KeySet};
use serde_json::{Map, Value};
use tonic::body::Body;
use tonic::{Request, Status};

use crate::json::DEFAULT_DEADLINE;
use crate::route::Gateway;

/// The path of the key set.
pub(crate) const PATH: &str = "/.well-known/jwks.json";

impl Gateway {
    /// The key set.
    ///
    /// # Errors
    /// As auth's GetKeySet.
    pub(crate) async fn key_set(&self) -> Result<Response<Body>, Status> {
        let mut request = Request::new(GetKeySetRequest {});
        request.set_timeout(DEFAULT_DEADLINE);
        let mut auth = TokenServiceClient::new(self.upstreams.auth.as_workload());
        let set = auth.get_key_set(request).await?.into_inner();
        let seconds = set.max_age.map_or(60, |age| age.seconds.clamp(0, 86_400));
        let mut response = Response::new(Body::new(http_body_util::Full::from(document(&set).to_string())));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        headers.extend(
            HeaderValue::from_str(&format!("public, max-age={seconds}"))
                .map(|age| (header::CACHE_CONTROL, age)),
        );
        Ok(response)
    }
}

fn document(set: &KeySet) -> Value {
    let keys: Vec<Value> = set.keys.iter().map(key).collect();
    Value::Object(Map::from_iter([("keys".to_owned(), Value::Array(keys))]))
}

fn key(key: &JsonWebKey) -> Value {
    let binary = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let members = [
        ("kid", key.kid.clone()),
        ("kty", key.kty.clone()),
        ("alg", key.alg.clone()),
        ("use", key.r#use.clone()),
        ("pub", binary(&key.r#pub)),
        ("crv", key.crv.clone()),
        ("x", binary(&key.x)),
        ("y", binary(&key.y)),
    ];
    let present = members.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(present.map(|(name, value)| (name.to_owned(), Value::String(value))).collect())
}
