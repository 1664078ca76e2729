//! The route that creates and changes objects.

use super::call::Call;
use super::route::{Access, Answering, Gives, Method, PARTITION, Route, schema};
use crate::auth::{Noun, Verb};
use crate::core::request::Request;
use crate::handle::Principal;
use pan_api::requests::{Applied, Apply};
use pan_api::{ApiError, Problem};
use pan_model::manifest::{self, Document, Object, PROBLEMS_MAX};
use pan_model::{Code, PartitionName};

const SUMMARY: &str = "Create or change the objects of YAML documents: all of them, or none. ?partition= is for documents that name none.";

pub const ROUTES: &[Route] = &[Route {
    method: Method::Post,
    path: "/v1/apply",
    summary: SUMMARY,
    // Each document is checked for its own kind below; clusters are the least that an apply is about.
    access: Access::Role(Verb::Change, Noun::Cluster, apply),
    query: &[PARTITION],
    takes: Some(schema::<Apply>),
    gives: Gives::Json(schema::<Vec<Applied>>),
}];

fn apply(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let Apply { files, dry_run } = call.body()?;
        let default: Option<PartitionName> = call.query("partition")?;
        let texts: Vec<(String, String)> = files.into_iter().map(|file| (file.name, file.text)).collect();
        let parsed = tokio::task::spawn_blocking(move || manifest::parse(&texts, default.as_ref())).await;
        let parsed = parsed.map_err(|error| ApiError::new(Code::Internal, format!("reading the documents failed: {error}")))?;
        let documents = parsed.map_err(refusal)?;
        for document in &documents {
            permit(&call, document).map_err(|error| placed(error, document))?;
        }
        call.request(Request::Apply { documents, dry_run }).await
    })
}

fn permit(call: &Call<Principal>, document: &Document) -> Result<(), ApiError> {
    let noun = match &document.object {
        Object::Partition(..) => Noun::Partition,
        Object::Cluster(..) => Noun::Cluster,
        Object::Service(..) => Noun::Service,
        Object::Volume(..) => Noun::Volume,
        Object::Import(..) => Noun::Import,
        Object::Policy(..) => Noun::Policy,
    };
    call.permit(Verb::Change, noun)?;
    call.scope().require_within(document.object.partition())
}

/// What may not be done, and where it is asked for.
fn placed(error: ApiError, document: &Document) -> ApiError {
    let place = document.locate("name");
    let message = format!("{place}: {}", error.message);
    let problem = manifest::Problem { code: error.code, place, message: error.message };
    ApiError { code: error.code, message, problems: vec![wire(problem)] }
}

/// The refusal of a whole apply, with every place.
fn refusal(problems: Vec<manifest::Problem>) -> ApiError {
    let code = problems.first().map_or(Code::Invalid, |problem| problem.code);
    let message = match problems.as_slice() {
        [only] => only.to_string(),
        more if more.len() > PROBLEMS_MAX => format!("more than {PROBLEMS_MAX} things are wrong in the documents; nothing was changed"),
        more => format!("{} things are wrong in the documents; nothing was changed", more.len()),
    };
    ApiError { code, message, problems: problems.into_iter().map(wire).collect() }
}

fn wire(problem: manifest::Problem) -> Problem {
    let manifest::Place { source, line, column } = problem.place;
    Problem { code: problem.code, source, line, column, message: problem.message }
}
