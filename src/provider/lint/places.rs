//! Where in a file each field stands.
//!
//! Values are read elsewhere: here only lines and columns are kept, from the events of a YAML parser.

use std::collections::BTreeSet;

use granit_parser::{Event, Marker, Parser, Span};

use super::path::{Path, Step};
use super::{Finding, Note, of_file};

/// The deepest nesting of a file; a description has less than ten levels.
const DEEPEST: usize = 64;

/// Line and column, from 1.
pub(super) type Place = (usize, usize);

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    root: Node,
}

#[derive(Debug)]
struct Node {
    place: Place,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text { text: String, span: Span, plain: bool },
    List(Vec<Node>),
    Object(Vec<(Node, Node)>),
}

/// Reads a file; the first mistake in its YAML ends it.
pub(super) fn read(text: &str) -> Result<Vec<Document>, Finding> {
    let mut documents = Vec::new();
    // Open lists and objects, of which the last is the innermost. An object takes keys and values in turn.
    let mut open: Vec<(Place, bool, Vec<Node>)> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| of_file(place(error.marker()), &format!("is no YAML: {}", error.info())))?;
        let at = place(&span.start);
        let node = match event {
            Event::Scalar(value, style, ..) => {
                let plain = style == granit_parser::ScalarStyle::Plain;
                Some(Content::Text { text: value.into_owned(), span, plain })
            }
            Event::Alias(_) => Some(Content::List(Vec::new())),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                open.push((at, matches!(event, Event::MappingStart(..)), Vec::new()));
                if open.len() > DEEPEST {
                    return Err(of_file(at, "is nested too deeply for a description"));
                }
                None
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((start, is_object, nodes)) = open.pop() {
                    let content = if is_object { Content::Object(pairs(nodes)) } else { Content::List(nodes) };
                    place_in(&mut open, &mut root, Node { place: start, content });
                }
                None
            }
            Event::DocumentEnd => {
                let empty = Node { place: at, content: Content::List(Vec::new()) };
                documents.push(Document { root: root.take().unwrap_or(empty) });
                None
            }
            _ => None,
        };
        if let Some(content) = node {
            place_in(&mut open, &mut root, Node { place: at, content });
        }
    }
    Ok(documents)
}

/// Puts a node into the innermost open list or object, or makes it the root.
fn place_in(open: &mut [(Place, bool, Vec<Node>)], root: &mut Option<Node>, node: Node) {
    match open.last_mut() {
        Some((_, _, nodes)) => nodes.push(node),
        None => *root = Some(node),
    }
}

fn pairs(nodes: Vec<Node>) -> Vec<(Node, Node)> {
    let mut nodes = nodes.into_iter();
    std::iter::from_fn(|| Some((nodes.next()?, nodes.next()?))).collect()
}

fn place(marker: &Marker) -> Place {
    (marker.line(), marker.col() + 1)
}

impl Node {
    fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The node a step further, with its key where it has one.
    fn step(&self, step: &Step) -> Option<(Option<&Self>, &Self)> {
        match (&self.content, step) {
            (Content::Object(fields), Step::Key(wanted)) => {
                let (key, value) = fields.iter().find(|(key, _)| key.text() == Some(wanted))?;
                Some((Some(key), value))
            }
            (Content::List(items), Step::Item(index)) => Some((None, items.get(*index)?)),
            _ => None,
        }
    }
}

impl Document {
    /// The last node on the way that exists, with its key, and whether it is the end of the way.
    fn nearest(&self, path: &Path) -> (Option<&Node>, &Node, bool) {
        let (mut key, mut node) = (None, &self.root);
        for step in path.steps() {
            match node.step(step) {
                Some(next) => (key, node) = next,
                None => return (key, node, false),
            }
        }
        (key, node, true)
    }

    /// Where a field's key stands, or that of the nearest field around it.
    pub(super) fn key(&self, path: &Path) -> Place {
        let (key, node, _) = self.nearest(path);
        key.unwrap_or(node).place
    }

    /// Where a field's value stands; for a field that is missing, the key of the nearest around it.
    pub(super) fn value(&self, path: &Path) -> Place {
        match self.nearest(path) {
            (_, node, true) => node.place,
            (key, node, false) => key.unwrap_or(node).place,
        }
    }

    /// Whether a text stands there without quotes.
    pub(super) fn is_plain(&self, path: &Path) -> bool {
        matches!(self.nearest(path), (_, Node { content: Content::Text { plain: true, .. }, .. }, true))
    }

    /// Where a character of a field's text stands. The start of the text where that cannot be told, as when it is
    /// folded.
    pub(super) fn within(&self, path: &Path, (line, column): (usize, usize), source: &str) -> Place {
        let (_, node, true) = self.nearest(path) else { return self.value(path) };
        let Content::Text { text, span, .. } = &node.content else { return node.place };
        let found = (|| {
            let written = span.slice(source)?;
            let wanted = text.lines().nth(line)?;
            let start = written.find(wanted)?;
            let before = written.get(..start)?;
            let ahead = before.matches('\n').count();
            let indent = match before.rsplit_once('\n') {
                Some((_, last)) => last.chars().count(),
                None => node.place.1 - 1 + before.chars().count(),
            };
            Some((node.place.0 + ahead, indent + column + 1))
        })();
        found.unwrap_or(node.place)
    }

    /// Keys that stand twice in one object, of which only one would count.
    pub(super) fn duplicates(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut left = vec![(Path::default(), &self.root)];
        while let Some((path, node)) = left.pop() {
            match &node.content {
                Content::Text { .. } => {}
                Content::List(items) => {
                    left.extend(items.iter().enumerate().map(|(index, item)| (path.item(index), item)));
                }
                Content::Object(fields) => {
                    let mut seen = BTreeSet::new();
                    for (key, value) in fields {
                        let Some(name) = key.text() else { continue };
                        if !seen.insert(name) {
                            let note = Note::error(path.child(name), "stands here twice; keep one");
                            notes.push(Note { place: Some(key.place), ..note });
                        }
                        left.push((path.child(name), value));
                    }
                }
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  - c: |\n      one\n      two\n    d: 'x y'\n---\ne: f\n";

    #[test]
    fn fields_have_places() {
        let documents = read(TEXT).unwrap();
        assert_eq!(documents.len(), 2);
        let path = Path::default().child("b").item(0);
        assert_eq!((documents[0].key(&path.child("c")), documents[0].value(&path.child("d"))), ((3, 5), (6, 8)));
        assert_eq!(documents[0].value(&path.child("missing")), (3, 5));
        assert_eq!(documents[1].value(&Path::default().child("e")), (8, 4));
    }

    #[test]
    fn characters_of_texts_have_places() {
        let documents = read(TEXT).unwrap();
        let path = Path::default().child("b").item(0);
        assert_eq!(documents[0].within(&path.child("c"), (1, 2), TEXT), (5, 9));
        assert_eq!(documents[0].within(&path.child("d"), (0, 2), TEXT), (6, 11));
    }

    #[test]
    fn broken_yaml_has_a_place_too() {
        let finding = read("a: [1\nb: 2\n").unwrap_err();
        assert!(finding.line > 1 && finding.message.starts_with("is no YAML: "), "{finding:?}");
        assert!(read(&"[".repeat(100)).is_err());
    }
}
