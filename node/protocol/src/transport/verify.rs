//! Certificate checks: the key is pinned, everything else in the certificate is ignored.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use sha2::Digest;
use x509_cert::der::{Decode, Encode};

use super::limits::CERTIFICATE_BYTES_MAX;
use crate::SpkiHash;
use crate::mutants::{Mutant, is_on};

/// Which keys a server lets in.
pub trait KnownKeys: Send + Sync {
    /// Whether a client with this key may complete the handshake.
    fn knows(&self, spki: &SpkiHash) -> bool;
}

/// What a server makes of certificates that a client sends beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Identities are single self-signed certificates; a chain is a mistake or an attempt to make us parse more, and is refused.
    Refused,
    /// The client's certificate was issued by somebody whose chain it sends by habit; nothing of the chain is read.
    Ignored,
}

/// Lets exactly the known keys in, over TLS 1.3 only; names, dates and issuers of certificates do not count. A certificate larger than
/// [`CERTIFICATE_BYTES_MAX`] is refused before it is parsed. The handshake signature is verified under the very bytes whose hash was looked up.
pub struct PinnedClients {
    known: Arc<dyn KnownKeys>,
    chain: Chain,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedClients {
    /// `crypto` is the provider of the server configuration that the verifier goes into.
    #[must_use]
    pub fn new(known: Arc<dyn KnownKeys>, chain: Chain, crypto: &CryptoProvider) -> Self {
        Self { known, chain, algorithms: crypto.signature_verification_algorithms }
    }
}

/// Accepts the one server whose key has this hash.
#[derive(Debug)]
pub(super) struct PinnedServer {
    pub(super) expected: SpkiHash,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// DER of the SubjectPublicKeyInfo of a certificate.
pub(super) fn spki_der(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    if certificate.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::BadEncoding.into());
    }
    let parsed = x509_cert::Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    parsed.tbs_certificate.subject_public_key_info.to_der().map_err(|_| CertificateError::BadEncoding.into())
}

/// SHA-256 of the SubjectPublicKeyInfo of a certificate.
///
/// # Errors
///
/// The certificate is larger than [`CERTIFICATE_BYTES_MAX`], or no X.509 certificate in DER.
pub fn spki_hash(certificate: &CertificateDer<'_>) -> Result<SpkiHash, Error> {
    spki_der(certificate).map(|der| SpkiHash::new(sha2::Sha256::digest(der).into()))
}

fn pinned_spki_hash(certificate: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], chain: Chain) -> Result<SpkiHash, Error> {
    if chain == Chain::Refused && !intermediates.is_empty() {
        return Err(CertificateError::UnknownIssuer.into());
    }
    spki_hash(certificate)
}

/// Verifies the handshake signature under the very bytes that [`spki_hash`] hashed.
fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = spki_der(certificate)?;
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki), signature, algorithms)
}

const fn tls12_refused() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

impl fmt::Debug for PinnedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedClients").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for PinnedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.known.knows(&pinned_spki_hash(end_entity, intermediates, self.chain)?) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if pinned_spki_hash(end_entity, intermediates, Chain::Refused)? == self.expected || is_on(Mutant::AcceptAnyServer) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
