//! A document as written, untyped, with the place of every key and value.

use super::Place;
use super::mask::Mask;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, Tagged};
use std::fmt;

/// Line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Spot {
    pub(super) fn of(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }

    pub(super) fn within(self, source: &str) -> Place {
        Place { source: source.to_owned(), line: self.line, column: self.column }
    }
}

/// A value and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) spot: Spot,
    pub(super) node: Node,
    /// A tag that no manifest has a use for: it would make the value something other than what is written.
    tag: Option<String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Scalar(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) spot: Spot,
    pub(super) value: Tree,
    tag: Option<String>,
}

impl Tree {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.node {
            Node::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Node::Null | Node::Scalar(_) | Node::List(_) => None,
        }
    }

    /// How many values there are, this one included.
    pub(super) fn size(&self) -> usize {
        1 + match &self.node {
            Node::Null | Node::Scalar(_) => 0,
            Node::List(items) => items.iter().map(Self::size).sum(),
            Node::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }

    /// Every tag that is not one of the core schema (YAML 1.2.2 §10.3), with the place of what bears it.
    pub(super) fn foreign_tags(&self) -> Vec<(Spot, &str)> {
        let mut found: Vec<(Spot, &str)> = self.tag.iter().map(|tag| (self.spot, tag.as_str())).collect();
        match &self.node {
            Node::Null | Node::Scalar(_) => {}
            Node::List(items) => found.extend(items.iter().flat_map(Self::foreign_tags)),
            Node::Map(entries) => {
                for entry in entries {
                    found.extend(entry.tag.iter().map(|tag| (entry.spot, tag.as_str())));
                    found.extend(entry.value.foreign_tags());
                }
            }
        }
        found
    }

    /// Moves everything down, for a document that begins after the first line.
    pub(super) fn shift(&mut self, lines: u64) {
        self.spot.line += lines;
        match &mut self.node {
            Node::Null | Node::Scalar(_) => {}
            Node::List(items) => items.iter_mut().for_each(|item| item.shift(lines)),
            Node::Map(entries) => {
                for entry in entries {
                    entry.spot.line += lines;
                    entry.value.shift(lines);
                }
            }
        }
    }

    /// Where a path leads, as far as it does.
    pub(super) fn locate(&self, path: &str) -> Spot {
        let mut here = self;
        let mut best = self.spot;
        for step in steps(path) {
            let (spot, next) = match &here.node {
                Node::Map(_) => match here.entry(step) {
                    Some(entry) if matches!(entry.value.node, Node::Scalar(_)) => (entry.value.spot, &entry.value),
                    Some(entry) => (entry.spot, &entry.value),
                    None => return best,
                },
                Node::List(items) => match step.parse().ok().and_then(|index: usize| items.get(index)) {
                    Some(item) => (item.spot, item),
                    None => return best,
                },
                Node::Null | Node::Scalar(_) => return best,
            };
            (best, here) = (spot, next);
        }
        best
    }

    /// Every value with its way there by numbers, and the place of its key if it has one; what is within a value comes after it.
    pub(super) fn visit(&self, path: &mut Vec<usize>, see: &mut impl FnMut(&[usize], Option<Spot>, &Self)) {
        let mut one = |at: usize, key: Option<Spot>, value: &Self| {
            path.push(at);
            see(path, key, value);
            value.visit(path, see);
            path.pop();
        };
        match &self.node {
            Node::Null | Node::Scalar(_) => {}
            Node::List(items) => items.iter().enumerate().for_each(|(at, item)| one(at, None, item)),
            Node::Map(entries) => entries.iter().enumerate().for_each(|(at, entry)| one(at, Some(entry.spot), &entry.value)),
        }
    }

    /// The value at a way by numbers.
    pub(super) fn at(&self, path: &[usize]) -> Option<&Self> {
        path.iter().try_fold(self, |here, at| match &here.node {
            Node::Null | Node::Scalar(_) => None,
            Node::List(items) => items.get(*at),
            Node::Map(entries) => entries.get(*at).map(|entry| &entry.value),
        })
    }

    /// The way by numbers of a path like that of [`Self::locate`], if it is there and means the same without what is passed over.
    pub(super) fn resolve(&self, path: &str, mask: &Mask) -> Option<Vec<usize>> {
        let (mut here, mut mask, mut way) = (self, Some(mask), Vec::new());
        for step in steps(path) {
            let (at, next) = match &here.node {
                Node::Map(entries) => {
                    let at = entries.iter().position(|entry| entry.key == step)?;
                    (at, &entries[at].value)
                }
                Node::List(items) if mask.is_none_or(|mask| !mask.renumbers()) => {
                    let at: usize = step.parse().ok()?;
                    (at, items.get(at)?)
                }
                Node::Null | Node::Scalar(_) | Node::List(_) => return None,
            };
            way.push(at);
            (here, mask) = (next, mask.and_then(|mask| mask.within(at)));
        }
        Some(way)
    }

    /// The text of the scalar that begins at a spot.
    pub(super) fn scalar_at(&self, spot: Spot) -> Option<&str> {
        match &self.node {
            Node::Null => None,
            Node::Scalar(text) => (self.spot == spot).then_some(text.as_str()),
            Node::List(items) => items.iter().find_map(|item| item.scalar_at(spot)),
            Node::Map(entries) => entries.iter().find_map(|entry| entry.value.scalar_at(spot)),
        }
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty())
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = Spanned::<Tagged<Node>>::deserialize(from)?;
        let Tagged(node, tag) = read.value;
        Ok(Self { spot: Spot::of(read.referenced), node, tag: tag.filter(|tag| is_foreign(tag)) })
    }
}

/// Whether a tag is neither of the core schema nor `!`, which only says that a value is a text.
fn is_foreign(tag: &str) -> bool {
    let name = tag.strip_prefix("tag:yaml.org,2002:").or_else(|| tag.strip_prefix("!!"));
    tag != "!" && !name.is_some_and(|name| ["str", "int", "float", "bool", "null", "seq", "map"].contains(&name))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<Tagged<String>>, Tree>()? {
            let (spot, Tagged(key, tag)) = (Spot::of(key.referenced), key.value);
            entries.push(Entry { spot, key, value, tag: tag.filter(|tag| is_foreign(tag)) });
        }
        Ok(Node::Map(entries))
    }
}
