//! A node that may begin nothing holds the others up, but not for so long that they go on without it.

use warifu_protocol::{Command, Policy};

use super::cluster::{CEREMONY, CREDENTIALS, Cluster, node};
use crate::registry::{CeremonyStep, Registry as _};

/// Goes on for nearly half of the time of a ceremony.
fn run_for_nearly_half(cluster: &mut Cluster) {
    let until = cluster.now.plus(Policy::default().ceremony_millis_max / 2 - 1_000);
    cluster.run_while(|cluster| cluster.now < until);
}

#[test]
fn all_wait_for_the_node_that_may_begin_nothing_and_half_of_the_time_later_it_begins_all_the_same() {
    let mut cluster = Cluster::new(31);
    cluster.site(3).dkg.allow_begins(0);
    run_for_nearly_half(&mut cluster);
    assert_eq!(cluster.record(1).round1, [1, 2, 4, 5].map(node));
    assert!(cluster.site(3).dkg.begins_wait() && !cluster.site(2).dkg.begins_wait());
    cluster.run_until(1, CeremonyStep::Done);
    assert_eq!(cluster.record(1).participants.len(), 5, "nobody went on without it");
    cluster.assert_signs([1, 3, 5]);
}

#[test]
fn what_has_begun_goes_on_at_a_node_that_may_begin_nothing_more() {
    let mut cluster = Cluster::new(32);
    let before = cluster.now;
    cluster.tick();
    (1..=5).for_each(|number| cluster.site(number).dkg.allow_begins(0));
    cluster.run_until(1, CeremonyStep::Done);
    assert!(cluster.now < before.plus(Policy::default().ceremony_millis_max / 2));
    cluster.assert_signs([2, 3, 4]);
}

#[test]
fn a_helper_that_may_begin_nothing_holds_a_repair_up_for_half_of_its_time() {
    let mut cluster = Cluster::new(33);
    cluster.run_until(1, CeremonyStep::Done);
    assert_eq!(cluster.sites[&node(1)].store.ceremony(CEREMONY).unwrap().unwrap().attempt, 1);
    cluster.replace_store(2);
    (1..=5).for_each(|number| cluster.site(number).repairs.allow_begins(0));
    let site = cluster.site(2);
    let command = site.repairs.ask(CREDENTIALS.to_vec(), &mut site.rng);
    cluster.propose(command);
    cluster.tick();
    run_for_nearly_half(&mut cluster);
    let (_, record) = cluster.sites[&node(1)].store.open_repairs().unwrap().remove(0);
    assert!(record.committed.is_empty() && record.attempt == 1, "{record:?}");
    assert!(record.helpers.iter().all(|helper| cluster.sites[helper].repairs.begins_wait()));
    let holds = |cluster: &Cluster| CREDENTIALS.iter().all(|credential| cluster.holders(1, *credential).contains(&node(2)));
    cluster.run_while(|cluster| !holds(cluster));
    let log = cluster.log.iter().map(|bytes| warifu_protocol::LogEntry::decode(bytes).unwrap().command);
    assert_eq!(log.filter(|command| matches!(command, Command::RepairAborted(_))).count(), 0, "in the first attempt");
}
