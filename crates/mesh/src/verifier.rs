//! What the mesh accepts of a peer: ML-DSA-65, a chain to our roots, and an X.509-SVID of our trust domain.

use std::sync::Arc;

use portal_core::{TrustDomain, Workload};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::svid;

/// The only cryptography the mesh speaks: aws-lc, TLS 1.3 suites, X25519MLKEM768, ML-DSA-65.
pub(crate) fn mesh_provider() -> Arc<CryptoProvider> {
    let provider = default_provider();
    let signatures = only(SignatureScheme::ML_DSA_65, &provider.signature_verification_algorithms);
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768],
        signature_verification_algorithms: signatures,
        ..provider
    })
}

/// `algorithms` without every scheme but `scheme`; empty, so that nothing verifies, if it is not among them.
fn only(scheme: SignatureScheme, algorithms: &WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let mapping = algorithms
        .mapping
        .iter()
        .position(|(candidate, _)| *candidate == scheme)
        .and_then(|index| algorithms.mapping.get(index..=index))
        .unwrap_or(&[]);
    WebPkiSupportedAlgorithms { all: mapping.first().map_or(&[], |(_, all)| *all), mapping }
}

/// The peer is another workload than the one that was dialled.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the certificate is not that of {0}")]
struct WrongPeer(Workload);

#[derive(Debug)]
enum Expect {
    /// As a server: any workload of the mesh; the policy table says which may call what.
    Clients(Arc<dyn ClientCertVerifier>),
    /// As a client: the workload that was dialled.
    Server(Workload, Arc<RootCertStore>),
}

/// Verifies the other side of a connection.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    trust_domain: TrustDomain,
    algorithms: WebPkiSupportedAlgorithms,
    expect: Expect,
}

impl PeerVerifier {
    pub(crate) fn for_clients(trust_domain: TrustDomain, roots: &Arc<RootCertStore>) -> Result<Self, Error> {
        let provider = mesh_provider();
        let algorithms = provider.signature_verification_algorithms;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { trust_domain, algorithms, expect: Expect::Clients(chain) })
    }

    pub(crate) fn for_server(trust_domain: TrustDomain, to: Workload, roots: &Arc<RootCertStore>) -> Self {
        let algorithms = mesh_provider().signature_verification_algorithms;
        Self { trust_domain, algorithms, expect: Expect::Server(to, Arc::clone(roots)) }
    }

    /// The workload that a leaf names, if it keeps the rules and so do those that came with it.
    fn workload(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Workload, Error> {
        svid::chain(leaf, intermediates, &self.trust_domain)
            .map_err(|error| CertificateError::Other(OtherError(Arc::new(error))).into())
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Expect::Clients(chain) = &self.expect else {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        };
        let verified = chain.verify_client_cert(end_entity, intermediates, now)?;
        self.workload(end_entity, intermediates)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Expect::Server(expected, roots) = &self.expect else {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        if self.workload(end_entity, intermediates)? != *expected {
            return Err(CertificateError::Other(OtherError(Arc::new(WrongPeer(*expected)))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
