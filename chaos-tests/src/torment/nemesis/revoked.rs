//! A physician's key is revoked while every line is untidy: from the acknowledgement on nothing of theirs is signed.

use anyhow::{Context as _, ensure};
use warifu_protocol::OrderCommand;

use super::Injection;
use crate::proxy::Faults;
use crate::torment::sessions::is_acknowledged;
use crate::torment::stage::Stage;

/// Documents that are tried afterwards.
const TRIES: u32 = 5;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let Some((holder, session)) = stage.condemned.take() else {
        return Ok(Injection::of(0, "the key was revoked before: not done again"));
    };
    let parties = stage.mesh.parties();
    stage.among(&parties, &parties, Faults::UNTIDY);
    let before = stage.desk.sign(&session, 1).await;
    ensure!(before.is_ok(), "its key does not sign before: {before:?}");
    let answer = stage.cluster().order(OrderCommand::Revoke { credential: holder.credential }, None).await?;
    let report = answer.stop.context("a revocation is a stop")?;
    ensure!(is_acknowledged(&report), "every site is there, and receipts are missing: {:?}", report.missing);
    let receipts = report.receipts.len();
    stage.oracle.stopped(report);
    for seq in 2..2 + TRIES {
        if stage.desk.sign(&session, seq).await.is_ok() {
            stage.oracle.broken(format!("credential {} signed after its revocation was acknowledged", holder.credential));
        }
    }
    stage.mesh.weather().clear();
    Ok(Injection::of(1, format!("{receipts} receipts; {TRIES} documents tried afterwards")))
}
