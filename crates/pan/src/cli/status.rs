//! `pan status`: who decides, which hosts are not as they should be, and whether the controllers' store is whole.

use super::failure::Failure;
use super::rows::read;
use super::session::Session;
use pan_api::requests::{HostsIn, Status, StoreMember};
use pan_model::HostName;
use pan_model::node::NodeState;
use serde_json::Value;

/// `pan status`.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let answer: Value = session.client()?.get("/v1/status").await?;
    if session.out.is_data() {
        return session.out.data(&answer);
    }
    lines(&read(&answer)?).iter().try_for_each(|line| session.out.line(line))
}

fn lines(status: &Status) -> Vec<String> {
    let leader = status.leader.as_ref().map_or("no controller leads", HostName::as_str);
    let mut lines = vec![format!("leader: {leader}"), format!("hosts:  {}", hosts(&status.hosts))];
    if status.store.is_empty() {
        return lines;
    }
    let answering = status.store.iter().filter(|member| member.answers).count();
    lines.push(format!("store:  {answering} of {} members answer", status.store.len()));
    let silent = |member: &StoreMember| format!("  {} does not: {}", member.name, member.reason.as_deref().unwrap_or("why is not known"));
    lines.extend(status.store.iter().filter(|member| !member.answers).map(silent));
    lines
}

/// How many are alive; the names of all others.
fn hosts(by_state: &[HostsIn]) -> String {
    let all: usize = by_state.iter().map(|one| one.hosts.len()).sum();
    let alive: usize = by_state.iter().filter(|one| one.state == NodeState::Alive).map(|one| one.hosts.len()).sum();
    let mut text = format!("{alive} of {all} alive");
    for HostsIn { state, hosts } in by_state.iter().filter(|one| one.state != NodeState::Alive) {
        let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
        text.push_str(&format!("; {state}: {}", names.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_it_should_be_is_named() {
        let hosts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<HostName>>();
        let member = |name: &str, reason: Option<&str>| StoreMember {
            name: name.to_owned(),
            answers: reason.is_none(),
            reason: reason.map(str::to_owned),
        };
        let mut status = Status {
            leader: Some("c1".parse().unwrap()),
            hosts: vec![
                HostsIn { state: NodeState::Alive, hosts: hosts(&["c1", "n1"]) },
                HostsIn { state: NodeState::Dead, hosts: hosts(&["n2", "n3"]) },
            ],
            store: vec![member("e1", None), member("e2", Some("gone"))],
        };
        let wanted = ["leader: c1", "hosts:  2 of 4 alive; dead: n2, n3", "store:  1 of 2 members answer", "  e2 does not: gone"];
        assert_eq!(lines(&status), wanted);
        status.store.clear();
        assert_eq!(lines(&status), wanted[..2], "a store in one file has no members");
    }
}
