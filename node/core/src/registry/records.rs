//! What the registry holds, table by table.

use std::collections::BTreeMap;

use frost_ed25519::keys::{PublicKeyPackage, VerifyingShare};
use serde::{Deserialize, Serialize};
pub use warifu_protocol::ClusterRecord;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{AuthenticatorView, CredentialState, CredentialView, PendingView, SessionView};
use warifu_protocol::{
    AuthenticatorKind, Blob, BootId, CeremonyId, CertificateHash, CredentialId, Epoch, KeyImport, Name, NodeId, ObjectVersion, OrderId,
    Origin, Policy, PublicKey, Refusal, Sha256, SpkiHash, Statement, StoreId, SubjectFields, UnixMillis,
};

use crate::pki::CrlScope;
use crate::signer::identifier;

/// A credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// The CA's identifier of the holder.
    pub holder: Name,
    /// Subject of CSR and certificate.
    pub subject: SubjectFields,
    /// Its state.
    pub state: CredentialState,
    /// Officers suspended it, and have not resumed it.
    pub suspended_by_order: bool,
    /// Its certificate is on its CA's list; another one ends that.
    pub certificate_listed: bool,
    /// Its certificate is past its end by the log's time; another one ends that.
    pub certificate_ended: bool,
    /// Raised by each change.
    pub version: ObjectVersion,
    /// Generation of its shares.
    pub epoch: Epoch,
    /// How that generation came to be, and who was ever given a share of it.
    pub epoch_made: EpochMade,
    /// The order that enrolled it.
    pub enrolled_by: OrderId,
    /// The ceremony that made its key.
    pub ceremony: CeremonyId,
    /// Nodes that were given a share, ascending. Whether they have it still, [`StoreNumbers::holders`] says.
    pub holders: Vec<Holding>,
    /// The key, once generated.
    pub key: Option<CredentialKey>,
    /// The certificate, once installed.
    pub certificate: Option<CertificateRecord>,
    /// The epoch before the current one, while shares of it still sign.
    pub previous: Option<PreviousEpoch>,
    /// Bound cards.
    pub authenticators: Vec<AuthenticatorRecord>,
    /// Whether a card was ever bound: from then on no card is the first again, even when none is bound.
    pub ever_bound: bool,
    /// Cards whose binding takes effect by itself.
    pub pending: Vec<PendingBinding>,
    /// Where its key comes from.
    pub origin: Origin,
    /// When it is destroyed by itself, once it is revoked and the policy says so.
    pub destroy_at: Option<UnixMillis>,
}

/// How an epoch of shares came to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EpochMade {
    /// Log index of the entry with which it came into use; 0 before there is a key.
    pub index: u64,
    /// Time of that entry.
    pub at: UnixMillis,
    /// Nodes that were ever given a share of it, ascending, whatever became of it there: as long as one of them is not in the roster any more,
    /// the key is due for a refresh.
    pub given: Vec<NodeId>,
}

impl EpochMade {
    pub(super) fn give(&mut self, node: NodeId) {
        if let Err(place) = self.given.binary_search(&node) {
            self.given.insert(place, node);
        }
    }
}

/// An epoch of shares that is about to end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreviousEpoch {
    /// Which.
    pub epoch: Epoch,
    /// Nodes that were given a share of it, ascending.
    pub holders: Vec<Holding>,
}

/// A share that a node was given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Who.
    pub node: NodeId,
    /// [`ClusterRecord::store_number`] of the store that took it.
    pub store_number: u32,
}

/// Which store each node of the roster is on. A share that went into an earlier store is lost with that, so that a replaced store makes all
/// of its node's shares missing without a change to any credential.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreNumbers(BTreeMap<NodeId, u32>);

impl StoreNumbers {
    /// As the cluster stands.
    #[must_use]
    pub fn of(cluster: &ClusterRecord) -> Self {
        Self(cluster.nodes.iter().map(|node| (node.id, cluster.store_number(node.id))).collect())
    }

    /// What a node that is given a share now holds; `None` for a node that is not in the roster.
    #[must_use]
    pub fn holding(&self, node: NodeId) -> Option<Holding> {
        self.0.get(&node).map(|store_number| Holding { node, store_number: *store_number })
    }

    /// Whether a node of the roster has its share still.
    #[must_use]
    pub fn holds(&self, holders: &[Holding], node: NodeId) -> bool {
        self.holding(node).is_some_and(|holding| holders.contains(&holding))
    }

    /// The nodes of the roster that have their share still, ascending.
    #[must_use]
    pub fn holders(&self, holders: &[Holding]) -> Vec<NodeId> {
        holders.iter().map(|holding| holding.node).filter(|node| self.holds(holders, *node)).collect()
    }

    /// Whether at least `needed` of the nodes that have their share still are left if only those for which `stays` holds do.
    ///
    /// # Errors
    /// [`Refusal::SharesLost`]: the key could neither sign nor be repaired.
    pub(super) fn check_left(
        &self,
        credential: CredentialId,
        holders: &[Holding],
        needed: u8,
        stays: impl Fn(NodeId) -> bool,
    ) -> Result<(), Refusal> {
        let remaining = self.holders(holders).into_iter().filter(|node| stays(*node)).count() as u8;
        if remaining < needed { Err(Refusal::SharesLost { credential, remaining, needed }) } else { Ok(()) }
    }
}

/// A generated key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialKey {
    /// The Ed25519 group public key.
    pub group_key: [u8; 32],
    /// Serialized `PublicKeyPackage`.
    pub public_key_package: Blob,
}

/// An installed certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// DER.
    pub der: Blob,
    /// SHA-256 of the DER.
    pub hash: CertificateHash,
    /// Start of validity.
    pub not_before: UnixMillis,
    /// End of validity.
    pub not_after: UnixMillis,
    /// Its hcRole names.
    pub roles: Vec<String>,
    /// SHA-256 of its issuer's SubjectPublicKeyInfo.
    pub issuer: SpkiHash,
}

impl CertificateRecord {
    /// Whether it has begun and not ended.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixMillis) -> bool {
        self.not_before <= now && now < self.ends_at()
    }

    /// The first instant at which it is past its end.
    #[must_use]
    pub const fn ends_at(&self) -> UnixMillis {
        self.not_after.plus(1)
    }
}

/// A bound card. Its serial is in no record, only in a digest together with its issuer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthenticatorRecord {
    /// SHA-256 of the certificate.
    pub card: CertificateHash,
    /// How it is recognised.
    pub kind: AuthenticatorKind,
    /// Digest of the issuer's key and the serial.
    pub serial_digest: Sha256,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: SpkiHash,
    /// SHA-256 of its issuer's SubjectPublicKeyInfo.
    pub issuer: SpkiHash,
    /// Officers suspended it: it opens no session.
    pub suspended: bool,
}

/// A card that is bound by itself at an instant, unless officers end that before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingBinding {
    /// What it becomes.
    pub authenticator: AuthenticatorRecord,
    /// When.
    pub effective_at: UnixMillis,
    /// The order that asked for it.
    pub order: OrderId,
}

/// Who a certificate's issuer and serial belong to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SerialOwner {
    /// A card bound to the credential.
    Card(CredentialId),
    /// The credential's own certificate.
    Certificate(CredentialId),
    /// An intermediate CA with this key, of which a list was taken.
    Authority(SpkiHash),
}

/// An open or closed session. Kept until its end, so that its statement cannot be used again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The statement's fields.
    pub statement: Statement,
    /// The card that opened it.
    pub card: CertificateHash,
    /// Whether it was closed.
    pub closed: bool,
}

/// An enrolled facility.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FacilityRecord {
    /// Raised by each change.
    pub version: ObjectVersion,
}

/// An enrolled terminal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TerminalRecord {
    /// Raised by each change.
    pub version: ObjectVersion,
    /// Where it stands.
    pub facility: Name,
    /// Its key.
    pub key: PublicKey,
    /// No session is opened at a retired terminal.
    pub retired: bool,
}

/// What the cluster remembers of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its store.
    pub store: StoreId,
    /// How often the node was admitted on a new store in place of a lost one, from 0.
    pub store_number: u32,
    /// Starts of that store.
    pub incarnation: u64,
    /// Its latest start.
    pub boot: BootId,
    /// Log index of its latest `NodeStarted`.
    pub started_at: u64,
    /// Largest raft index that it has spoken of.
    pub raft_index: u64,
    /// Its latest witnessed audit checkpoint; at least this many entries must be in its log.
    pub audit_size: u64,
    /// Root of the latest checkpoint.
    pub audit_root: Option<Sha256>,
    /// Number of its last word about its shares that took effect. It begins at the log index of the entry that this record came with, so that no
    /// number comes twice under one identifier, whatever store it is on.
    pub shares_word: u64,
}

/// What a ceremony makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CeremonyKind {
    /// New keys.
    Generate,
    /// New shares of keys that are there.
    Refresh,
}

/// A key generation or a refresh.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CeremonyRecord {
    /// What it makes.
    pub kind: CeremonyKind,
    /// The node that opened it because it was due, without an order of its own: then it is forgotten when it ends.
    pub opened_by: Option<NodeId>,
    /// Who may take part, ascending: all nodes in a key generation, the holders in a refresh.
    pub candidates: Vec<NodeId>,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Credentials, in the order of the enrolments.
    pub credentials: Vec<CredentialId>,
    /// Participants of this attempt, ascending.
    pub participants: Vec<NodeId>,
    /// Entry time from which this attempt may be aborted.
    pub deadline: UnixMillis,
    /// Where it stands.
    pub step: CeremonyStep,
    /// Nodes whose round-1 packages of this attempt are in the log.
    pub round1: Vec<NodeId>,
    /// Nodes whose round-2 hashes of this attempt are in the log.
    pub round2: Vec<NodeId>,
    /// Nodes that confirmed this attempt, ascending.
    pub confirmed: Vec<NodeId>,
    /// What each of them confirmed, in the same order: hash of transcript and public key packages. All must be equal.
    pub outcomes: Vec<Sha256>,
    /// Participants of a refresh that sign in the new epoch, ascending.
    pub receipts: Vec<NodeId>,
}

/// A repair that is under way. It is forgotten when it ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairRecord {
    /// The node that lacks the shares.
    pub receiver: NodeId,
    /// The store that it lacks them on.
    pub store_number: u32,
    /// Whose shares, and of which epoch, ascending.
    pub credentials: Vec<(CredentialId, Epoch)>,
    /// Nodes that held a share of each when the repair began, ascending.
    pub candidates: Vec<NodeId>,
    /// How often an attempt had to do without each of them, or [`Self::EXPELLED`] or [`Self::GONE`].
    pub demerits: Vec<u32>,
    /// Attempt, from 1.
    pub attempt: u32,
    /// The t candidates that help in this attempt, ascending.
    pub helpers: Vec<NodeId>,
    /// Helpers whose commitments of this attempt are in the log and fit, ascending.
    pub committed: Vec<NodeId>,
    /// Entry time from which whoever is waited for may be left out.
    pub deadline: UnixMillis,
}

impl RepairRecord {
    /// The demerits of a helper that was shown to lie: it does not help in this repair again.
    pub const EXPELLED: u32 = u32::MAX;
    /// Those of one that has left the roster, or lost its store, since the repair began.
    pub const GONE: u32 = u32::MAX - 1;

    /// Sets a candidate's demerits; false if it is none.
    pub(super) fn set_demerits(&mut self, candidate: NodeId, demerits: u32) -> bool {
        let place = self.candidates.iter().position(|node| *node == candidate);
        let own = place.and_then(|place| self.demerits.get_mut(place));
        own.map(|own| *own = demerits).is_some()
    }
}

/// Public points that a repair is checked against, in the order of its credentials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairBasis {
    /// The candidates' verifying shares.
    pub verifying_shares: Vec<Vec<[u8; 32]>>,
    /// The receiver's.
    pub receiver: Vec<[u8; 32]>,
}

/// The import of a key. What it came to is kept, so that its order cannot be used again and everybody can ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The credential that gets the key.
    pub credential: CredentialId,
    /// Every node of the roster when the import began, ascending, with the store that its share goes into. All must confirm.
    pub participants: Vec<Holding>,
    /// Entry time from which the import may be given up.
    pub deadline: UnixMillis,
    /// Where it stands.
    pub step: ImportStep,
    /// Participants that confirmed, ascending.
    pub confirmed: Vec<NodeId>,
    /// What is imported; gone when the import has ended.
    pub terms: Option<ImportTerms>,
}

/// What is imported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportTerms {
    /// As it was ordered.
    pub import: KeyImport,
    /// The serialized `PublicKeyPackage` that follows from it.
    pub public_key_package: Blob,
}

/// Steps of an import.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ImportStep {
    /// Waits for confirmations.
    Open,
    /// All confirmed; the key is in use.
    Done,
    /// It came to nothing.
    Failed,
}

impl ImportRecord {
    /// All that must confirm, ascending.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.participants.iter().map(|holding| holding.node).collect()
    }
}

/// Steps of a ceremony.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CeremonyStep {
    /// Waits for round-1 packages.
    Round1,
    /// Waits for round-2 hashes.
    Round2,
    /// Waits for confirmations.
    Confirm,
    /// All confirmed; the keys are in use.
    Done,
    /// Given up after too many attempts or with too few participants.
    Failed,
    /// A refresh: both epochs sign, until all participants have said that they have the new one.
    Switch,
}

/// The active CRL of one CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrlRecord {
    /// The CA's subject, for people.
    pub issuer: String,
    /// SHA-256 of the list.
    pub hash: Sha256,
    /// CRLNumber.
    pub number: u64,
    /// Which certificates of its CA it covers.
    pub scope: CrlScope,
    /// SHA-256 of the SubjectPublicKeyInfo of the pinned CA that vouches for its CA, where that is not pinned itself.
    pub vouched_by: Option<SpkiHash>,
    /// thisUpdate.
    pub this_update: UnixMillis,
    /// nextUpdate.
    pub next_update: UnixMillis,
    /// Entries.
    pub revoked: u64,
}

impl CrlRecord {
    /// Until when the list may be relied on: its nextUpdate, or its age by the cluster's policy if that ends earlier.
    #[must_use]
    pub fn fresh_until(&self, policy: &Policy) -> UnixMillis {
        self.next_update.min(self.this_update.plus(policy.crl_age_millis_max))
    }
}

/// A CRL on its way into the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrlUpload {
    /// SHA-256 of the whole.
    pub hash: Sha256,
    /// CRLNumber as ordered.
    pub number: u64,
    /// Bytes of the whole.
    pub size: u64,
    /// SHA-256 of each piece.
    pub pieces: Vec<Sha256>,
    /// DER of its CA's certificate, where that is not pinned.
    pub issuer: Option<Blob>,
    /// Next piece.
    pub next: u32,
    /// Given up after this entry time.
    pub expires: UnixMillis,
}

impl CredentialRecord {
    /// Sets the state that follows from key, certificate, cards and suspensions. Each reason for a suspension ends by itself: neither
    /// officers nor a new certificate undo the other's. A revoked credential stays revoked.
    pub fn settle(&mut self) {
        self.state = match (self.state, &self.key, &self.certificate) {
            (CredentialState::Destroyed, ..) => CredentialState::Destroyed,
            (CredentialState::Revoked, ..) => CredentialState::Revoked,
            (_, None, _) => CredentialState::Generating,
            (_, Some(_), None) => CredentialState::Generated,
            (_, Some(_), Some(_)) if self.suspended_by_order || self.certificate_listed || self.certificate_ended => {
                CredentialState::Suspended
            }
            (_, Some(_), Some(_)) if self.authenticators.iter().all(|card| card.suspended) => CredentialState::Certified,
            (_, Some(_), Some(_)) => CredentialState::Active,
        };
    }

    /// Who was given a share of an epoch that signs now: the current one, or the one before while it lives.
    #[must_use]
    pub fn holders_of(&self, epoch: Epoch) -> Option<&[Holding]> {
        if epoch == self.epoch {
            return Some(&self.holders);
        }
        self.previous.as_ref().filter(|previous| previous.epoch == epoch).map(|previous| previous.holders.as_slice())
    }

    /// Whether a node has by the log its share of an epoch that signs now, of a key that signs or may sign again.
    #[must_use]
    pub fn is_share_held(&self, epoch: Epoch, node: NodeId, stores: &StoreNumbers) -> bool {
        self.needs_shares() && self.holders_of(epoch).is_some_and(|holders| stores.holds(holders, node))
    }

    /// Whether a node has by the log no share of the current epoch of a key that signs or may sign again.
    #[must_use]
    pub fn is_share_missing(&self, node: NodeId, stores: &StoreNumbers) -> bool {
        self.needs_shares() && !stores.holds(&self.holders, node)
    }

    /// Whether this is the public image of a node's share in the current epoch.
    #[must_use]
    pub fn is_share_of(&self, node: NodeId, share: &VerifyingShare) -> bool {
        share.serialize().is_ok_and(|share| self.verifying_share(node).is_some_and(|known| share == known))
    }

    /// The public image of a node's share in the current epoch, 32 bytes, if the key has one for it.
    #[must_use]
    pub fn verifying_share(&self, node: NodeId) -> Option<[u8; 32]> {
        let package = PublicKeyPackage::deserialize(self.key.as_ref()?.public_key_package.as_slice()).ok()?;
        package.verifying_shares().get(&identifier(node))?.serialize().ok()?.try_into().ok()
    }

    /// Whether shares of this epoch are worth nothing any more; those of an epoch that is still to come are of a refresh under way.
    #[must_use]
    pub fn is_over(&self, epoch: Epoch) -> bool {
        epoch < self.epoch && self.holders_of(epoch).is_none() && !is_on(Mutant::OldEpochSurvives)
    }

    /// Whether it has a key that signs or may sign again, so that a node without a share of it is to get one.
    #[must_use]
    pub const fn needs_shares(&self) -> bool {
        match self.state {
            CredentialState::Generated | CredentialState::Certified | CredentialState::Active | CredentialState::Suspended => true,
            CredentialState::Generating | CredentialState::Revoked | CredentialState::Destroyed => false,
        }
    }

    /// What others may see of it, as the nodes' stores are now.
    #[must_use]
    pub fn view(&self, credential: CredentialId, stores: &StoreNumbers) -> CredentialView {
        CredentialView {
            credential,
            holder: self.holder.clone(),
            subject: self.subject.clone(),
            state: self.state,
            version: self.version,
            epoch: self.epoch,
            ceremony: self.ceremony,
            public_key_package: self.key.as_ref().map(|key| key.public_key_package.clone()),
            certificate: self.certificate.as_ref().map(|certificate| certificate.der.clone()),
            authenticators: self
                .authenticators
                .iter()
                .map(|card| AuthenticatorView { card: card.card, kind: card.kind, suspended: card.suspended })
                .collect(),
            pending: self
                .pending
                .iter()
                .map(|pending| PendingView {
                    card: pending.authenticator.card,
                    kind: pending.authenticator.kind,
                    effective_at: pending.effective_at,
                    order: pending.order,
                })
                .collect(),
            holders: stores.holders(&self.holders),
            origin: self.origin.clone(),
            destroy_at: self.destroy_at,
        }
    }
}

impl NodeRecord {
    /// Whether it has started on its store; if not, an order admitted the store and nothing is known of it yet.
    #[must_use]
    pub const fn has_started(&self) -> bool {
        self.started_at > 0
    }

    /// The number of its next word about its shares ([`SharesLost`](warifu_protocol::SharesLost), [`SharesFound`](warifu_protocol::SharesFound)).
    #[must_use]
    pub const fn next_shares_word(&self) -> u64 {
        self.shares_word.saturating_add(1)
    }
}

impl SessionRecord {
    /// What others may see of it.
    #[must_use]
    pub fn view(&self) -> SessionView {
        SessionView { session: self.statement.session(), statement: self.statement.clone(), closed: self.closed }
    }
}
