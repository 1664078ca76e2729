//! Reads a scenario: lines that build a PAN and lines that ask the planner something.

use pan_model::{ByteSize, ClusterName, HostName, PartitionName, Resources, ServerName};
use pan_plan::{
    Cluster, ClusterKey, Domain, Node, NodeState, Options, Partition, Plan, Protect, Reserves, ServerId, Snapshot, Spread, Strategy, admit,
    certify, compute, evacuate, explain, plan_with, whatif,
};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A PAN in the making, and what was said about it.
#[derive(Default)]
pub struct Dialogue {
    pub snapshot: Snapshot,
    reserves: Option<Reserves>,
    strategy: Strategy,
    out: String,
}

/// Plays a scenario and returns every question with its answer.
pub fn play(text: &str) -> String {
    let mut dialogue = Dialogue::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let before = dialogue.out.len();
        dialogue.line(words[0], &words[1..]);
        if dialogue.out.len() > before {
            let answer = dialogue.out.split_off(before);
            let indented: Vec<String> = answer.trim_end().lines().map(|line| format!("  {line}")).collect();
            writeln!(dialogue.out, "> {line}\n{}", indented.join("\n")).unwrap();
        }
    }
    dialogue.out
}

impl Dialogue {
    fn line(&mut self, verb: &str, args: &[&str]) {
        match verb {
            "node" => self.node(args),
            "state" => self.snapshot.nodes.get_mut(&host(args[0])).unwrap().state = state(args[1]).unwrap(),
            "remove" => drop(self.snapshot.nodes.remove(&host(args[0])).unwrap()),
            "partition" => self.partition(args),
            "cluster" => self.cluster(args),
            "bind" => self.snapshot.bind(&server(args[0]), args.get(1).map(|name| host(name))),
            "strategy" => self.strategy = args[0].parse().unwrap(),
            "plan" => self.plan(),
            "apply" => {
                let plan = self.plan_quietly();
                self.snapshot = plan.applied(&self.snapshot);
                self.reserves = Some(plan.reserves);
            }
            "forget" => self.reserves = None,
            "where" => self.whereabouts(),
            "reserves" => self.show_reserves(),
            "certify" => self.certify(args.first().map(|count| count.parse().unwrap())),
            "try" => self.attempt(args),
            "fail" => {
                let hosts: Vec<HostName> = args.iter().map(|name| host(name)).collect();
                let what = whatif::fail(&self.snapshot, &hosts);
                self.show_whatif(&what);
            }
            "add-node" => {
                let node = parse_node(&args[1..]);
                let what = whatif::add_node(&self.snapshot, host(args[0]), node);
                self.show_whatif(&what);
            }
            "empty" => self.empty(args),
            "why" => {
                let answer = explain(&self.snapshot, &server(args[0]));
                writeln!(self.out, "{}\n- {}\n* {}", answer.decision, answer.reasons.join("\n- "), answer.alternatives.join("\n* "))
                    .unwrap();
            }
            other => panic!("unknown verb {other}"),
        }
    }

    fn node(&mut self, args: &[&str]) {
        self.snapshot.nodes.insert(host(args[0]), parse_node(&args[1..]));
    }

    fn partition(&mut self, args: &[&str]) {
        let get = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name)).map(resources);
        let partition = Partition { guaranteed: get("guaranteed="), max: get("max=") };
        self.snapshot.partitions.insert(PartitionName::new(args[0]).unwrap(), partition);
    }

    /// `cluster PARTITION/NAME SERVERS key=value…`; servers that exist keep their node.
    fn cluster(&mut self, args: &[&str]) {
        let key = cluster_key(args[0]);
        let old = self.snapshot.clusters.get(&key).map(|cluster| cluster.servers.clone()).unwrap_or_default();
        let names = (1..=args[1].parse().unwrap()).map(|number| ServerName::of(&key.1, number));
        let servers = names.map(|name| (name.clone(), old.get(&name).cloned().flatten())).collect();
        let mut cluster = Cluster {
            need: resources("cpu=1,memory=1GiB"),
            spread: Spread::None,
            protect: None,
            priority: 500,
            after: Vec::new(),
            with: Vec::new(),
            require_labels: BTreeMap::new(),
            servers,
        };
        for arg in &args[2..] {
            let (name, value) = arg.split_once('=').unwrap();
            match name {
                "need" => cluster.need = resources(value),
                "spread" => {
                    cluster.spread =
                        value.strip_prefix("prefer-").map_or_else(|| Spread::Require(domain(value)), |level| Spread::Prefer(domain(level)))
                }
                "protect" => {
                    let (failures, level) = value.split_once(':').unwrap_or((value, "node"));
                    cluster.protect = Some(Protect { failures: failures.parse().unwrap(), domain: domain(level) });
                }
                "priority" => cluster.priority = value.parse().unwrap(),
                "after" => cluster.after = value.split(',').map(|name| ClusterName::new(name).unwrap()).collect(),
                "with" => cluster.with = value.split(',').map(|name| ClusterName::new(name).unwrap()).collect(),
                "label" => {
                    let (key, value) = value.split_once(':').unwrap();
                    cluster.require_labels.insert(key.to_owned(), value.to_owned());
                }
                other => panic!("unknown cluster field {other}"),
            }
        }
        self.snapshot.clusters.insert(key, cluster);
    }

    fn plan_quietly(&self) -> Plan {
        plan_with(&self.snapshot, Options { strategy: self.strategy, reserves: self.reserves.as_ref() })
    }

    fn plan(&mut self) {
        writeln!(self.out, "{}", self.plan_quietly()).unwrap();
    }

    fn whereabouts(&mut self) {
        let mut on: BTreeMap<String, Vec<String>> = self.snapshot.nodes.keys().map(|name| (name.to_string(), Vec::new())).collect();
        for ((partition, _), cluster) in &self.snapshot.clusters {
            for (name, node) in &cluster.servers {
                on.entry(node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string))
                    .or_default()
                    .push(format!("{partition}/{name}"));
            }
        }
        on.iter().for_each(|(node, servers)| writeln!(self.out, "{node}: {}", servers.join(" ")).unwrap());
    }

    fn show_reserves(&mut self) {
        match compute(&self.snapshot) {
            Err(broken) => writeln!(self.out, "broken: {broken}").unwrap(),
            Ok(reserves) => {
                reserves.backup.iter().for_each(|(server, node)| writeln!(self.out, "{}/{} -> {node}", server.0, server.1).unwrap());
                reserves.reserved.iter().for_each(|(node, amounts)| writeln!(self.out, "{node} keeps {amounts}").unwrap());
            }
        }
    }

    fn certify(&mut self, failures: Option<u32>) {
        let answer = certify(&self.snapshot, failures);
        write!(self.out, "{}, failures {}, checked {}", if answer.ok { "ok" } else { "not ok" }, answer.failures, answer.checked).unwrap();
        answer.counterexample.iter().for_each(|found| write!(self.out, ": {found}").unwrap());
        answer.unproved.iter().for_each(|reason| write!(self.out, ": {reason}").unwrap());
        writeln!(self.out).unwrap();
    }

    /// Admits the change that a `cluster` or `partition` line makes; it stays only if admitted.
    fn attempt(&mut self, args: &[&str]) {
        let before = self.snapshot.clone();
        self.line(args[0], &args[1..]);
        match admit(&before, &self.snapshot) {
            Ok(plan) => writeln!(self.out, "admitted\n{plan}").unwrap(),
            Err(refusal) => {
                writeln!(self.out, "refused: {}\nthe partition reads: {}", refusal.text, refusal.partition_text).unwrap();
                self.snapshot = before;
            }
        }
    }

    /// `empty LABEL=VALUE`: what to drain next, and all that would come; what comes next is then drained.
    fn empty(&mut self, args: &[&str]) {
        let (key, value) = args[0].split_once('=').unwrap();
        let has = |node: &Node| node.labels.get(key).is_some_and(|found| found == value);
        let wanted = self.snapshot.nodes.iter().filter(|(_, node)| has(node)).map(|(name, _)| name.clone()).collect();
        let names = |nodes: &std::collections::BTreeSet<HostName>| nodes.iter().map(HostName::as_str).collect::<Vec<_>>().join(" ");
        match evacuate::batches(&self.snapshot, &wanted) {
            Err(stuck) => writeln!(self.out, "stuck: {stuck}").unwrap(),
            Ok(batches) => {
                for batch in batches {
                    writeln!(self.out, "batch {}", names(&batch.nodes)).unwrap();
                    batch.moves.iter().for_each(|placed| writeln!(self.out, "  {placed}").unwrap());
                }
            }
        }
        match evacuate::next(&self.snapshot, &wanted) {
            Err(_) => writeln!(self.out, "now nothing").unwrap(),
            Ok(evacuate::Next::Done) => writeln!(self.out, "now done").unwrap(),
            Ok(evacuate::Next::Wait(nodes)) => writeln!(self.out, "now wait for {}", names(&nodes)).unwrap(),
            Ok(evacuate::Next::Drain(nodes)) => {
                writeln!(self.out, "now drain {}", names(&nodes)).unwrap();
                nodes.iter().for_each(|name| self.snapshot.nodes.get_mut(name).unwrap().state = NodeState::Draining);
            }
        }
    }

    fn show_whatif(&mut self, what: &pan_plan::WhatIf) {
        what.moves.iter().for_each(|placed| writeln!(self.out, "{placed}").unwrap());
        what.lost.iter().for_each(|(server, reason)| writeln!(self.out, "lost {}/{}: {reason}", server.0, server.1).unwrap());
        if what.moves.is_empty() && what.lost.is_empty() {
            writeln!(self.out, "nothing changes").unwrap();
        }
    }
}

fn parse_node(args: &[&str]) -> Node {
    let mut node = Node { capacity: Resources::default(), labels: BTreeMap::new(), state: NodeState::Up };
    for arg in args {
        match arg.split_once('=') {
            None => node.state = state(arg).unwrap(),
            Some(("cpu" | "memory" | "gpu", _)) => node.capacity = node.capacity.plus(&resources(arg)),
            Some((key, value)) => drop(node.labels.insert(key.to_owned(), value.to_owned())),
        }
    }
    node
}

pub fn resources(text: &str) -> Resources {
    let mut amounts = Resources::default();
    for (name, amount) in text.split(',').map(|part| part.split_once('=').unwrap()) {
        match name {
            "cpu" => amounts.cpu = amount.parse().unwrap(),
            "memory" => amounts.memory = amount.parse::<ByteSize>().unwrap(),
            other => drop(amounts.other.insert(other.to_owned(), amount.parse().unwrap())),
        }
    }
    amounts
}

fn state(text: &str) -> Option<NodeState> {
    [NodeState::Up, NodeState::Cordoned, NodeState::Away, NodeState::Draining, NodeState::Spare, NodeState::Down]
        .into_iter()
        .find(|state| state.word() == text)
}

fn domain(text: &str) -> Domain {
    Domain::ALL.into_iter().find(|level| level.word() == text).unwrap()
}

pub fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn cluster_key(text: &str) -> ClusterKey {
    let (partition, name) = text.split_once('/').unwrap();
    (PartitionName::new(partition).unwrap(), ClusterName::new(name).unwrap())
}

fn server(text: &str) -> ServerId {
    let (partition, name) = text.split_once('/').unwrap();
    (PartitionName::new(partition).unwrap(), ServerName::new(name).unwrap())
}
