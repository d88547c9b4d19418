//! Disks that changed, and disks that are copies: named, turned away, and good for nothing.

use std::path::Path;
use std::time::Duration;

use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_node::{daemon, upkeep};
use warifu_protocol::Policy;
use warifu_protocol::wire::SignAnswer;

use crate::membership::copy_directory;
use crate::roster::replace;
use crate::signing::{answer, csr, csr_item, enrol, enrolled, until_credential, until_generated_at};
use crate::support::{TestCluster, node_id};

/// Changes bytes in the middle of what the file holds, so that pages that are in use are among them.
fn must_damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a store");
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    for at in (4096..used).step_by(1024) {
        bytes[at] ^= 0x01;
    }
    std::fs::write(path, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_on_a_damaged_store_and_the_check_names_the_file() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let victim = node_id(3);
    until_generated_at(&cluster, &[victim]).await?;
    cluster.stop_node(victim).await?;
    let config = cluster.config(victim).clone();
    let report = upkeep::check(&config)?;
    assert_eq!((report.damage.len(), report.files.len(), report.shares, report.locked), (0, 3, 1, None));
    assert!(report.audit_entries > 3);

    let (data, sound) = (config.node.data.clone(), cluster.directory.path().join("sound"));
    copy_directory(&data, &sound)?;
    for file in ["raft/raft.redb", "state.redb", "local.redb"] {
        must_damage(&data.join(file));
        let report = upkeep::check(&config)?;
        assert!(report.damage.iter().any(|damage| damage.contains(file)), "{file}: {report:?}");
        cluster.start_node(victim, false);
        let error = format!("{:#}", cluster.ended_node(victim).await.expect_err("does not start"));
        assert!(error.contains(file) && error.contains("damaged"), "{file}: {error}");
        std::fs::copy(sound.join(file), data.join(file))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_node_is_restored_but_its_new_store_is_not_let_in_without_an_order() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let victim = node_id(3);
    until_generated_at(&cluster, &[victim]).await?;
    let backup = cluster.directory.path().join("backup");
    let config = cluster.config(victim).clone();
    let made = match admin::ask(&config.admin_socket(), &AdminRequest::Backup { out: backup.clone() }).await? {
        AdminReply::BackedUp(made) => made,
        other => anyhow::bail!("{other:?}"),
    };
    assert_eq!(made.shares, 1);
    let (running, from) = (config.clone(), backup.clone());
    let refused = tokio::task::spawn_blocking(move || upkeep::restore(&running, &from)).await?;
    assert!(refused.is_err_and(|error| format!("{error:#}").contains("is the node stopped?")));

    cluster.stop_node(victim).await?;
    std::fs::remove_dir_all(&config.node.data)?;
    let restoring = config.clone();
    let restored = tokio::task::spawn_blocking(move || upkeep::restore(&restoring, &backup)).await??;
    assert_eq!(restored.backup, made);
    assert_ne!(restored.store, made.store);
    cluster.start_node(victim, false);
    let error = format!("{:#}", cluster.ended_node(victim).await.expect_err("refuses to join"));
    assert!(error.contains("another store"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_signing_back_when_fewer_than_t_sites_are_left() -> anyhow::Result<()> {
    let mut cluster = TestCluster::found(5, 4, Policy::default())?;
    // What a site keeps of its key-encryption key survives its disk.
    cluster.configure(|config| config.kek.directory = Some(config.kek_directory()));
    (1..=5).for_each(|id| cluster.start_node(node_id(id), true));
    cluster.until_confirmed(&[1, 2, 3, 4, 5].map(node_id)).await?;
    let credential = enrol(&cluster).await?;
    let victim = node_id(5);
    until_generated_at(&cluster, &[victim]).await?;
    let backup = cluster.directory.path().join("backup");
    match admin::ask(&cluster.config(victim).admin_socket(), &AdminRequest::Backup { out: backup.clone() }).await? {
        AdminReply::BackedUp(made) => assert_eq!(made.shares, 1),
        other => anyhow::bail!("{other:?}"),
    }
    cluster.stop_node(node_id(4)).await?;
    replace(&mut cluster, victim, 1, move |config| {
        let restored = upkeep::restore(config, &backup)?;
        anyhow::ensure!(restored.backup.shares == 1 && restored.destroyed == 0, "{restored:?}");
        Ok(())
    })
    .await?;
    let nodes = [1, 2, 3, 5].map(node_id);
    let back = until_credential(&cluster, node_id(1), "held again", |view| view.holders.contains(&victim)).await?;
    assert_eq!(back.public_key_package, credential.public_key_package, "the key is the same");
    until_generated_at(&cluster, &nodes).await?;
    csr(&cluster, &back, &nodes).await
}

/// The same node once more, on a copy of its disk and another port.
fn twin(cluster: &TestCluster, data: &Path) -> anyhow::Result<warifu_node::config::NodeConfig> {
    let mut config = cluster.config(node_id(3)).clone();
    config.node.data = data.to_owned();
    config.listen.quic = "127.0.0.1:0".parse()?;
    Ok(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_beside_a_running_node_is_turned_away_and_the_node_goes_on() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let (original, both) = (node_id(3), [node_id(2), node_id(3)]);
    until_generated_at(&cluster, &both).await?;
    cluster.stop_node(original).await?;
    let copy = cluster.directory.path().join("clone");
    copy_directory(&cluster.config(original).node.data, &copy)?;
    cluster.start_node(original, false);
    cluster.until_confirmed(&[original]).await?;

    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let outcome = tokio::time::timeout(Duration::from_secs(20), daemon::run(twin(&cluster, &copy)?, false, stopped)).await?;
    let error = format!("{:#}", outcome.expect_err("refuses to join"));
    assert!(error.contains("older than the cluster remembers"), "{error}");
    let item = csr_item(&cluster, &both).await?;
    assert!(matches!(answer(&cluster, original, &item).await?, SignAnswer::Share(_)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clones_that_start_at_once_never_both_may_sign() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let original = node_id(3);
    until_generated_at(&cluster, &[original]).await?;
    cluster.stop_node(original).await?;
    let copy = cluster.directory.path().join("clone");
    copy_directory(&cluster.config(original).node.data, &copy)?;
    let config = twin(&cluster, &copy)?;
    let sockets = [cluster.config(original).admin_socket(), config.admin_socket()];
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clone = tokio::spawn(daemon::run(config, false, stopped));
    cluster.start_node(original, false);
    let mut ever = [false; 2];
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut open = [false; 2];
        for (open, socket) in open.iter_mut().zip(&sockets) {
            *open = matches!(admin::ask(socket, &AdminRequest::Status).await, Ok(AdminReply::Status(status)) if status.confirmed);
        }
        assert_ne!(open, [true, true], "two of one node may sign");
        ever = [ever[0] | open[0], ever[1] | open[1]];
    }
    assert_ne!(ever, [true, true], "first one, then the other");
    // Either may have ended by itself, with the reason.
    let _ = stop.send(true);
    let _ = clone.await;
    Ok(())
}
