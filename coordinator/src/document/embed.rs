//! Putting a signature into its document.

use uppsala::NodeKind;
use warifu_prescription::uri;
use warifu_protocol::DocumentKind;

use super::canonical::canonical_digest;
use super::error::DocumentError;
use super::place::SignaturePlace;
use super::xml::{XmlDocument, path_text};

/// Puts `signature_element` into the empty `PrescriptionSign` or `DispensingSign` of the document; every other byte stays as it is.
///
/// Only when that element is written as an empty-element tag is the tag opened, since there is no other place for the content.
///
/// # Errors
///
/// [`DocumentError::AlreadySigned`] when the place is not empty, [`DocumentError::SignatureDoesNotFit`] when the result is not a
/// document with one signature of this kind, and whatever else makes the document refused.
pub fn embed(xml: &[u8], kind: DocumentKind, signature_element: &str) -> Result<String, DocumentError> {
    let place = SignaturePlace::of(kind);
    let document = XmlDocument::parse(xml)?;
    document.expect_kind(kind)?;
    let signed = insert(&document, place, signature_element)?;
    check_result(xml, &signed, place, signature_element)?;
    Ok(signed)
}

fn insert(document: &XmlDocument<'_>, place: SignaturePlace, signature_element: &str) -> Result<String, DocumentError> {
    let path = place.holder_path();
    let holder = document.element_at(path)?;
    let tree = document.tree();
    let blank = |node| matches!(tree.node_kind(node), Some(NodeKind::Text(text)) if text.trim().is_empty());
    if !tree.children_iter(holder).all(blank) {
        return Err(DocumentError::AlreadySigned { path: path_text(path) });
    }
    let range = tree.node_range(holder).expect("nodes of a parsed document have a range");
    let (before, rest) = document.text().split_at(range.start);
    let (element, after) = rest.split_at(range.len());
    let name = path[path.len() - 1];
    // A path names elements without namespace, hence without prefix, so that the end tag begins with the bare name.
    let end_tag = element.rfind("</");
    let (start_tag, end_tag) = match (end_tag, element.strip_suffix("/>")) {
        (Some(position), None) => (element[..position].to_owned(), element[position..].to_owned()),
        (_, Some(open)) => (format!("{open}>"), format!("</{name}>")),
        (None, None) => return Err(DocumentError::Missing { path: path_text(path) }),
    };
    Ok([before, &start_tag, signature_element, &end_tag, after].concat())
}

/// Reads the result again as a stranger would: the signature stands where it is looked for, and what it is about has not changed.
fn check_result(original: &[u8], signed: &str, place: SignaturePlace, signature_element: &str) -> Result<(), DocumentError> {
    let misfit = |detail: &str| DocumentError::SignatureDoesNotFit { detail: detail.to_owned() };
    let kind = place.kind();
    let document = XmlDocument::parse(signed.as_bytes()).map_err(|error| misfit(&error.to_string()))?;
    let holder = document.element_at(place.holder_path())?;
    let mut children = document.child_elements(holder);
    let (Some(signature), None) = (children.next(), children.next()) else {
        return Err(misfit("it is not one element"));
    };
    if !document.is_named(signature, Some(uri::XMLDSIG), "Signature") || document.id(signature) != Some(kind.signature_id()) {
        return Err(misfit("it is not a Signature with the id of its kind"));
    }
    if document.tree().node_source(signature) != Some(signature_element) {
        return Err(misfit("there is something beside it"));
    }
    if canonical_digest(original, kind)? != canonical_digest(signed.as_bytes(), kind)? {
        return Err(misfit("it changes what is signed"));
    }
    Ok(())
}
