//! A node that is started on what is not its own does not run.

use std::path::Path;

use anyhow::Context as _;
use warifu_node::keys::NodeKeys;
use warifu_protocol::{NodeId, Policy};

use crate::support::{TestCluster, node_id};

/// Starts a node that must end by itself, and says why it did.
async fn refused(cluster: &mut TestCluster, node: NodeId, found: bool) -> anyhow::Result<String> {
    cluster.start_node(node, found);
    let error = cluster.ended_node(node).await.err().context("the node ended without an error")?;
    Ok(format!("{error:#}"))
}

fn replace(keys: &Path, by: &Path, file: &str) -> anyhow::Result<()> {
    std::fs::remove_file(keys.join(file))?;
    std::fs::copy(by.join(file), keys.join(file))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_run_on_a_store_of_another_cluster_or_with_keys_that_are_not_its_own() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    let foreign = TestCluster::found(3, 2, Policy::default())?;
    let own_id = cluster.genesis.cluster();
    let node = node_id(1);
    cluster.stop_node(node).await?;
    let config = cluster.config(node).node.clone();
    let (genesis, local) = (std::fs::read(&config.genesis)?, config.data.join("local.redb"));

    std::fs::copy(&foreign.config(node).node.genesis, &config.genesis)?;
    let said = refused(&mut cluster, node, false).await?;
    assert!(said.contains(&format!("the store belongs to node 1 of cluster {own_id}")), "{said}");
    // Without its local store it founds a new one; the state store still says whose it is.
    let kept = config.data.join("kept.redb");
    std::fs::rename(&local, &kept)?;
    let said = refused(&mut cluster, node, true).await?;
    assert!(said.contains(&format!("the state store belongs to cluster {own_id}")), "{said}");
    std::fs::rename(&kept, &local)?;
    std::fs::write(&config.genesis, genesis)?;

    cluster.config_mut(node).node.id = node_id(3);
    let said = refused(&mut cluster, node, false).await?;
    assert!(said.contains(&format!("the store belongs to node 1 of cluster {own_id}")), "{said}");
    cluster.config_mut(node).node.id = node;

    let (keys, others, own) = (config.keys.clone(), cluster.directory.path().join("others"), cluster.directory.path().join("own"));
    NodeKeys::init(&others, node, "127.0.0.1:1")?;
    std::fs::create_dir(&own)?;
    for (files, named) in [
        (&["identity.key"][..], "identity.key is not the key that the roster known here names for node 1"),
        (&["tls.crt", "tls.key"][..], "tls.crt is not the identity that the roster known here names for node 1"),
    ] {
        for file in files {
            std::fs::copy(keys.join(file), own.join(file))?;
            replace(&keys, &others, file)?;
        }
        let said = refused(&mut cluster, node, false).await?;
        assert!(said.contains(named), "{said}");
        for file in files {
            replace(&keys, &own, file)?;
        }
    }
    cluster.start_node(node, false);
    cluster.until_confirmed(&[node]).await
}
