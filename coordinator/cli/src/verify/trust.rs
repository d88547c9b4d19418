//! The certificates that the user trusts, and the path to them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use uppsala::NodeId;
use warifu_coordinator::document::XmlDocument;
use warifu_core::pki::{Certificate, TrustAnchor, verify_path};
use warifu_prescription::uri;
use warifu_protocol::{AnchorKind, UnixMillis};

use super::problem::SignatureProblem;

/// Largest file of trusted certificates; a bundle of all HPKI CAs has a few ten KiB.
pub const TRUST_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most trusted certificates, so that a wrong directory is noticed and not searched.
pub const TRUST_ANCHORS_MAX: usize = 64;

/// Most certificates that are tried between the signer's and a trusted one. They come with the document and prove nothing themselves.
const INTERMEDIATES_MAX: usize = warifu_core::pki::path::INTERMEDIATES_MAX;

/// Reads trusted CA certificates from files (PEM, several in one; or DER) and from the files of directories.
///
/// # Errors
///
/// When a path cannot be read, holds no certificate or one that is no CA's, or when there are more than [`TRUST_ANCHORS_MAX`].
pub fn load_anchors(paths: &[PathBuf]) -> anyhow::Result<Vec<Certificate>> {
    let mut anchors = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut entries = std::fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
                .with_context(|| format!("cannot list {}", path.display()))?;
            entries
                .retain(|entry| entry.extension().is_some_and(|extension| CERTIFICATE_EXTENSIONS.iter().any(|known| extension == *known)));
            ensure!(!entries.is_empty(), "{} holds no .pem, .crt, .cer or .der file", path.display());
            entries.sort();
            for entry in entries {
                anchors.extend(load_file(&entry)?);
            }
        } else {
            anchors.extend(load_file(path)?);
        }
        ensure!(anchors.len() <= TRUST_ANCHORS_MAX, "more than {TRUST_ANCHORS_MAX} trusted certificates were given");
    }
    Ok(anchors)
}

const CERTIFICATE_EXTENSIONS: [&str; 4] = ["pem", "crt", "cer", "der"];

fn load_file(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TRUST_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(bytes.len() as u64 <= TRUST_FILE_BYTES_MAX, "{} has more than {TRUST_FILE_BYTES_MAX} bytes", path.display());
    let blocks = match pem::parse_many(&bytes) {
        Ok(blocks) if !blocks.is_empty() => {
            blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").map(pem::Pem::into_contents).collect()
        }
        Ok(_) | Err(_) => vec![bytes],
    };
    if blocks.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    blocks
        .iter()
        .map(|der| {
            let certificate =
                Certificate::parse(der).with_context(|| format!("{} does not hold certificates in PEM or DER", path.display()))?;
            ensure!(certificate.is_ca(), "{} holds a certificate that is not a CA's: {}", path.display(), certificate.subject());
            Ok(certificate)
        })
        .collect()
}

/// Checks that `certificate` chains to one of `anchors` at the instant `at`; gives the anchor. Revocation is not looked at.
///
/// The policies of the HPKI differ from CA to CA, and the user has chosen the anchors, so any policy that the path names is accepted.
pub(super) fn check_trust<'a>(
    certificate: &Certificate,
    intermediates: &[Certificate],
    anchors: &'a [Certificate],
    at: UnixMillis,
) -> Result<&'a Certificate, SignatureProblem> {
    let intermediates: Vec<_> = intermediates
        .iter()
        .filter(|candidate| candidate.is_ca() && candidate.subject() == certificate.issuer())
        .take(INTERMEDIATES_MAX)
        .cloned()
        .collect();
    let policies: Vec<_> = intermediates.iter().chain([certificate]).flat_map(|part| part.policies().to_vec()).collect();
    let pinned: Vec<_> = anchors
        .iter()
        .map(|anchor| TrustAnchor { certificate: anchor.clone(), kind: AnchorKind::HpkiSigning, policies: policies.clone() })
        .collect();
    let path = verify_path(certificate, &intermediates, &pinned, AnchorKind::HpkiSigning, at)
        .map_err(|source| SignatureProblem::Path { source })?;
    let found = path.anchor().certificate.hash();
    Ok(anchors.iter().find(|anchor| anchor.hash() == found).expect("the path ends in one of the anchors"))
}

/// The CA certificates that archiving put into the signature's unsigned properties.
pub(super) fn archived_certificates(document: &XmlDocument<'_>, signature: NodeId) -> Vec<Certificate> {
    let tree = document.tree();
    let elements =
        tree.descendants(signature).into_iter().filter(|&node| document.is_named(node, Some(uri::XADES), "EncapsulatedX509Certificate"));
    elements
        .take(ARCHIVED_CERTIFICATES_MAX)
        .filter_map(|element| {
            let mut text = tree.text_content_deep(element);
            text.retain(|character| !character.is_ascii_whitespace());
            Certificate::parse(&BASE64.decode(text).ok()?).ok()
        })
        .collect()
}

/// Most archived certificates that are read; a fully archived signature has about ten.
const ARCHIVED_CERTIFICATES_MAX: usize = 32;
