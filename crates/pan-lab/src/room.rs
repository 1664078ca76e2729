//! The laboratory of one benchmark: gone when the benchmark ends, or, if that was killed, when the next
//! one begins.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pan_model::{ByteSize, Cpu};

use super::failover::FailoverOptions;
use super::owner::Owner;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabName;
use crate::spec::LabSpec;
use crate::view::labs;

/// Nodes of a benchmark's laboratory: the smallest number that has room for three spread servers and a loss.
pub(super) const NODES: u8 = 4;
/// Where its data lies, in a folder of its own.
pub(super) const DATA: &str = "/var/tmp/pan-bench";
const PREFIX: &str = "bench";
/// No benchmark's own name begins like this, so that no later one takes it for a leftover.
const KEPT_PREFIX: &str = "kept-bench";

/// What becomes of a benchmark's laboratory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    /// It is removed.
    Remove,
    /// It is left running, for a look.
    Keep,
}

/// A laboratory that lives as long as this value.
#[derive(Debug)]
pub(super) struct Room {
    lab: Lab,
    afterwards: Afterwards,
}

impl Room {
    /// Brings one up: four nodes, two directors, so many controllers; no link to this machine.
    pub(super) fn up(options: &FailoverOptions, controllers: u8, progress: &mut dyn FnMut(&str)) -> Result<Self, LabError> {
        sweep_stale(progress);
        let owner = Owner::this();
        let afterwards = if options.keep { Afterwards::Keep } else { Afterwards::Remove };
        let name: LabName = match afterwards {
            Afterwards::Remove => format!("{PREFIX}{}", owner.tag()).parse()?,
            Afterwards::Keep => format!("{KEPT_PREFIX}{}", owner.pid()).parse()?,
        };
        let spec = LabSpec {
            data: PathBuf::from(DATA).join(name.as_str()),
            name: name.clone(),
            nodes: NODES,
            storage: 0,
            directors: 2,
            controllers,
            profile: options.profile.clone(),
            node_cpu: Cpu(4000),
            node_memory: ByteSize(4 << 30),
            labels: BTreeMap::new(),
            machine_link: false,
            exe: options.exe.clone(),
        };
        match Lab::up(spec, progress) {
            Ok(lab) => Ok(Self { lab, afterwards }),
            Err(error) => {
                let _ = Lab::down(&name);
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
        if self.afterwards == Afterwards::Keep {
            eprintln!("laboratory {name} was kept; `pan down --name {name}` removes it");
        } else if let Err(error) = Lab::down(name) {
            eprintln!("laboratory {name}: {}", error.chain());
        } else {
            // Refused while another benchmark has its data there.
            let _ = std::fs::remove_dir(DATA);
        }
    }
}

fn owner_of(lab: &LabName) -> Option<Owner> {
    Owner::parse(lab.as_str().strip_prefix(PREFIX)?)
}

/// Removes the laboratories of benchmarks that were killed. One that resists is the next one's, too.
fn sweep_stale(progress: &mut dyn FnMut(&str)) {
    for name in labs() {
        if owner_of(&name).is_some_and(|owner| !owner.is_running()) {
            progress(&format!("removing laboratory {name}: its benchmark was killed"));
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
        let name: LabName = format!("{PREFIX}{}", owner.tag()).parse().unwrap();
        assert_eq!(owner_of(&name), Some(owner));
        for other in ["local", "bench", "bench1", "kept-bench7", "benchx1", "bench1xy", "t1x1"] {
            assert_eq!(owner_of(&other.parse().unwrap()), None, "{other}");
        }
    }
}
