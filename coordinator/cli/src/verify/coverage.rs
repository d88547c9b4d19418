//! What no signature covers.

use std::collections::BTreeSet;

use uppsala::{NodeId, NodeKind};
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
        for child in tree.children_iter(parent) {
            let covered = self.covered.contains(&child.index());
            match tree.node_kind(child) {
                Some(NodeKind::Element(_)) if covered => self.push_comments(child, &format!("{path}/{}", self.step(parent, child))),
                Some(NodeKind::Text(_) | NodeKind::CData(_)) if covered => {}
                Some(NodeKind::Element(element)) => {
                    let path = format!("{path}/{}", self.step(parent, child));
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

    /// The name of `child` as it is written, with its number among siblings of that name when it has any.
    fn step(&self, parent: NodeId, child: NodeId) -> String {
        let tree = self.document.tree();
        let name = |node| tree.element(node).map(|element| element.name.prefixed_name().into_owned()).unwrap_or_default();
        let own = name(child);
        let twins: Vec<_> = self.document.child_elements(parent).filter(|&sibling| name(sibling) == own).collect();
        match twins.iter().position(|&sibling| sibling == child) {
            Some(position) if twins.len() > 1 => format!("{own}[{}]", position + 1),
            Some(_) | None => own,
        }
    }
}
