//! Reading the elements of a signature strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use uppsala::NodeId;
use warifu_coordinator::document::XmlDocument;
use warifu_prescription::uri;

use super::problem::SignatureProblem;

/// The one child of `parent` with this name, in the namespace of XML Signature.
pub(super) fn dsig_child(document: &XmlDocument<'_>, parent: NodeId, name: &'static str) -> Result<NodeId, SignatureProblem> {
    only(document.children_named(parent, Some(uri::XMLDSIG), name), name)
}

/// The one child of `parent` with this name, in the namespace of XAdES.
pub(super) fn xades_child(document: &XmlDocument<'_>, parent: NodeId, name: &'static str) -> Result<NodeId, SignatureProblem> {
    only(document.children_named(parent, Some(uri::XADES), name), name)
}

/// The only element of `found`.
pub(super) fn only(mut found: impl Iterator<Item = NodeId>, part: &'static str) -> Result<NodeId, SignatureProblem> {
    match (found.next(), found.next()) {
        (Some(element), None) => Ok(element),
        (Some(_), Some(_)) | (None, _) => Err(SignatureProblem::Part { part }),
    }
}

/// The `Algorithm` of an element that has no parameters.
pub(super) fn algorithm_of<'d>(document: &'d XmlDocument<'_>, element: NodeId, part: &'static str) -> Result<&'d str, SignatureProblem> {
    if document.child_elements(element).next().is_some() {
        return Err(SignatureProblem::Content { part, expected: "an algorithm without parameters" });
    }
    document.attribute(element, "Algorithm").ok_or(SignatureProblem::Content { part, expected: "an Algorithm" })
}

/// All text of an element that has no child elements. Comments, which canonicalization drops, do not split it.
pub(super) fn text_of(document: &XmlDocument<'_>, element: NodeId, part: &'static str) -> Result<String, SignatureProblem> {
    if document.child_elements(element).next().is_some() {
        return Err(SignatureProblem::Content { part, expected: "text alone" });
    }
    Ok(document.tree().text_content_deep(element))
}

/// The bytes of an element with base64 text, which may be broken into lines.
pub(super) fn base64_of(document: &XmlDocument<'_>, element: NodeId, part: &'static str) -> Result<Vec<u8>, SignatureProblem> {
    let mut text = text_of(document, element, part)?;
    text.retain(|character| !matches!(character, ' ' | '\t' | '\r' | '\n'));
    BASE64.decode(text).map_err(|_| SignatureProblem::Content { part, expected: "base64" })
}
