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
