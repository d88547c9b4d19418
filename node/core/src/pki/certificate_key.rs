//! Public keys and signature algorithms of certificates.

use std::fmt;

use aws_lc_rs::signature as aws;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use const_oid::db::rfc8410::ID_ED_25519;
use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::{Decode, Sequence};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

/// A public key of a kind that certificates here may have.
///
/// The elliptic-curve variants hold an uncompressed point (`04 || x || y`); that it lies on the curve is found when it verifies.
#[derive(Clone, PartialEq, Eq)]
pub enum CertificateKey {
    /// RSA with a modulus of [`RSA_BITS_MIN`] to [`RSA_BITS_MAX`] bits.
    Rsa {
        /// DER of the PKCS#1 `RSAPublicKey`.
        pkcs1: Vec<u8>,
        /// Length of the modulus in bits.
        bits: usize,
    },
    /// NIST P-256, 65 bytes.
    EcdsaP256(Vec<u8>),
    /// NIST P-384, 97 bytes.
    EcdsaP384(Vec<u8>),
    /// NIST P-521, 133 bytes.
    EcdsaP521(Vec<u8>),
    /// Ed25519, 32 bytes (RFC 8032).
    Ed25519([u8; 32]),
}

/// Shortest RSA modulus: the least that the rule for the signature law's strength allows (factoring of 2048 bits).
pub const RSA_BITS_MIN: usize = 2048;
/// Longest RSA modulus, so that a hostile certificate cannot make a check slow.
pub const RSA_BITS_MAX: usize = 4096;

/// A signature algorithm that certificates and revocation lists may use. None is built on SHA-1 or MD5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureAlgorithm {
    /// sha256WithRSAEncryption.
    RsaPkcs1Sha256,
    /// sha384WithRSAEncryption.
    RsaPkcs1Sha384,
    /// sha512WithRSAEncryption.
    RsaPkcs1Sha512,
    /// ecdsa-with-SHA256.
    EcdsaSha256,
    /// ecdsa-with-SHA384.
    EcdsaSha384,
    /// ecdsa-with-SHA512.
    EcdsaSha512,
    /// PureEdDSA over Ed25519 (RFC 8410).
    Ed25519,
}

/// Why a SubjectPublicKeyInfo or signature algorithm is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateKeyError {
    /// Not DER of the right shape.
    #[error("the public key is not valid DER")]
    Malformed {
        /// What the decoder found.
        #[source]
        source: der::Error,
    },
    /// A key or curve that is not in the profile.
    #[error("public keys of algorithm {algorithm} are not accepted")]
    Algorithm {
        /// Its object identifier, or the curve's.
        algorithm: ObjectIdentifier,
    },
    /// Parameters where none may be, or the wrong ones.
    #[error("algorithm {algorithm} has parameters that its standard does not allow")]
    Parameters {
        /// Which algorithm.
        algorithm: ObjectIdentifier,
    },
    /// Wrong length of a point or key.
    #[error("a public key of algorithm {algorithm} has {len} bytes or is a compressed point")]
    Length {
        /// The algorithm or curve.
        algorithm: ObjectIdentifier,
        /// How many bytes there are.
        len: usize,
    },
    /// RSA modulus outside the bounds.
    #[error("the RSA modulus has {bits} bits, accepted are {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaBits {
        /// Its length.
        bits: usize,
    },
    /// An even, small or huge RSA exponent.
    #[error("the RSA public exponent is not an odd number from 65537 to 2^32")]
    RsaExponent,
    /// A signature algorithm built on a broken hash.
    #[error("signature algorithm {algorithm} uses a broken hash; ask the issuer for one that is signed with SHA-256 or better")]
    BrokenHash {
        /// Its object identifier.
        algorithm: ObjectIdentifier,
    },
    /// A signature algorithm outside the profile.
    #[error("signature algorithm {algorithm} is not accepted")]
    SignatureAlgorithm {
        /// Its object identifier.
        algorithm: ObjectIdentifier,
    },
}

/// A signature that does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key is of another kind than the algorithm.
    #[error("a {key} key cannot verify a signature of algorithm {algorithm:?}")]
    WrongKeyKind {
        /// Kind of the key.
        key: &'static str,
        /// What the signature claims to be.
        algorithm: SignatureAlgorithm,
    },
    /// Wrong signature, wrong key or changed message.
    #[error("the {algorithm:?} signature does not verify")]
    Invalid {
        /// Which algorithm was tried.
        algorithm: SignatureAlgorithm,
    },
}

/// `RSAPublicKey` of RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

impl CertificateKey {
    /// Reads a DER SubjectPublicKeyInfo; trailing bytes are refused.
    ///
    /// # Errors
    ///
    /// [`CertificateKeyError`] for anything but RSA of 2048 to 4096 bits, P-256, P-384, P-521 and Ed25519 with the parameters their standards ask.
    pub fn parse_spki(der: &[u8]) -> Result<Self, CertificateKeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|source| CertificateKeyError::Malformed { source })?;
        let algorithm = spki.algorithm.oid;
        let key = spki.subject_public_key.as_bytes().ok_or(CertificateKeyError::Length { algorithm, len: 0 })?;
        match algorithm {
            rfc5912::RSA_ENCRYPTION => {
                if !spki.algorithm.parameters.is_some_and(AnyRef::is_null) {
                    return Err(CertificateKeyError::Parameters { algorithm });
                }
                Self::parse_rsa(key)
            }
            rfc5912::ID_EC_PUBLIC_KEY => {
                let curve = spki
                    .algorithm
                    .parameters
                    .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok())
                    .ok_or(CertificateKeyError::Parameters { algorithm })?;
                Self::parse_point(curve, key)
            }
            ID_ED_25519 => {
                if spki.algorithm.parameters.is_some() {
                    return Err(CertificateKeyError::Parameters { algorithm });
                }
                let key = key.try_into().map_err(|_| CertificateKeyError::Length { algorithm, len: key.len() })?;
                Ok(Self::Ed25519(key))
            }
            algorithm => Err(CertificateKeyError::Algorithm { algorithm }),
        }
    }

    /// Verifies a signature in the form in which X.509 carries it: PKCS#1 v1.5 (strict), DER `ECDSA-Sig-Value`, or 64 bytes of Ed25519
    /// (strict: no small-order key or commitment).
    ///
    /// # Errors
    ///
    /// [`SignatureError`] when the key is of another kind or the signature does not hold.
    pub fn verify(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        use SignatureAlgorithm as A;
        let (parameters, key): (&'static dyn aws::VerificationAlgorithm, &[u8]) = match (self, algorithm) {
            (Self::Rsa { pkcs1, .. }, A::RsaPkcs1Sha256) => (&aws::RSA_PKCS1_2048_8192_SHA256, pkcs1),
            (Self::Rsa { pkcs1, .. }, A::RsaPkcs1Sha384) => (&aws::RSA_PKCS1_2048_8192_SHA384, pkcs1),
            (Self::Rsa { pkcs1, .. }, A::RsaPkcs1Sha512) => (&aws::RSA_PKCS1_2048_8192_SHA512, pkcs1),
            (Self::EcdsaP256(point), A::EcdsaSha256) => (&aws::ECDSA_P256_SHA256_ASN1, point),
            (Self::EcdsaP256(point), A::EcdsaSha384) => (&aws::ECDSA_P256_SHA384_ASN1, point),
            (Self::EcdsaP256(point), A::EcdsaSha512) => (&aws::ECDSA_P256_SHA512_ASN1, point),
            (Self::EcdsaP384(point), A::EcdsaSha256) => (&aws::ECDSA_P384_SHA256_ASN1, point),
            (Self::EcdsaP384(point), A::EcdsaSha384) => (&aws::ECDSA_P384_SHA384_ASN1, point),
            (Self::EcdsaP384(point), A::EcdsaSha512) => (&aws::ECDSA_P384_SHA512_ASN1, point),
            (Self::EcdsaP521(point), A::EcdsaSha256) => (&aws::ECDSA_P521_SHA256_ASN1, point),
            (Self::EcdsaP521(point), A::EcdsaSha384) => (&aws::ECDSA_P521_SHA384_ASN1, point),
            (Self::EcdsaP521(point), A::EcdsaSha512) => (&aws::ECDSA_P521_SHA512_ASN1, point),
            (Self::Ed25519(key), A::Ed25519) => return verify_ed25519(key, message, signature),
            (Self::Rsa { .. } | Self::EcdsaP256(_) | Self::EcdsaP384(_) | Self::EcdsaP521(_) | Self::Ed25519(_), algorithm) => {
                return Err(SignatureError::WrongKeyKind { key: self.kind(), algorithm });
            }
        };
        aws::UnparsedPublicKey::new(parameters, key).verify(message, signature).map_err(|_| SignatureError::Invalid { algorithm })
    }

    /// The kind of key, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::EcdsaP256(_) => "P-256",
            Self::EcdsaP384(_) => "P-384",
            Self::EcdsaP521(_) => "P-521",
            Self::Ed25519(_) => "Ed25519",
        }
    }

    fn parse_rsa(pkcs1: &[u8]) -> Result<Self, CertificateKeyError> {
        let key = RsaPublicKey::from_der(pkcs1).map_err(|source| CertificateKeyError::Malformed { source })?;
        let modulus = key.modulus.as_bytes();
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(CertificateKeyError::RsaBits { bits });
        }
        let exponent = match key.public_exponent.as_bytes() {
            bytes if bytes.len() <= 4 => bytes.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)),
            _ => 0,
        };
        // FIPS 186-5 section 5.1 asks for an odd exponent above 2^16.
        if exponent < 65_537 || exponent % 2 == 0 {
            return Err(CertificateKeyError::RsaExponent);
        }
        Ok(Self::Rsa { pkcs1: pkcs1.to_vec(), bits })
    }

    fn parse_point(curve: ObjectIdentifier, point: &[u8]) -> Result<Self, CertificateKeyError> {
        let (len, key): (usize, fn(Vec<u8>) -> Self) = match curve {
            rfc5912::SECP_256_R_1 => (65, Self::EcdsaP256),
            rfc5912::SECP_384_R_1 => (97, Self::EcdsaP384),
            rfc5912::SECP_521_R_1 => (133, Self::EcdsaP521),
            algorithm => return Err(CertificateKeyError::Algorithm { algorithm }),
        };
        if point.len() != len || point.first() != Some(&4) {
            return Err(CertificateKeyError::Length { algorithm: curve, len: point.len() });
        }
        Ok(key(point.to_vec()))
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateKey({})", self.kind())
    }
}

impl SignatureAlgorithm {
    /// Reads an AlgorithmIdentifier as certificates and revocation lists carry it.
    pub(super) fn from_identifier(identifier: AlgorithmIdentifierRef<'_>) -> Result<Self, CertificateKeyError> {
        let algorithm = identifier.oid;
        let found = match algorithm {
            rfc5912::SHA_256_WITH_RSA_ENCRYPTION => Self::RsaPkcs1Sha256,
            rfc5912::SHA_384_WITH_RSA_ENCRYPTION => Self::RsaPkcs1Sha384,
            rfc5912::SHA_512_WITH_RSA_ENCRYPTION => Self::RsaPkcs1Sha512,
            rfc5912::ECDSA_WITH_SHA_256 => Self::EcdsaSha256,
            rfc5912::ECDSA_WITH_SHA_384 => Self::EcdsaSha384,
            rfc5912::ECDSA_WITH_SHA_512 => Self::EcdsaSha512,
            ID_ED_25519 => Self::Ed25519,
            algorithm if BROKEN.contains(&algorithm) => return Err(CertificateKeyError::BrokenHash { algorithm }),
            algorithm => return Err(CertificateKeyError::SignatureAlgorithm { algorithm }),
        };
        // RFC 4055 section 5 asks for NULL with RSA, RFC 5758 section 3.2 and RFC 8410 section 3 for none.
        let parameters_hold = match found {
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512 => identifier.parameters.is_some_and(AnyRef::is_null),
            Self::EcdsaSha256 | Self::EcdsaSha384 | Self::EcdsaSha512 | Self::Ed25519 => identifier.parameters.is_none(),
        };
        if parameters_hold { Ok(found) } else { Err(CertificateKeyError::Parameters { algorithm }) }
    }
}

/// Bytes of a signature's BIT STRING, which must be whole octets.
pub(super) fn signature_bytes(signature: BitStringRef<'_>) -> Option<Vec<u8>> {
    signature.as_bytes().map(<[u8]>::to_vec)
}

fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let invalid = SignatureError::Invalid { algorithm: SignatureAlgorithm::Ed25519 };
    let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(key) else { return Err(invalid) };
    let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return Err(invalid) };
    key.verify_strict(message, &signature).map_err(|_| invalid)
}

/// Signature algorithms over MD2, MD5 or SHA-1, told apart from unknown ones so that people see what to ask for.
const BROKEN: [ObjectIdentifier; 6] = [
    rfc5912::MD_2_WITH_RSA_ENCRYPTION,
    rfc5912::MD_5_WITH_RSA_ENCRYPTION,
    rfc5912::SHA_1_WITH_RSA_ENCRYPTION,
    rfc5912::DSA_WITH_SHA_1,
    // ecdsa-with-SHA1.
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
    // sha1WithRSASignature of the OIW, an older name of the same.
    ObjectIdentifier::new_unwrap("1.3.14.3.2.29"),
];
