//! What no signature covers.

use std::collections::{BTreeMap, BTreeSet};

use uppsala::{Element, NodeId, NodeKind};
use warifu_coordinator::document::XmlDocument;

use super::report::UncoveredPart;

/// Lists, in document order, the largest parts of the document that lie outside every node of `covered`.
///
/// An element that only contains covered nodes counts as a frame: it is not listed itself, but its attributes, text and comments are.
/// Comments inside covered elements are listed too, since canonicalization drops them before anything is digested.
pub(super) fn uncovered(document: &XmlDocument<'_>, covered: &[NodeId]) -> Vec<UncoveredPart> {
    let tree = document.tree();
    let mut frames = BTreeSet::new();
    for &node in covered {
        frames.extend(tree.ancestors(node).into_iter().map(|frame| frame.index()));
    }
    let covered = covered.iter().map(NodeId::index).collect();
    let mut walk = Walk { document, covered, frames, parts: Vec::new() };
    walk.visit_children(tree.root(), "");
    walk.parts
}

struct Walk<'d, 'a> {
    document: &'d XmlDocument<'a>,
    covered: BTreeSet<usize>,
    frames: BTreeSet<usize>,
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
                Some(NodeKind::Element(element)) if covered => self.push_comments(child, &format!("{path}/{}", steps.next(element))),
                Some(NodeKind::Text(_) | NodeKind::CData(_)) if covered => {}
                Some(NodeKind::Element(element)) => {
                    let path = format!("{path}/{}", steps.next(element));
                    if self.frames.contains(&child.index()) {
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

    fn push_comments(&mut self, element: NodeId, path: &str) {
        let tree = self.document.tree();
        for node in tree.descendants(element) {
            if matches!(tree.node_kind(node), Some(NodeKind::Comment(_))) {
                self.push(node, format!("{path}//comment()"));
            }
        }
    }

    fn push(&mut self, node: NodeId, path: String) {
        let bytes = self.document.tree().node_range(node).map_or(0, |range| range.len());
        self.parts.push(UncoveredPart { path, bytes });
    }
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
