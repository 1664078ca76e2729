//! What a benchmark made outside of laboratories, its sites: everything of one carries its name, and the name carries the process that made it. When
//! that was killed, the next benchmark takes it away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pan_linux::cgroup::{CGROUP_ROOT, CgroupTree, Layout};
use pan_linux::netns::Netns;

use super::demo::DATA;
use crate::boot::{DEATH_WAIT, GROUP_WAIT};
use crate::error::LabError;
use crate::owner::Owner;

/// Not `pan-`, as everything of a laboratory begins.
const PREFIX: &str = "panpeer-";

/// A site's name that nothing has.
pub(super) fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}-{}", Owner::this().tag(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A site's control group.
pub(super) fn group(site: &str) -> Result<CgroupTree, LabError> {
    let layout = Layout::detect(Path::new(CGROUP_ROOT)).map_err(LabError::kernel("find control groups"))?;
    Ok(CgroupTree::new(layout, site))
}

/// Removes everything of a site by its name; nothing there is fine.
pub(super) fn remove(site: &str) -> Result<(), LabError> {
    let step = || format!("remove site {site}");
    let group = group(site)?;
    group.kill_all(DEATH_WAIT).map_err(LabError::kernel(step()))?;
    group.remove_recursive(GROUP_WAIT).map_err(LabError::kernel(step()))?;
    let own = format!("{site}-");
    for netns in Netns::list().map_err(LabError::kernel(step()))? {
        if netns == site || netns.starts_with(&own) {
            Netns::remove(&netns).map_err(LabError::kernel(step()))?;
        }
    }
    let data = Path::new(DATA).join(site);
    if data.exists() {
        fs::remove_dir_all(&data).map_err(LabError::file("remove", &data))?;
    }
    // Refused while another benchmark has its data there.
    let _ = fs::remove_dir(DATA);
    Ok(())
}

/// Removes the sites of benchmarks that were killed. One that resists is the next one's, too.
pub(super) fn sweep_stale(progress: &mut dyn FnMut(&str)) {
    let mut names: Vec<String> = Netns::list().unwrap_or_default();
    let mut dirs = vec![PathBuf::from(DATA)];
    if let Ok(layout) = Layout::detect(Path::new(CGROUP_ROOT)) {
        dirs.extend(layout.hierarchies().into_iter().map(|hierarchy| hierarchy.dir));
    }
    for dir in dirs {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    let sites: BTreeSet<String> = names.iter().filter_map(|name| site_of(name)).collect();
    for site in sites {
        if owner_of(&site).is_some_and(|owner| !owner.is_running()) {
            progress(&format!("removing {site}: its benchmark was killed"));
            if let Err(error) = remove(&site) {
                progress(&error.chain());
            }
        }
    }
}

/// The site that something belongs to, by the thing's name: `panpeer-PIDxSTART-COUNT`, then anything after a dash.
fn site_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (tag, count) = (parts.next()?, parts.next()?);
    Owner::parse(tag)?;
    count.parse::<u32>().ok()?;
    Some(format!("{PREFIX}{tag}-{count}"))
}

fn owner_of(site: &str) -> Option<Owner> {
    Owner::parse(site.strip_prefix(PREFIX)?.split('-').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_tells_whose_it_is() {
        for name in ["panpeer-12x34-0", "panpeer-12x34-0-n1", "panpeer-12x34-0-client"] {
            assert_eq!(site_of(name).as_deref(), Some("panpeer-12x34-0"), "{name}");
        }
        assert_eq!(owner_of("panpeer-12x34-0"), Owner::parse("12x34"));
        for other in ["panpeer-", "panpeer-12x34", "panpeer-me-1", "panpeer-12x34-n1", "pan-peer-12x34-1", "bench12x34"] {
            assert_eq!(site_of(other), None, "{other}");
        }
    }
}
