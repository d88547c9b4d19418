//! Orders: commands that officers sign offline and every node verifies when it applies them.

use serde::{Deserialize, Serialize};

use crate::canonical::{TAG_BINDING, TAG_CONSENT, TAG_ORDER, json_message, sha256};
use crate::{
    AnchorEntry, AuthenticatorKind, Blob, CertificateHash, Challenge, ClusterId, CommandClass, CoordinatorEntry, CredentialId, KeyImport,
    Name, NodeEntry, NodeId, NodeSigned, NodeStatement, ObjectVersion, OfficerEntry, OrderId, Policy, PublicKey, SessionId, Sha256,
    StoreId, SubjectFields, TerminalId, UnixMillis, order_words,
};

/// One credential to create.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Identifier of the new credential, drawn by the officer's tool.
    pub credential: CredentialId,
    /// The CA's identifier of the holder; a holder has at most one credential that is not destroyed.
    pub holder: Name,
    /// Subject of the CSR and of the certificate.
    pub subject: SubjectFields,
}

/// What an order does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OrderCommand {
    /// Creates credentials and starts one key-generation ceremony for all of them.
    Enrol {
        /// 1 to [`crate::limits::CEREMONY_CREDENTIALS_MAX`] credentials.
        enrolments: Vec<Enrolment>,
    },
    /// Installs the certificate that the CA issued over the credential's key.
    InstallCertificate {
        /// Whose.
        credential: CredentialId,
        /// DER.
        certificate: Blob,
        /// DER of CA certificates between it and an anchor.
        intermediates: Vec<Blob>,
    },
    /// Binds a card to a credential.
    BindAuthenticator {
        /// The binding that the card signed.
        binding: Binding,
        /// DER of the card's certificate.
        certificate: Blob,
        /// DER of CA certificates between it and an anchor.
        intermediates: Vec<Blob>,
        /// The card's signature over [`Binding::message`].
        card_signature: Blob,
        /// For a further card: a bound card's certificate and its signature over the same message.
        bound_card: Option<BoundCardApproval>,
    },
    /// Ends a binding; the sessions opened with the card end with it.
    UnbindAuthenticator {
        /// Whose.
        credential: CredentialId,
        /// The card's certificate.
        card: CertificateHash,
    },
    /// Enrols a clinic or pharmacy.
    EnrolFacility {
        /// Identifier, for instance the ten-digit institution code.
        facility: Name,
    },
    /// Enrols a terminal with its own key.
    EnrolTerminal {
        /// Identifier.
        terminal: TerminalId,
        /// Where it stands.
        facility: Name,
        /// Its key: Ed25519 or ECDSA P-256.
        key: PublicKey,
    },
    /// Ends a terminal's enrolment.
    RetireTerminal {
        /// Identifier.
        terminal: TerminalId,
    },
    /// Suspends a credential; its sessions end.
    Suspend {
        /// Whose.
        credential: CredentialId,
    },
    /// Resumes a suspended credential.
    Resume {
        /// Whose.
        credential: CredentialId,
    },
    /// Revokes a credential for good; its sessions end.
    Revoke {
        /// Whose.
        credential: CredentialId,
    },
    /// Closes a session.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// Announces a CRL whose pieces follow; it is checked and becomes active with the last piece.
    UpdateCrl {
        /// SHA-256 of the whole DER.
        hash: Sha256,
        /// Its CRLNumber.
        number: u64,
        /// Its size in bytes.
        size: u64,
        /// SHA-256 of each piece of [`crate::limits::CRL_CHUNK_BYTES`], in order: nobody else can put another piece in its place.
        pieces: Vec<Sha256>,
        /// DER of the CA's certificate when it is not pinned itself but was issued by a pinned CA.
        issuer: Option<Blob>,
    },
    /// Puts another policy in the place of the whole present one.
    UpdatePolicy {
        /// The new policy.
        policy: Policy,
    },
    /// Puts other pinned CAs in the place of all present ones.
    UpdateAnchors {
        /// The new anchors.
        anchors: Vec<AnchorEntry>,
    },
    /// Puts another roster in the place of the whole present one. One node may come or go at a time; t and f stay.
    UpdateRoster {
        /// The sites.
        nodes: Vec<NodeEntry>,
        /// The coordinators.
        coordinators: Vec<CoordinatorEntry>,
        /// The officers.
        officers: Vec<OfficerEntry>,
    },
    /// Admits a site on an empty store in the place of a lost one. Its old store and old keys are refused from then on.
    ReplaceStore {
        /// The site's entry with new keys, under the identifier that it has.
        node: NodeEntry,
        /// The new store, as `warifu-node init --replace` drew it.
        store: StoreId,
    },
    /// Binds a further card without the word of a bound one, for a holder who has lost it. It is listed as pending from now on and takes
    /// effect by itself when the policy's delay is over, unless it is ended before.
    BindWithNotice {
        /// The binding that the card signed.
        binding: Binding,
        /// DER of the card's certificate.
        certificate: Blob,
        /// DER of CA certificates between it and an anchor.
        intermediates: Vec<Blob>,
        /// The card's signature over [`Binding::message`].
        card_signature: Blob,
    },
    /// Suspends one card's binding: the sessions opened with the card end and it opens no more. A pending binding is ended for good.
    SuspendBinding {
        /// Whose.
        credential: CredentialId,
        /// The card's certificate.
        card: CertificateHash,
    },
    /// Ends the suspension of a card's binding: the card was found.
    ResumeBinding {
        /// Whose.
        credential: CredentialId,
        /// The card's certificate.
        card: CertificateHash,
    },
    /// Gives the holders of credentials new shares of the same keys; the old ones are then worth nothing.
    Refresh {
        /// 1 to [`crate::limits::CEREMONY_CREDENTIALS_MAX`] credentials, ascending, all held by the same nodes.
        credentials: Vec<CredentialId>,
    },
    /// Destroys a credential's key at every site; the holder is free for a new one.
    Destroy {
        /// Whose.
        credential: CredentialId,
    },
    /// Makes every key due for a refresh that was last given shares before this order is applied. The nodes refresh them in the background.
    RefreshAll {
        /// Only keys of which this node was given shares.
        held_by: Option<NodeId>,
    },
    /// Creates a credential with a key that exists already. The shares go to the nodes in sealed packets of which only the hashes are here.
    Import {
        /// What is imported.
        import: KeyImport,
    },
}

/// A card already bound that agrees to a further one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundCardApproval {
    /// DER of its certificate.
    pub certificate: Blob,
    /// Its signature over [`Binding::message`].
    pub signature: Blob,
}

/// The text that a card signs to be bound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Cluster.
    pub cluster: ClusterId,
    /// Credential that the card will open sessions for.
    pub credential: CredentialId,
    /// How the card is recognised.
    pub kind: AuthenticatorKind,
    /// SHA-256 of the card certificate.
    pub card: CertificateHash,
    /// Random; makes the text unique.
    pub nonce: Challenge,
}

impl Binding {
    /// The bytes that the card signs.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        json_message(TAG_BINDING, self)
    }
}

/// The part of an order that is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Cluster that it is for.
    pub cluster: ClusterId,
    /// Random; an order is applied once.
    pub id: OrderId,
    /// Refused from then on.
    pub not_after: UnixMillis,
    /// Version of the object it changes, at which it was written; 0 for an object that does not exist yet. Ignored for stopping orders.
    pub object_version: ObjectVersion,
    /// What it does.
    pub order: OrderCommand,
}

/// One officer's approval.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub officer: Name,
    /// Signature over [`OrderBody::message`].
    pub signature: Blob,
}

/// An order with the approvals gathered so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is signed.
    pub body: OrderBody,
    /// By whom.
    pub approvals: Vec<Approval>,
    /// Consents of site administrators; only for classes that need them.
    #[serde(default)]
    pub consents: Vec<NodeSigned<Consent>>,
}

/// A site administrator agrees to an order. Signed by the site's own node, which does so at its admin socket only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// [`OrderBody::digest`] of the order.
    pub order: Sha256,
}

impl NodeStatement for Consent {
    const TAG: &'static str = TAG_CONSENT;
}

impl OrderBody {
    /// The bytes that officers sign.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        json_message(TAG_ORDER, self)
    }

    /// SHA-256 of [`Self::message`]: what consents name.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::new(sha256(&self.message()))
    }

    /// The order in words, one fact a line: what an officer reads before the key is used.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = self.order.describe();
        if !self.order.is_stopping() {
            lines.push(format!("written for object version {}", self.object_version.0));
        }
        lines.push(format!("valid until {}", self.not_after));
        lines.push(format!("order {} in cluster {}", self.id, self.cluster));
        lines
    }
}

impl OrderCommand {
    /// Stopping orders are exempt from object versions: a stop may never lose to another change.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.stops().is_some()
    }

    /// Announces this CRL, with the certificate of its CA where that is not pinned. The CRL is not looked at.
    #[must_use]
    pub fn update_crl(der: &[u8], number: u64, issuer: Option<Blob>) -> Self {
        let hash = |bytes: &[u8]| Sha256::new(sha256(bytes));
        let pieces = der.chunks(crate::limits::CRL_CHUNK_BYTES).map(hash).collect();
        Self::UpdateCrl { hash: hash(der), number, size: der.len() as u64, pieces, issuer }
    }

    /// The one credential that the order is for; `None` if it is for several, or for something else.
    #[must_use]
    pub const fn credential(&self) -> Option<CredentialId> {
        match self {
            Self::InstallCertificate { credential, .. }
            | Self::UnbindAuthenticator { credential, .. }
            | Self::Suspend { credential }
            | Self::Resume { credential }
            | Self::Revoke { credential }
            | Self::SuspendBinding { credential, .. }
            | Self::ResumeBinding { credential, .. }
            | Self::Destroy { credential } => Some(*credential),
            Self::BindAuthenticator { binding, .. } | Self::BindWithNotice { binding, .. } => Some(binding.credential),
            Self::Import { import } => Some(import.enrolment.credential),
            Self::Enrol { .. }
            | Self::EnrolFacility { .. }
            | Self::EnrolTerminal { .. }
            | Self::RetireTerminal { .. }
            | Self::CloseSession { .. }
            | Self::UpdateCrl { .. }
            | Self::UpdatePolicy { .. }
            | Self::UpdateAnchors { .. }
            | Self::UpdateRoster { .. }
            | Self::ReplaceStore { .. }
            | Self::Refresh { .. }
            | Self::RefreshAll { .. } => None,
        }
    }

    /// The row of the approval table. A binding says by itself which row it needs; whether the credential is one that it fits is checked
    /// when it is applied.
    #[must_use]
    pub const fn class(&self) -> CommandClass {
        match self {
            Self::Enrol { .. } => CommandClass::Enrol,
            Self::InstallCertificate { .. } => CommandClass::InstallCertificate,
            Self::BindAuthenticator { bound_card: None, .. } => CommandClass::BindFirst,
            Self::BindAuthenticator { bound_card: Some(_), .. } => CommandClass::BindFurther,
            Self::BindWithNotice { .. } => CommandClass::BindWithNotice,
            Self::UnbindAuthenticator { .. } => CommandClass::Unbind,
            Self::EnrolFacility { .. } | Self::EnrolTerminal { .. } | Self::RetireTerminal { .. } => CommandClass::Facility,
            Self::Suspend { .. } | Self::SuspendBinding { .. } => CommandClass::Suspend,
            Self::Resume { .. } | Self::ResumeBinding { .. } => CommandClass::Resume,
            Self::Revoke { .. } => CommandClass::Revoke,
            Self::Destroy { .. } => CommandClass::Destroy,
            Self::CloseSession { .. } => CommandClass::CloseSession,
            Self::UpdateCrl { .. } => CommandClass::UpdateCrl,
            Self::UpdatePolicy { .. } => CommandClass::Policy,
            Self::UpdateAnchors { .. } => CommandClass::Anchors,
            Self::UpdateRoster { .. } => CommandClass::Roster,
            Self::ReplaceStore { .. } => CommandClass::Repair,
            Self::Refresh { .. } | Self::RefreshAll { .. } => CommandClass::Refresh,
            Self::Import { .. } => CommandClass::Import,
        }
    }

    fn describe(&self) -> Vec<String> {
        match self {
            Self::Enrol { enrolments } => {
                let mut lines = vec![format!("ENROL {} credential(s) and generate their keys", enrolments.len())];
                lines.extend(enrolments.iter().map(|one| format!("  {} for holder {}: {}", one.credential, one.holder, one.subject)));
                lines
            }
            Self::InstallCertificate { credential, certificate, .. } => vec![
                format!("INSTALL A CERTIFICATE for credential {credential}"),
                format!("  SHA-256 of the certificate {}", Sha256::new(sha256(certificate.as_slice()))),
            ],
            Self::BindAuthenticator { binding, bound_card, .. } => vec![
                format!("BIND A CARD ({}) to credential {}", card_kind(binding.kind), binding.credential),
                format!("  SHA-256 of the card's certificate {}", binding.card),
                match bound_card {
                    Some(approval) => {
                        format!("  agreed to by the bound card {}", CertificateHash::new(sha256(approval.certificate.as_slice())))
                    }
                    None => "  as the credential's first card".to_owned(),
                },
                "  whoever holds this card and its PIN will sign as the holder".to_owned(),
            ],
            Self::UnbindAuthenticator { credential, card } => {
                vec![format!("UNBIND the card {card} from credential {credential}; its sessions end")]
            }
            Self::EnrolFacility { facility } => vec![format!("ENROL FACILITY {facility}")],
            Self::EnrolTerminal { terminal, facility, key } => {
                vec![format!("ENROL TERMINAL {terminal} at facility {facility}"), format!("  with the key {key}")]
            }
            Self::RetireTerminal { terminal } => vec![format!("RETIRE TERMINAL {terminal}; no session can be opened at it")],
            Self::Suspend { credential } => vec![format!("SUSPEND credential {credential}; its sessions end")],
            Self::Resume { credential } => vec![format!("RESUME credential {credential}")],
            Self::Revoke { credential } => vec![format!("REVOKE credential {credential} for good; its sessions end")],
            Self::CloseSession { session } => vec![format!("CLOSE SESSION {session}")],
            Self::UpdateCrl { hash, number, size, .. } => {
                vec![format!("UPDATE A CRL: number {number}, {size} bytes, SHA-256 {hash}")]
            }
            Self::UpdatePolicy { policy } => order_words::policy(policy),
            Self::UpdateAnchors { anchors } => order_words::anchors(anchors),
            Self::UpdateRoster { nodes, coordinators, officers } => order_words::roster(nodes, coordinators, officers),
            Self::ReplaceStore { node, store } => order_words::replace_store(node, *store),
            Self::Refresh { credentials } => {
                let mut lines = vec![format!("REFRESH the shares of {} credential(s); keys and certificates stay", credentials.len())];
                lines.extend(credentials.iter().map(|credential| format!("  {credential}")));
                lines
            }
            Self::RefreshAll { held_by } => vec![
                match held_by {
                    Some(node) => format!("REFRESH THE SHARES of every key of which node {node} was given shares"),
                    None => "REFRESH THE SHARES of every key".to_owned(),
                },
                "  keys and certificates stay, and signing goes on; it is done in the background and may take hours".to_owned(),
            ],
            Self::BindWithNotice { binding, .. } => vec![
                format!("BIND A CARD ({}) to credential {} WITH NOTICE", card_kind(binding.kind), binding.credential),
                format!("  SHA-256 of the card's certificate {}", binding.card),
                "  no card bound already agrees: make sure that the holder asked for this".to_owned(),
                "  it takes effect by itself when the policy's delay is over; until then one operator can end it".to_owned(),
                "  whoever holds this card and its PIN will sign as the holder".to_owned(),
            ],
            Self::SuspendBinding { credential, card } => {
                vec![format!("SUSPEND THE CARD {card} of credential {credential}; its sessions end, the holder's other cards go on")]
            }
            Self::Destroy { credential } => vec![
                format!("DESTROY THE KEY of credential {credential} at every site"),
                "  no backup and nobody can bring it back; its sessions and cards end, and the holder may be enrolled anew".to_owned(),
            ],
            Self::ResumeBinding { credential, card } => vec![
                format!("RESUME THE CARD {card} of credential {credential}"),
                "  whoever holds this card and its PIN will sign as the holder again".to_owned(),
            ],
            Self::Import { import } => order_words::import(import),
        }
    }
}

const fn card_kind(kind: AuthenticatorKind) -> &'static str {
    match kind {
        AuthenticatorKind::MyNumberCard => "My Number Card",
        AuthenticatorKind::HpkiCard => "HPKI card",
    }
}
