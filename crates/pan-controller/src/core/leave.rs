//! A host leaves the PAN for good: nothing of it is left but what must be remembered of its name.

use super::keys;
use super::record::Duty;
use super::seen::Life;
use super::volumes;
use super::world::{Dirty, Effect, Now, World};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Code, HostName};

/// Takes a host out. Its certificates are refused from the next view on, lessors forget it, and nobody is told of it any
/// more. What it still runs has no servers of the PAN in it: a node must be empty before.
///
/// # Errors
/// `NotFound`; `State` for a controller, a lessor, a director that is heard, and a node that is neither drained nor dead; `InUse` while servers are bound to it.
pub fn remove(world: &mut World, now: Now, name: &HostName) -> Result<(), ApiError> {
    let host = world.hosts.get(name).ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no host {name}")))?;
    let refuse = |code, text: String| Err(ApiError::new(code, text));
    if host.roles.contains(&Role::Controller) {
        return refuse(
            Code::State,
            format!("host {name} is a controller: every host's configuration names it, so it cannot be removed yet"),
        );
    }
    if world.settings.lessors.contains(name) {
        let text = format!(
            "host {name} grants leases, and without a majority of those who do no node may send: every host's configuration names it. Put \
             another one into its place in `lessors` everywhere, start the hosts' roles anew, and ask again"
        );
        return refuse(Code::State, text);
    }
    // Nobody could make it let go of them afterwards, and both it and the next owner would answer for them.
    if host.roles.contains(&Role::Director) && world.seen.life(name) != Life::Dead {
        let text = format!("host {name} is a director and heard: it would keep public addresses. Switch it off, and ask again");
        return refuse(Code::State, text);
    }
    let node = host.roles.contains(&Role::Node);
    if node && host.duty != Duty::Draining && world.seen.life(name) != Life::Dead {
        return refuse(Code::State, format!("node {name} is in use: `pan node drain {name}` first"));
    }
    let bound = world.servers.values().filter(|server| server.node.as_ref() == Some(name)).count();
    if bound > 0 {
        return refuse(Code::InUse, format!("{bound} servers still belong to node {name}: wait for `pan node drain {name}`"));
    }
    let kept = world.volumes.values().filter(|volume| volume.hosts.values().any(|at| at == name)).count();
    if kept > 0 {
        let text = format!("host {name} keeps copies of {kept} volumes: they are made elsewhere some minutes after it was stopped");
        return refuse(Code::InUse, text);
    }
    let only = volumes::kept_only_on(world, name);
    if only > 0 {
        return refuse(Code::InUse, format!("host {name} keeps the only copies of {only} snapshots: remove them first"));
    }
    let admission = host.admission;
    let credential = world.credentials.entry(name.clone()).or_default();
    credential.refused = Some(credential.issued);
    // Of a host that is no node any more as well: what runs on there from before may have this number still.
    credential.admission = credential.admission.max(admission);
    world.dirty.extend([Dirty::Credential(name.clone()), Dirty::Host(name.clone())]);
    world.host_event(now, name, Severity::Warning, "HostRemoved", format!("host {name} was removed; its certificate is refused"));
    if node {
        world.effects.push(Effect::Fence(name.clone(), admission));
    }
    volumes::forget(world, name);
    world.hosts.remove(name);
    // It has keys that are good now. If a rotation is under way, it has those as well, and the next one is soon enough:
    // nobody listens to a host that is not known.
    let _ = keys::rotate(world, now);
    world.seen.hosts.remove(name);
    world.seen.quarantine.remove(name);
    world.seen.published.remove(name);
    world.seen.units_from.remove(name);
    world.seen.replan = true;
    Ok(())
}
