//! The laboratory of one benchmark or one round of chaos: gone when that ends, or is killed; where its heir was killed as well, when the next
//! one of its kind begins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pan_model::host_config::GateChoice;
use pan_model::{ByteSize, Cpu};

use crate::error::LabError;
use crate::heir::Heir;
use crate::lab::Lab;
use crate::name::LabName;
use crate::owner::Owner;
use crate::spec::LabSpec;
use crate::view::labs;

/// What becomes of a laboratory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It is removed.
    Remove,
    /// It is left running, for a look.
    Keep,
}

/// What kind of laboratory.
#[derive(Debug)]
pub(crate) struct RoomSpec {
    /// What the names of its kind begin with.
    pub(crate) prefix: &'static str,
    /// Where its data lies, in a folder of its own.
    pub(crate) data: &'static str,
    pub(crate) nodes: u8,
    pub(crate) storage: u8,
    pub(crate) directors: u8,
    pub(crate) controllers: u8,
    pub(crate) profile: String,
    pub(crate) labels: BTreeMap<String, BTreeMap<String, String>>,
    /// As of [`LabSpec`].
    pub(crate) in_the_clear: BTreeSet<String>,
    /// Likewise.
    pub(crate) gate: Option<GateChoice>,
    pub(crate) exe: PathBuf,
    pub(crate) afterwards: Afterwards,
}

/// A laboratory that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Room {
    lab: Lab,
    data: &'static str,
    /// None of one that is kept.
    heir: Option<Heir>,
}

impl Room {
    /// Brings one up, without a link to this machine.
    pub(crate) fn up(wanted: RoomSpec, progress: &mut dyn FnMut(&str)) -> Result<Self, LabError> {
        sweep_stale(wanted.prefix, progress);
        let owner = Owner::this();
        let name: LabName = match wanted.afterwards {
            Afterwards::Remove => format!("{}{}", wanted.prefix, owner.tag()).parse()?,
            // No passing one's name begins like this, so that no later one takes it for a leftover.
            Afterwards::Keep => format!("kept-{}{}", wanted.prefix, owner.pid()).parse()?,
        };
        let heir = match wanted.afterwards {
            Afterwards::Remove => Some(Heir::of(&wanted.exe, &name)?),
            Afterwards::Keep => None,
        };
        let spec = LabSpec {
            data: Path::new(wanted.data).join(name.as_str()),
            name: name.clone(),
            nodes: wanted.nodes,
            storage: wanted.storage,
            directors: wanted.directors,
            controllers: wanted.controllers,
            profile: wanted.profile,
            node_cpu: Cpu(4000),
            node_memory: ByteSize(4 << 30),
            labels: wanted.labels,
            in_the_clear: wanted.in_the_clear,
            gate: wanted.gate,
            machine_link: false,
            exe: wanted.exe,
        };
        match Lab::up(spec, progress) {
            Ok(lab) => Ok(Self { lab, data: wanted.data, heir }),
            Err(error) => {
                let _ = Lab::down(&name);
                heir.into_iter().for_each(Heir::dismiss);
                Err(error)
            }
        }
    }
}

impl std::ops::Deref for Room {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let name = self.lab.name();
        let Some(heir) = self.heir.take() else {
            return eprintln!("laboratory {name} was kept; `pan down --name {name}` removes it");
        };
        if let Err(error) = Lab::down(name) {
            eprintln!("laboratory {name}: {}", error.chain());
        } else {
            // Refused while another one has its data there.
            let _ = std::fs::remove_dir(self.data);
        }
        heir.dismiss();
    }
}

fn owner_of(prefix: &str, lab: &LabName) -> Option<Owner> {
    Owner::parse(lab.as_str().strip_prefix(prefix)?)
}

/// Removes the laboratories whose owners were killed. One that resists is the next one's, too.
fn sweep_stale(prefix: &str, progress: &mut dyn FnMut(&str)) {
    for name in labs() {
        if owner_of(prefix, &name).is_some_and(|owner| !owner.is_running()) {
            progress(&format!("removing laboratory {name}: whoever made it was killed"));
            if let Err(error) = Lab::down(&name) {
                progress(&error.chain());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_laboratory_names_its_owner() {
        let owner = Owner::this();
        let name: LabName = format!("bench{}", owner.tag()).parse().unwrap();
        assert_eq!(owner_of("bench", &name), Some(owner));
        assert_eq!(owner_of("chaos", &name), None);
        for other in ["local", "bench", "bench1", "kept-bench7", "benchx1", "bench1xy", "t1x1"] {
            assert_eq!(owner_of("bench", &other.parse().unwrap()), None, "{other}");
        }
    }
}
