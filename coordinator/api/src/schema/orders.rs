//! Orders of officers.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Base64, Id16, Id32, Name, NodeId, NodeSigned, PublicKey, UnixMillis};

/// An order with the approvals gathered so far.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is signed.
    pub body: OrderBody,
    /// By whom.
    pub approvals: Vec<Approval>,
    /// Consents of site administrators; only for classes that need them.
    #[schema(required = false)]
    pub consents: Vec<NodeSigned<Consent>>,
}

/// The part of an order that is signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Cluster that it is for.
    pub cluster: Id32,
    /// Random; an order is applied once.
    pub id: Id16,
    /// Refused from then on.
    pub not_after: UnixMillis,
    /// Version of the object it changes, at which it was written; 0 for an object that does not exist yet. Ignored for stopping orders.
    pub object_version: u64,
    /// What it does.
    pub order: OrderCommand,
}

/// What an order does.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OrderCommand {
    /// Creates credentials and starts one key-generation ceremony for all of them.
    Enrol {
        /// 1 to 256 credentials.
        enrolments: Vec<Enrolment>,
    },
    /// Installs the certificate that the CA issued over the credential's key.
    InstallCertificate {
        /// Whose.
        credential: Id16,
        /// DER.
        certificate: Base64,
        /// DER of CA certificates between it and an anchor.
        intermediates: Vec<Base64>,
    },
    /// Binds a card to a credential.
    BindAuthenticator {
        /// The binding that the card signed.
        binding: Binding,
        /// DER of the card's certificate.
        certificate: Base64,
        /// DER of CA certificates between it and an anchor.
        intermediates: Vec<Base64>,
        /// The card's signature over the binding.
        card_signature: Base64,
        /// For a further card: a bound card's certificate and its signature over the same message.
        bound_card: Option<BoundCardApproval>,
    },
    /// Ends a binding; the sessions opened with the card end with it.
    UnbindAuthenticator {
        /// Whose.
        credential: Id16,
        /// The card's certificate.
        card: Id32,
    },
    /// Enrols a clinic or pharmacy.
    EnrolFacility {
        /// Identifier, for instance the ten-digit institution code.
        facility: Name,
    },
    /// Enrols a terminal with its own key.
    EnrolTerminal {
        /// Identifier.
        terminal: Id16,
        /// Where it stands.
        facility: Name,
        /// Its key: Ed25519 or ECDSA P-256.
        key: PublicKey,
    },
    /// Ends a terminal's enrolment.
    RetireTerminal {
        /// Identifier.
        terminal: Id16,
    },
    /// Suspends a credential; its sessions end.
    Suspend {
        /// Whose.
        credential: Id16,
    },
    /// Resumes a suspended credential.
    Resume {
        /// Whose.
        credential: Id16,
    },
    /// Revokes a credential for good; its sessions end.
    Revoke {
        /// Whose.
        credential: Id16,
    },
    /// Closes a session.
    CloseSession {
        /// Which.
        session: Id32,
    },
    /// Announces a CRL whose pieces follow; it is checked and becomes active with the last piece.
    UpdateCrl {
        /// SHA-256 of the whole DER.
        hash: Id32,
        /// Its CRLNumber.
        number: u64,
        /// Its size in bytes.
        size: u64,
        /// SHA-256 of each piece of it, in order.
        pieces: Vec<Id32>,
        /// DER of the CA's certificate when it is not pinned itself but was issued by a pinned CA.
        issuer: Option<Base64>,
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
        store: Id16,
    },
    /// Binds a further card without the word of a bound one, for a holder who has lost it. It is listed as pending from now on and takes
    /// effect by itself when the policy's delay is over, unless it is ended before.
    BindWithNotice {
        /// The binding that the card signed.
        binding: Binding,
        /// DER of the card's certificate.
        certificate: Base64,
        /// DER of CA certificates between it and an anchor.
        intermediates: Vec<Base64>,
        /// The card's signature over the binding.
        card_signature: Base64,
    },
    /// Suspends one card's binding: the sessions opened with the card end and it opens no more. A pending binding is ended for good.
    SuspendBinding {
        /// Whose.
        credential: Id16,
        /// The card's certificate.
        card: Id32,
    },
    /// Ends the suspension of a card's binding: the card was found.
    ResumeBinding {
        /// Whose.
        credential: Id16,
        /// The card's certificate.
        card: Id32,
    },
    /// Gives the holders of credentials new shares of the same keys; the old ones are then worth nothing.
    Refresh {
        /// 1 to 256 credentials, ascending, all held by the same nodes.
        credentials: Vec<Id16>,
    },
    /// Destroys a credential's key at every site; the holder is free for a new one.
    Destroy {
        /// Whose.
        credential: Id16,
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

/// One officer's approval.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub officer: Name,
    /// Signature over the body.
    pub signature: Base64,
}

/// A site administrator agrees to an order. Signed by the site's own node, which does so at its admin socket only.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// SHA-256 of what the officers sign of the order.
    pub order: Id32,
}

/// One credential to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Identifier of the new credential, drawn by the officer's tool.
    pub credential: Id16,
    /// The CA's identifier of the holder; a holder has at most one credential that is not destroyed.
    pub holder: Name,
    /// Subject of the CSR and of the certificate.
    pub subject: SubjectFields,
}

/// The subject of a holder's certificate. Each field is 1 to 64 characters of printable ASCII.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectFields {
    /// `C`, two capital letters.
    pub country: String,
    /// `O`.
    pub organization: Option<String>,
    /// `CN`.
    pub common_name: String,
    /// `serialNumber`.
    pub serial_number: String,
}

/// The text that a card signs to be bound.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Cluster.
    pub cluster: Id32,
    /// Credential that the card will open sessions for.
    pub credential: Id16,
    /// How the card is recognised.
    pub kind: AuthenticatorKind,
    /// SHA-256 of the card certificate.
    pub card: Id32,
    /// Random; makes the text unique.
    pub nonce: Id32,
}

/// A card already bound that agrees to a further one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundCardApproval {
    /// DER of its certificate.
    pub certificate: Base64,
    /// Its signature over the binding.
    pub signature: Base64,
}

/// How a holder's card is recognised.
#[derive(Deserialize, ToSchema)]
pub enum AuthenticatorKind {
    /// My Number Card, user-authentication certificate.
    #[serde(rename = "mnc")]
    MyNumberCard,
    /// HPKI card, authentication certificate.
    #[serde(rename = "hpki_card")]
    HpkiCard,
}

/// A key to import, without anything secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyImport {
    /// The credential that gets it.
    pub enrolment: Enrolment,
    /// Commitments to the t coefficients of the polynomial that the shares lie on, the constant first: that one is the public key.
    pub commitment: Vec<Id32>,
    /// SHA-256 of each node's sealed packet: all nodes of the roster, ascending.
    pub packets: Vec<(NodeId, Id32)>,
}

/// One node's share of a key that is imported, sealed for that node.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportPacket {
    /// The order that imports the key.
    pub order: Id16,
    /// For whom.
    pub node: NodeId,
    /// The sealed bytes.
    pub sealed: Base64,
}

/// A site's node.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Identifier, also of its shares.
    pub id: NodeId,
    /// Advertised `host:port` of its QUIC endpoint. A peer's configuration may override it; identity is the SPKI.
    pub address: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS certificate.
    pub tls_spki: Id32,
    /// Ed25519 key that signs what the node says in the log.
    pub identity: PublicKey,
    /// Hybrid sealing key for packets made offline: X25519 (32 bytes) then ML-KEM-768 (1184 bytes).
    pub sealing_key: Base64,
}

/// A coordinator: it may ask for signature shares and relay orders, and holds no secret of a credential.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorEntry {
    /// Identifier.
    pub id: Name,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS certificate.
    pub tls_spki: Id32,
    /// Ed25519 identity key.
    pub identity: PublicKey,
}

/// A person who may approve orders.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfficerEntry {
    /// Identifier.
    pub id: Name,
    /// What the officer may approve.
    pub role: OfficerRole,
    /// Ed25519 or ECDSA P-256/P-384 key.
    pub key: PublicKey,
}

/// Roles of EN 419 241-1.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OfficerRole {
    /// Decides on keys, roster, policy and anchors.
    SecurityOfficer,
    /// Runs the machines.
    Administrator,
    /// Enrols, certifies, binds, revokes.
    Operator,
    /// Reads.
    Auditor,
}

/// A pinned CA certificate. Several generations may be pinned at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorEntry {
    /// What it vouches for.
    pub kind: AnchorKind,
    /// DER of the CA certificate.
    pub certificate: Base64,
    /// Accepted certificate policies of end entities, as dotted OIDs; at least one.
    pub policies: Vec<String>,
}

/// What a trust anchor may vouch for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AnchorKind {
    /// HPKI CA whose certificates holders sign with (nonRepudiation).
    HpkiSigning,
    /// HPKI CA of authentication cards (digitalSignature).
    HpkiAuthentication,
    /// JPKI user-authentication CA of My Number Cards.
    JpkiUserAuthentication,
}

/// What a cluster chooses. A change needs an order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Longest session, in milliseconds; at most 18 hours.
    #[schema(required = false)]
    pub session_millis_max: u64,
    /// Most signatures in one session.
    #[schema(required = false)]
    pub session_signatures_max: u32,
    /// A CRL older than this, counted from its thisUpdate, counts as stale even before its nextUpdate.
    #[schema(required = false)]
    pub crl_age_millis_max: u64,
    /// How far clocks of nodes, terminals and log entries may lie apart.
    #[schema(required = false)]
    pub clock_skew_millis_max: u64,
    /// A ceremony that has not ended by then is aborted and restarted without those that were missing.
    #[schema(required = false)]
    pub ceremony_millis_max: u64,
    /// Longest life of an order.
    #[schema(required = false)]
    pub order_millis_max: u64,
    /// How long a binding that no bound card agrees to is pending, for the holder and the officers to notice it.
    #[schema(required = false)]
    pub binding_delay_millis: u64,
    /// A key whose shares are older than this is refreshed in the background; 0 never refreshes by age. Shares that thieves gather one by one
    /// from different sites are of use together only if they are of one epoch.
    #[schema(required = false)]
    pub refresh_after_millis: u64,
    /// How long after its revocation a credential is destroyed at every site, without a further order: 0 at once, at most a year. Left out:
    /// never, only by an order of its own. Counted from the revocation, under the policy of that moment; a CRL that lists its certificate
    /// is no revocation of the credential.
    #[schema(required = false)]
    pub destroy_after_revocation_millis: Option<u64>,
    /// Approvals per command where they differ from the default table; never fewer officers than the default.
    #[schema(required = false)]
    pub approvals: BTreeMap<CommandClass, ApprovalRule>,
}

/// How many officers of which role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// The role that all counted officers have.
    pub role: OfficerRole,
    /// Number of different officers.
    pub count: u8,
}

/// The classes of officer commands; every command belongs to exactly one.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommandClass {
    /// Enrol credentials and start their key generation.
    Enrol,
    /// Install a certificate.
    InstallCertificate,
    /// Suspend a credential.
    Suspend,
    /// Revoke a credential.
    Revoke,
    /// Close a session.
    CloseSession,
    /// Bring a CRL into the log.
    UpdateCrl,
    /// Enrol or retire a facility or terminal.
    Facility,
    /// Bind a first card.
    BindFirst,
    /// Bind a further card.
    BindFurther,
    /// Unbind a card.
    Unbind,
    /// Resume a suspended credential.
    Resume,
    /// Destroy a credential's key.
    Destroy,
    /// Import a key that was made elsewhere.
    Import,
    /// Refresh shares out of schedule.
    Refresh,
    /// Admit a node on a new store and repair its shares.
    Repair,
    /// Change the nodes, coordinators or officers.
    Roster,
    /// Change the policy.
    Policy,
    /// Change the pinned CAs.
    Anchors,
    /// Bind a further card without the word of a bound one; what `bind-further` needs is needed too.
    BindWithNotice,
}
