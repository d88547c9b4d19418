//! Three nodes together.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::harness::{Cluster, Stuck, node};
use crate::raft::ProposeError;
use crate::raft::propose::ATTEMPT_DEADLINE;
use crate::store::StoreHealth;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_proposed_at_any_node_is_applied_at_every_node() {
    let cluster = Cluster::start(|_| {}).await;
    for number in 1..=3 {
        let command = format!("command {number}");
        let proposed = cluster.must_propose(node(number), command.as_bytes()).await;
        assert_eq!(proposed.response, command.bytes().rev().collect::<Vec<_>>());
        assert!(cluster.nodes[&node(number)].raft.wait_applied(proposed.position.index, super::harness::PATIENCE).await);
    }
    cluster.must_agree_on(3).await;
    let status = cluster.nodes[&node(1)].raft.status();
    assert_eq!((status.failed, status.store), (None, StoreHealth::Sound));
    assert_eq!(status.members.unwrap().nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_dies_another_takes_over_and_the_first_catches_up_after_its_restart() {
    let mut cluster = Cluster::start(|_| {}).await;
    let old = cluster.leader().await;
    cluster.must_propose(cluster.follower_of(old), b"before").await;
    cluster.stop_node(old).await;
    let new = cluster.leader().await;
    assert_ne!(new, old);
    cluster.must_propose(new, b"while it is away").await;
    cluster.start_node(old, true).await;
    cluster.must_agree_on(2).await;
    cluster.must_propose(old, b"after").await;
    cluster.must_agree_on(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_restarts_leads_again_only_by_an_election() {
    let mut cluster = Cluster::start(|_| {}).await;
    let leader = cluster.leader().await;
    cluster.must_propose(leader, b"before").await;
    let others: Vec<_> = cluster.nodes.keys().copied().filter(|id| *id != leader).collect();
    for id in &others {
        cluster.stop_node(*id).await;
    }
    let term = cluster.nodes[&leader].raft.status().term;
    cluster.stop_node(leader).await;
    cluster.start_node(leader, true).await;
    // Alone it can win none. Its log may lack what the others have of its old term.
    let status = cluster.nodes[&leader].raft.status();
    assert!(!status.is_leader && status.leader.is_none(), "{status:?}");
    for id in others {
        cluster.start_node(id, true).await;
    }
    let next = cluster.leader().await;
    cluster.must_propose(next, b"after").await;
    assert!(cluster.nodes[&next].raft.status().term > term);
    cluster.must_agree_on(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_too_long_or_lost_its_disk_is_sent_a_snapshot() {
    const COMMANDS: usize = 120;
    let mut cluster = Cluster::start(|config| {
        config.snapshot_every = 50;
        config.entries_kept = 5;
    })
    .await;
    let leader = cluster.leader().await;
    let away = cluster.follower_of(leader);
    for wiped in [false, true] {
        let before = cluster.nodes[&leader].ledger.commands().len();
        cluster.stop_node(away).await;
        if wiped {
            cluster.wipe(away);
        }
        // Several chunks of the transport. No command ends with a node's number, which that node would not admit.
        for number in 0..COMMANDS {
            cluster.must_propose(leader, &vec![u8::try_from(100 + number).unwrap(); 8 * 1024]).await;
        }
        cluster
            .eventually("the log is cut", || {
                cluster.nodes[&leader].raft.status().snapshot.is_some_and(|at| at.index as usize > before + 50)
            })
            .await;
        // Without first members, as on a replaced disk.
        cluster.start_node(away, !wiped).await;
        cluster.must_agree_on(before + COMMANDS).await;
        let status = cluster.nodes[&away].raft.status();
        assert!(status.snapshot.is_some_and(|at| at.index as usize > before), "it came as a snapshot: {status:?}");
    }
    // A restart keeps the snapshot and needs nothing from the others.
    cluster.stop_node(away).await;
    cluster.start_node(away, true).await;
    assert!(cluster.nodes[&away].raft.status().snapshot.is_some());
    cluster.must_agree_on(2 * COMMANDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_what_it_had_acknowledged_is_sent_it_again_and_the_leader_leads_on() {
    let mut cluster = Cluster::start(|_| {}).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower_of(leader);
    for number in 0..10 {
        cluster.must_propose(leader, &[100 + number]).await;
    }
    cluster.must_agree_on(10).await;
    let term = cluster.nodes[&leader].raft.status().term;
    cluster.stop_node(follower).await;
    cluster.wipe(follower);
    cluster.start_node(follower, false).await;
    cluster.must_agree_on(10).await;
    assert_eq!(cluster.nodes[&leader].raft.status().term, term);
    cluster.must_propose(leader, b"after").await;
    cluster.must_agree_on(11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_followers_refuse_reach_no_log_but_the_leaders_and_another_leader_goes_on() {
    let mut cluster = Cluster::start(|_| {}).await;
    let bad = cluster.leader().await;
    cluster.must_propose(bad, b"good").await;
    cluster.must_agree_on(1).await;
    let ends = |cluster: &Cluster| {
        cluster.nodes.iter().filter(|(id, _)| **id != bad).map(|(_, node)| node.raft.status().last_log_index).collect::<Vec<_>>()
    };
    let before = ends(&cluster);
    let refused = cluster.nodes[&bad].raft.propose(b"BAD command".to_vec(), Duration::from_secs(2)).await;
    assert!(matches!(refused, Err(ProposeError::Deadline { .. })), "{refused:?}");
    assert_eq!(ends(&cluster), before);
    cluster.stop_node(bad).await;
    let next = cluster.leader().await;
    cluster.must_propose(next, b"good again").await;
    cluster.start_node(bad, true).await;
    cluster.must_agree_on(2).await;
    assert!(cluster.nodes.values().all(|node| node.ledger.commands() == [b"good".to_vec(), b"good again".to_vec()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_leader_does_not_admit_is_refused_with_its_reason_wherever_it_was_proposed() {
    let cluster = Cluster::start(|_| {}).await;
    let leader = cluster.leader().await;
    for at in [leader, cluster.follower_of(leader)] {
        let refused = cluster.nodes[&at].raft.propose(b"NO".to_vec(), super::harness::PATIENCE).await;
        assert_eq!(refused, Err(ProposeError::Refused { reason: format!("not from {at}") }));
    }
    let huge = vec![0; crate::raft::ENTRY_BYTES_MAX + 1];
    assert!(matches!(cluster.nodes[&leader].raft.propose(huge, super::harness::PATIENCE).await, Err(ProposeError::TooLarge { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_does_not_log_a_command_is_replaced_though_it_lives_and_its_successor_logs_it() {
    let cluster = Cluster::start(|_| {}).await;
    let censor = cluster.leader().await;
    let follower = cluster.follower_of(censor);
    let command = [b"not by ".as_slice(), &[censor.get()]].concat();
    let refused = cluster.nodes[&follower].raft.propose(command.clone(), Duration::from_secs(2)).await;
    assert!(matches!(refused, Err(ProposeError::Refused { .. })), "{refused:?}");
    // The old leader may win the election; it is replaced again then.
    for attempt in 1.. {
        let term = cluster.nodes[&follower].raft.status().term;
        cluster.nodes[&follower].raft.replace_leader().await;
        cluster.eventually("a new term", || cluster.nodes.values().all(|node| node.raft.status().term > term)).await;
        if cluster.leader().await != censor {
            break;
        }
        assert!(attempt < 20, "the same leader wins each time");
    }
    cluster.must_propose(follower, &command).await;
    cluster.must_agree_on(1).await;
}

/// Elections may take the whole deadline on a busy machine.
const TRIES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_command_whose_leader_is_replaced_before_it_answers_is_carried_out_at_once_by_its_successor_which_says_so() {
    let cluster = Cluster::start(|_| {}).await;
    assert!(!cluster.must_propose(node(1), b"before").await.after_unknown);
    for attempt in 1..=TRIES {
        let Stuck { is_one, may_go_on } = &*cluster.stuck;
        is_one.store(false, Ordering::Relaxed);
        may_go_on.store(false, Ordering::Relaxed);
        let stuck = cluster.leader().await;
        let follower = &cluster.nodes[&cluster.follower_of(stuck)];
        let command = [b"STUCK at ".as_slice(), &[stuck.get()]].concat();
        // No time for another leader is left to one who waits for the first as long as it may.
        let propose = follower.raft.propose(command, ATTEMPT_DEADLINE);
        let replace = async {
            cluster.eventually("a leader that says nothing", || is_one.load(Ordering::Relaxed)).await;
            // It may win the election; it is replaced again then.
            while follower.raft.status().leader.is_none_or(|leader| leader == stuck) {
                follower.raft.replace_leader().await;
                sleep(Duration::from_millis(400)).await;
            }
        };
        let (proposed, ()) = tokio::join!(propose, replace);
        may_go_on.store(true, Ordering::Relaxed);
        match proposed {
            Ok(proposed) => {
                assert!(proposed.after_unknown, "the first may have been logged too");
                return;
            }
            Err(error) => assert!(attempt < TRIES, "{error}"),
        }
    }
}
