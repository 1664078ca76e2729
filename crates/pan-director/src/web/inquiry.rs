//! What controllers ask of partitions' proxies, in the name of whoever may see the partition: why a request would go where it would go, and what
//! was counted. One question at a time of each: whoever took a proxy over keeps only its own partition's askers waiting.

use super::speak::{self, Lines};
use pan_api::ApiError;
use pan_api::client::unescape;
use pan_api::hostmetrics::{Pages, Reading};
use pan_model::proxy::{Explained, Question, ServiceCounts};
use pan_model::{Code, PartitionName};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a proxy may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Those who ask about one partition at once; connections of controllers are few.
const ASKERS_MAX: usize = 4;
/// Characters of a proxy's refusal that are passed on.
const WHY_MAX: usize = 500;

/// Where the proxies of partitions are asked, by the number of the partition's network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inquiries(Arc<Mutex<BTreeMap<u32, Desk>>>);

/// Of one partition.
#[derive(Clone)]
struct Desk {
    partition: PartitionName,
    lines: Arc<dyn Fn() -> Lines + Send + Sync>,
    /// Those who ask or wait to.
    room: Arc<Semaphore>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Desk").field("partition", &self.partition).finish_non_exhaustive()
    }
}

/// What can be asked.
#[derive(Debug, PartialEq, Eq)]
enum Inquiry {
    Explain(Question),
    Counts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Explained(Box<Explained>),
    Counts(Vec<ServiceCounts>),
    Refused(String),
}

impl Inquiries {
    /// A partition's proxy is here, and asked where `lines` says at that time.
    pub(super) fn open(&self, vni: u32, partition: &PartitionName, lines: impl Fn() -> Lines + Send + Sync + 'static) {
        let (room, turn) = (Arc::new(Semaphore::new(ASKERS_MAX)), Arc::default());
        let desk = Desk { partition: partition.clone(), lines: Arc::new(lines), room, turn };
        self.lock().insert(vni, desk);
    }

    /// It is not any more.
    pub(super) fn close(&self, vni: u32) {
        self.lock().remove(&vni);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Desk>> {
        self.0.lock().expect("nobody panics who holds it")
    }

    fn of(&self, partition: &str) -> Option<Desk> {
        self.lock().values().find(|desk| desk.partition.as_str() == partition).cloned()
    }

    /// The pages `/internal/v1/proxies/PARTITION/explain?question=…` and `…/counts`.
    pub(crate) fn pages(&self) -> Pages {
        let all = self.clone();
        Arc::new(move |path: &str, query: &str| {
            let (partition, inquiry) = inquiry(path, query)?;
            let desk = all.of(partition);
            let reading: Reading = Box::pin(async move {
                let inquiry = inquiry?;
                let desk = desk.ok_or_else(|| ApiError::new(Code::NotFound, "no proxy of that partition is here"))?;
                let busy = |_| ApiError::new(Code::State, "too many ask at present");
                let place = desk.room.try_acquire_owned().map_err(busy)?;
                let turn = desk.turn.lock_owned().await;
                let lines = desk.lines;
                let asked = tokio::task::spawn_blocking(move || {
                    let answer = ask(&lines(), &inquiry);
                    drop((turn, place));
                    answer
                });
                asked.await.unwrap_or_else(|_| Err(ApiError::new(Code::Internal, "the role ends")))
            });
            Some(reading)
        })
    }
}

/// Of which partition what is asked; `None`: another page.
fn inquiry<'a>(path: &'a str, query: &str) -> Option<(&'a str, Result<Inquiry, ApiError>)> {
    let (partition, what) = path.strip_prefix("/internal/v1/proxies/")?.split_once('/')?;
    let inquiry = match what {
        "counts" => Ok(Inquiry::Counts),
        "explain" => {
            let given = query.strip_prefix("question=").and_then(unescape);
            let question = given.ok_or_else(|| "expected ?question=".to_owned());
            let question = question.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
            question.map(Inquiry::Explain).map_err(|error| ApiError::new(Code::Invalid, error))
        }
        _ => return None,
    };
    Some((partition, inquiry))
}

fn ask(lines: &Lines, inquiry: &Inquiry) -> Result<bytes::Bytes, ApiError> {
    let asked = match inquiry {
        Inquiry::Explain(question) => json!({ "explain": question }),
        Inquiry::Counts => json!("counts"),
    };
    let control = lines.control.as_deref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    let answer = control.and_then(|control| speak::converse::<Answer>(control, &asked, ANSWER_MAX));
    let answer = match (answer.map_err(|error| ApiError::new(Code::State, format!("the proxy does not answer: {error}")))?, inquiry) {
        (Answer::Refused(why), _) => {
            let shown: String = why.chars().filter(|c| !c.is_control()).take(WHY_MAX).collect();
            return Err(ApiError::new(Code::Invalid, shown));
        }
        (Answer::Explained(explained), Inquiry::Explain(_)) => serde_json::to_vec(&explained),
        (Answer::Counts(counts), Inquiry::Counts) => serde_json::to_vec(&counts),
        (_, _) => return Err(ApiError::new(Code::State, "the proxy answers what was not asked")),
    };
    answer.map(Into::into).map_err(|error| ApiError::new(Code::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::answering;
    use pan_api::client::escape;

    fn question() -> Question {
        serde_json::from_value(json!({"service": "www", "path": "/a b?c=1&d", "client": "192.0.2.1"})).unwrap()
    }

    #[test]
    fn a_question_comes_as_it_was_put() {
        let text = serde_json::to_string(&question()).unwrap();
        let path = "/internal/v1/proxies/acme/explain";
        let (partition, read) = inquiry(path, &format!("question={}", escape(&text))).unwrap();
        assert_eq!((partition, read.unwrap()), ("acme", Inquiry::Explain(question())));
        assert_eq!(inquiry(path, "question=%7B%7D").unwrap().1.unwrap_err().code, Code::Invalid);
        assert_eq!(inquiry(path, "").unwrap().1.unwrap_err().code, Code::Invalid);
        assert_eq!(inquiry("/internal/v1/proxies/acme/counts", "").unwrap().1.unwrap(), Inquiry::Counts);
        assert!(inquiry("/internal/v1/proxies/acme/apply", "").is_none() && inquiry("/metrics", "").is_none());
    }

    #[tokio::test]
    async fn the_partitions_own_proxy_answers_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let explained = r#"{"explained": {"route": 1, "cluster": "api", "panics": false, "out": [], "scores": []}}"#;
        let control = answering(folder.path(), explained);
        let inquiries = Inquiries::default();
        inquiries.open(7, &"acme".parse().unwrap(), move || Lines { control: Some(control.clone()), leaving: Vec::new() });
        let pages = inquiries.pages();
        let query = format!("question={}", escape(&serde_json::to_string(&question()).unwrap()));
        let get = |partition: &str, what: &str| pages(&format!("/internal/v1/proxies/{partition}/{what}"), &query).unwrap();
        let answer: Explained = serde_json::from_slice(&get("acme", "explain").await.unwrap()).unwrap();
        assert_eq!((answer.route, answer.cluster.as_deref()), (Some(1), Some("api")));
        assert_eq!(get("acme", "counts").await.unwrap_err().code, Code::State, "an answer to something else is none");
        assert_eq!(get("other", "explain").await.unwrap_err().code, Code::NotFound);
        inquiries.close(7);
        assert_eq!(get("acme", "explain").await.unwrap_err().code, Code::NotFound);
    }
}
