//! Answers: JSON objects, streams of lines, errors. Every body but logs and metrics is JSON.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use pan_api::ApiError;
use serde::Serialize;

/// Media type of JSON.
pub const JSON: &str = "application/json";
/// Media type of newline-delimited JSON.
pub const LINES: &str = "application/x-ndjson";
/// Media type of what is read from volumes.
pub const BYTES: &str = "application/octet-stream";
/// Media type of logs.
pub const TEXT: &str = "text/plain; charset=utf-8";

fn with(status: StatusCode, media: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An object.
pub fn json<T: Serialize + ?Sized>(object: &T) -> Response {
    with(StatusCode::OK, JSON, Body::from(bytes_of(object)))
}

/// JSON as it came from elsewhere.
pub fn raw(bytes: Bytes) -> Response {
    with(StatusCode::OK, JSON, Body::from(bytes))
}

/// Bytes that mean something to who asked for them.
pub fn bytes(bytes: Bytes) -> Response {
    with(StatusCode::OK, BYTES, Body::from(bytes))
}

/// The JSON of a wire object.
pub fn bytes_of<T: Serialize + ?Sized>(object: &T) -> Vec<u8> {
    serde_json::to_vec(object).expect("wire types have only text keys and no failing serialisers")
}

/// Nothing to say: it is done.
pub fn done() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A text.
pub fn text(media: &'static str, text: String) -> Response {
    with(StatusCode::OK, media, Body::from(text))
}

/// Bytes as they come; an error breaks the connection off, since the status is long sent.
pub fn stream<E>(media: &'static str, bytes: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Response
where
    E: std::error::Error + Send + Sync + 'static,
{
    with(StatusCode::OK, media, Body::from_stream(bytes))
}

/// An error.
pub fn error(status: StatusCode, error: &ApiError) -> Response {
    let mut response = with(status, JSON, Body::from(bytes_of(error)));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        // In whole seconds; whatever the rate is, there is room for one more within one.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
