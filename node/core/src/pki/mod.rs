//! Certificates, revocation lists and card signatures, checked without a clock, a socket or a file.
//!
//! HPKI and JPKI certificates carry critical certificatePolicies, and their issuers pin several generations of one name, so the rules of
//! RFC 5280 are applied here to exactly the profile that those two infrastructures use; whatever is outside it is refused.

pub mod card;
pub mod certificate;
pub mod certificate_key;
pub mod crl;
pub mod crl_scope;
pub mod csr;
pub mod extensions;
pub mod hc_role;
pub mod name;
pub mod path;
pub mod serial;
pub mod signing_certificate;

#[cfg(test)]
mod tests;

pub use card::{CardAlgorithm, CardSignatureError, ecdsa_p384_raw_from_der, verify_card_signature};
pub use certificate::{Certificate, CertificateError};
pub use certificate_key::{CertificateKey, CertificateKeyError, SignatureAlgorithm, SignatureError};
pub use crl::{Crl, CrlError, RevocationReason, RevokedEntry};
pub use crl_scope::CrlScope;
pub use csr::{CsrError, CsrParts, assemble_csr, render_csr, verify_csr};
pub use extensions::{ExtensionError, KeyUsage};
pub use hc_role::{HcRoleError, encode_hc_roles, parse_hc_roles};
pub use name::{DistinguishedName, SubjectMismatch};
pub use path::{AnchorError, PathError, TrustAnchor, VerifiedPath, verify_authority, verify_path};
pub use serial::{CertificateSerial, SerialError};
pub use signing_certificate::{CheckedSigningCertificate, SigningCertificateError, check_signing_certificate};
