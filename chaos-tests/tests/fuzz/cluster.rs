//! A cluster that the targets read their inputs into, and one valid input for each of them.

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use frost_ed25519::round1;
use rand::rngs::OsRng;
use tempfile::TempDir;
use warifu_chaos::state_size::{DealtKeys, Feed, Founding, Generator};
use warifu_core::identity::NodeIdentity;
use warifu_core::import::{ImportSeed, deal, packet_plaintext};
use warifu_core::pki::{Certificate, TrustAnchor};
use warifu_core::registry::{MemoryStore, Overlay, apply, found};
use warifu_core::signer::identifier;
use warifu_node::state::StateDatabase;
use warifu_node::store::DatabaseOptions;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{Blob, CredentialId, Enrolment, ImportPacket, KeyImport, NodeId, OrderId, Sha256, SubjectFields, UnixMillis};

use super::ceremony::Ceremony;

/// When everything happens: 2026-01-01T00:00:00Z.
pub(crate) const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

/// A founded cluster after a few entries of its log.
pub(crate) struct Ground {
    pub(crate) founding: Founding,
    pub(crate) anchors: Vec<TrustAnchor>,
    /// The certificates of these anchors.
    pub(crate) authorities: Vec<Certificate>,
    /// The registry after all of them.
    pub(crate) state: MemoryStore,
    pub(crate) entries: Vec<Vec<u8>>,
    /// One signing share and one pair of commitments.
    pub(crate) share: KeyPackage,
    pub(crate) commitments: Vec<u8>,
    /// A node that signs checkpoints.
    pub(crate) witness: NodeIdentity,
    /// A ceremony with a hostile participant.
    pub(crate) ceremony: Ceremony,
    /// An import, the first node's packet of it, and what that holds once it is opened.
    pub(crate) import: (KeyImport, ImportPacket, Vec<u8>),
    /// The registry on disk, as founded, for whoever reads snapshots.
    pub(crate) store: (TempDir, StateDatabase),
}

impl Ground {
    /// One for the whole process: its keys are slow to make.
    pub(crate) fn get() -> &'static Self {
        static GROUND: OnceLock<Ground> = OnceLock::new();
        GROUND.get_or_init(|| Self::new().expect("a trial cluster can be made"))
    }

    fn new() -> anyhow::Result<Self> {
        let founding = Founding::new(NOW)?;
        let keys = DealtKeys::deal(identifier(NodeId::new(1).expect("a node id")))?;
        let anchors = founding.genesis.body().anchors.iter().map(TrustAnchor::from_entry).collect::<Result<_, _>>()?;
        let anchored = founding.genesis.body().anchors.iter();
        let authorities = anchored.map(|anchor| Certificate::parse(anchor.certificate.as_slice())).collect::<Result<_, _>>()?;
        let mut generator = Generator::new(&founding, &keys, NOW, 1)?;
        let mut fed = vec![generator.lists()?];
        fed.extend(generator.ceremony(0, 2)?);
        let entries: Vec<Vec<u8>> = fed
            .into_iter()
            .filter_map(|feed| if let Feed::Entries(entries) = feed { Some(entries) } else { None })
            .flatten()
            .map(|blob| blob.as_slice().to_vec())
            .collect();
        let mut state = MemoryStore::default();
        let mut overlay = Overlay::new(&state);
        found(&mut overlay, &founding.genesis)?;
        let changes = overlay.into_changes();
        state.write(&changes);
        for (entry, index) in entries.iter().zip(1..) {
            let mut overlay = Overlay::new(&state);
            apply(&mut overlay, index, entry)?;
            let changes = overlay.into_changes();
            state.write(&changes);
        }
        let (mut shares, _) = generate_with_dealer(5, 3, IdentifierList::Default, OsRng)?;
        let share = KeyPackage::try_from(shares.pop_first().context("five shares")?.1)?;
        let commitments = round1::commit(share.signing_share(), &mut OsRng).1.serialize()?;
        let witness = NodeIdentity::new(NodeId::new(1).context("a node id")?, founding.genesis.cluster(), SigningKey::from_bytes(&[7; 32]));
        let directory = TempDir::new()?;
        let database =
            StateDatabase::open(&directory.path().join("state.redb"), DatabaseOptions::default(), Arc::new(founding.genesis.clone()))?;
        let store = (directory, database);
        let ceremony = Ceremony::begin(&founding, &entries)?;
        let import = import(&founding)?;
        Ok(Self { ceremony, import, witness, store, founding, anchors, authorities, state, entries, share, commitments })
    }
}

/// An import of a key that is made for it.
fn import(founding: &Founding) -> anyhow::Result<(KeyImport, ImportPacket, Vec<u8>)> {
    let nodes: Vec<NodeId> = founding.genesis.body().nodes.iter().map(|entry| entry.id).collect();
    let first = *nodes.first().context("a node")?;
    let seed = ImportSeed::parse(hex::encode(sha256(b"a key that existed already")).as_bytes())?;
    let dealt = deal(&seed, founding.genesis.body().threshold, &nodes, &mut OsRng)?;
    let order = OrderId::new([1; OrderId::LEN]);
    let sealed = |node: NodeId| Blob(vec![node.get(); 40]);
    let subject = SubjectFields::new("JP", None, "TRIAL Ishi", "2".to_owned())?;
    let import = KeyImport {
        enrolment: Enrolment { credential: CredentialId::new([0x1d; CredentialId::LEN]), holder: "dr-2".parse()?, subject },
        commitment: dealt.commitment.clone(),
        packets: nodes.iter().map(|node| (*node, Sha256::new(sha256(sealed(*node).as_slice())))).collect(),
    };
    let plaintext = packet_plaintext(dealt.share(first).context("a share for each node")?).to_vec();
    Ok((import, ImportPacket { order, node: first, sealed: sealed(first) }, plaintext))
}
