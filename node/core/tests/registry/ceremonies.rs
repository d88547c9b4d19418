//! What nodes may say in a key generation, and how one goes on without a node that is away.

use frost_ed25519::keys::KeyPackage;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_core::ceremony::{CeremonyEffect, Dkg, OpenShare};
use warifu_core::registry::{CeremonyRecord, CeremonyStep, Holding, Registry};
use warifu_protocol::limits::CEREMONY_ATTEMPTS_MAX;
use warifu_protocol::wire::{Applied, CeremonyReply, CredentialState, Round2};
use warifu_protocol::{
    Blob, CeremonyAbort, CeremonyAccusation, CeremonyConfirm, CeremonyId, CeremonyOverdue, Command, CredentialId, Enrolment, Epoch,
    NodeSigned, OrderCommand, Round1, Round2Hashes, Sha256, SubjectFields,
};

use crate::support::{NODES, World, bytes16, dealt, hashes_for, identity, name, node};

/// A node before its first key.
struct NoShares;

impl OpenShare for NoShares {
    fn open_share(&self, _: CredentialId, _: Epoch) -> Option<KeyPackage> {
        None
    }
}

/// Two credentials in a ceremony that has just begun.
struct Stage {
    world: World,
    ceremony: CeremonyId,
    enrolments: Vec<Enrolment>,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::founded();
        let enrolments: Vec<_> = (1..=2)
            .map(|number| Enrolment {
                credential: CredentialId::new(bytes16(0xc0 + number)),
                holder: name(&format!("holder-{number}")),
                subject: SubjectFields::new("JP", None, "Jiro Shika", format!("TRIAL-{number}")).unwrap(),
            })
            .collect();
        let applied = world.must_order(OrderCommand::Enrol { enrolments: enrolments.clone() });
        let Applied::CeremonyStarted(ceremony) = applied else { panic!("no ceremony") };
        Self { world, ceremony, enrolments }
    }

    fn record(&self) -> CeremonyRecord {
        self.world.store.ceremony(self.ceremony).unwrap().unwrap()
    }

    fn attempt(&self) -> u32 {
        self.record().attempt
    }

    fn numbers(&self) -> Vec<u8> {
        self.record().participants.iter().map(|node| node.get()).collect()
    }

    fn round1(&self, from: u8, edit: impl FnOnce(&mut Round1)) -> Command {
        let mut body = Round1 { ceremony: self.ceremony, attempt: self.attempt(), packages: vec![Blob(vec![from]); 2] };
        edit(&mut body);
        Command::CeremonyRound1(identity(self.world.cluster(), from).sign(body))
    }

    fn hashes(&self, from: u8, edit: impl FnOnce(&mut Round2Hashes)) -> Command {
        let hashes = hashes_for(&self.record().participants, node(from));
        let mut body = Round2Hashes { ceremony: self.ceremony, attempt: self.attempt(), hashes };
        edit(&mut body);
        Command::CeremonyRound2Hash(identity(self.world.cluster(), from).sign(body))
    }

    fn confirm(&self, from: u8, edit: impl FnOnce(&mut CeremonyConfirm)) -> Command {
        let public_key_packages = [1, 2].map(|seed| Blob(dealt(seed).serialize().unwrap())).to_vec();
        let transcript = Sha256::new([3; 32]);
        let mut body = CeremonyConfirm { ceremony: self.ceremony, attempt: self.attempt(), transcript, public_key_packages };
        edit(&mut body);
        Command::CeremonyConfirm(identity(self.world.cluster(), from).sign(body))
    }

    fn abort(&self, from: u8) -> Command {
        let body = CeremonyAbort { ceremony: self.ceremony, attempt: self.attempt(), culprit: None, credential: None };
        Command::CeremonyAbort(identity(self.world.cluster(), from).sign(body))
    }

    fn overdue(&self, from: u8) -> Command {
        let body = CeremonyOverdue { ceremony: self.ceremony, attempt: self.attempt() };
        Command::CeremonyOverdue(identity(self.world.cluster(), from).sign(body))
    }

    /// Node 1 accuses node 2 of its round-1 package.
    fn accused(&self, edit: impl FnOnce(&mut CeremonyAccusation)) -> Command {
        let credential = self.enrolments[0].credential;
        let mut body = CeremonyAccusation { ceremony: self.ceremony, attempt: self.attempt(), culprit: node(2), credential, round2: None };
        edit(&mut body);
        Command::CeremonyAccused(identity(self.world.cluster(), 1).sign(body))
    }

    /// What node 2 sends node 1, which are no packages.
    fn sent(&self, edit: impl FnOnce(&mut Round2)) -> NodeSigned<Round2> {
        let mut body = Round2 { ceremony: self.ceremony, attempt: self.attempt(), to: node(1), packages: vec![Blob(vec![7]); 2] };
        edit(&mut body);
        identity(self.world.cluster(), 2).sign(body)
    }

    fn at_round2() -> Self {
        let mut stage = Self::new();
        for from in 1..=NODES {
            stage.world.must(stage.round1(from, |_| {}));
        }
        assert_eq!(stage.record().step, CeremonyStep::Round2);
        stage
    }

    fn at_confirm() -> Self {
        let mut stage = Self::at_round2();
        for from in 1..=NODES {
            stage.world.must(stage.hashes(from, |_| {}));
        }
        assert_eq!(stage.record().step, CeremonyStep::Confirm);
        stage
    }
}

#[test]
fn round_1_takes_each_participants_packages_once() {
    let mut stage = Stage::new();
    let good = stage.round1(1, |_| {});
    let mut forged = good.clone();
    if let Command::CeremonyRound1(signed) = &mut forged {
        signed.body.packages[1].0.push(0);
    }
    let mut in_anothers_name = good.clone();
    if let Command::CeremonyRound1(signed) = &mut in_anothers_name {
        signed.node = node(2);
    }
    let cases = [
        ("changed behind the signature", "signature-invalid", forged),
        ("in another's name", "signature-invalid", in_anothers_name),
        ("from outside the roster", "node-unknown", stage.round1(9, |_| {})),
        ("the next attempt", "ceremony-unknown", stage.round1(1, |body| body.attempt = 2)),
        ("attempt 0", "ceremony-unknown", stage.round1(1, |body| body.attempt = 0)),
        ("another ceremony", "ceremony-unknown", stage.round1(1, |body| body.ceremony = CeremonyId::new([9; 16]))),
        ("a package too few", "ceremony-packages", stage.round1(1, |body| body.packages.truncate(1))),
        ("a package too many", "ceremony-packages", stage.round1(1, |body| body.packages.push(Blob(vec![1])))),
        ("hashes too early", "ceremony-step", stage.hashes(1, |_| {})),
        ("a confirmation too early", "ceremony-step", stage.confirm(1, |_| {})),
    ];
    for (case, code, command) in cases {
        stage.world.refuses(case, code, command);
    }
    stage.world.must(good.clone());
    stage.world.refuses("said again", "ceremony-duplicate", good);
    stage.world.refuses("said otherwise", "ceremony-duplicate", stage.round1(1, |body| body.packages[0].0.push(7)));
    assert_eq!(stage.record().round1, [node(1)]);
}

#[test]
fn round_2_takes_a_hash_for_every_other_participant_in_order() {
    let mut stage = Stage::at_round2();
    let cases = [
        ("a hash too few", stage.hashes(1, |body| body.hashes.truncate(3))),
        ("a hash for itself", stage.hashes(1, |body| body.hashes.insert(0, (node(1), Sha256::new([1; 32]))))),
        ("in another order", stage.hashes(1, |body| body.hashes.reverse())),
        ("one recipient twice", stage.hashes(1, |body| body.hashes[1].0 = node(2))),
        ("a stranger", stage.hashes(1, |body| body.hashes[3].0 = node(9))),
    ];
    for (case, command) in cases {
        stage.world.refuses(case, "ceremony-packages", command);
    }
    stage.world.refuses("round 1 once more", "ceremony-step", stage.round1(1, |_| {}));
    stage.world.must(stage.hashes(1, |_| {}));
    stage.world.refuses("said again", "ceremony-duplicate", stage.hashes(1, |_| {}));
}

#[test]
fn a_key_comes_into_use_only_when_all_have_confirmed_the_same() {
    let mut stage = Stage::at_confirm();
    let credential = stage.enrolments[0].credential;
    stage.world.refuses("a package too few", "ceremony-packages", stage.confirm(1, |body| body.public_key_packages.truncate(1)));
    for from in 1..NODES {
        stage.world.must(stage.confirm(from, |_| {}));
    }
    assert_eq!(stage.world.credential(credential).state, CredentialState::Generating);
    stage.world.refuses("one of them twice", "ceremony-duplicate", stage.confirm(1, |_| {}));
    stage.world.refuses("one of them otherwise", "ceremony-duplicate", stage.confirm(2, |body| body.transcript = Sha256::new([4; 32])));
    stage.world.must(stage.confirm(NODES, |_| {}));
    let record = stage.world.credential(credential);
    assert_eq!((record.state, record.holders.len()), (CredentialState::Generated, 5));
    assert_eq!(record.key.unwrap().group_key.to_vec(), dealt(1).verifying_key().serialize().unwrap());
    assert_eq!(stage.record().step, CeremonyStep::Done);
    assert!(stage.world.store.open_ceremonies(9).unwrap().is_empty());
    let after = ["a confirmation", "an abort"].into_iter().zip([stage.confirm(1, |_| {}), stage.abort(1)]);
    for (case, command) in after {
        stage.world.refuses(case, "ceremony-step", command);
    }
    assert!(!stage.world.store.0.keys().any(|key| key[0] == warifu_core::registry::table::CEREMONY_MESSAGE), "messages are not kept");
}

#[test]
fn whoever_confirms_something_else_than_most_is_left_out_however_early_it_speaks() {
    for liar in [1, 3, NODES] {
        for other_keys in [false, true] {
            let mut stage = Stage::at_confirm();
            let lie = |body: &mut CeremonyConfirm| match other_keys {
                true => body.public_key_packages.reverse(),
                false => body.transcript = Sha256::new([4; 32]),
            };
            stage.world.must(stage.confirm(liar, lie));
            for from in (1..=NODES).filter(|from| *from != liar) {
                assert_eq!(stage.attempt(), 1);
                stage.world.must(stage.confirm(from, |_| {}));
            }
            assert_eq!((stage.attempt(), stage.record().step), (2, CeremonyStep::Round1));
            let honest: Vec<u8> = (1..=NODES).filter(|from| *from != liar).collect();
            assert_eq!(stage.numbers(), honest);
            assert_eq!(stage.world.credential(stage.enrolments[0].credential).state, CredentialState::Generating);
        }
    }
}

#[test]
fn packages_that_are_no_keys_of_this_cluster_are_not_taken_even_from_all() {
    let few = frost_ed25519::keys::generate_with_dealer(4, 3, frost_ed25519::keys::IdentifierList::Default, ChaCha20Rng::seed_from_u64(1));
    let weak = frost_ed25519::keys::generate_with_dealer(5, 2, frost_ed25519::keys::IdentifierList::Default, ChaCha20Rng::seed_from_u64(1));
    let [few, weak] = [few, weak].map(|dealt| dealt.unwrap().1.serialize().unwrap());
    for (case, package) in [("no package", vec![1, 2, 3]), ("of too few", few), ("of a lower threshold", weak)] {
        let mut stage = Stage::at_confirm();
        for from in 1..NODES {
            stage.world.must(stage.confirm(from, |body| body.public_key_packages[1] = Blob(package.clone())));
        }
        stage.world.refuses(case, "malformed", stage.confirm(NODES, |body| body.public_key_packages[1] = Blob(package)));
    }
}

#[test]
fn whoever_gives_up_early_loses_its_own_place_and_nobody_elses() {
    let mut stage = Stage::at_round2();
    stage.world.must(stage.abort(3));
    let record = stage.record();
    assert_eq!((record.attempt, record.step), (2, CeremonyStep::Round1));
    assert_eq!(stage.numbers(), [1, 2, 4, 5]);
    assert!(record.round1.is_empty());
    for (case, command) in [("its packages", stage.round1(3, |_| {})), ("its abort", stage.abort(3))] {
        stage.world.refuses(case, "ceremony-participant", command);
    }
    stage.world.refuses("a message of the attempt before", "ceremony-unknown", stage.round1(1, |body| body.attempt = 1));
    assert!(!stage.world.store.0.keys().any(|key| key[0] == warifu_core::registry::table::CEREMONY_MESSAGE), "its messages are gone");

    // With four of five the ceremony still ends well.
    stage.world.run_ceremony_as(stage.ceremony, |_| dealt_to_four());
    assert_eq!(
        stage.world.credential(stage.enrolments[1].credential).holders,
        [1, 2, 4, 5].map(|number| Holding { node: node(number), store_number: 0 })
    );
}

#[test]
fn after_the_deadline_those_who_were_missing_are_left_out() {
    for step in [CeremonyStep::Round1, CeremonyStep::Round2, CeremonyStep::Confirm] {
        let mut stage = match step {
            CeremonyStep::Round1 => Stage::new(),
            CeremonyStep::Round2 => Stage::at_round2(),
            _ => Stage::at_confirm(),
        };
        for from in [1, 2, 4, 5] {
            let command = match step {
                CeremonyStep::Round1 => stage.round1(from, |_| {}),
                CeremonyStep::Round2 => stage.hashes(from, |_| {}),
                _ => stage.confirm(from, |_| {}),
            };
            stage.world.must(command);
        }
        stage.world.refuses("from outside", "node-unknown", stage.overdue(9));
        stage.world.now = stage.record().deadline.minus(1);
        stage.world.refuses("too early by the log's time", "ceremony-not-overdue", stage.overdue(1));
        stage.world.now = stage.record().deadline;
        stage.world.must(stage.overdue(1));
        let Command::CeremonyOverdue(late) = stage.overdue(1) else { panic!("no such command") };
        let mut before = late.body;
        before.attempt = 1;
        let before = Command::CeremonyOverdue(identity(stage.world.cluster(), 1).sign(before));
        stage.world.refuses("of the attempt before", "ceremony-unknown", before);
        assert_eq!(stage.numbers(), [1, 2, 4, 5], "{step:?}");
        assert_eq!(stage.record().deadline, stage.world.now.plus(20_000));
    }
}

#[test]
fn an_accusation_without_evidence_changes_nothing() {
    let mut early = Stage::new();
    early.world.must(early.round1(2, |_| {}));
    early.world.refuses("before all packages are in the log", "ceremony-step", early.accused(|_| {}));
    let mut stage = Stage::at_round2();
    let evidence = stage.sent(|_| {});
    stage.world.refuses("before all hashes are in the log", "ceremony-step", stage.accused(|body| body.round2 = Some(Box::new(evidence))));

    let mut stage = Stage::at_confirm();
    let mut forged = stage.sent(|_| {});
    forged.body.packages[0].0.push(1);
    let with = |sent: NodeSigned<Round2>| stage.accused(|body| body.round2 = Some(Box::new(sent)));
    let mut unsigned = stage.accused(|_| {});
    if let Command::CeremonyAccused(signed) = &mut unsigned {
        signed.body.culprit = node(3);
    }
    let cases = [
        ("changed behind the signature", "signature-invalid", unsigned),
        ("evidence changed behind its signature", "signature-invalid", with(forged)),
        ("evidence for another node", "malformed", with(stage.sent(|body| body.to = node(3)))),
        ("evidence of another attempt", "malformed", with(stage.sent(|body| body.attempt = 2))),
        ("evidence of another ceremony", "malformed", with(stage.sent(|body| body.ceremony = CeremonyId::new([9; 16])))),
        ("evidence of its own", "malformed", with(identity(stage.world.cluster(), 1).sign(stage.sent(|_| {}).body))),
        ("of itself", "ceremony-participant", stage.accused(|body| body.culprit = node(1))),
        ("of a stranger", "ceremony-participant", stage.accused(|body| body.culprit = node(9))),
        ("another credential", "ceremony-packages", stage.accused(|body| body.credential = CredentialId::new([9; 16]))),
        ("the next attempt", "ceremony-unknown", stage.accused(|body| body.attempt = 2)),
    ];
    for (case, code, command) in cases {
        stage.world.refuses(case, code, command);
    }
    assert_eq!((stage.attempt(), stage.numbers().len()), (1, 5));
}

#[test]
fn whoever_is_proved_to_have_sent_no_package_is_left_out() {
    // The packages of these stages are none at all.
    let mut stage = Stage::at_round2();
    stage.world.must(stage.accused(|_| {}));
    assert_eq!((stage.attempt(), stage.numbers()), (2, vec![1, 3, 4, 5]));
    let mut stage = Stage::at_confirm();
    let sent = stage.sent(|body| drop(body.packages.pop()));
    stage.world.must(stage.accused(|body| body.round2 = Some(Box::new(sent))));
    assert_eq!((stage.attempt(), stage.numbers()), (2, vec![1, 3, 4, 5]));
}

#[test]
fn a_ceremony_that_too_few_are_left_for_begins_again_with_all() {
    let mut stage = Stage::new();
    stage.world.must(stage.abort(1));
    assert_eq!(stage.numbers(), [2, 3, 4, 5]);
    stage.world.must(stage.abort(2));
    assert_eq!(stage.numbers(), [1, 2, 3, 4, 5]);
    assert_eq!(stage.attempt(), 3);
}

#[test]
fn a_ceremony_that_never_ends_well_frees_its_holders() {
    let mut stage = Stage::new();
    for _ in 0..CEREMONY_ATTEMPTS_MAX {
        assert!(stage.world.store.credential(stage.enrolments[0].credential).unwrap().is_some());
        let first = stage.numbers()[0];
        stage.world.must(stage.abort(first));
    }
    assert_eq!(stage.record().step, CeremonyStep::Failed);
    for enrolment in &stage.enrolments {
        assert_eq!(stage.world.store.credential(enrolment.credential).unwrap(), None);
        assert_eq!(stage.world.store.credential_of(&enrolment.holder).unwrap(), None);
    }
    assert!(stage.world.store.open_ceremonies(9).unwrap().is_empty());
    stage.world.refuses("after its end", "ceremony-step", stage.round1(1, |_| {}));
    let enrolments = stage.enrolments.clone();
    stage.world.must_order(OrderCommand::Enrol { enrolments });
}

#[test]
fn the_nodes_own_key_generation_satisfies_the_registry() {
    let mut stage = Stage::new();
    let cluster = stage.world.cluster();
    let mut sites: Vec<_> =
        (1..=NODES).map(|number| (Dkg::new(identity(cluster, number)), ChaCha20Rng::seed_from_u64(u64::from(number)))).collect();
    for _ in 0..20 {
        let mut network = Vec::new();
        for (dkg, rng) in &mut sites {
            for effect in dkg.step(stage.world.now, &stage.world.store, &NoShares, rng).unwrap() {
                match effect {
                    CeremonyEffect::Propose(command) => assert_eq!(stage.world.must(command), Applied::Done),
                    CeremonyEffect::SendRound2 { to, message } => network.push((to, message)),
                    CeremonyEffect::StorePending { shares, .. } => assert_eq!(shares.len(), 2),
                    CeremonyEffect::SendRepair { .. } => panic!("nothing is repaired"),
                }
            }
        }
        for (to, message) in network {
            let (from, attempt) = (message.node, message.body.attempt);
            let reply = sites[usize::from(to.get()) - 1].0.handle_round2(from, message, &stage.world.store).unwrap();
            if reply == CeremonyReply::Taken {
                sites[usize::from(from.get()) - 1].0.round2_acknowledged(stage.ceremony, attempt, to);
            }
        }
        stage.world.now = stage.world.now.plus(500);
    }
    assert_eq!((stage.record().step, stage.attempt()), (CeremonyStep::Done, 1));
    assert_eq!(stage.world.credential(stage.enrolments[0].credential).state, CredentialState::Generated);
}

fn dealt_to_four() -> Blob {
    let identifiers = [1_u16, 2, 4, 5].map(|number| number.try_into().unwrap());
    let list = frost_ed25519::keys::IdentifierList::Custom(&identifiers);
    Blob(frost_ed25519::keys::generate_with_dealer(4, 3, list, ChaCha20Rng::seed_from_u64(4)).unwrap().1.serialize().unwrap())
}
