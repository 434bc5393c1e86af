//! The admin port: `/metrics`, `/livez`, `/readyz`. Plain HTTP for the cluster's own eyes; it tells no data.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::server::ServeError;
use crate::{Drain, Host, Running, task};

/// Longest time for the header of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the admin port of the process until [`Running::stop`].
///
/// # Errors
/// [`ServeError::Bind`].
pub async fn start(address: SocketAddr, host: Host) -> Result<Running, ServeError> {
    let bind_error = |source| ServeError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind_error)?;
    let local_addr = listener.local_addr().map_err(bind_error)?;
    let (start_drain, drain) = Drain::new();
    let serving = task::spawn("admin", accept(listener, host, drain));
    Ok(Running::new(local_addr, start_drain, vec![serving], Duration::from_secs(1)))
}

async fn accept(listener: TcpListener, host: Host, drain: Drain) {
    let mut stop = std::pin::pin!(drain.started());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                task::spawn("admin-connection", serve(stream, host.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, host: Host) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &host);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin connection");
    }
}

fn answer(request: &Request<Incoming>, host: &Host) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "live\n".to_owned()),
        "/readyz" if host.readiness.is_ready() => text(StatusCode::OK, "ready\n".to_owned()),
        "/readyz" => {
            let waiting = host.readiness.waiting_for().join(", ");
            text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {waiting}\n"))
        }
        "/metrics" => match host.metrics.encode() {
            Ok(metrics) => text(StatusCode::OK, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be written\n".to_owned()),
        },
        _ => text(StatusCode::NOT_FOUND, "see /metrics, /livez, /readyz\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
