//! A host that is no director any more.

use crate::error::Trouble;
use crate::imports;
use crate::namespace::Namespace;
use crate::specs::{NAMESPACE_PREFIX, Seat};
use crate::web;
use pan_linux::netns::Netns;
use pan_linux::rtnl::Rtnl;
use std::path::Path;

/// Takes away whatever a director has made on this host in partitions' names, and says how many namespaces that were. They need no agent, and nor do
/// proxies: they would go on answering for public addresses that others have by now. To be called in the host's network namespace, and never beside a director.
///
/// # Errors
/// Some cannot be taken away; why not the first of them. The others are gone.
pub fn leave(run_dir: &Path) -> Result<usize, Trouble> {
    web::leave(run_dir);
    let names = Netns::list()?;
    let own = |name: &String| name.strip_prefix(NAMESPACE_PREFIX).and_then(|number| number.parse().ok()).map(Seat::of);
    let seats: Vec<Seat> = names.iter().filter_map(|name| own(name).or_else(|| imports::seat_called(name))).collect();
    let host = Rtnl::open()?;
    let troubles: Vec<Trouble> = seats.iter().filter_map(|seat| Namespace::remove(&host, seat).err()).collect();
    troubles.into_iter().next().map_or(Ok(seats.len()), Err)
}
