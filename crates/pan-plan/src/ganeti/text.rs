//! What a file says, and how it is written. Amounts are in the format's units: MiB, cores.

use std::fmt;

/// Everything in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Groups of nodes.
    pub groups: Vec<Group>,
    /// Nodes.
    pub machines: Vec<Machine>,
    /// Instances, all of them placed.
    pub instances: Vec<Instance>,
    /// Tags of the whole.
    pub tags: Vec<String>,
    /// Limits of the whole (no owner) and of groups.
    pub policies: Vec<Policy>,
}

/// A group of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its id, by which nodes name it.
    pub uuid: String,
    /// `preferred`, `last_resort` or `unallocable`.
    pub policy: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The ids of its networks.
    pub networks: Vec<String>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In service (`N`).
    Online,
    /// In service, and the master (`M`).
    Master,
    /// Away (`Y`).
    Offline,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// All its memory; 0 if unknown.
    pub memory: u64,
    /// What its own system uses.
    pub memory_own: u64,
    /// What is free now.
    pub memory_free: u64,
    /// All its disk.
    pub disk: u64,
    /// What is free now.
    pub disk_free: u64,
    /// Physical cores.
    pub cores: u64,
    /// What it is.
    pub role: Role,
    /// The id of its group.
    pub group: String,
    /// Disk spindles.
    pub spindles: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether instances do not share spindles.
    pub exclusive_storage: bool,
    /// Spindles that nobody uses.
    pub spindles_free: u64,
    /// Virtual processors that its own system uses.
    pub cores_own: u64,
    /// Its speed as a decimal number; 1.0 is usual.
    pub speed: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Memory.
    pub memory: u64,
    /// Disk.
    pub disk: u64,
    /// Virtual processors.
    pub cpus: u64,
    /// `running` and others.
    pub status: String,
    /// Whether it is part of protection.
    pub balanced: bool,
    /// The node it runs on.
    pub primary: String,
    /// The node that has its disks too.
    pub secondary: Option<String>,
    /// `plain`, `drbd` and others.
    pub template: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// How many spindles it counts as.
    pub spindle_use: u64,
    /// The spindles of its disks; `-` if not known.
    pub spindles: String,
    /// Whether it is only reserved.
    pub forthcoming: bool,
}

/// Limits for instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The group's name; empty for the whole.
    pub owner: String,
    /// The usual instance.
    pub standard: Spec,
    /// Pairs of the smallest and the largest.
    pub bounds: Vec<(Spec, Spec)>,
    /// Kinds of disks.
    pub templates: Vec<String>,
    /// Virtual processors per core, a decimal number.
    pub cpu_ratio: String,
    /// Instances per spindle, a decimal number.
    pub spindle_ratio: String,
}

/// The size of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spec {
    /// Memory.
    pub memory: u64,
    /// Virtual processors.
    pub cpus: u64,
    /// Each disk.
    pub disk: u64,
    /// Disks.
    pub disks: u64,
    /// Network cards.
    pub cards: u64,
    /// How many spindles it counts as.
    pub spindles: u64,
}

const fn letter(yes: bool) -> char {
    if yes { 'Y' } else { 'N' }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}|{}", self.name, self.uuid, self.policy, self.tags.join(","), self.networks.join(","))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Online => 'N',
            Role::Master => 'M',
            Role::Offline => 'Y',
        };
        write!(f, "{}|{}|{}|{}|{}|{}|", self.name, self.memory, self.memory_own, self.memory_free, self.disk, self.disk_free)?;
        write!(f, "{}|{role}|{}|{}|{}|", self.cores, self.group, self.spindles, self.tags.join(","))?;
        write!(f, "{}|{}|{}|{}", letter(self.exclusive_storage), self.spindles_free, self.cores_own, self.speed)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (balanced, secondary) = (letter(self.balanced), self.secondary.as_deref().unwrap_or(""));
        write!(f, "{}|{}|{}|{}|{}|{balanced}|", self.name, self.memory, self.disk, self.cpus, self.status)?;
        write!(f, "{}|{secondary}|{}|{}|", self.primary, self.template, self.tags.join(","))?;
        write!(f, "{}|{}|{}", self.spindle_use, self.spindles, letter(self.forthcoming))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{},{},{}", self.memory, self.cpus, self.disk, self.disks, self.cards, self.spindles)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<String> = self.bounds.iter().map(|(least, most)| format!("{least};{most}")).collect();
        write!(f, "{}|{}|{}|{}|", self.owner, self.standard, bounds.join(";"), self.templates.join(","))?;
        write!(f, "{}|{}", self.cpu_ratio, self.spindle_ratio)
    }
}

fn section<T: fmt::Display>(f: &mut fmt::Formatter<'_>, lines: &[T]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "{line}"))
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, &self.groups)?;
        writeln!(f)?;
        section(f, &self.machines)?;
        writeln!(f)?;
        section(f, &self.instances)?;
        writeln!(f)?;
        section(f, &self.tags)?;
        writeln!(f)?;
        section(f, &self.policies)
    }
}
