//! A site is started on a copy of its disk that is older than what the cluster knows of it: it must give no signature share. Then its own disk
//! is put back, and the old one is kept to be read at the end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use super::Injection;
use crate::torment::checker::{TriedDisk, audit_size};
use crate::torment::stage::Stage;

/// How often the node on its old disk is looked at.
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let node = *stage.draw(1, None).first().context("there are nodes")?;
    let directory = stage.cluster().node_directory(node);
    let (data, yesterday, today) = (directory.join("data"), directory.join("yesterday"), directory.join("today"));
    stage.kill(&[node]);
    copy_files(&data, &yesterday)?;
    let (copy, cluster) = (yesterday.clone(), stage.cluster().genesis().cluster());
    let copied = tokio::task::spawn_blocking(move || audit_size(node, &copy, cluster)).await??;
    let started = Instant::now();
    stage.start(&[node])?;
    let first = stage.until_serving(&[node], started).await?;
    sleep(stage.hold).await;

    stage.kill(&[node]);
    std::fs::rename(&data, &today)?;
    std::fs::rename(&yesterday, &data)?;
    stage.start(&[node])?;
    let (started, mut ended) = (Instant::now(), None);
    while started.elapsed() < stage.hold * 2 {
        if let Some(status) = stage.status(node).await {
            ensure!(!status.confirmed, "node {node} was confirmed on its old disk");
            ensure!(status.shares_given == 0, "node {node} gave {} signature shares on its old disk", status.shares_given);
        }
        if let Err(error) = stage.cluster().check_node(node) {
            ended = Some(error.to_string());
            break;
        }
        sleep(POLL).await;
    }
    let end = match ended {
        Some(words) if words.contains("older than the cluster remembers") => "it ended by itself and said why",
        Some(words) => anyhow::bail!("node {node} on its old disk ended for another reason: {words}"),
        None => "it stayed up, unconfirmed",
    };
    stage.kill(&[node]);
    let tried = directory.join(format!("tried-{}", stage.tried.len() + 1));
    std::fs::rename(&data, &tried)?;
    stage.tried.push(TriedDisk { node, data: tried, copied });
    std::fs::rename(&today, &data)?;
    let started = Instant::now();
    stage.start(&[node])?;
    let second = stage.until_serving(&[node], started).await?;
    Ok(Injection::of(1, format!("node {node} on its old disk: no share; {end}")).recovered(first).recovered(second))
}

/// Copies a directory's files and directories; sockets are not files.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
