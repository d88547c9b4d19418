//! Identifiers and small quantities, each a type of its own so that no two of them can be swapped by accident.
//!
//! Byte identifiers are written as lower-case hexadecimal in text and JSON and as raw bytes in postcard.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is not the hexadecimal form of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{kind}` is {expected} hexadecimal digits, lower case")]
pub struct ParseIdError {
    /// Name of the type that was wanted.
    pub kind: &'static str,
    /// Number of digits it has.
    pub expected: usize,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(&self.0[..$len.min(6)]))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = || ParseIdError { kind: stringify!($name), expected: 2 * $len };
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(error());
                }
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| error())?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    use serde::ser::SerializeTuple;
                    let mut tuple = serializer.serialize_tuple($len)?;
                    for byte in &self.0 {
                        tuple.serialize_element(byte)?;
                    }
                    tuple.end()
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    struct Bytes;
                    impl<'de> de::Visitor<'de> for Bytes {
                        type Value = [u8; $len];
                        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                            write!(f, "{} bytes", $len)
                        }
                        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                            let mut bytes = [0; $len];
                            for (index, slot) in bytes.iter_mut().enumerate() {
                                *slot = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(index, &self))?;
                            }
                            Ok(bytes)
                        }
                    }
                    deserializer.deserialize_tuple($len, Bytes).map(Self)
                }
            }
        }
    };
}

byte_id! {
    /// Hash of the genesis body: names the cluster in every handshake and every signed object.
    ClusterId, 32
}
byte_id! {
    /// An Ed25519 point as RFC 8032 encodes it: a public key or a commitment. Whether it is a point, and a sound one, is for its user to check.
    EncodedPoint, 32
}
byte_id! {
    /// One holder's threshold key with its certificate and state. Random.
    CredentialId, 16
}
byte_id! {
    /// One DKG, repair, refresh or import.
    CeremonyId, 16
}
byte_id! {
    /// One officer-signed command. Random, so that an order is used once.
    OrderId, 16
}
byte_id! {
    /// An enrolled machine in a facility. Random.
    TerminalId, 16
}
byte_id! {
    /// Hash of the statement that opened the session.
    SessionId, 32
}
byte_id! {
    /// Hash of one request under its domain tag.
    RequestHash, 32
}
byte_id! {
    /// SHA-256 of the canonical `PrescriptionDocument` or `Dispensing` element.
    DocumentDigest, 32
}
byte_id! {
    /// SHA-256 of a certificate's DER.
    CertificateHash, 32
}
byte_id! {
    /// SHA-256 of a DER SubjectPublicKeyInfo.
    SpkiHash, 32
}
byte_id! {
    /// Hash of what the authors of a stop signed.
    StopId, 32
}
byte_id! {
    /// Any other SHA-256.
    Sha256, 32
}
byte_id! {
    /// Drawn by a node each time it starts.
    BootId, 16
}
byte_id! {
    /// Drawn when a store is created; a new disk has a new one.
    StoreId, 16
}
byte_id! {
    /// Names one nonce pair of one node: boot-local random, never reused.
    NonceId, 16
}
byte_id! {
    /// A nonce that makes a statement or binding unique. Random.
    Challenge, 32
}

/// An identifier of a site's node: 1 to 15, and the FROST identifier of the shares that it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeId(u8);

impl NodeId {
    /// The largest identifier, since a cluster has at most this many sites.
    pub const MAX: u8 = 15;

    /// Checks the range 1 to 15.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| de::Error::custom(format_args!("a node id is 1 to {}, not {number}", Self::MAX)))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.0)
    }
}

/// A name made of `a-z 0-9 - _ .`, 1 to 64 characters: facilities, officers, coordinators, clients.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// A text that is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {} characters of a-z 0-9 - _ .", Name::LEN_MAX)]
pub struct ParseNameError;

impl Name {
    /// Longest name in bytes.
    pub const LEN_MAX: usize = 64;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > Self::LEN_MAX || !text.bytes().all(allowed) {
            return Err(ParseNameError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Generation of a credential's shares; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How many sites must take part in a signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Threshold(pub u8);

/// How often an object of the registry has been changed; an order names the version that it was written for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectVersion(pub u64);

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This instant and `millis` more, or the largest instant.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This instant less `millis`, or the smallest instant.
    #[must_use]
    pub const fn minus(self, millis: u64) -> Self {
        Self(self.0.saturating_sub(millis))
    }

    /// Distance to another instant in either direction, in milliseconds.
    #[must_use]
    pub const fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()) {
            Some(instant) => write!(f, "{instant:.0}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}
