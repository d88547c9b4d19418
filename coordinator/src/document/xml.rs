//! A parsed document that is safe to look things up in.

use std::collections::BTreeSet;

use uppsala::{Document, Element, NodeId, NodeKind, Parser};

use super::error::DocumentError;

/// Largest document in bytes. Archived dispensings with all their validation data have about 100 KiB.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most `<` in a document, tags and end tags together. Real documents have a few hundred; each costs far more memory than bytes.
pub const MARKUP_MAX: usize = 20_000;

/// Most `=` in a document, attributes and base64 padding together, since the parser compares the attributes of an element pairwise.
pub const ATTRIBUTES_MAX: usize = 10_000;

/// Most namespace declarations: canonicalization carries those in scope to every element. Archived documents have about twenty.
pub const NAMESPACES_MAX: usize = 128;

/// Deepest nesting of elements; signatures with their validation data reach 14. Parsing and canonicalization recurse.
pub const DEPTH_MAX: u32 = 64;

/// A document that was parsed within the limits, without DTD or processing instruction, and in which every id stands once.
pub struct XmlDocument<'a> {
    tree: Document<'a>,
    text: &'a str,
}

impl std::fmt::Debug for XmlDocument<'_> {
    /// Says the size only: the content is a patient's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "XmlDocument({} bytes)", self.text.len())
    }
}

impl<'a> XmlDocument<'a> {
    /// Parses `xml`, at most [`DOCUMENT_BYTES_MAX`] bytes of UTF-8.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] names the limit or rule that the document breaks.
    pub fn parse(xml: &'a [u8]) -> Result<Self, DocumentError> {
        let text = checked_text(xml)?;
        let tree = Parser::new()
            .with_max_depth(DEPTH_MAX)
            .with_forbid_dtd(true)
            .with_max_entity_expansion(0)
            .parse(text)
            .map_err(|source| DocumentError::Malformed { source })?;
        let document = Self { tree, text };
        document.check_declaration()?;
        document.check_nodes()?;
        Ok(document)
    }

    /// The tree, for reading.
    #[must_use]
    pub const fn tree(&self) -> &Document<'a> {
        &self.tree
    }

    /// The bytes that were parsed.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// The element at `path`, whose first name is the document element's; names have no namespace.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Missing`] or, when any step of the path has a twin, [`DocumentError::Ambiguous`].
    pub fn element_at(&self, path: &[&str]) -> Result<NodeId, DocumentError> {
        self.find_at(path)?.ok_or_else(|| DocumentError::Missing { path: path_text(path) })
    }

    /// As [`element_at`](Self::element_at), with `None` for an element that is not there.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Ambiguous`].
    pub fn find_at(&self, path: &[&str]) -> Result<Option<NodeId>, DocumentError> {
        let mut parent = self.tree.root();
        for (depth, name) in path.iter().enumerate() {
            let mut found = self.children_named(parent, None, name);
            let Some(element) = found.next() else {
                return Ok(None);
            };
            if found.next().is_some() {
                return Err(DocumentError::Ambiguous { path: path_text(&path[..=depth]) });
            }
            parent = element;
        }
        Ok(Some(parent))
    }

    /// Child elements of `parent` with this name.
    pub fn children_named(&self, parent: NodeId, namespace: Option<&str>, name: &str) -> impl Iterator<Item = NodeId> {
        self.child_elements(parent).filter(move |&child| self.is_named(child, namespace, name))
    }

    /// Child elements of `parent`.
    pub fn child_elements(&self, parent: NodeId) -> impl Iterator<Item = NodeId> {
        self.tree.children_iter(parent).filter(|&child| self.tree.element(child).is_some())
    }

    /// Whether `node` is an element with this name.
    #[must_use]
    pub fn is_named(&self, node: NodeId, namespace: Option<&str>, name: &str) -> bool {
        self.tree.element(node).is_some_and(|element| element.name.matches(namespace, name))
    }

    /// The value of the attribute `name` without namespace.
    #[must_use]
    pub fn attribute(&self, element: NodeId, name: &str) -> Option<&str> {
        let attributes = &self.tree.element(element)?.attributes;
        attributes.iter().find(|attribute| attribute.name.matches(None, name)).map(|attribute| attribute.value.as_ref())
    }

    /// The id of an element in any of its spellings (`id`, `Id`, `ID`, `xml:id`).
    #[must_use]
    pub fn id(&self, element: NodeId) -> Option<&str> {
        let attributes = &self.tree.element(element)?.attributes;
        attributes.iter().find(|attribute| is_id(&attribute.name.local_name)).map(|attribute| attribute.value.as_ref())
    }

    /// Every node, in document order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.tree.descendants(self.tree.root()).into_iter()
    }

    fn check_declaration(&self) -> Result<(), DocumentError> {
        let Some(declaration) = &self.tree.xml_declaration else {
            return Ok(());
        };
        if declaration.version != "1.0" {
            return Err(DocumentError::XmlVersion { version: declaration.version.to_string() });
        }
        match declaration.encoding.as_deref() {
            Some(encoding) if !encoding.eq_ignore_ascii_case("UTF-8") => {
                Err(DocumentError::NotUtf8 { detail: format!("it declares the encoding {encoding}") })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_nodes(&self) -> Result<(), DocumentError> {
        let mut ids = BTreeSet::new();
        let mut namespaces = 0;
        for node in self.nodes() {
            match self.tree.node_kind(node) {
                Some(NodeKind::ProcessingInstruction(instruction)) => {
                    return Err(DocumentError::ProcessingInstruction { target: instruction.target.to_string() });
                }
                // The parser leaves out the normalization of XML 1.0 sections 2.11 and 3.3.3 here, and would digest other bytes than
                // the rest of the world.
                Some(NodeKind::CData(text)) if text.contains('\r') => {
                    return Err(DocumentError::LineBreak { place: "a CDATA section".to_owned() });
                }
                Some(NodeKind::Element(element)) => {
                    check_declarations(element)?;
                    check_attribute_values(element)?;
                    namespaces += element.namespace_declarations.len();
                    // An element with two ids counts as twins: which of them a Reference means would be the reader's choice.
                    let mut own = element.attributes.iter().filter(|attribute| is_id(&attribute.name.local_name));
                    let first = own.next();
                    if let Some(twin) = own.next().or_else(|| first.filter(|id| !ids.insert(id.value.as_ref()))) {
                        return Err(DocumentError::DuplicateId { id: twin.value.to_string() });
                    }
                }
                _ => {}
            }
        }
        check_limit("namespace declarations", namespaces, NAMESPACES_MAX)
    }
}

/// Checks what can be checked before parsing, so that parsing is cheap.
fn checked_text(xml: &[u8]) -> Result<&str, DocumentError> {
    if xml.is_empty() {
        return Err(DocumentError::Empty);
    }
    if xml.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: xml.len(), max: DOCUMENT_BYTES_MAX });
    }
    let text = std::str::from_utf8(xml)
        .map_err(|error| DocumentError::NotUtf8 { detail: format!("invalid bytes after {}", error.valid_up_to()) })?;
    let count = |wanted: u8| xml.iter().filter(|&&byte| byte == wanted).count();
    check_limit("tags", count(b'<'), MARKUP_MAX)?;
    check_limit("attributes", count(b'='), ATTRIBUTES_MAX)?;
    // Only a comment or CDATA section could hold this text otherwise, and no document of the service does.
    if text.contains("<!DOCTYPE") || text.contains("<!ENTITY") {
        return Err(DocumentError::DocumentType);
    }
    Ok(text)
}

fn check_declarations(element: &Element<'_>) -> Result<(), DocumentError> {
    let mut declarations = element.namespace_declarations.iter();
    match declarations.find(|(prefix, namespace)| !prefix.is_empty() && namespace.is_empty()) {
        Some((prefix, _)) => Err(DocumentError::UnboundPrefix { prefix: prefix.to_string() }),
        None => Ok(()),
    }
}

fn check_attribute_values(element: &Element<'_>) -> Result<(), DocumentError> {
    let attributes = element.attributes.iter().map(|attribute| &attribute.value);
    let namespaces = element.namespace_declarations.iter().map(|(_, uri)| uri);
    if attributes.chain(namespaces).any(|value| value.contains(['\t', '\n', '\r'])) {
        return Err(DocumentError::LineBreak { place: format!("an attribute of {}", element.name.prefixed_name()) });
    }
    Ok(())
}

fn check_limit(what: &'static str, count: usize, max: usize) -> Result<(), DocumentError> {
    if count > max { Err(DocumentError::TooMuchMarkup { what, count, max }) } else { Ok(()) }
}

fn is_id(local_name: &str) -> bool {
    local_name.eq_ignore_ascii_case("id")
}

pub(super) fn path_text(path: &[&str]) -> String {
    format!("/{}", path.join("/"))
}
