//! The places of things in a YAML text, as a tree. Their meaning is left to the types.

use super::FieldPath;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Tag};
use std::ops::Range;

/// A value or key in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its bytes. For a list or a map only the beginning is known.
    pub(super) range: Range<usize>,
    pub(super) kind: NodeKind,
    /// Set if it has a custom tag, `!x`.
    is_tagged: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Text(String, ScalarStyle),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// A reference to another place in the text.
    Alias,
}

impl Node {
    /// Parses the first document of a text; none if it is not YAML.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut events = Parser::new_from_str(text).map_while(Result::ok).filter_map(|(event, span)| {
            let something = !matches!(
                event,
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::Comment(..)
            );
            something.then_some((event, span.byte_range()?))
        });
        let root = node(&mut events, DEEPEST)?;
        // After an error the end of the stream is not reached.
        matches!(events.next(), Some((Event::StreamEnd, _))).then_some(root)
    }

    /// Returns the byte at which a field's value begins, or that of the deepest part of its path that exists.
    pub(super) fn find(&self, place: &FieldPath) -> usize {
        let mut here = self;
        for part in place.parts() {
            match here.inner(part) {
                Some((_, inner)) => here = inner,
                None => break,
            }
        }
        here.range.start
    }

    /// Returns the byte at which a field's key begins. It may have no value.
    pub(super) fn key(&self, place: &FieldPath) -> usize {
        let (mut here, mut at) = (self, self.range.start);
        for part in place.parts() {
            let Some((key, inner)) = here.inner(part) else { break };
            (here, at) = (inner, key.range.start);
        }
        at
    }

    /// Returns a field as key and value, or an item of a list as both.
    pub(super) fn inner(&self, part: &str) -> Option<(&Self, &Self)> {
        match &self.kind {
            NodeKind::Map(fields) => {
                fields.iter().find(|(key, _)| key.is(part)).map(|(key, value)| (key, value))
            }
            NodeKind::List(items) => items.get(part.parse::<usize>().ok()?).map(|item| (item, item)),
            NodeKind::Text(..) | NodeKind::Alias => None,
        }
    }

    /// Returns the byte of the first node with a custom tag.
    pub(super) fn tagged(&self) -> Option<usize> {
        if self.is_tagged {
            return Some(self.range.start);
        }
        match &self.kind {
            NodeKind::Map(fields) => {
                fields.iter().flat_map(|(key, value)| [key, value]).find_map(Self::tagged)
            }
            NodeKind::List(items) => items.iter().find_map(Self::tagged),
            NodeKind::Text(..) | NodeKind::Alias => None,
        }
    }

    /// Returns the beginning of the object that has a field whose key begins at a byte: the key of the object, or its first
    /// field in a list.
    pub(super) fn beginning(&self, of: usize) -> Option<usize> {
        match &self.kind {
            NodeKind::Map(fields) if fields.iter().any(|(key, _)| key.range.start == of) => {
                fields.first().map(|(key, _)| key.range.start)
            }
            NodeKind::Map(fields) => fields.iter().find_map(|(key, value)| {
                let inner = value.beginning(of)?;
                let own = matches!(&value.kind, NodeKind::Map(fields) if fields.first().is_some_and(|(first, _)| first.range.start == inner));
                Some(if own { key.range.start } else { inner })
            }),
            NodeKind::List(items) => items.iter().find_map(|item| item.beginning(of)),
            NodeKind::Text(..) | NodeKind::Alias => None,
        }
    }

    /// Returns whether it is this text.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(&self.kind, NodeKind::Text(text, _) if text == wanted)
    }

    /// Returns every text in it, keys included, in order.
    pub(super) fn texts(&self) -> Vec<&Self> {
        match &self.kind {
            NodeKind::Text(..) => vec![self],
            NodeKind::List(items) => items.iter().flat_map(Self::texts).collect(),
            NodeKind::Map(fields) => {
                fields.iter().flat_map(|(key, value)| [key, value]).flat_map(Self::texts).collect()
            }
            NodeKind::Alias => Vec::new(),
        }
    }
}

/// The largest depth. The parser recurses, and nobody writes anything deeper.
const DEEPEST: usize = 128;

fn node<'a>(events: &mut impl Iterator<Item = (Event<'a>, Range<usize>)>, deep: usize) -> Option<Node> {
    let deep = deep.checked_sub(1)?;
    let (event, range) = events.next()?;
    // `!!str` and the like are YAML's own.
    let is_tagged = event.tag().is_some_and(Tag::is_custom);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's events may become more")]
    let kind = match event {
        Event::Scalar(text, style, ..) => NodeKind::Text(text.into_owned(), style),
        Event::Alias(_) => NodeKind::Alias,
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = node(events, deep) {
                items.push(item);
            }
            NodeKind::List(items)
        }
        Event::MappingStart(..) => {
            let mut fields = Vec::new();
            while let Some(key) = node(events, deep) {
                fields.push((key, node(events, deep)?));
            }
            NodeKind::Map(fields)
        }
        // The end of the enclosing list or map.
        _ => return None,
    };
    Some(Node { range, kind, is_tagged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_or_what_is_left_of_it() {
        let text = "a: 1\nsteps:\n  - drain: {node: this}\n  - *x\nb: &x [p, 'q']\n".replace("*x", "hold");
        let tree = Node::read(&text).unwrap();
        let at = |place: &str| &text[tree.find(&FieldPath::of(place))..];
        assert!(at("steps.0.drain.node").starts_with("this}"));
        assert!(at("steps.0.drain.hold").starts_with("{node"));
        assert!(at("steps.7.drain").starts_with("- drain"));
        assert!(at("steps.1.hold").starts_with("hold"));
        assert!(at("b.1").starts_with("'q'"));
        assert!(at("nowhere").starts_with("a: 1"));
        assert_eq!(Node::read("a: [1"), None);
    }
}
