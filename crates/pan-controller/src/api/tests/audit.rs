//! What the front says of changes that it refuses, and how it shows logs.

use super::harness::{Front, grant, request, world};
use crate::core::audit::{Actor, Log, request as asked};
use crate::core::request::Request;
use crate::core::world::{Now, Settings, World};
use crate::handle::View;
use pan_api::audit::{Checker, Page};
use pan_api::token::{AccessRole, AccessToken};
use pan_member::Tick;
use pan_model::{Code, PartitionName};
use std::collections::BTreeMap;
use std::sync::Arc;

const ANN: AccessToken = AccessToken { id: 0xa11, secret: [1; 32] };

/// A world whose logs have some lines: of partition acme, of partition rival, and of the PAN.
fn told() -> View {
    let mut view = world();
    grant(&mut view, &ANN, AccessRole::Administrator, Some("acme"));
    grant(&mut view, &AccessToken { id: 0xb, ..ANN }, AccessRole::Operator, Some("acme"));
    view.audit = logs();
    view
}

fn logs() -> BTreeMap<Option<PartitionName>, Arc<Log>> {
    let mut world = World::new(Settings::bare());
    let root = Actor::new(None, None, AccessRole::PanAdministrator, None);
    for (second, partition) in ["acme", "rival"].into_iter().enumerate() {
        let text = format!("api: pan/v1\nkind: Partition\nname: {partition}\nspec: {{network: 10.0.0.0/24}}\n");
        for cpu in 1..=3 {
            let text = format!("{}\n", text.replace("}\n", &format!(", capacity: {{max: {{cpu: {cpu}, memory: 1GiB}}}}}}\n")));
            let documents = pan_model::manifest::parse(&[("x".to_owned(), text)], None).unwrap();
            let now = Now { wall: 1_000_000 * (10 * second as i64 + cpu), boot: Tick(0) };
            asked(&mut world, now, &root, Request::Apply { documents, dry_run: false }).unwrap();
        }
    }
    world.audit
}

async fn page(front: &Front, token: &AccessToken, path: &str) -> (u16, Option<Page>) {
    let headers = [("Authorization", format!("Bearer {}", token.text()))];
    let answer = front.raw(&request("GET", path, &headers, b"")).await;
    (answer.status, serde_json::from_str(&answer.body).ok())
}

#[tokio::test]
async fn a_partition_reads_its_own_log_and_learns_of_no_other() {
    let front = Front::start(told());
    let (_, own) = page(&front, &ANN, "/v1/audit").await;
    let (_, named) = page(&front, &ANN, "/v1/partitions/acme/audit").await;
    let own = own.unwrap();
    assert_eq!(Some(&own), named.as_ref());
    assert_eq!((own.first, own.last, own.lines.len(), own.next), (1, 3, 3, None));
    let mut checker = Checker::default();
    own.lines.iter().for_each(|line| checker.next(line).unwrap());
    assert_eq!(checker.head(), Some((3, own.head.as_str())));
    assert!(own.lines.iter().all(|line| line.principal == "the provider" && line.name == "acme"));
    let answers = ["rival", "river"].map(|other| format!("/v1/partitions/{other}/audit"));
    let headers = [("Authorization", format!("Bearer {}", ANN.text()))];
    let hidden = front.raw(&request("GET", &answers[0], &headers, b"")).await;
    let absent = front.raw(&request("GET", &answers[1], &headers, b"")).await;
    assert_eq!((hidden.status, hidden.body.replace("rival", "X")), (404, absent.body.replace("river", "X")));
    assert_eq!(page(&front, &AccessToken { id: 0xb, ..ANN }, "/v1/audit").await.0, 403, "logs are for administrators");
}

#[tokio::test]
async fn pages_follow_each_other_and_begin_where_they_should() {
    let front = Front::start(told());
    let get = async |path: &str| front.client().get::<Page>(path).await.unwrap();
    let numbers = |page: &Page| page.lines.iter().map(|line| line.number).collect::<Vec<_>>();
    let whole = get("/v1/audit").await;
    assert_eq!(numbers(&whole), [1, 2, 3, 4, 5, 6], "{whole:?}");
    let first = get("/v1/audit?limit=4").await;
    assert_eq!((numbers(&first), first.next, first.last), (vec![1, 2, 3, 4], Some(5), 6));
    let rest = get("/v1/audit?limit=4&from=5").await;
    assert_eq!((numbers(&rest), rest.next, rest.head), (vec![5, 6], None, whole.head));
    assert_eq!(numbers(&get("/v1/audit?since=1970-01-01T00:00:03Z").await), [3, 4, 5, 6]);
    assert_eq!(numbers(&get("/v1/audit?from=7").await), Vec::<u64>::new());
    assert_eq!(numbers(&get("/v1/partitions/rival/audit").await), [1, 2, 3]);
    front.send("GET", "/v1/audit?from=x", &[], b"").await.refuses(400, "PAN-100", "from");
}

#[tokio::test]
async fn changes_that_are_refused_are_told_with_the_reason_and_nothing_else_is() {
    let front = Front::start(told());
    let send = async |token: &AccessToken, method: &str, path: &str, body: &str| {
        let headers = [("Authorization", format!("Bearer {}", token.text())), ("Content-Type", "application/json".into())];
        front.raw(&request(method, path, &headers, body.as_bytes())).await.status
    };
    let operator = AccessToken { id: 0xb, ..ANN };
    assert_eq!(send(&operator, "DELETE", "/v1/partitions/acme/clusters/web", "").await, 403);
    assert_eq!(send(&ANN, "DELETE", "/v1/partitions/rival/clusters/web", "").await, 404);
    assert_eq!(send(&ANN, "POST", "/v1/partitions/acme/clusters/web/scale", "{").await, 400);
    assert_eq!(send(&ANN, "POST", "/v1/nodes/n1/drain", "").await, 403);
    assert_eq!(send(&ANN, "POST", "/v1/apply", "{\"files\": [{\"name\": \"x\", \"text\": \"kind: King\"}]}").await, 400);
    front.send("DELETE", "/v1/tokens/00000000000000ff", &[], b"").await.refuses(404, "PAN-300", "token");
    // What only looks, what is done, and who is nobody.
    assert_eq!(send(&ANN, "GET", "/v1/partitions/rival", "").await, 404);
    assert_eq!(send(&ANN, "DELETE", "/v1/partitions/acme/clusters/web", "").await, 204);
    assert_eq!(send(&AccessToken { secret: [9; 32], ..ANN }, "DELETE", "/v1/partitions/acme/clusters/web", "").await, 401);
    let all = front.refused.lock().unwrap().clone();
    let words = |(actor, attempt, code): &(Actor, crate::core::audit::Attempt, Code)| {
        format!("{:x} {} {} {} {code}", actor.token.unwrap_or(0), attempt.verb, attempt.kind, attempt.name)
    };
    assert_eq!(
        all.iter().map(words).collect::<Vec<_>>(),
        [
            "b delete cluster web PAN-401",
            "a11 delete cluster rival/web PAN-300",
            "a11 scale cluster web PAN-100",
            "a11 drain node n1 PAN-401",
            "a11 apply cluster  PAN-100",
            "0 revoke token 00000000000000ff PAN-300",
        ]
    );
    assert_eq!(all[0].0.partition, Some("acme".parse().unwrap()));
}
