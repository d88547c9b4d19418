//! What happens in a run, as anyone who could see everything would tell it. Invariants are checked on nothing else.

use std::fmt;

use serde::Serialize;
use warifu_protocol::wire::{CredentialState, SignItem};
use warifu_protocol::{
    BootId, CeremonyId, CredentialId, Epoch, Name, NodeId, NonceId, OrderId, Request, RequestHash, SessionId, Sha256, StopId, StopKind,
    StopObject, StoreId, UnixMillis,
};

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub enum Fact {
    /// A site put a snapshot in the place of its state.
    SnapshotInstalled {
        /// Who.
        site: NodeId,
        /// Index of its last entry.
        index: u64,
        /// Its state root.
        root: Sha256,
        /// Whether its sender had changed it.
        forged: bool,
    },
    /// A site's process started.
    Started {
        /// Which.
        site: NodeId,
        /// On which store.
        store: StoreId,
        /// Under which boot id.
        boot: BootId,
    },
    /// A site's process died.
    Crashed {
        /// Which.
        site: NodeId,
        /// Its start.
        boot: BootId,
    },
    /// Something happened to a disk.
    Disk {
        /// Whose.
        site: NodeId,
        /// What.
        what: &'static str,
        /// Whether the disk now has less than the cluster remembers of it.
        is_less: bool,
    },
    /// A site was turned away by what its peers remember, before it joined.
    TurnedAway {
        /// Which.
        site: NodeId,
    },
    /// A site was confirmed.
    Confirmed {
        /// Which.
        site: NodeId,
        /// Store.
        store: StoreId,
        /// Boot.
        boot: BootId,
        /// Index of its `NodeStarted`.
        index: u64,
        /// By whom.
        by: Vec<NodeId>,
    },
    /// A site needs a new confirmation.
    Unconfirmed {
        /// Which.
        site: NodeId,
        /// The start that counts no more.
        before: BootId,
        /// The boot id that it starts again under.
        boot: BootId,
    },
    /// A site stopped with an alarm.
    Alarmed {
        /// Which.
        site: NodeId,
        /// Its start.
        boot: BootId,
        /// Why.
        text: String,
    },
    /// An entry is in the log, and this is what it comes to.
    Committed {
        /// Where.
        index: u64,
        /// Kind of its command.
        kind: &'static str,
        /// Why it must not take effect, if it must not.
        void: Option<&'static str>,
        /// Why it was refused.
        refused: Option<String>,
        /// The stop that it is, if no site needs to hold that any longer: it took effect, or was refused for the sake of what it stops.
        settles: Option<StopId>,
        /// State root after it.
        root: Sha256,
        /// Its bytes.
        #[serde(skip)]
        bytes: Unshown,
    },
    /// A site applied an entry, durably.
    Applied {
        /// Who.
        site: NodeId,
        /// Which.
        index: u64,
        /// State root after it.
        root: Sha256,
    },
    /// A site told commitments to a coordinator.
    NoncesOffered {
        /// Who.
        site: NodeId,
        /// In which start of it.
        boot: BootId,
        /// To whom.
        coordinator: Name,
        /// Which pairs.
        nonces: Vec<NonceId>,
    },
    /// An audit entry for a share is on a site's disk.
    AuditDurable {
        /// Whose.
        site: NodeId,
        /// The nonce pair it names.
        nonce: NonceId,
        /// Digest of the rendered bytes it names.
        rendered: Sha256,
    },
    /// A signature share left a site.
    ShareGiven(Box<ShareGiven>),
    /// Key shares are on a site's disk.
    SharesStored {
        /// Whose.
        site: NodeId,
        /// On which store.
        store: StoreId,
        /// Which.
        shares: Vec<(CredentialId, Epoch)>,
        /// Their scalars.
        #[serde(skip)]
        scalars: Unshown<Vec<[u8; 32]>>,
    },
    /// An honest site sent secret scalars to another: round-2 packages or parts of a repair.
    ScalarsSent {
        /// Who.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// In which ceremony.
        ceremony: CeremonyId,
        /// In which attempt.
        attempt: u32,
        /// What they are parts of.
        what: Sent,
        /// The scalars, one for each key.
        #[serde(skip)]
        scalars: Unshown<Vec<[u8; 32]>>,
    },
    /// An officer's tool has split a key that exists already, and sealed a share for each site.
    SharesDealt {
        /// Whose key.
        credential: CredentialId,
        /// For whom.
        sites: Vec<NodeId>,
        /// The scalars, one for each site.
        #[serde(skip)]
        scalars: Unshown<Vec<[u8; 32]>>,
        /// The public key.
        group_key: Option<[u8; 32]>,
    },
    /// What is on the disks of all sites once everything is well: whose share of which epoch.
    SharesLeft {
        /// Each.
        shares: Vec<(NodeId, CredentialId, Epoch)>,
    },
    /// Key shares were deleted from a site's disk.
    SharesDeleted {
        /// Whose.
        site: NodeId,
        /// On which store.
        store: StoreId,
        /// Which credential's.
        credential: CredentialId,
        /// Which epoch's; `None` for all, as the credential is destroyed.
        epoch: Option<Epoch>,
    },
    /// A site gave a receipt.
    ReceiptGiven {
        /// Who.
        site: NodeId,
        /// On which store it remembers the stop.
        store: StoreId,
        /// In which start it was made.
        boot: BootId,
        /// For which stop.
        stop: StopId,
        /// Of what.
        object: StopObject,
        /// How it ends.
        kind: StopKind,
        /// Until when the log takes it; `None` for the end of a session, which it always takes.
        not_after: Option<UnixMillis>,
    },
    /// A coordinator told a client that no t nodes are left that would start to sign.
    StopAcknowledged {
        /// Which stop.
        stop: StopId,
        /// Of what.
        object: StopObject,
        /// How it ends.
        kind: StopKind,
        /// Until when signatures that were begun may still be completed.
        until: UnixMillis,
    },
    /// A coordinator told a client that an order is in the log.
    OrderAcknowledged {
        /// Which.
        order: OrderId,
        /// Where.
        index: u64,
    },
    /// Somebody who has the session's key asked for a signature of a document.
    Asked {
        /// For which request.
        request: AskedFor,
        /// Whether it was a client, by a coordinator; otherwise the adversary, of sites.
        by_client: bool,
    },
    /// A client heard nothing of what it asked for.
    Unanswered {
        /// For which request.
        request: AskedFor,
    },
    /// A coordinator gave a signature out.
    Signed(Box<Released>),
    /// A coordinator gave no signature.
    NotSigned {
        /// For which request.
        request: Option<AskedFor>,
        /// Why.
        reason: String,
        /// Whether it is that sites have given the number to another document.
        is_number_used: bool,
    },
    /// A coordinator blamed a site for a false share.
    Blamed {
        /// Who.
        coordinator: Name,
        /// Whom.
        site: NodeId,
    },
    /// Faults are off from here on.
    FaultsOff,
    /// Everything is well again.
    Healed {
        /// Stops that honest sites hold and the log does not have.
        open_holds: Vec<StopId>,
        /// Sites of the roster, each with its store.
        stores: Vec<(NodeId, StoreId)>,
    },
}

/// A request: its session, its number and what it is of.
pub type AskedFor = (SessionId, u32, RequestHash);

/// What a request asks for.
pub(super) fn asked_for(request: &Request) -> AskedFor {
    (request.session, request.seq, request.hash())
}

/// What secret scalars are parts of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Sent {
    /// Of shares of new keys, or of new shares of old ones.
    Round2,
    /// Of what a helper of a repair contributes, to another helper.
    Delta(RepairOf),
    /// Of what the site that lacks shares is to have, to that site.
    Sigma(RepairOf),
}

/// An attempt at a repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairOf {
    /// Whose shares, and of which epoch, in the order of the scalars.
    pub keys: Vec<(CredentialId, Epoch)>,
    /// Who helps, ascending.
    pub helpers: Vec<NodeId>,
    /// Who lacks them.
    pub receiver: NodeId,
}

/// A signature share that left a site, with what an onlooker knew of the site at that moment.
#[derive(Clone, Debug, Serialize)]
pub struct ShareGiven {
    /// Who.
    pub site: NodeId,
    /// Its store.
    pub store: StoreId,
    /// Its start.
    pub boot: BootId,
    /// To whom.
    pub coordinator: Name,
    /// What was asked.
    pub item: SignItem,
    /// The share.
    pub share: [u8; 32],
    /// The last entry that the site had applied.
    pub applied: u64,
    /// What the site's state said of the session: `None` when it did not know it, otherwise whether it was closed.
    pub session_closed: Option<bool>,
    /// What the site's state said of the credential.
    pub credential_state: Option<CredentialState>,
    /// What it had said when the site checked the request, before it wrote its audit entry.
    pub checked: Checked,
}

/// What a site's state said of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The site's clock.
    pub clock: UnixMillis,
    /// The last entry that the site had applied.
    pub applied: u64,
    /// Of the session: `None` when it did not know it, otherwise whether it was closed.
    pub session_closed: Option<bool>,
    /// Of the credential.
    pub credential_state: Option<CredentialState>,
    /// Of the terminal of the session.
    pub terminal_retired: bool,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardLife {
    /// Its serial.
    pub serial: u64,
    /// The end of its certificate.
    pub ends: UnixMillis,
    /// The log index at which a list that names it became active.
    pub listed_at: Option<u64>,
}

/// A signature that a coordinator gave out.
#[derive(Clone, Debug, Serialize)]
pub struct Released {
    /// Who.
    pub coordinator: Name,
    /// Whose key.
    pub credential: CredentialId,
    /// The request; `None` for a CSR.
    pub request: Option<AskedFor>,
    /// What was signed.
    #[serde(skip)]
    pub message: Unshown,
    /// The signature.
    #[serde(with = "serde_bytes_64")]
    pub signature: [u8; 64],
    /// By whom.
    pub signers: Vec<NodeId>,
}

/// Something that invariants look at and nobody wants to read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Unshown<T = Vec<u8>>(pub T);

impl<T> fmt::Debug for Unshown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

mod serde_bytes_64 {
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }
}

impl ShareGiven {
    /// The nonce pair of the site that was used.
    #[must_use]
    pub fn nonce(&self) -> Option<NonceId> {
        self.item.signers.iter().find(|signer| signer.node == self.site).map(|signer| signer.nonce)
    }
}
