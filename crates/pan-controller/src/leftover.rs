//! What is left of a request's body once the request is answered.
//!
//! A server that closes a connection with bytes of a request unread makes the kernel reset it: the answer may be lost on its way, and who
//! is still writing sees its writing fail instead (RFC 9112 §9.6). So a little of what nobody wanted is read before the answer goes out,
//! and where there is more, the answer says that the connection ends.

use crate::api::BODY_MAX;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// So many bytes are read of a body that nobody wanted: what could have been a right one.
const BYTES_MAX: usize = BODY_MAX;
/// And for so long: who sends slowly is not waited for.
const TIME_MAX: Duration = Duration::from_secs(1);

/// A body that can be taken back from whoever was given it and let it go.
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// Answers a request, and reads what the answer left of its body.
pub async fn answered<F: Future<Output = Response>>(request: Request, answer: impl FnOnce(Request) -> F) -> Response {
    let (parts, body) = request.into_parts();
    // Reading such a body asks for it; hyper ends the connection itself where nobody did.
    let waits = parts.headers.contains_key(EXPECT);
    let body = Arc::new(Mutex::new(body));
    let mut response = answer(Request::from_parts(parts, Body::new(Lent(Arc::clone(&body))))).await;
    // Otherwise somebody reads it still while the answer goes out.
    if let Some(body) = Arc::into_inner(body) {
        let body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !body.is_end_stream() && !waits && !is_read(body).await {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Reads a body to its end, if that is near.
async fn is_read(body: Body) -> bool {
    if body.size_hint().lower() > BYTES_MAX as u64 {
        return false;
    }
    let mut left = BYTES_MAX;
    let mut body = body.into_data_stream();
    let reading = async {
        while let Some(bytes) = body.next().await {
            match bytes.ok().and_then(|bytes| left.checked_sub(bytes.len())) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(TIME_MAX, reading).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::convert::Infallible;

    fn of_parts(count: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[7; 1024])))))
    }

    async fn closes(request: Request) -> bool {
        let response = answered(request, |request| async move {
            drop(request);
            Response::new(Body::empty())
        });
        response.await.headers().get(CONNECTION).is_some_and(|value| value == "close")
    }

    #[tokio::test]
    async fn a_small_rest_is_read_and_a_large_one_ends_the_connection() {
        assert!(!closes(Request::new(Body::empty())).await);
        assert!(!closes(Request::new(of_parts(BYTES_MAX / 1024))).await);
        assert!(closes(Request::new(of_parts(BYTES_MAX / 1024 + 1))).await);
        assert!(closes(Request::new(Body::from(vec![0; BYTES_MAX + 1]))).await, "its length says so");
    }

    #[tokio::test]
    async fn who_sends_slowly_is_not_waited_for() {
        assert!(closes(Request::new(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()))).await);
    }

    #[tokio::test]
    async fn a_body_that_waits_to_be_asked_for_is_not_asked_for() {
        let mut request = Request::new(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()));
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        assert!(!closes(request).await);
    }

    #[tokio::test]
    async fn the_answer_has_the_body_first_and_may_keep_it() {
        let whole = answered(Request::new(of_parts(3)), |request| async move {
            let bytes = axum::body::to_bytes(request.into_body(), 4096).await.unwrap();
            Response::new(Body::from(bytes))
        });
        assert_eq!(axum::body::to_bytes(whole.await.into_body(), 4096).await.unwrap().len(), 3 * 1024);
        let echo = answered(Request::new(of_parts(3)), |request| async move { Response::new(request.into_body()) });
        assert_eq!(axum::body::to_bytes(echo.await.into_body(), 4096).await.unwrap().len(), 3 * 1024);
    }
}
