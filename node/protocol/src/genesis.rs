//! The document that founds a cluster. Its hash is the cluster id; all initial officers sign it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::canonical::{TAG_GENESIS, json_message, sha256};
use crate::{
    AnchorEntry, Blob, ClusterId, CoordinatorEntry, Name, NodeEntry, NodeId, OfficerEntry, Policy, PolicyError, PublicKey, Threshold,
    UnixMillis,
};

/// Everything that the founders agree on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisBody {
    /// Format of this document: 1.
    pub format: u32,
    /// Name for people.
    pub name: Name,
    /// When it was written; log entries are never older.
    pub created: UnixMillis,
    /// t: sites that must take part in a signature.
    pub threshold: Threshold,
    /// f: sites that may lie at once without an acknowledgement being worth less.
    pub liars: u8,
    /// Must be set for a threshold that is not a majority of the nodes.
    #[serde(default)]
    pub minority_threshold: bool,
    /// What the cluster chooses.
    #[serde(default)]
    pub policy: Policy,
    /// The n sites.
    pub nodes: Vec<NodeEntry>,
    /// The coordinators.
    pub coordinators: Vec<CoordinatorEntry>,
    /// The initial officers.
    pub officers: Vec<OfficerEntry>,
    /// Pinned CAs.
    pub anchors: Vec<AnchorEntry>,
}

/// One officer's signature over the body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSignature {
    /// Who signed.
    pub officer: Name,
    /// Signature over the tagged canonical JSON of the body.
    pub signature: Blob,
}

/// `genesis.toml` as it is read: not yet checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisDocument {
    /// The agreement.
    pub genesis: GenesisBody,
    /// The signatures; one of every officer.
    #[serde(default)]
    pub signatures: Vec<GenesisSignature>,
}

/// A checked genesis: bounds hold, identities are distinct, every officer has signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    body: GenesisBody,
    cluster: ClusterId,
    document: GenesisDocument,
}

/// Largest `genesis.toml` that is read.
pub const GENESIS_BYTES_MAX: usize = 1024 * 1024;

/// Why a genesis is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not TOML of the expected form.
    #[error("the genesis cannot be read: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// Larger than [`GENESIS_BYTES_MAX`].
    #[error("the genesis has {size} bytes, more than {GENESIS_BYTES_MAX}")]
    TooLarge {
        /// Bytes found.
        size: usize,
    },
    /// Another format number.
    #[error("genesis format {format} is unknown to this version, which reads 1")]
    UnknownFormat {
        /// Number found.
        format: u32,
    },
    /// n or t out of range.
    #[error("a cluster needs 2 <= t <= n-1 and n <= 15, not t = {threshold}, n = {nodes}")]
    Threshold {
        /// t
        threshold: u8,
        /// n
        nodes: usize,
    },
    /// t is not a majority and the flag for it is missing.
    #[error(
        "t = {threshold} is not a majority of {nodes} nodes: two disjoint groups could sign; set `minority_threshold` if that is wanted"
    )]
    MinorityThreshold {
        /// t
        threshold: u8,
        /// n
        nodes: usize,
    },
    /// f out of range.
    #[error("f = {liars} must be below t = {threshold}")]
    Liars {
        /// f
        liars: u8,
        /// t
        threshold: u8,
    },
    /// Two members share an identifier or a key.
    #[error("`{what}` appears twice")]
    Duplicate {
        /// The identifier or key.
        what: String,
    },
    /// A node's or coordinator's identity key is not Ed25519.
    #[error("the identity key of {who} must be Ed25519")]
    IdentityKey {
        /// Whose key.
        who: String,
    },
    /// No coordinator or no anchor of a needed kind.
    #[error("no {what} is named")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// The policy is out of bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// An officer has not signed.
    #[error("officer {officer} has not signed the genesis; every initial officer must")]
    Unsigned {
        /// Who is missing.
        officer: Name,
    },
    /// A signature does not verify, or is of nobody named.
    #[error("the signature of {officer} on the genesis does not verify")]
    BadSignature {
        /// Whose signature.
        officer: Name,
    },
}

impl GenesisBody {
    /// The bytes that officers sign.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        json_message(TAG_GENESIS, self)
    }

    /// The cluster id that follows from this body.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        ClusterId::new(sha256(&self.message()))
    }

    /// Checks everything but the signatures.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.format != 1 {
            return Err(GenesisError::UnknownFormat { format: self.format });
        }
        Agreement {
            threshold: self.threshold,
            liars: self.liars,
            minority_threshold: self.minority_threshold,
            policy: &self.policy,
            nodes: &self.nodes,
            coordinators: &self.coordinators,
            officers: &self.officers,
            anchors: &self.anchors,
        }
        .check()
    }
}

/// What the genesis and every later change of it must agree with.
pub(crate) struct Agreement<'a> {
    pub(crate) threshold: Threshold,
    pub(crate) liars: u8,
    pub(crate) minority_threshold: bool,
    pub(crate) policy: &'a Policy,
    pub(crate) nodes: &'a [NodeEntry],
    pub(crate) coordinators: &'a [CoordinatorEntry],
    pub(crate) officers: &'a [OfficerEntry],
    pub(crate) anchors: &'a [AnchorEntry],
}

impl Agreement<'_> {
    pub(crate) fn check(&self) -> Result<(), GenesisError> {
        let nodes = self.nodes.len();
        let threshold = self.threshold.0;
        if threshold < 2 || usize::from(threshold) + 1 > nodes || nodes > usize::from(NodeId::MAX) {
            return Err(GenesisError::Threshold { threshold, nodes });
        }
        if usize::from(threshold) * 2 <= nodes && !self.minority_threshold {
            return Err(GenesisError::MinorityThreshold { threshold, nodes });
        }
        if self.liars >= threshold {
            return Err(GenesisError::Liars { liars: self.liars, threshold });
        }
        if self.coordinators.is_empty() {
            return Err(GenesisError::Missing { what: "coordinator" });
        }
        for (kind, what) in [
            (crate::AnchorKind::HpkiSigning, "HPKI signing CA"),
            (crate::AnchorKind::JpkiUserAuthentication, "JPKI user-authentication CA"),
        ] {
            if !self.anchors.iter().any(|anchor| anchor.kind == kind) {
                return Err(GenesisError::Missing { what });
            }
        }
        if self.anchors.iter().any(|anchor| anchor.policies.is_empty()) {
            return Err(GenesisError::Missing { what: "accepted policy of an anchor" });
        }
        self.check_distinct()?;
        self.policy.check(self.officers)?;
        Ok(())
    }

    fn check_distinct(&self) -> Result<(), GenesisError> {
        let mut seen = BTreeSet::new();
        let mut insert = |what: String| if seen.insert(what.clone()) { Ok(()) } else { Err(GenesisError::Duplicate { what }) };
        for node in self.nodes {
            insert(format!("node {}", node.id))?;
            insert(format!("spki {}", node.tls_spki))?;
            insert(format!("key {}", node.identity))?;
            require_ed25519(node.identity, || format!("node {}", node.id))?;
        }
        for coordinator in self.coordinators {
            insert(format!("coordinator {}", coordinator.id))?;
            insert(format!("spki {}", coordinator.tls_spki))?;
            insert(format!("key {}", coordinator.identity))?;
            require_ed25519(coordinator.identity, || format!("coordinator {}", coordinator.id))?;
        }
        for officer in self.officers {
            insert(format!("officer {}", officer.id))?;
            insert(format!("key {}", officer.key))?;
        }
        Ok(())
    }
}

fn require_ed25519(key: PublicKey, who: impl FnOnce() -> String) -> Result<(), GenesisError> {
    if matches!(key, PublicKey::Ed25519(_)) { Ok(()) } else { Err(GenesisError::IdentityKey { who: who() }) }
}

impl GenesisDocument {
    /// Reads TOML; nothing is checked but its form and size.
    ///
    /// # Errors
    /// When it is too large or malformed.
    pub fn from_toml(text: &str) -> Result<Self, GenesisError> {
        if text.len() > GENESIS_BYTES_MAX {
            return Err(GenesisError::TooLarge { size: text.len() });
        }
        toml::from_str(text).map_err(|error| GenesisError::Malformed { reason: error.to_string() })
    }

    /// Writes TOML.
    ///
    /// # Panics
    /// Never: the types have no value that TOML lacks.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a genesis has only values that TOML can hold")
    }
}

impl Genesis {
    /// Checks a document whole.
    ///
    /// # Errors
    /// Names the first rule that is broken, or the officer whose signature is missing or bad.
    pub fn new(document: GenesisDocument) -> Result<Self, GenesisError> {
        document.genesis.check()?;
        let message = document.genesis.message();
        let mut signed = BTreeSet::new();
        for signature in &document.signatures {
            let bad = || GenesisError::BadSignature { officer: signature.officer.clone() };
            let officer = document.genesis.officers.iter().find(|officer| officer.id == signature.officer).ok_or_else(bad)?;
            officer.key.verify(&message, signature.signature.as_slice()).map_err(|_| bad())?;
            signed.insert(&officer.id);
        }
        if let Some(officer) = document.genesis.officers.iter().find(|officer| !signed.contains(&officer.id)) {
            return Err(GenesisError::Unsigned { officer: officer.id.clone() });
        }
        Ok(Self { cluster: document.genesis.cluster(), body: document.genesis.clone(), document })
    }

    /// Reads and checks `genesis.toml`.
    ///
    /// # Errors
    /// As [`GenesisDocument::from_toml`] and [`Genesis::new`].
    pub fn from_toml(text: &str) -> Result<Self, GenesisError> {
        Self::new(GenesisDocument::from_toml(text)?)
    }

    /// The agreement.
    #[must_use]
    pub const fn body(&self) -> &GenesisBody {
        &self.body
    }

    /// The cluster id.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The signed document.
    #[must_use]
    pub const fn document(&self) -> &GenesisDocument {
        &self.document
    }

    /// A node's entry.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.body.nodes.iter().find(|node| node.id == id)
    }

    /// An officer's entry.
    #[must_use]
    pub fn officer(&self, id: &Name) -> Option<&OfficerEntry> {
        self.body.officers.iter().find(|officer| officer.id == *id)
    }

    /// n−t+1+f: nodes whose receipts make a stop certain.
    #[must_use]
    pub fn stop_quorum(&self) -> usize {
        self.body.nodes.len() + 1 + usize::from(self.body.liars) - usize::from(self.body.threshold.0)
    }
}
