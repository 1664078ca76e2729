//! Reading the text format. Columns that older versions did not have may be missing at the end of a line.

use super::text::{Group, Instance, Inventory, Machine, Policy, Role, Spec};
use std::fmt;
use std::str::FromStr;

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, with what was found and what was expected.
    pub what: String,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Misread {}

/// The columns of a line.
struct Row<'t> {
    line: usize,
    kind: &'static str,
    columns: Vec<&'t str>,
}

impl<'t> Row<'t> {
    fn new(line: usize, kind: &'static str, text: &'t str, least: usize) -> Result<Self, Misread> {
        let row = Self { line, kind, columns: text.split('|').collect() };
        let found = row.columns.len();
        if found < least { Err(row.wrong(format!("expected at least {least} columns, found {found}"))) } else { Ok(row) }
    }

    fn wrong(&self, what: impl fmt::Display) -> Misread {
        Misread { line: self.line, what: format!("{}: {what}", self.kind) }
    }

    fn text(&self, column: usize) -> &'t str {
        self.columns.get(column).copied().unwrap_or("")
    }

    fn word(&self, column: usize, without: &str) -> String {
        self.columns.get(column).map_or(without, |text| *text).to_owned()
    }

    fn number(&self, column: usize, name: &str, without: u64) -> Result<u64, Misread> {
        self.columns.get(column).map_or(Ok(without), |text| {
            text.parse().map_err(|_| self.wrong(format!("{name} (column {}): expected a whole number, found {text:?}", column + 1)))
        })
    }

    fn flag(&self, column: usize, name: &str, without: bool) -> Result<bool, Misread> {
        match self.columns.get(column).copied() {
            None => Ok(without),
            Some("Y") => Ok(true),
            Some("N") => Ok(false),
            Some(other) => Err(self.wrong(format!("{name} (column {}): expected Y or N, found {other:?}", column + 1))),
        }
    }

    fn list(&self, column: usize) -> Vec<String> {
        self.text(column).split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

impl FromStr for Inventory {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let mut inventory = Self::default();
        let mut section = 0;
        for (line, text) in text.lines().enumerate().map(|(index, text)| (index + 1, text)) {
            if text.is_empty() {
                section += 1;
                continue;
            }
            match section {
                0 => inventory.groups.push(group(line, text)?),
                1 => inventory.machines.push(machine(line, text)?),
                2 => inventory.instances.push(instance(line, text)?),
                3 => inventory.tags.push(text.to_owned()),
                4 => inventory.policies.push(policy(line, text)?),
                _ => {
                    return Err(Misread {
                        line,
                        what: "expected the end: there are five sections, parted by one empty line each".to_owned(),
                    });
                }
            }
        }
        if section < 3 {
            let what = format!("expected groups, nodes, instances and tags, parted by one empty line each; found {} sections", section + 1);
            return Err(Misread { line: text.lines().count(), what });
        }
        Ok(inventory)
    }
}

fn group(line: usize, text: &str) -> Result<Group, Misread> {
    let row = Row::new(line, "group", text, 3)?;
    Ok(Group { name: row.word(0, ""), uuid: row.word(1, ""), policy: row.word(2, ""), tags: row.list(3), networks: row.list(4) })
}

fn machine(line: usize, text: &str) -> Result<Machine, Misread> {
    let mut row = Row::new(line, "node", text, 9)?;
    let unknown = row.columns[1..7].contains(&"?");
    row.columns[1..7].iter_mut().filter(|text| **text == "?").for_each(|text| *text = "0");
    let role = match row.text(7) {
        _ if unknown => Role::Offline,
        "Y" => Role::Offline,
        "N" => Role::Online,
        "M" => Role::Master,
        other => return Err(row.wrong(format!("role (column 8): expected Y, N or M, found {other:?}"))),
    };
    Ok(Machine {
        name: row.word(0, ""),
        memory: row.number(1, "memory", 0)?,
        memory_own: row.number(2, "used memory", 0)?,
        memory_free: row.number(3, "free memory", 0)?,
        disk: row.number(4, "disk", 0)?,
        disk_free: row.number(5, "free disk", 0)?,
        cores: row.number(6, "cores", 0)?,
        role,
        group: row.word(8, ""),
        spindles: row.number(9, "spindles", 1)?,
        tags: row.list(10),
        exclusive_storage: row.flag(11, "exclusive storage", false)?,
        spindles_free: row.number(12, "free spindles", 0)?,
        cores_own: row.number(13, "virtual processors of the system", 0)?,
        speed: row.word(14, "1.0"),
    })
}

fn instance(line: usize, text: &str) -> Result<Instance, Misread> {
    let row = Row::new(line, "instance", text, 10)?;
    Ok(Instance {
        name: row.word(0, ""),
        memory: row.number(1, "memory", 0)?,
        disk: row.number(2, "disk", 0)?,
        cpus: row.number(3, "virtual processors", 0)?,
        status: row.word(4, ""),
        balanced: row.flag(5, "auto_balance", true)?,
        primary: row.word(6, ""),
        secondary: Some(row.word(7, "")).filter(|name| !name.is_empty()),
        template: row.word(8, ""),
        tags: row.list(9),
        spindle_use: row.number(10, "spindle use", 1)?,
        spindles: row.word(11, "-"),
        forthcoming: row.flag(12, "forthcoming", false)?,
    })
}

fn policy(line: usize, text: &str) -> Result<Policy, Misread> {
    let row = Row::new(line, "policy", text, 6)?;
    let bounds = row.text(2).split(';').map(|text| spec(&row, text)).collect::<Result<Vec<Spec>, Misread>>()?;
    if bounds.len() % 2 == 1 {
        return Err(row.wrong("bounds (column 3): expected pairs of the smallest and the largest, parted by ';'"));
    }
    Ok(Policy {
        owner: row.word(0, ""),
        standard: spec(&row, row.text(1))?,
        bounds: bounds.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(),
        templates: row.list(3),
        cpu_ratio: row.word(4, ""),
        spindle_ratio: row.word(5, ""),
    })
}

fn spec(row: &Row<'_>, text: &str) -> Result<Spec, Misread> {
    let numbers: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([memory, cpus, disk, disks, cards, spindles]) => {
            Ok(Spec { memory: *memory, cpus: *cpus, disk: *disk, disks: *disks, cards: *cards, spindles: *spindles })
        }
        Ok(_) | Err(_) => Err(row.wrong(format!("size: expected six whole numbers parted by commas, found {text:?}"))),
    }
}
