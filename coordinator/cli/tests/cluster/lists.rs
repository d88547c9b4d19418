//! Lists that are fetched from where a CA publishes them, by a command and by a process that keeps them fresh.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::commands::{Desk, Ended};

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
const PATIENCE: Duration = Duration::from_secs(90);

/// Serves what it has now to whoever asks; nothing means that the CA is out of order.
async fn publish(list: Arc<Mutex<Option<Vec<u8>>>>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/cards.crl", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = list.lock().clone();
            let _ = stream.read(&mut [0; 4096]).await;
            let status = if body.is_some() { "200 OK" } else { "503 Service Unavailable" };
            let body = body.unwrap_or_default();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    });
    Ok(address)
}

/// Ends with the test, whatever becomes of that.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_fetched_once_and_kept_fresh_by_a_watcher_that_survives_an_outage_of_the_ca() -> anyhow::Result<()> {
    let run = crate::running().await?;
    let desk = Desk { run: &run };
    let now = warifu::clock::now();
    let list = |number| run.cluster.jpki.crl(number, &[], now.minus(60_000), now.plus(DAY_MILLIS));
    let published = Arc::new(Mutex::new(Some(list(2)?)));
    let source = publish(Arc::clone(&published)).await?;
    let (key, passphrase) =
        (run.cluster.officers.files[0].display().to_string(), run.cluster.officers.passphrase_file.display().to_string());
    let approval = ["--approve-with", &key, "--passphrase-file", &passphrase, "--yes"];
    let fetch = [&["crl", "fetch", &source], approval.as_slice()].concat();
    // Waits for a number of the cards' CA: the other CA's list stays at 1.
    let has = |number: &str| -> anyhow::Result<bool> {
        let shown = desk.json(&["crl", "list"])?;
        Ok(shown["crls"].as_array().is_some_and(|crls| crls.iter().any(|crl| crl["number"].as_str() == Some(number))))
    };

    ensure!(!has("2")?, "nothing was fetched yet");
    desk.ends(0, &fetch)?;
    ensure!(has("2")?, "number 2 is active");
    let again = desk.ends(0, &fetch)?;
    ensure!(again.out.contains("is active already"), "{}", again.out);
    *published.lock() = Some(b"<html>".to_vec());
    let refused = desk.ends(1, &fetch)?;
    ensure!(refused.err.contains("refused") || refused.out.contains("refused"), "{} {}", refused.out, refused.err);
    *published.lock() = None;
    let failed = Ended::of(&mut desk.command(&fetch))?;
    ensure!(failed.code != Some(0) && failed.err.contains("503"), "{:?} {}", failed.code, failed.err);
    *published.lock() = Some(run.cluster.jpki.crl(1, &[], now.minus(60_000), now.plus(DAY_MILLIS))?);
    let older = desk.ends(1, &fetch)?;
    ensure!(older.err.contains("older") || older.err.contains("newer"), "{}", older.err);

    let nobody = desk.ends(2, &["crl", "watch", &source])?;
    ensure!(nobody.err.contains("--approve-with"), "{}", nobody.err);
    *published.lock() = None;
    let mut command = desk.command(&[&["crl", "watch", &source, "--every", "10"], approval.as_slice()].concat());
    let mut watcher = Watcher(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for number in [3_u64, 4] {
        *published.lock() = Some(list(number)?);
        let started = Instant::now();
        while !has(&number.to_string())? {
            ensure!(started.elapsed() < PATIENCE, "number {number} is not brought in");
            ensure!(watcher.0.try_wait()?.is_none(), "the watcher has ended");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    run.cluster.stop();
    Ok(())
}
