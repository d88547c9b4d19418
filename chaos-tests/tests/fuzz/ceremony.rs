//! A ceremony of the founded cluster, in which one participant is hostile: what it brings into the log, and what it sends to another, is an input.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use frost_ed25519::keys::dkg::{self, round1};
use rand::rngs::OsRng;
use warifu_chaos::state_size::Founding;
use warifu_core::ceremony::round2_hash;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{MemoryStore, Overlay, Registry as _, apply, found};
use warifu_core::signer::identifier;
use warifu_protocol::wire::Round2;
use warifu_protocol::{Blob, CeremonyAccusation, CeremonyId, Command, CredentialId, LogEntry, NodeId, NodeSigned, Round1, Round2Hashes};

use super::cluster::NOW;

/// The cluster when the ceremony has begun.
pub(crate) struct Ceremony {
    state: MemoryStore,
    /// Entries of the log by then.
    index: u64,
    id: CeremonyId,
    credential: CredentialId,
    culprit: NodeIdentity,
    accuser: NodeIdentity,
    /// What the others say in round 1.
    others: Vec<NodeSigned<Round1>>,
    /// What the others say in round 2.
    hashes: Vec<NodeSigned<Round2Hashes>>,
    /// Packages of the culprit that are right: of round 1, and of round 2 for the accuser.
    pub(crate) right: [Blob; 2],
}

impl Ceremony {
    /// From the log of a whole ceremony.
    pub(crate) fn begin(founding: &Founding, entries: &[Vec<u8>]) -> anyhow::Result<Self> {
        let commands: Vec<Command> = entries.iter().map(|entry| Ok(LogEntry::decode(entry)?.command)).collect::<anyhow::Result<_>>()?;
        let begun =
            commands.iter().position(|command| matches!(command, Command::CeremonyRound1(_))).context("a ceremony is in the log")?;
        let mut state = MemoryStore::default();
        let mut overlay = Overlay::new(&state);
        found(&mut overlay, &founding.genesis)?;
        for (entry, index) in entries.iter().take(begun).zip(1..) {
            apply(&mut overlay, index, entry)?;
        }
        let changes = overlay.into_changes();
        state.write(&changes);
        let [culprit, accuser] = [0, 1].map(|place| founding.identities.get(place).cloned());
        let (culprit, accuser) = (culprit.context("a node")?, accuser.context("another")?);
        let said = |node: NodeId| node != culprit.node();
        let others: Vec<NodeSigned<Round1>> = commands
            .iter()
            .filter_map(|command| if let Command::CeremonyRound1(said) = command { Some(said.clone()) } else { None })
            .filter(|message| said(message.node))
            .collect();
        let hashes = commands
            .iter()
            .filter_map(|command| if let Command::CeremonyRound2Hash(said) = command { Some(said.clone()) } else { None })
            .filter(|message| said(message.node))
            .collect();
        let first = others.first().context("others take part")?;
        let (id, count) = (first.body.ceremony, u16::try_from(founding.identities.len())?);
        let threshold = u16::from(founding.genesis.body().threshold.0);
        let (secret, package) = dkg::part1(identifier(culprit.node()), count, threshold, OsRng)?;
        let mut packages = BTreeMap::new();
        for message in &others {
            let package = round1::Package::deserialize(message.body.packages.first().context("a package")?.as_slice())?;
            packages.insert(identifier(message.node), package);
        }
        let (_, outgoing) = dkg::part2(secret, &packages)?;
        let sent = outgoing.get(&identifier(accuser.node())).context("one for the accuser")?.serialize()?;
        let record = state.ceremony(id)?.context("it has begun")?;
        let credential = *record.credentials.first().context("a credential")?;
        ensure!(record.credentials.len() == first.body.packages.len(), "a package for each credential");
        let right = [Blob(package.serialize()?), Blob(sent)];
        Ok(Self { state, index: begun as u64, id, credential, culprit, accuser, others, hashes, right })
    }

    /// Whether all nodes hold this round-1 package of the culprit for right when it is accused of it.
    pub(crate) fn round1_stands(&self, package: &[u8]) -> bool {
        let accusation = self.accusation(None);
        self.stands([self.round1(package), vec![accusation]].concat())
    }

    /// Whether all nodes hold this round-2 package of the culprit for right when the accuser shows it.
    pub(crate) fn round2_stands(&self, package: &[u8]) -> bool {
        let packages = self.for_each_credential(package);
        let hashes = vec![(self.accuser.node(), round2_hash(&packages))];
        let others = self.others.iter().map(|other| other.node).filter(|node| *node != self.accuser.node());
        let hashes = hashes.into_iter().chain(others.map(|node| (node, round2_hash(&packages)))).collect();
        let own = self.culprit.sign(Round2Hashes { ceremony: self.id, attempt: 1, hashes });
        let sent = self.culprit.sign(Round2 { ceremony: self.id, attempt: 1, to: self.accuser.node(), packages });
        let mut commands = self.round1(self.right[0].as_slice());
        commands.extend(self.hashes.iter().cloned().chain([own]).map(Command::CeremonyRound2Hash));
        commands.push(self.accusation(Some(Box::new(sent))));
        self.stands(commands)
    }

    fn for_each_credential(&self, package: &[u8]) -> Vec<Blob> {
        vec![Blob(package.to_vec()); self.others[0].body.packages.len()]
    }

    /// What all say in round 1, with this of the culprit's.
    fn round1(&self, package: &[u8]) -> Vec<Command> {
        let packages = self.for_each_credential(package);
        let own = self.culprit.sign(Round1 { ceremony: self.id, attempt: 1, packages });
        self.others.iter().cloned().chain([own]).map(Command::CeremonyRound1).collect()
    }

    fn accusation(&self, round2: Option<Box<NodeSigned<Round2>>>) -> Command {
        let (ceremony, culprit, credential) = (self.id, self.culprit.node(), self.credential);
        Command::CeremonyAccused(self.accuser.sign(CeremonyAccusation { ceremony, attempt: 1, culprit, credential, round2 }))
    }

    /// Applies these; whether the accuser is left out of the next attempt, and not the culprit.
    fn stands(&self, commands: Vec<Command>) -> bool {
        let mut overlay = Overlay::new(&self.state);
        for (command, index) in commands.into_iter().zip(self.index + 1..) {
            let Ok(entry) = LogEntry::new(NOW, command).encode() else { return false };
            let outcome = apply(&mut overlay, index, &entry).expect("the store does not fail, and entries are of today");
            if outcome.verdict.outcome.is_err() {
                return false;
            }
        }
        let record = overlay.ceremony(self.id).expect("the store does not fail").expect("it goes on without one of them");
        let [accuser, culprit] = [&self.accuser, &self.culprit].map(|node| record.participants.contains(&node.node()));
        assert_ne!(accuser, culprit, "one of them lied");
        culprit
    }
}
