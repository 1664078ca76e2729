//! What the users of a partition are shown does not tell of what others do.

use super::*;
use pan_api::service::ServiceState;

fn rival(servers: u32) -> String {
    web(servers).replace("name: p\n", "name: rival\n").replace("partition: p\n", "partition: rival\n")
}

impl Pan {
    fn services(&self) -> Vec<ServiceState> {
        pan_controller::views::view(&self.world, 1).services.values().map(|service| service.state).collect()
    }
}

fn of(partition: &str) -> pan_model::PartitionName {
    partition.parse().unwrap()
}

fn apply(pan: &mut Pan, within: &str, yaml: &str) -> pan_api::ApiError {
    let documents = pan_model::manifest::parse(&[("test.yaml".to_owned(), yaml.to_owned())], None).unwrap();
    operate::request(&mut pan.world, pan.now, Some(&of(within)), Request::Apply { documents, dry_run: false }).unwrap_err()
}

#[test]
fn a_refusal_names_no_node_and_nobody_else() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.apply("api: pan/v1\nkind: Partition\nname: rival\nspec: {network: 10.0.0.0/24}\n").unwrap();
    pan.rounds(2);
    let spec = |cpu: u32| format!("spec: {{servers: 1, image: host, command: [sleep, inf], resources: {{cpu: {cpu}m, memory: 128MiB}}}}\n");
    // There is room for it, but for the sake of others not for this.
    let greedy = |cpu| format!("api: pan/v1\nkind: Cluster\npartition: rival\nname: web\n{}", spec(cpu));
    let told = pan.apply(&greedy(3800)).unwrap_err();
    assert_eq!((told.code, told.message.contains("p/web")), (Code::Protection, true), "operators of the PAN read why: {told:?}");
    let [many, huge] = [3800, 9000].map(|cpu| apply(&mut pan, "rival", &greedy(cpu)));
    assert_eq!(many, huge, "what others have and what nobody has are one");
    assert_eq!((many.code, many.problems[0].message.as_str()), (Code::NoCapacity, pan_plan::NOT_AVAILABLE_NOW));
    assert_eq!((many.problems[0].source.as_str(), many.problems[0].line > 0), ("test.yaml", true), "it has a place all the same");

    let own = apply(&mut pan, "p", &web(4));
    assert_eq!((own.code, own.problems[0].message.as_str()), (Code::Protection, "protection for cluster web cannot be kept"));
    let scale = Request::Scale { partition: of("p"), cluster: "web".parse().unwrap(), servers: 4 };
    let scaled = operate::request(&mut pan.world, pan.now, Some(&of("p")), scale).unwrap_err();
    assert_eq!((scaled.code, scaled.message), (own.code, own.problems[0].message.clone()));
    for name in NODES {
        pan.ask(Request::Cordon(host(name))).unwrap();
    }
    let moved = operate::request(&mut pan.world, pan.now, Some(&of("p")), Request::Migrate { key: server("web-1"), to: None }).unwrap_err();
    assert_eq!((moved.code, moved.message.as_str()), (Code::NoCapacity, "server p/web-1 cannot move: not available now"));
}

#[test]
fn where_a_server_moves_is_not_in_its_partitions_events() {
    let mut pan = Pan::new();
    pan.apply(&web(2)).unwrap();
    pan.rounds(2);
    let to = NODES.iter().find(|name| (1..=2).all(|at| pan.node_of(&format!("web-{at}")).as_deref() != Some(name))).unwrap();
    pan.ask(Request::Migrate { key: server("web-1"), to: Some(host(to)) }).unwrap();
    pan.rounds(3);
    let events = &pan.world.events[&Some(of("p"))];
    assert!(events.iter().any(|event| event.message == "moves to another node"));
    let named = |text: &str| NODES.iter().any(|name| text.contains(name));
    assert!(events.iter().all(|event| !named(&event.message)), "{events:?}");
}

#[test]
fn tables_lag_behind_for_the_partition_that_changed_and_no_other() {
    use ServiceState::{Progressing, Ready};
    let mut pan = Pan::new();
    pan.apply(&web(2)).unwrap();
    pan.apply(&rival(2)).unwrap();
    pan.rounds(3);
    assert_eq!(pan.services(), [Ready, Ready]);
    pan.apply(&rival(1)).unwrap();
    for _ in 0..2 {
        pan.publish();
        assert_eq!(pan.services(), [Ready, Progressing], "and it lags behind until it is applied, however often something is published");
    }
    pan.rounds(3);
    assert_eq!(pan.services(), [Ready, Ready]);
    pan.apply(&web(1)).unwrap();
    pan.publish();
    assert_eq!(pan.services(), [Progressing, Ready]);
    // Another controller does not know what directors were told.
    standing::lead(&mut pan.world, pan.now);
    pan.told.clear();
    pan.publish();
    assert_eq!(pan.services(), [Progressing, Progressing]);
}
