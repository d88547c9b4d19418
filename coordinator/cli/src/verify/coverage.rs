//! What no signature covers.

use std::collections::{BTreeMap, BTreeSet};

use uppsala::{Element, NodeId, NodeKind};
use warifu_coordinator::document::{Canonicalization, XmlDocument};

use super::report::UncoveredPart;

/// A node that a valid signature covers, with all that its canonical form renders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) node: NodeId,
    pub(super) form: Canonicalization,
}

/// Lists, in document order, the largest parts of the document that lie outside every node of `covered`.
///
/// An element that only contains covered nodes counts as a frame: it is not listed itself, but its attributes, text, comments and namespace
/// declarations are. Comments inside covered elements are listed too, and namespace declarations that nothing uses, since canonicalization
/// drops them before anything is digested.
pub(super) fn uncovered(document: &XmlDocument<'_>, covered: &[Covered]) -> Vec<UncoveredPart> {
    let tree = document.tree();
    let mut frames = BTreeSet::new();
    let mut declarations = Declarations { document, rendered: BTreeSet::new() };
    for covered in covered {
        frames.extend(tree.ancestors(covered.node).into_iter().map(|frame| frame.index()));
        declarations.render(*covered);
    }
    let covered = covered.iter().map(|covered| covered.node.index()).collect();
    let mut walk = Walk { document, covered, frames, declarations, parts: Vec::new() };
    walk.visit_children(tree.root(), "");
    walk.parts
}

struct Walk<'d, 'a> {
    document: &'d XmlDocument<'a>,
    covered: BTreeSet<usize>,
    frames: BTreeSet<usize>,
    declarations: Declarations<'d, 'a>,
    parts: Vec<UncoveredPart>,
}

impl Walk<'_, '_> {
    fn visit_children(&mut self, parent: NodeId, path: &str) {
        let document = self.document;
        let tree = document.tree();
        let mut steps = Steps::of(document, parent);
        for child in tree.children_iter(parent) {
            let covered = self.covered.contains(&child.index());
            match tree.node_kind(child) {
                Some(NodeKind::Element(element)) if covered => self.push_dropped(child, &format!("{path}/{}", steps.next(element))),
                Some(NodeKind::Text(_) | NodeKind::CData(_)) if covered => {}
                Some(NodeKind::Element(element)) => {
                    let path = format!("{path}/{}", steps.next(element));
                    if self.frames.contains(&child.index()) {
                        self.push_declarations(child, &path);
                        let attributes = element.attributes.iter();
                        self.parts.extend(attributes.map(|attribute| UncoveredPart {
                            path: format!("{path}/@{}", attribute.name.prefixed_name()),
                            bytes: attribute.value.len(),
                        }));
                        self.visit_children(child, &path);
                    } else {
                        self.push(child, path);
                    }
                }
                Some(NodeKind::Text(text) | NodeKind::CData(text)) if text.trim().is_empty() => {}
                Some(NodeKind::Text(_) | NodeKind::CData(_)) => self.push(child, format!("{path}/text()")),
                Some(NodeKind::Comment(_)) => self.push(child, format!("{path}/comment()")),
                _ => {}
            }
        }
    }

    /// What canonicalization drops of a covered element.
    fn push_dropped(&mut self, element: NodeId, path: &str) {
        self.push_declarations(element, path);
        let tree = self.document.tree();
        for node in tree.descendants(element) {
            match tree.node_kind(node) {
                Some(NodeKind::Comment(_)) => self.push(node, format!("{path}//comment()")),
                Some(NodeKind::Element(_)) => self.push_declarations(node, &format!("{path}/")),
                _ => {}
            }
        }
    }

    /// The namespace declarations of an element that no covered element's canonical form renders.
    fn push_declarations(&mut self, node: NodeId, path: &str) {
        let Some(element) = self.document.tree().element(node) else { return };
        for (prefix, uri) in &element.namespace_declarations {
            if !self.declarations.rendered.contains(&(node.index(), prefix.as_ref())) {
                let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
                self.parts.push(UncoveredPart { path: format!("{path}/@{name}"), bytes: uri.len() });
            }
        }
    }

    fn push(&mut self, node: NodeId, path: String) {
        let bytes = self.document.tree().node_range(node).map_or(0, |range| range.len());
        self.parts.push(UncoveredPart { path, bytes });
    }
}

/// The namespace declarations that canonical forms render.
struct Declarations<'d, 'a> {
    document: &'d XmlDocument<'a>,
    /// The declaring element and the prefix.
    rendered: BTreeSet<(usize, &'d str)>,
}

impl<'d> Declarations<'d, '_> {
    /// Adds what is rendered of one covered node: exclusive canonicalization keeps what names in it use, inclusive whatever is in scope.
    fn render(&mut self, covered: Covered) {
        let tree = self.document.tree();
        for node in std::iter::once(covered.node).chain(tree.descendants(covered.node)) {
            let Some(element) = tree.element(node) else { continue };
            match covered.form {
                Canonicalization::Exclusive => used_prefixes(element).for_each(|prefix| self.render_in_scope(node, prefix)),
                Canonicalization::Inclusive => declared_prefixes(element).for_each(|prefix| self.render_in_scope(node, prefix)),
            }
        }
        if covered.form == Canonicalization::Inclusive {
            for ancestor in tree.ancestors(covered.node).into_iter().filter_map(|ancestor| tree.element(ancestor)) {
                declared_prefixes(ancestor).for_each(|prefix| self.render_in_scope(covered.node, prefix));
            }
        }
    }

    /// Adds the declaration that gives `prefix` its meaning at `node`, if there is one.
    fn render_in_scope(&mut self, node: NodeId, prefix: &'d str) {
        let tree = self.document.tree();
        let declares = |candidate: &NodeId| {
            tree.element(*candidate).is_some_and(|element| declared_prefixes(element).any(|declared| declared == prefix))
        };
        let declaring = std::iter::once(node).chain(tree.ancestors(node)).find(declares);
        self.rendered.extend(declaring.map(|declaring| (declaring.index(), prefix)));
    }
}

/// The prefixes of the element's name and of its attributes' names; empty for the default namespace, which attributes never have.
fn used_prefixes<'e>(element: &'e Element<'_>) -> impl Iterator<Item = &'e str> {
    let attributes = element.attributes.iter().filter_map(|attribute| attribute.name.prefix.as_deref());
    std::iter::once(element.name.prefix.as_deref().unwrap_or_default()).chain(attributes.filter(|prefix| !prefix.is_empty()))
}

fn declared_prefixes<'e>(element: &'e Element<'_>) -> impl Iterator<Item = &'e str> {
    element.namespace_declarations.iter().map(|(prefix, _)| prefix.as_ref())
}

/// Gives the child elements of one parent their step in a path, in document order.
struct Steps {
    /// For each name as it is written: how many children have it, and how many of them were met.
    names: BTreeMap<String, (usize, usize)>,
}

impl Steps {
    fn of(document: &XmlDocument<'_>, parent: NodeId) -> Self {
        let mut names = BTreeMap::new();
        for element in document.child_elements(parent).filter_map(|child| document.tree().element(child)) {
            names.entry(element.name.prefixed_name().into_owned()).or_insert((0, 0)).0 += 1;
        }
        Self { names }
    }

    /// The element's name, with its number among siblings of that name when it has any.
    fn next(&mut self, element: &Element<'_>) -> String {
        let name = element.name.prefixed_name();
        match self.names.get_mut(name.as_ref()) {
            Some((count, met)) if *count > 1 => {
                *met += 1;
                format!("{name}[{met}]")
            }
            Some(_) | None => name.into_owned(),
        }
    }
}
