//! A leader that keeps stops out of the log, as a process that does nothing else wrong.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use warifu::local_cluster::LocalCluster;
use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_protocol::mutants::{self, Mutant};
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{NodeId, OrderCommand};

use crate::{READY, Running};

/// Time for the censor to be elected.
const ELECTED: Duration = Duration::from_secs(90);
/// How long it is alone: by then it asks for votes.
const ALONE: Duration = Duration::from_secs(2);
/// Time for the stop to be logged: a leader is given 5 s, and an election follows, on a busy machine.
const LOGGED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
const CALL: Duration = Duration::from_secs(20);

/// The leader as a node sees it.
async fn leader(cluster: &LocalCluster, node: NodeId) -> Option<NodeId> {
    match admin::ask(&cluster.admin_socket(node), &AdminRequest::Status).await.ok()? {
        AdminReply::Status(status) => status.leader,
        _ => None,
    }
}

/// Makes this node the leader: every other one starts anew while it asks for votes already.
async fn elect(run: &mut Running, censor: NodeId) -> anyhow::Result<()> {
    let end = Instant::now() + ELECTED;
    let others: Vec<NodeId> = run.cluster.genesis().body().nodes.iter().map(|node| node.id).filter(|node| *node != censor).collect();
    loop {
        run.cluster.wait_ready(READY).await?;
        match leader(&run.cluster, censor).await {
            Some(leader) if leader == censor => return Ok(()),
            Some(_) => {
                others.iter().for_each(|node| run.cluster.kill_node(*node));
                tokio::time::sleep(ALONE).await;
                for node in &others {
                    run.cluster.start_node(*node)?;
                }
            }
            None => tokio::time::sleep(POLL).await,
        }
        ensure!(Instant::now() < end, "node {censor} is never elected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_keeps_a_stop_out_of_the_log_is_replaced_and_the_stop_is_logged() -> anyhow::Result<()> {
    if !mutants::BUILT_IN {
        skip("a program that keeps stops out of the log is built by WARIFU_MUTANTS=1 only");
        return Ok(());
    }
    let censor = NodeId::new(1).context("a node id")?;
    let (directory, options) = Running::options(5, 3)?;
    let mut cluster = LocalCluster::found(&options)?;
    cluster.set_node_environment(censor, vec![(mutants::VARIABLE.into(), Mutant::CensorStops.name().into())]);
    let mut run = Running::start(cluster, directory).await?;
    let credential = run.certified("doctor", "Medical Doctor").await?;
    run.cluster.order(OrderCommand::Suspend { credential }, None).await.context("without a censor that leads")?;
    run.cluster.order(OrderCommand::Resume { credential }, None).await?;
    let client = run.cluster.client(LocalCluster::CLIENT_CA, CALL)?;
    elect(&mut run, censor).await?;

    let started = Instant::now();
    // Whatever the answer is, every node holds the key from here on.
    let answer = run.cluster.order(OrderCommand::Suspend { credential }, None).await;
    while client.credential(credential).await?.state != CredentialState::Suspended {
        ensure!(started.elapsed() < LOGGED, "the stop is not logged; the order's answer was {answer:?}");
        tokio::time::sleep(POLL).await;
    }
    let leads = leader(&run.cluster, NodeId::new(2).context("a node id")?).await;
    ensure!(leads != Some(censor), "the censor leads still, and has logged the stop");
    tell(started.elapsed());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
fn skip(why: &str) {
    println!("SKIPPED: {why}");
}

#[expect(clippy::print_stdout, reason = "a figure that readers of the test want")]
fn tell(took: Duration) {
    println!("the stop was logged {:.1} s after it was ordered", took.as_secs_f64());
}
