//! An nftables table as data, and the scripts that make the kernel's table equal to it. Knows nothing of
//! services: what the maps and chains mean is said in [`crate::rules`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The table that a partition's rules are in; each partition has a network namespace of its own.
const TABLE: &str = "inet pan";
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
    Pairs(BTreeMap<String, String>),
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

impl Elements {
    /// Keys with their text as nft takes it.
    fn texts(&self) -> BTreeMap<String, String> {
        match self {
            Self::Slots { base, values } => {
                let key = |at: usize| base + u32::try_from(at).expect("a table has fewer slots than 2^30");
                values.iter().enumerate().map(|(at, value)| (format!("{:#x}", key(at)), format!("{:#x} : {value}", key(at)))).collect()
            }
            Self::Pairs(pairs) => pairs.iter().map(|(key, value)| (key.clone(), format!("{key} : {value}"))).collect(),
            Self::Set(set) => set.iter().map(|key| (key.to_string(), key.to_string())).collect(),
        }
    }
}

impl Ruleset {
    /// The script that replaces whatever the table holds. One transaction: no packet meets a half-made
    /// table, and tracked connections go on, as only the first packet of one meets NAT rules.
    #[must_use]
    pub fn replace(&self) -> String {
        let mut script = format!("add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n");
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

    /// A changed element is taken out and put in again: an element cannot be changed in place.
    fn take_elements(&self, wanted: &Self, script: &mut String) {
        for (name, old) in &self.maps {
            let new = wanted.maps.get(name).map(|map| &map.elements);
            if new == Some(&old.elements) {
                continue;
            }
            let new = new.map(Elements::texts).unwrap_or_default();
            if new.is_empty() {
                let _ = writeln!(script, "flush {} {TABLE} {name}", old.elements.word());
                continue;
            }
            let gone = old.elements.texts().into_iter().filter(|(key, text)| new.get(key) != Some(text)).map(|(key, _)| key);
            elements(script, "delete", name, gone.collect());
        }
    }

    fn put_elements(&self, wanted: &Self, script: &mut String) {
        for (name, map) in &wanted.maps {
            let old = self.maps.get(name).map(|map| &map.elements);
            if old == Some(&map.elements) {
                continue;
            }
            let old = old.map(Elements::texts).unwrap_or_default();
            let fresh = map.elements.texts().into_iter().filter(|(key, text)| old.get(key) != Some(text)).map(|(_, text)| text);
            elements(script, "add", name, fresh.collect());
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
