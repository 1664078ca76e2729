//! The whole start of a server, step by step, with the time of each; or all of it but its program and its place in the
//! network, ahead of the order to run it, and the rest later.

use pan_api::desired::ServerOrder;
use pan_linux::oci::Until;

use super::{ApplyError, Rootfs, cable, container, rootfs};
use crate::clock::wall_micros;
use crate::error::{FileError, chain};
use crate::host::Host;
use crate::image::Ready;
use crate::names;
use crate::network::Port;
use crate::server::record::{Bound, Container, Record, Stage};

/// A start to make.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to start; its steps begin with those made so far.
    pub bound: Bound,
    /// PAN_INSTANCE.
    pub instance: String,
    /// The root file system, if it was made ahead and may be used.
    pub rootfs: Option<Rootfs>,
    /// The image that was brought here for it, if it has such a one.
    pub image: Option<Ready>,
}

/// What there is of its root file system.
type Base = (Option<Rootfs>, Option<Ready>);

/// A number for PAN_INSTANCE that no other start has had.
pub(crate) fn instance() -> Result<String, ApplyError> {
    Ok(format!("{:016x}", crate::boot::random().map_err(ApplyError::Random)?))
}

/// Makes cable, root file system and container, and lets the server be reached. On failure the container
/// is gone and the rest stays for the next attempt or for [`super::release`].
pub(crate) fn start(host: &Host, plan: Plan) -> (Bound, Result<Container, ApplyError>) {
    let stage = Stage::Preparing { instance: plan.instance.clone() };
    cleanly(host, plan, |host, bound, instance, made| {
        let root = make(host, bound, stage, made)?;
        host.meter.open(&bound.order, instance);
        container::make(host, &bound.order, root, instance, Until::Running)?;
        reachable(host, bound, instance)
    })
}

/// Makes everything, and starts nothing: the program waits, and the cable leads nowhere. The container of one with volumes is not
/// made, because those are mounted in it when it is made: what is returned then is the root file system. On failure as [`start`].
pub(crate) fn warm(host: &Host, plan: Plan) -> (Bound, Result<Option<Rootfs>, ApplyError>) {
    cleanly(host, plan, |host, bound, instance, made| {
        let root = make(host, bound, Stage::Warm, made)?;
        if !bound.order.volumes.is_empty() {
            return Ok(Some(root));
        }
        container::make(host, &bound.order, root, instance, Until::Created)?;
        Ok(None)
    })
}

/// Starts what was made ready, under the binding that came at last.
pub(crate) fn start_warm(host: &Host, plan: Plan) -> (Bound, Result<Container, ApplyError>) {
    cleanly(host, plan, |host, bound, instance, _| {
        let at = host.paths.server(&names::id(&bound.order.key));
        Record::new(bound.clone(), Stage::Preparing { instance: instance.to_owned() }).write(&at.record())?;
        host.meter.open(&bound.order, instance);
        container::begin(host, &bound.order)?;
        reachable(host, bound, instance)
    })
}

fn cleanly<T>(
    host: &Host,
    plan: Plan,
    steps: impl FnOnce(&Host, &mut Bound, &str, Base) -> Result<T, ApplyError>,
) -> (Bound, Result<T, ApplyError>) {
    let Plan { mut bound, instance, rootfs, image } = plan;
    let made = steps(host, &mut bound, &instance, (rootfs, image));
    if made.is_err()
        && let Err(error) = super::end(host, &bound.order.key)
    {
        tracing::warn!(server = %bound.order.key, error = chain(&error), "a failed start left a container");
    }
    (bound, made)
}

/// Makes cable and root file system, unless the latter is there.
fn make(host: &Host, bound: &mut Bound, stage: Stage, (made, image): Base) -> Result<Rootfs, ApplyError> {
    let at = host.paths.server(&names::id(&bound.order.key));
    Record::new(bound.clone(), stage).write(&at.record())?;
    if let Some(root) = made {
        return Ok(root);
    }
    let log_folder = host.paths.layers();
    std::fs::create_dir_all(&log_folder).map_err(FileError::of("make", &log_folder))?;

    let users = host.users.ensure(&bound.order.key.partition)?;
    cable::make(host, &bound.order, &bound.cable, &users)?;
    bound.steps.push(("netns".into(), wall_micros()));
    let root = rootfs::make(host, &bound.order, &users, image)?;
    bound.steps.push(("rootfs".into(), wall_micros()));
    Ok(root)
}

fn reachable(host: &Host, bound: &mut Bound, instance: &str) -> Result<Container, ApplyError> {
    let container = container::started(host, &bound.order, instance)?;
    bound.steps.push(("runc-started".into(), wall_micros()));
    host.network.attach(port(&bound.order, bound.cable.vni));
    Ok(container)
}

/// The server's cable end as the network keeper knows it.
pub(crate) fn port(order: &ServerOrder, vni: u32) -> Port {
    let (key, name) = (order.key.clone(), names::port(&order.key));
    Port { key, name, vni, mac: order.mac, addresses: order.addresses.clone(), epoch: order.epoch }
}
