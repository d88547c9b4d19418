//! Orders that change the cluster itself: who approves and consents, what no cluster may become, and what consensus is to follow.

use std::collections::BTreeSet;
use std::slice::from_ref;

use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{MembershipPlans, Overlay, Registry, membership_applied};
use warifu_protocol::{
    AnchorKind, BootId, CeremonyAbort, CeremonyId, Command, CommandClass, Consent, CredentialId, Enrolment, NodeEntry, NodeId, NodeStarted,
    ObjectVersion, OfficerRole, Order, OrderCommand, Policy, Refusal, RepairStart, RosterFile, SpkiHash, StoreId, SubjectFields,
    verify_roster_chain,
};

use crate::support::{Ca, HOUR, Signer, World, identity, name, node, node_entry};

pub(crate) fn policy(edit: impl FnOnce(&mut Policy)) -> OrderCommand {
    let mut policy = Policy::default();
    edit(&mut policy);
    OrderCommand::UpdatePolicy { policy }
}

/// The roster as it stands, changed.
pub(crate) fn roster(world: &World, edit: impl FnOnce(&mut Vec<NodeEntry>)) -> OrderCommand {
    let cluster = world.store.cluster().unwrap();
    let mut nodes = cluster.nodes;
    edit(&mut nodes);
    OrderCommand::UpdateRoster { nodes, coordinators: cluster.coordinators, officers: cluster.officers }
}

pub(crate) fn without(world: &World, number: u8) -> OrderCommand {
    roster(world, |nodes| nodes.retain(|entry| entry.id != node(number)))
}

pub(crate) fn new_keys(number: u8, generation: u8) -> NodeEntry {
    let mut entry = node_entry(number);
    entry.tls_spki = SpkiHash::new([0x80 + 16 * generation + number; 32]);
    entry.identity = Signer::ed25519(0x20 + 16 * generation + number).public();
    entry.sealing_key.0[0] ^= generation;
    entry
}

pub(crate) fn replacement(number: u8, generation: u8) -> OrderCommand {
    OrderCommand::ReplaceStore { node: new_keys(number, generation), store: StoreId::new([0x90 + generation; 16]) }
}

/// A cluster whose t is allowed to be no majority, so that there may be a sixth node.
fn growing() -> World {
    World::founded_with(|body| body.minority_threshold = true)
}

/// Consensus does what the plan says.
pub(crate) fn reach(world: &mut World) {
    let plans = world.store.membership_plans().unwrap();
    let mut overlay = Overlay::new(&world.store);
    membership_applied(&mut overlay, &[plans.current.voters], &plans.current.nodes).unwrap();
    let changes = overlay.into_changes();
    world.store.write(&changes);
}

fn voters(world: &World) -> Vec<u8> {
    world.store.membership_plans().unwrap().current.voters.iter().map(|id| id.get()).collect()
}

/// The node whose entry is the first one's of [`new_keys`] for 6.
fn sixth(world: &World) -> NodeIdentity {
    NodeIdentity::new(node(6), world.cluster(), ed25519_dalek::SigningKey::from_bytes(&[0x36; 32]))
}

fn start(store: u8, boot: u8) -> NodeStarted {
    let (store, boot) = (StoreId::new([store; 16]), BootId::new([boot; 16]));
    NodeStarted { store, incarnation: 1, boot, audit_size: 1, raft_index: 1, earlier: Vec::new(), log_version: 1 }
}

#[test]
fn consents_are_checked_one_by_one() {
    let mut world = World::founded();
    let change = || policy(|policy| policy.session_signatures_max = 100);
    let mut refuses = |case: &str, code: &str, consents: &[u8], edit: &dyn Fn(&mut Order)| {
        let body = world.order_body(change());
        let order = world.approve(body, &["so-1", "so-2"]);
        let mut order = world.consent(order, consents);
        edit(&mut order);
        world.refuses(case, code, Command::Order(order));
    };
    refuses("of nobody", "consents-missing", &[], &|_| {});
    refuses("of t - 1 sites", "consents-missing", &[1, 2], &|_| {});
    refuses("of one site twice", "consent-duplicate", &[1, 2, 2], &|_| {});
    refuses("of a site outside the roster", "node-unknown", &[1, 2, 3, 9], &|_| {});
    refuses("in another site's name", "signature-invalid", &[1, 2, 3], &|order| order.consents[2].node = node(4));
    refuses("with a damaged signature", "signature-invalid", &[1, 2, 3, 4], &|order| order.consents[3].signature.0[7] ^= 1);
    refuses("to an altered order", "signature-invalid", &[1, 2, 3], &|order| order.body.not_after.0 += 1);
    refuses("of one officer only", "approvals-missing", &[1, 2, 3], &|order| order.approvals.truncate(1));
    refuses("more than there can be", "too-large", &[1; 16], &|_| {});
    let body = world.order_body(change());
    let order = world.approve(body, &["so-1", "so-2"]);
    let mut foreign = world.consent(order.clone(), &[1, 2]);
    let consent = Consent { order: warifu_protocol::Sha256::new([7; 32]) };
    foreign.consents.push(identity(world.cluster(), 3).sign(consent));
    world.refuses("to another order", "consent-foreign", Command::Order(foreign));
    let operators = world.order_body(change());
    let operators = world.approve(operators, &["op-1", "op-2"]);
    let operators = world.consent(operators, &[1, 2, 3]);
    world.refuses("approved by operators", "officer-role", Command::Order(operators));
    let facility = world.order(OrderCommand::EnrolFacility { facility: name("clinic-1") });
    let facility = world.consent(facility, &[1, 2, 3]);
    world.refuses("where none is asked for", "consent-unneeded", Command::Order(facility));

    let agreed = world.consent(order, &[5, 1, 3]);
    world.must(Command::Order(agreed.clone()));
    world.refuses("again", "order-replayed", Command::Order(agreed));
}

#[test]
fn a_policy_is_replaced_whole_and_holds_at_once() {
    let mut world = World::founded();
    let withheld = world.order(policy(|policy| policy.session_signatures_max = 5));
    world.must_order(policy(|policy| policy.order_millis_max = 2 * HOUR));
    world.refuses("written for the version before", "object-version-moved", Command::Order(withheld));
    let cluster = world.store.cluster().unwrap();
    assert_eq!(
        (cluster.policy_version, cluster.roster_version, cluster.policy.order_millis_max),
        (ObjectVersion(2), ObjectVersion(1), 2 * HOUR)
    );
    let mut body = world.order_body(OrderCommand::EnrolFacility { facility: name("clinic-1") });
    body.not_after = world.now.plus(3 * HOUR);
    let order = world.approve(body, &["op-1"]);
    world.refuses("longer than the new policy allows", "order-life-too-long", Command::Order(order));
    for (case, edit) in [
        ("a session of no signature", (|policy| policy.session_signatures_max = 0) as fn(&mut Policy)),
        ("a week of skew", |policy| policy.clock_skew_millis_max = 7 * 24 * HOUR),
        ("fewer approvals than the table", |policy| {
            let rule = warifu_protocol::ApprovalRule { role: OfficerRole::SecurityOfficer, count: 1 };
            policy.approvals.insert(CommandClass::Roster, rule);
        }),
        ("more approvals than there are officers", |policy| {
            let rule = warifu_protocol::ApprovalRule { role: OfficerRole::SecurityOfficer, count: 3 };
            policy.approvals.insert(CommandClass::Roster, rule);
        }),
    ] {
        world.refuses_order(case, "policy-refused", policy(edit));
    }
}

#[test]
fn anchors_are_replaced_whole_and_must_be_usable() {
    let mut world = World::founded();
    let old = world.store.cluster().unwrap().anchors;
    let update = |anchors| OrderCommand::UpdateAnchors { anchors };
    world.refuses_order("without a signing CA", "anchors-refused", update(old[1..].to_vec()));
    world.refuses_order("without a JPKI CA", "anchors-refused", update(vec![old[0].clone(), old[2].clone()]));
    let mut open = old.clone();
    open[0].policies.clear();
    world.refuses_order("that takes any policy", "anchors-refused", update(open));
    let mut garbage = old.clone();
    garbage[0].certificate.0.truncate(20);
    world.refuses_order("that is no certificate", "anchors-refused", update(garbage));
    let more = [old, vec![Ca::new(AnchorKind::HpkiSigning, "Second HPKI Signing CA").anchor()]].concat();
    world.must_order(update(more.clone()));
    let cluster = world.store.cluster().unwrap();
    assert_eq!((cluster.anchors, cluster.anchors_version), (more, ObjectVersion(2)));
}

#[test]
fn a_roster_that_breaks_a_rule_of_the_genesis_or_moves_too_far_is_refused_before_anything_happens() {
    let mut world = World::founded();
    let cluster = world.store.cluster().unwrap();
    let cases: Vec<(&str, OrderCommand)> = vec![
        ("two nodes go", roster(&world, |nodes| nodes.truncate(3))),
        ("one goes and one comes", roster(&world, |nodes| nodes[0] = new_keys(6, 1))),
        ("t is no majority any more", roster(&world, |nodes| nodes.push(new_keys(6, 1)))),
        ("a node twice", roster(&world, |nodes| nodes.push(node_entry(5)))),
        ("another's identity key", roster(&world, |nodes| nodes[4].identity = node_entry(1).identity)),
        ("other keys under an old identifier", roster(&world, |nodes| nodes[4] = new_keys(5, 1))),
        (
            "a P-256 identity",
            roster(&world, |nodes| {
                let mut entry = new_keys(6, 1);
                entry.identity = Signer::p256().public();
                nodes.push(entry);
            }),
        ),
        (
            "no coordinator",
            OrderCommand::UpdateRoster { nodes: cluster.nodes.clone(), coordinators: vec![], officers: cluster.officers.clone() },
        ),
        (
            "too few officers for the policy",
            OrderCommand::UpdateRoster {
                nodes: cluster.nodes.clone(),
                coordinators: cluster.coordinators.clone(),
                officers: cluster.officers[..4].to_vec(),
            },
        ),
    ];
    for (case, order) in cases {
        world.refuses_order(case, "roster-refused", order);
    }
    // Down to t + 1, and no further.
    let order = without(&world, 5);
    world.must_order(order);
    reach(&mut world);
    let order = without(&world, 4);
    world.refuses_order("n would be t", "roster-refused", order);
}

#[test]
fn a_new_node_votes_only_after_its_start_and_a_removed_one_is_forgotten_with_its_keys() {
    let mut world = growing();
    let order = roster(&world, |nodes| nodes.push(new_keys(6, 1)));
    world.must_order(order);
    assert_eq!(voters(&world), [1, 2, 3, 4, 5], "it learns");
    let order = without(&world, 1);
    world.refuses_order("before consensus has followed", "membership-pending", order);
    let (sixth, body) = (sixth(&world), start(6, 6));
    let mut signed = identity(world.cluster(), 1).sign(body.clone());
    signed.node = node(6);
    world.refuses("in its name", "signature-invalid", Command::NodeStarted(signed));
    world.must(Command::NodeStarted(sixth.sign(body)));
    assert_eq!(voters(&world), [1, 2, 3, 4, 5], "consensus has not taken it in yet");
    reach(&mut world);
    assert_eq!(voters(&world), [1, 2, 3, 4, 5, 6]);
    reach(&mut world);

    let order = without(&world, 6);
    world.must_order(order);
    assert_eq!((voters(&world), world.store.node(node(6)).unwrap()), (vec![1, 2, 3, 4, 5], None));
    let mut again = start(6, 7);
    again.incarnation = 2;
    world.refuses("after its removal", "node-unknown", Command::NodeStarted(sixth.sign(again)));
    reach(&mut world);
    let order = roster(&world, |nodes| nodes.push(new_keys(6, 1)));
    world.refuses_order("with the keys of a removed node", "roster-refused", order);
    let mut as_seventh = new_keys(6, 1);
    as_seventh.id = node(7);
    let order = roster(&world, |nodes| nodes.push(as_seventh));
    world.refuses_order("with its keys under another identifier", "roster-refused", order);
    let order = roster(&world, |nodes| nodes.push(new_keys(6, 2)));
    world.must_order(order);
    assert_eq!(world.store.cluster().unwrap().store_number(node(6)), 1, "shares of the first node 6 are not those of the second");
}

#[test]
fn a_replaced_store_is_the_only_one_that_counts() {
    let mut world = World::founded();
    world.must(Command::NodeStarted(identity(world.cluster(), 2).sign(start(2, 2))));
    for (case, code, order) in [
        ("a node that is not there", "node-unknown", replacement(6, 1)),
        ("on the store that was lost", "roster-refused", OrderCommand::ReplaceStore { node: new_keys(2, 1), store: StoreId::new([2; 16]) }),
        ("with the old keys", "roster-refused", OrderCommand::ReplaceStore { node: node_entry(2), store: StoreId::new([9; 16]) }),
        (
            "with another's key",
            "roster-refused",
            OrderCommand::ReplaceStore {
                node: NodeEntry { identity: node_entry(3).identity, ..new_keys(2, 1) },
                store: StoreId::new([9; 16]),
            },
        ),
    ] {
        world.refuses_order(case, code, order);
    }
    let consented = world.order(replacement(2, 1));
    let consented = world.consent(consented, &[1, 3, 4]);
    world.refuses("with consents", "consent-unneeded", Command::Order(consented));
    world.must_order(replacement(2, 1));
    assert_eq!(voters(&world), [1, 3, 4, 5]);
    let record = world.store.node(node(2)).unwrap().unwrap();
    assert_eq!((record.store, record.store_number, record.has_started()), (StoreId::new([0x91; 16]), 1, false));

    // The lost disk comes back: its keys count no more. A thief of the new keys has another store.
    let mut old = start(2, 3);
    (old.incarnation, old.earlier) = (2, vec![BootId::new([2; 16])]);
    world.refuses("the old disk", "signature-invalid", Command::NodeStarted(identity(world.cluster(), 2).sign(old)));
    let new = NodeIdentity::new(node(2), world.cluster(), ed25519_dalek::SigningKey::from_bytes(&[0x32; 32]));
    world.refuses("another store", "node-store-changed", Command::NodeStarted(new.sign(start(2, 4))));
    reach(&mut world);
    world.must(Command::NodeStarted(new.sign(start(0x91, 4))));
    assert_eq!(voters(&world), [1, 2, 3, 4, 5]);
}

#[test]
fn replacing_too_many_at_once_would_lose_the_majority_and_is_refused() {
    let mut world = World::founded();
    for number in [1, 2] {
        world.must_order(replacement(number, 1));
        reach(&mut world);
    }
    let refusal = world.refuses_order("a third", "quorum-lost", replacement(3, 1));
    assert_eq!(refusal, Refusal::QuorumLost { voters: 2, nodes: 5 });
}

#[test]
fn no_credential_is_left_with_fewer_shares_than_sign() {
    let (mut world, [physician, pharmacist]) = World::generated();
    let holders = [1, 2, 3].map(|number| warifu_core::registry::Holding { node: node(number), store_number: 0 }).to_vec();
    let mut record = world.credential(physician.credential);
    record.holders = holders;
    world.put_credential(physician.credential, &record);
    let order = without(&world, 2);
    let refusal = world.refuses_order("a holder goes", "shares-lost", order);
    assert_eq!(refusal, Refusal::SharesLost { credential: physician.credential, remaining: 2, needed: 3 });
    world.refuses_order("a holder is replaced", "shares-lost", replacement(3, 1));
    let order = without(&world, 5);
    world.must_order(order);
    assert_eq!(world.credential(pharmacist.credential).holders.len(), 5, "what it held is left to repair");
}

fn leaves(world: &mut World, number: u8) {
    let order = without(world, number);
    world.must_order(order);
    reach(world);
}

fn comes(world: &mut World, number: u8) {
    let order = roster(world, |nodes| nodes.push(new_keys(number, 1)));
    world.must_order(order);
    reach(world);
}

/// Attempt and participants of the ceremony that is open.
fn attempt(world: &World) -> Option<(u32, Vec<u8>)> {
    let open = world.store.open_ceremonies(9).unwrap();
    open.first().map(|(_, record)| (record.attempt, record.participants.iter().map(|node| node.get()).collect()))
}

#[test]
fn a_key_is_generated_by_those_who_are_there_when_too_few_are_left_of_those_it_began_with() {
    let mut world = World::founded();
    let subject = SubjectFields::new("JP", None, "Jiro Iryo", "TRIAL-0003").unwrap();
    let enrolment = Enrolment { credential: CredentialId::new([0x33; 16]), holder: name("holder-3"), subject };
    world.must_order(OrderCommand::Enrol { enrolments: vec![enrolment] });
    leaves(&mut world, 5);
    assert_eq!(attempt(&world), Some((2, vec![1, 2, 3, 4])));
    comes(&mut world, 6);
    leaves(&mut world, 4);
    assert_eq!(attempt(&world), Some((3, vec![1, 2, 3, 6])));
}

#[test]
fn a_refresh_ends_when_too_few_of_the_holders_are_left() {
    let (mut world, [physician, _]) = World::generated_in(growing());
    world.must_order(OrderCommand::Refresh { credentials: vec![physician.credential] });
    comes(&mut world, 6);
    leaves(&mut world, 5);
    assert_eq!(attempt(&world), Some((2, vec![1, 2, 3, 4])));
    assert!(world.store.ceremony_of(physician.credential).unwrap().is_some());
    leaves(&mut world, 4);
    assert_eq!((attempt(&world), world.store.ceremony_of(physician.credential).unwrap()), (None, None));
}

fn gives_up(world: &mut World, number: u8) {
    let (ceremony, record) = world.store.open_ceremonies(9).unwrap().pop().unwrap();
    let body = CeremonyAbort { ceremony, attempt: record.attempt, culprit: None, credential: None };
    world.must(Command::CeremonyAbort(identity(world.cluster(), number).sign(body)));
}

#[test]
fn a_refresh_never_waits_for_a_node_whose_shares_went_with_its_store() {
    let refreshing = || {
        let (mut world, [physician, _]) = World::generated();
        world.must_order(OrderCommand::Refresh { credentials: vec![physician.credential] });
        (world, physician.credential)
    };
    // A participant's store is replaced, and another's: too few are left that hold anything.
    let (mut world, credential) = refreshing();
    world.must_order(replacement(5, 1));
    reach(&mut world);
    assert_eq!(attempt(&world), Some((2, vec![1, 2, 3, 4])));
    world.must_order(replacement(4, 1));
    assert_eq!((attempt(&world), world.store.ceremony_of(credential).unwrap()), (None, None), "the repair need not wait");

    // The store of one that had left the attempt is replaced: when all who hold begin again, it is not among them.
    let (mut world, _) = refreshing();
    gives_up(&mut world, 5);
    world.must_order(replacement(5, 1));
    assert_eq!(attempt(&world), Some((2, vec![1, 2, 3, 4])));
    gives_up(&mut world, 4);
    assert_eq!(attempt(&world), Some((3, vec![1, 2, 3, 4])), "whoever only gave up is asked again");
}

/// Receiver, attempt and helpers of the repair that is open.
fn repair(world: &World) -> Option<(u8, u32, Vec<u8>)> {
    let open = world.store.open_repairs().unwrap();
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
    open.first().map(|(_, record)| (record.receiver.get(), record.attempt, numbers(&record.helpers)))
}

/// A cluster of six in which node 6, which came later, is given a share of one credential.
fn repairing() -> (World, CredentialId) {
    let (mut world, [physician, _]) = World::generated_in(growing());
    comes(&mut world, 6);
    let sixth = sixth(&world);
    world.must(Command::NodeStarted(sixth.sign(start(6, 6))));
    reach(&mut world);
    let body = RepairStart { ceremony: CeremonyId::new([1; 16]), credentials: vec![physician.credential] };
    world.must(Command::RepairStarted(sixth.sign(body)));
    (world, physician.credential)
}

#[test]
fn a_repair_ends_at_once_when_its_receiver_is_gone_and_goes_on_without_a_helper_that_is() {
    for gone in [without as fn(&World, u8) -> OrderCommand, |_, number| replacement(number, 2)] {
        let (mut world, credential) = repairing();
        let order = gone(&world, 6);
        world.must_order(order);
        assert_eq!((repair(&world), world.store.ceremony_of(credential).unwrap()), (None, None), "others may be repaired");

        let (mut world, credential) = repairing();
        let helper = *repair(&world).unwrap().2.last().unwrap();
        let order = gone(&world, helper);
        world.must_order(order);
        reach(&mut world);
        let (receiver, attempt, others) = repair(&world).unwrap();
        assert_eq!((receiver, attempt, others.contains(&helper)), (6, 2, false));
        // One that is not asked for anything takes nothing with it.
        let waiting = (1..=5).rfind(|number| !others.contains(number) && *number != helper).unwrap();
        let order = gone(&world, waiting);
        world.must_order(order);
        assert_eq!(repair(&world), Some((6, 2, others)));
        assert!(world.store.ceremony_of(credential).unwrap().is_some());
    }
}

#[test]
fn only_the_plan_and_the_one_before_may_stand_in_a_membership_entry() {
    let mut world = growing();
    let first = world.store.membership_plans().unwrap();
    let order = roster(&world, |nodes| nodes.push(new_keys(6, 1)));
    world.must_order(order);
    let plans = world.store.membership_plans().unwrap();
    let (old, new) = (first.current.clone(), plans.current.clone());
    assert!(plans.allow(from_ref(&old.voters), &old.nodes) && plans.allow(from_ref(&new.voters), &new.nodes));
    assert!(!first.allow(from_ref(&new.voters), &new.nodes), "before the order it is a stranger");
    let some: BTreeSet<_> = [1, 2].map(node).into();
    assert!(!plans.allow(&[some], &new.nodes), "voters that nobody planned");
    assert!(!plans.allow(&[], &new.nodes));
    let mut elsewhere = new.nodes.clone();
    elsewhere.get_mut(&node(6)).unwrap().spki = SpkiHash::new([0xee; 32]);
    assert!(!plans.allow(from_ref(&old.voters), &elsewhere), "another key under the new node's identifier");

    let sixth = sixth(&world);
    world.must(Command::NodeStarted(sixth.sign(start(6, 6))));
    reach(&mut world);
    let plans: MembershipPlans = world.store.membership_plans().unwrap();
    let joint = [new.voters.clone(), plans.current.voters.clone()];
    assert!(plans.allow(&joint, &new.nodes), "both while one passes into the other");
    reach(&mut world);
    let order = without(&world, 6);
    world.must_order(order);
    reach(&mut world);
    let order = without(&world, 5);
    world.must_order(order);
    let later = world.store.membership_plans().unwrap();
    assert!(!later.allow(&[plans.current.voters], &new.nodes), "a plan of long ago");
}

#[test]
fn whoever_has_the_genesis_and_the_orders_comes_to_the_same_cluster() {
    let mut world = growing();
    world.must_order(policy(|policy| policy.session_signatures_max = 300));
    let order = roster(&world, |nodes| nodes.push(new_keys(6, 1)));
    world.must_order(order);
    reach(&mut world);
    world.must_order(replacement(1, 1));
    let orders = world.store.roster_orders(0, 100).unwrap();
    let followed = verify_roster_chain(&world.genesis, &orders).unwrap();
    assert_eq!(followed, world.store.cluster().unwrap());
    assert_eq!((orders.len() as u64, world.store.roster_orders(2, 100).unwrap()), (followed.revision(), orders[2..].to_vec()));

    let text = serde_json::to_string(&RosterFile { orders: orders.clone() }).unwrap();
    assert_eq!(RosterFile::follow(&text, &world.genesis), Ok(followed));
    assert!(RosterFile::follow("{\"orders\":[{}]}", &world.genesis).is_err());
    let facility = world.order(OrderCommand::EnrolFacility { facility: name("clinic-1") });
    let chain = |edit: &dyn Fn(&mut Vec<Order>)| {
        let mut orders = orders.clone();
        edit(&mut orders);
        verify_roster_chain(&world.genesis, &orders).map_err(|error| (error.position, error.refusal.code()))
    };
    assert_eq!(chain(&|orders| drop(orders.remove(1))).unwrap_err(), (2, "object-version-moved".to_owned()));
    assert_eq!(chain(&|orders| orders[1].consents.truncate(2)).unwrap_err(), (2, "consents-missing".to_owned()));
    assert_eq!(chain(&|orders| orders[2].approvals.truncate(1)).unwrap_err(), (3, "approvals-missing".to_owned()));
    assert_eq!(chain(&|orders| orders[0].body.object_version.0 = 9).unwrap_err(), (1, "signature-invalid".to_owned()));
    assert_eq!(chain(&|orders| orders.insert(0, facility.clone())).unwrap_err(), (1, "malformed".to_owned()));
}
