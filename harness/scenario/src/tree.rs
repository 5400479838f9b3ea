//! A YAML text as a tree of where things are. What they mean is left to the types.

use super::FieldPath;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Tag};
use std::ops::Range;

/// Something in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its bytes; of a list or a map where it begins.
    pub(super) range: Range<usize>,
    pub(super) what: What,
    /// Whether it has a tag of its own, `!x`.
    is_tagged: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Text(String, ScalarStyle),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// What another place in the text says.
    Alias,
}

impl Node {
    /// The text's first document; none if it is not YAML.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut events = Parser::new_from_str(text).map_while(Result::ok).filter_map(|(event, span)| {
            let something = !matches!(
                event,
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::Comment(..)
            );
            something.then_some((event, span.byte_range()?))
        });
        let root = node(&mut events, DEEPEST)?;
        // Whoever broke off did not come to the end.
        matches!(events.next(), Some((Event::StreamEnd, _))).then_some(root)
    }

    /// Where a place is, or what is left of it: the deepest part of its path that is there.
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

    /// Where a field begins: its key. There may be nothing behind that.
    pub(super) fn key(&self, place: &FieldPath) -> usize {
        let (mut here, mut at) = (self, self.range.start);
        for part in place.parts() {
            let Some((key, inner)) = here.inner(part) else { break };
            (here, at) = (inner, key.range.start);
        }
        at
    }

    /// What is in it: a field with its key, or the item of a list.
    pub(super) fn inner(&self, part: &str) -> Option<(&Self, &Self)> {
        match &self.what {
            What::Map(fields) => fields.iter().find(|(key, _)| key.is(part)).map(|(key, value)| (key, value)),
            What::List(items) => items.get(part.parse::<usize>().ok()?).map(|item| (item, item)),
            What::Text(..) | What::Alias => None,
        }
    }

    /// Where the first node with a tag is.
    pub(super) fn tagged(&self) -> Option<usize> {
        if self.is_tagged {
            return Some(self.range.start);
        }
        match &self.what {
            What::Map(fields) => fields.iter().flat_map(|(key, value)| [key, value]).find_map(Self::tagged),
            What::List(items) => items.iter().find_map(Self::tagged),
            What::Text(..) | What::Alias => None,
        }
    }

    /// The beginning of whatever has a field whose key begins at a byte: its own key, or where it is in a list.
    pub(super) fn beginning(&self, of: usize) -> Option<usize> {
        match &self.what {
            What::Map(fields) if fields.iter().any(|(key, _)| key.range.start == of) => {
                fields.first().map(|(key, _)| key.range.start)
            }
            What::Map(fields) => fields.iter().find_map(|(key, value)| {
                let inner = value.beginning(of)?;
                let own = matches!(&value.what, What::Map(fields) if fields.first().is_some_and(|(first, _)| first.range.start == inner));
                Some(if own { key.range.start } else { inner })
            }),
            What::List(items) => items.iter().find_map(|item| item.beginning(of)),
            What::Text(..) | What::Alias => None,
        }
    }

    /// Whether it is this text.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(&self.what, What::Text(text, _) if text == wanted)
    }

    /// Every text in it, in order, those that are keys among them.
    pub(super) fn texts(&self) -> Vec<&Self> {
        match &self.what {
            What::Text(..) => vec![self],
            What::List(items) => items.iter().flat_map(Self::texts).collect(),
            What::Map(fields) => {
                fields.iter().flat_map(|(key, value)| [key, value]).flat_map(Self::texts).collect()
            }
            What::Alias => Vec::new(),
        }
    }
}

/// Deeper than this nothing is that anybody wrote; it is not walked into, for that takes a stack.
const DEEPEST: usize = 128;

fn node<'a>(events: &mut impl Iterator<Item = (Event<'a>, Range<usize>)>, deep: usize) -> Option<Node> {
    let deep = deep.checked_sub(1)?;
    let (event, range) = events.next()?;
    // `!!str` and the like are YAML's own.
    let is_tagged = event.tag().is_some_and(Tag::is_custom);
    let what = match event {
        Event::Scalar(text, style, ..) => What::Text(text.into_owned(), style),
        Event::Alias(_) => What::Alias,
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = node(events, deep) {
                items.push(item);
            }
            What::List(items)
        }
        Event::MappingStart(..) => {
            let mut fields = Vec::new();
            while let Some(key) = node(events, deep) {
                fields.push((key, node(events, deep)?));
            }
            What::Map(fields)
        }
        // The end of what is around it.
        _ => return None,
    };
    Some(Node { range, what, is_tagged })
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
