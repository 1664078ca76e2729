//! Answers of the proxy's own: a status, a sentence, and what is known of the outcome.

use super::record::Record;
use super::reply::Reply;
use crate::attempt::{OUTCOME, Outcome};
use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// Says a status and why.
pub fn say(mut record: Record, status: StatusCode, why: &'static str) -> Response<Reply> {
    record.answered(status);
    record.note.get_or_insert(why);
    let text = Bytes::from(format!("{} {why}\n", status.as_u16()));
    let mut response = Response::new(Reply::fixed(text, record));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Says that a client's message is refused, and ends the connection: where its next message begins cannot be known.
pub fn refuse(mut record: Record, status: StatusCode, why: &'static str) -> Response<Reply> {
    record.refused(why);
    let multiplexed = record.multiplexed();
    let mut response = say(record, status, why);
    if !multiplexed {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Says that a request was not answered, and what is known of it.
pub fn unanswered(mut record: Record, status: StatusCode, outcome: Outcome, why: &'static str) -> Response<Reply> {
    record.outcome(outcome);
    let mut response = say(record, status, why);
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome.as_str()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Says where else to ask.
pub fn redirect(mut record: Record, status: StatusCode, location: &str) -> Response<Reply> {
    let Ok(location) = HeaderValue::from_str(location) else {
        return refuse(record, StatusCode::BAD_REQUEST, "the request's address cannot be said in an answer");
    };
    record.answered(status);
    let mut response = Response::new(Reply::fixed(Bytes::new(), record));
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}
