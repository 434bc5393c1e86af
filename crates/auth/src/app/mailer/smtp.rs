//! Mail to a server, over TLS 1.2 or later that is checked: without it nothing is said, not even who we are.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport, Message, Tokio1Executor};
use portal_core::Sensitive;
use portal_mesh::config::{ConfigError, read};

use super::Unsent;
use crate::config::{SmtpConfig, SmtpTls};

/// How long a server may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server.
pub(super) struct Smtp(AsyncSmtpTransport<Tokio1Executor>);

impl Smtp {
    pub(super) fn new(config: &SmtpConfig) -> Result<Self, ConfigError> {
        let invalid = |key, problem: &str| ConfigError::Invalid { key, problem: problem.to_owned() };
        let mut parameters = TlsParameters::builder(config.host.clone());
        if let Some(file) = &config.ca_file {
            let roots = Certificate::from_pem(read(file)?.as_bytes());
            let roots = roots.map_err(|_| invalid("mail.ca_file", "must hold certificates in PEM"))?;
            parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(roots);
        }
        let parameters =
            parameters.build_rustls().map_err(|_| invalid("mail.host", "must be the name of a server"))?;
        let tls = match config.tls {
            SmtpTls::Implicit => Tls::Wrapper(parameters),
            SmtpTls::StartTls => Tls::Required(parameters),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
            .port(config.port)
            .timeout(Some(PATIENCE))
            .tls(tls);
        if let (Some(user), Some(file)) = (&config.user, &config.password_file) {
            let password = Sensitive::new(read(file)?);
            let password = password.expose().trim_end_matches(['\r', '\n']).to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self(transport.build()))
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), Unsent> {
        self.0.send(message).await.map(drop).map_err(|error| unsent(&error))
    }
}

/// What may be told of an error.
fn unsent(error: &Error) -> Unsent {
    match error.status() {
        Some(code) => Unsent::Refused(code.into()),
        None if error.is_tls() => Unsent::Unreachable("its certificate or its TLS is not accepted"),
        None if error.is_timeout() => Unsent::Unreachable("it takes too long"),
        None if error.is_client() => Unsent::Unreachable("it does not offer what is needed"),
        None => Unsent::Unreachable("the connection failed"),
    }
}
