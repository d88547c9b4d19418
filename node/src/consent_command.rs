//! `warifu-node admin consent`: the administrator reads the order, the running node checks and signs.

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use warifu_protocol::Order;
use warifu_protocol::limits::LOG_ENTRY_BYTES_MAX;

use crate::admin::{self, AdminReply, AdminRequest};

/// Largest order file: the largest log entry in base64, and room for indentation.
const ORDER_FILE_BYTES_MAX: u64 = 2 * LOG_ENTRY_BYTES_MAX as u64;

/// Shows the order, asks, and adds the consent to the file.
///
/// # Errors
/// When the file cannot be read or written, the node would refuse the order, or the administrator does not agree.
pub(crate) async fn run(socket: &Path, path: &Path, yes: bool) -> anyhow::Result<()> {
    let mut order = read(path)?;
    let AdminReply::Preview(lines) = exchange(socket, &AdminRequest::PreviewConsent { order: Box::new(order.clone()) }).await? else {
        anyhow::bail!("the node answered something else than the order in words")
    };
    let mut out = std::io::stderr();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    if !yes {
        write!(out, "Consent to this order for this site? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        anyhow::ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "not consented");
    }
    let AdminReply::Consent(consent) = exchange(socket, &AdminRequest::Consent { order: Box::new(order.clone()) }).await? else {
        anyhow::bail!("the node answered something else than a consent")
    };
    let node = consent.node;
    order.consents.push(*consent);
    replace(path, &serde_json::to_vec_pretty(&order)?)?;
    writeln!(out, "node {node} consents; {} of the consents that are needed are in {}", order.consents.len(), path.display())?;
    Ok(())
}

async fn exchange(socket: &Path, request: &AdminRequest) -> anyhow::Result<AdminReply> {
    match admin::ask(socket, request).await? {
        AdminReply::Error(error) => anyhow::bail!(error),
        reply => Ok(reply),
    }
}

fn read(path: &Path) -> anyhow::Result<Order> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    anyhow::ensure!(size <= ORDER_FILE_BYTES_MAX, "{} has {size} bytes, more than an order", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no order", path.display()))
}

/// Puts the new file in the place of the old one at once: a crash leaves one of the two.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(|| format!("cannot write in {}", directory.display()))?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).with_context(|| format!("cannot replace {}", path.display()))?;
    Ok(())
}
