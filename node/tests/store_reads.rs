//! No store is read by async code: a whole cluster lives its life, and every read was made where it may wait.

#[path = "cluster/support.rs"]
#[expect(dead_code, reason = "a small part of what whole nodes are tested with")]
mod support;

use std::time::Duration;

use support::{TestCluster, name, node_id, page};
use warifu_node::admin::{self, AdminRequest};
use warifu_node::blocking::reads_by_async_code;
use warifu_protocol::wire::{ObjectRef, OrderCall, Read};
use warifu_protocol::{Command, CredentialId, Enrolment, OrderCommand, SubjectFields};

/// Time for a key to be generated, whose steps read and write much.
const GENERATION: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn no_store_is_read_by_async_code() -> anyhow::Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let mut cluster = TestCluster::found(3, 2, Default::default())?;
    let port = 32_000 + u16::try_from(std::process::id() % 700)?;
    cluster.config_mut(node_id(1)).listen.http = ([127, 0, 0, 1], port).into();
    cluster.config_mut(node_id(3)).raft.snapshot_entries = 8;
    for node in 1..=3 {
        cluster.start_node(node_id(node), true);
    }
    cluster.until_confirmed(&[1, 2, 3].map(node_id)).await?;
    let subject = SubjectFields::new("JP", None, "Taro Yamada", "123456")?;
    let enrolments = vec![Enrolment { credential: CredentialId::new([9; 16]), holder: name("doctor-1"), subject }];
    let verdict = cluster.propose(node_id(1), Command::Order(cluster.order(1, OrderCommand::Enrol { enrolments }, 1))).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    tokio::time::sleep(GENERATION).await;
    for read in [Read::Credential(CredentialId::new([9; 16])), Read::ObjectVersion(ObjectRef::Roster), Read::Crls] {
        cluster.call(node_id(2), &OrderCall::Read(read)).await?;
    }
    // What they say is tested where keys sign.
    for path in ["/readyz", "/metrics"] {
        page(port, path).await?;
    }
    assert_eq!(page(port, "/healthz").await?, (200, "ok\n".to_owned()));
    let socket = cluster.config(node_id(1)).admin_socket();
    for request in [
        AdminRequest::Status,
        AdminRequest::Work,
        AdminRequest::Checkpoint,
        AdminRequest::Audit { from: 0, limit: 10 },
        AdminRequest::Kek,
        AdminRequest::RotateKek,
        AdminRequest::Snapshot,
    ] {
        admin::ask(&socket, &request).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.stop_node(node_id(3)).await?;
    cluster.start_node(node_id(3), false);
    cluster.until_confirmed(&[node_id(3)]).await?;
    let found = reads_by_async_code();
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
    Ok(())
}
