//! An nftables table as data, and what makes the kernel's table equal to it: a script, or a batch of elements
//! where nothing else changes. Knows nothing of services: what maps and chains mean is said in [`crate::rules`].

use pan_linux::nft::{Batch, Data, Element, Family, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The table that a partition's rules are in; each partition has a network namespace of its own.
const TABLE: &str = "inet pan";
pub(crate) const TABLE_NAME: &str = "pan";
/// Sets that rules fill by themselves: they come with the table, and nothing else changes them. A count that has not moved for as long
/// goes; beyond so many addresses, which is as many as a /20 has, packets are not counted.
pub const FILLED: [(&str, &str); 2] = [("beyond4", "ipv4_addr"), ("beyond6", "ipv6_addr")];
const FILLED_AS: &str = "size 4096; flags dynamic, timeout; timeout 10m;";
/// Elements on one line of a script.
const LINE: usize = 16;

/// A whole table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Maps and sets by name.
    pub maps: BTreeMap<String, Map>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
}

/// A map or a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Its type as nft writes it, such as `mark : ipv4_addr`.
    pub types: &'static str,
    /// What is in it.
    pub elements: Elements,
}

/// The elements of a map or a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elements {
    /// A map from `base + position` to a number.
    Slots {
        /// The key of the first.
        base: u32,
        /// The values.
        values: Vec<u32>,
    },
    /// A map of few elements.
    Pairs(BTreeMap<Value, Data>),
    /// A set of numbers.
    Set(BTreeSet<u32>),
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it, if not from another chain.
    pub hook: Option<&'static str>,
    /// Its rules in order.
    pub rules: Vec<String>,
}

/// What to take out of a map and what to put in. A changed element is in both: it cannot be changed in place.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    gone: Vec<Value>,
    fresh: Vec<Element>,
}

impl Elements {
    fn is_empty(&self) -> bool {
        match self {
            Self::Slots { values, .. } => values.is_empty(),
            Self::Pairs(pairs) => pairs.is_empty(),
            Self::Set(set) => set.is_empty(),
        }
    }

    /// All elements by key.
    fn all(&self) -> BTreeMap<Value, Option<Data>> {
        match self {
            Self::Slots { base, values } => (*base..).zip(values).map(|(key, value)| (Value::Mark(key), Some(number(*value)))).collect(),
            Self::Pairs(pairs) => pairs.iter().map(|(key, data)| (key.clone(), Some(data.clone()))).collect(),
            Self::Set(set) => set.iter().map(|key| (Value::Mark(*key), None)).collect(),
        }
    }

    /// From these to `new`.
    fn difference(&self, new: &Self) -> Difference {
        let mut difference = Difference::default();
        if let (Self::Slots { base, values: old }, Self::Slots { base: same, values: new }) = (self, new)
            && base == same
        {
            // Tens of thousands of slots, of which few change.
            for (key, at) in (*base..).zip(0..old.len().max(new.len())) {
                if old.get(at) != new.get(at) {
                    difference.gone.extend(old.get(at).map(|_| Value::Mark(key)));
                    difference.fresh.extend(new.get(at).map(|value| Element::of_map(Value::Mark(key), number(*value))));
                }
            }
            return difference;
        }
        let (old, new) = (self.all(), new.all());
        difference.gone = old.iter().filter(|(key, data)| new.get(key) != Some(data)).map(|(key, _)| key.clone()).collect();
        let fresh = new.into_iter().filter(|(key, data)| old.get(key) != Some(data));
        difference.fresh = fresh.map(|(key, data)| Element { key, data, timeout: None }).collect();
        difference
    }

    /// A key as nft takes it.
    fn key(&self, key: &Value) -> String {
        match (self, key) {
            (Self::Slots { .. }, Value::Mark(slot)) => format!("{slot:#x}"),
            (Self::Slots { .. } | Self::Pairs(_) | Self::Set(_), _) => key.to_string(),
        }
    }

    fn element(&self, element: &Element) -> String {
        let key = self.key(&element.key);
        element.data.as_ref().map_or(key.clone(), |data| format!("{key} : {data}"))
    }

    /// The same kind without elements.
    fn emptied(&self) -> Self {
        match self {
            Self::Slots { base, .. } => Self::Slots { base: *base, values: Vec::new() },
            Self::Pairs(_) => Self::Pairs(BTreeMap::new()),
            Self::Set(_) => Self::Set(BTreeSet::new()),
        }
    }
}

fn number(value: u32) -> Data {
    Data::Value(Value::Mark(value))
}

impl Ruleset {
    /// The script that replaces whatever the table holds. One transaction: no packet meets a half-made
    /// table, and tracked connections go on, as only the first packet of one meets NAT rules.
    #[must_use]
    pub fn replace(&self) -> String {
        let mut script = format!("add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n");
        for (name, kind) in FILLED {
            let _ = writeln!(script, "add set {TABLE} {name} {{ type {kind}; {FILLED_AS} }}");
        }
        script.push_str(&Self::default().update(self));
        script
    }

    /// The script that turns a table equal to `self` into `wanted`; empty if they are equal. The kernel
    /// refuses the whole of it if the table is not what `self` says.
    #[must_use]
    pub fn update(&self, wanted: &Self) -> String {
        let mut script = String::new();
        self.make(wanted, &mut script);
        self.take_elements(wanted, &mut script);
        self.write_chains(wanted, &mut script);
        self.put_elements(wanted, &mut script);
        self.remove(wanted, &mut script);
        script
    }

    /// The batch that turns a table equal to `self` into `wanted`, if they differ in elements at most.
    #[must_use]
    pub fn batch(&self, wanted: &Self) -> Option<Batch> {
        let same_maps = self.maps.len() == wanted.maps.len()
            && self.maps.iter().zip(&wanted.maps).all(|((name, old), (other, new))| name == other && old.types == new.types);
        if !same_maps || self.chains != wanted.chains {
            return None;
        }
        let mut batch = Batch::new(Family::Inet, TABLE_NAME);
        for ((name, old), new) in self.maps.iter().zip(wanted.maps.values()) {
            change(&mut batch, name, &old.elements, &new.elements);
        }
        Some(batch)
    }

    /// The batch that makes sets of numbers those of `wanted`, and those that then changed. Names that are no
    /// such sets are left out.
    #[must_use]
    pub fn with_sets(&self, wanted: &BTreeMap<String, BTreeSet<u32>>) -> (Batch, Vec<(String, Elements)>) {
        let mut batch = Batch::new(Family::Inet, TABLE_NAME);
        let mut changed = Vec::new();
        for (name, wanted) in wanted {
            let Some(old @ Elements::Set(set)) = self.maps.get(name).map(|map| &map.elements) else { continue };
            if set != wanted {
                let new = Elements::Set(wanted.clone());
                change(&mut batch, name, old, &new);
                changed.push((name.clone(), new));
            }
        }
        (batch, changed)
    }

    /// Names first: rules and elements refer to them.
    fn make(&self, wanted: &Self, script: &mut String) {
        for (name, map) in wanted.maps.iter().filter(|(name, _)| !self.maps.contains_key(*name)) {
            let word = map.elements.word();
            let _ = writeln!(script, "add {word} {TABLE} {name} {{ type {}; }}", map.types);
        }
        for (name, chain) in wanted.chains.iter().filter(|(name, _)| !self.chains.contains_key(*name)) {
            let hook = chain.hook.map_or(String::new(), |hook| format!(" {{ {hook} }}"));
            let _ = writeln!(script, "add chain {TABLE} {name}{hook}");
        }
    }

    fn take_elements(&self, wanted: &Self, script: &mut String) {
        for (name, old) in &self.maps {
            let new = wanted.maps.get(name).map(|map| &map.elements);
            if new == Some(&old.elements) {
                continue;
            }
            let Some(new) = new.filter(|new| !new.is_empty()) else {
                let _ = writeln!(script, "flush {} {TABLE} {name}", old.elements.word());
                continue;
            };
            let gone = old.elements.difference(new).gone;
            elements(script, "delete", name, gone.iter().map(|key| old.elements.key(key)).collect());
        }
    }

    fn put_elements(&self, wanted: &Self, script: &mut String) {
        for (name, map) in &wanted.maps {
            let old = self.maps.get(name).map(|map| &map.elements);
            if old == Some(&map.elements) {
                continue;
            }
            let fresh = old.unwrap_or(&map.elements.emptied()).difference(&map.elements).fresh;
            elements(script, "add", name, fresh.iter().map(|element| map.elements.element(element)).collect());
        }
    }

    fn write_chains(&self, wanted: &Self, script: &mut String) {
        for (name, chain) in &wanted.chains {
            match self.chains.get(name) {
                Some(old) if old.rules == chain.rules => continue,
                Some(_) => {
                    let _ = writeln!(script, "flush chain {TABLE} {name}");
                }
                None => {}
            }
            for rule in &chain.rules {
                let _ = writeln!(script, "add rule {TABLE} {name} {rule}");
            }
        }
    }

    /// Chains before maps, and all rules before any chain: each must be unused when it goes.
    fn remove(&self, wanted: &Self, script: &mut String) {
        let gone: Vec<&String> = self.chains.keys().filter(|name| !wanted.chains.contains_key(*name)).collect();
        for word in ["flush", "delete"] {
            for name in &gone {
                let _ = writeln!(script, "{word} chain {TABLE} {name}");
            }
        }
        for (name, map) in self.maps.iter().filter(|(name, _)| !wanted.maps.contains_key(*name)) {
            let _ = writeln!(script, "delete {} {TABLE} {name}", map.elements.word());
        }
    }
}

impl Elements {
    const fn word(&self) -> &'static str {
        match self {
            Self::Slots { .. } | Self::Pairs(_) => "map",
            Self::Set(_) => "set",
        }
    }
}

fn change(batch: &mut Batch, name: &str, old: &Elements, new: &Elements) {
    if old == new {
        return;
    }
    if new.is_empty() {
        batch.flush(name);
        return;
    }
    let Difference { gone, fresh } = old.difference(new);
    batch.delete(name, gone).add(name, fresh);
}

fn elements(script: &mut String, verb: &str, map: &str, texts: Vec<String>) {
    if texts.is_empty() {
        return;
    }
    let _ = write!(script, "{verb} element {TABLE} {map} {{");
    for (at, line) in texts.chunks(LINE).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(script, "{comma}\n  {}", line.join(", "));
    }
    script.push_str("\n}\n");
}
