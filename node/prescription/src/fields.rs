//! What a signature says, and the bounds of it.

use jiff::Timestamp;
use warifu_protocol::{DocumentDigest, DocumentKind, RequestHash, UnixMillis};

/// Largest certificate that is rendered. Certificates of the HPKI have 1.4 KiB; this leaves room for a larger key and more names
/// and keeps what a site renders for one request small. A larger one is refused.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// Last instant that can be written as a SigningTime: 9999-12-30T22:00:00Z, so that the year has four digits in every offset.
pub const SIGNING_TIME_MAX: UnixMillis = UnixMillis(253_402_207_200_000);

/// All that varies from one signature to the next.
///
/// The fields come from the holder's request and from applied state; nothing else enters the signed bytes.
#[derive(Debug, Clone, Copy)]
pub struct SignatureFields<'a> {
    /// Which document is signed; fixes the signed element and the name of the signature.
    pub kind: DocumentKind,
    /// Hash of the holder's request; every `Id` of the signature derives from it.
    pub request: RequestHash,
    /// SHA-256 of the signed element in Canonical XML 1.0.
    pub document: DocumentDigest,
    /// When the holder says that this was signed; rendered in whole seconds, rounded down, at offset `+00:00`.
    pub signing_time: UnixMillis,
    /// The holder's certificate in DER, 1 to [`CERTIFICATE_BYTES_MAX`] bytes. It is not parsed here.
    pub certificate: &'a [u8],
}

/// A field that cannot be rendered; whoever filled it in has to correct it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No certificate is installed for the credential.
    #[error("the certificate is empty; install the holder's certificate first")]
    CertificateEmpty,
    /// The certificate is out of bounds.
    #[error("the certificate has {bytes} bytes and may have {max}")]
    CertificateTooLarge {
        /// Its length.
        bytes: usize,
        /// Largest length.
        max: usize,
    },
    /// The instant has no four-digit year.
    #[error("the signing time, {millis} ms after 1970, is later than the year 9999")]
    SigningTimeTooLate {
        /// The instant.
        millis: u64,
    },
}

impl SignatureFields<'_> {
    /// Checks the bounds and gives the signing time as XML Schema `dateTime`.
    pub(crate) fn checked_signing_time(&self) -> Result<String, RenderError> {
        if self.certificate.is_empty() {
            return Err(RenderError::CertificateEmpty);
        }
        if self.certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(RenderError::CertificateTooLarge { bytes: self.certificate.len(), max: CERTIFICATE_BYTES_MAX });
        }
        let too_late = RenderError::SigningTimeTooLate { millis: self.signing_time.0 };
        if self.signing_time > SIGNING_TIME_MAX {
            return Err(too_late);
        }
        i64::try_from(self.signing_time.as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(|instant| instant.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string())
            .ok_or(too_late)
    }
}
