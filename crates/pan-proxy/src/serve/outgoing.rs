//! A request's head as servers get it.

use super::upload::Upload;
use crate::forwarded::{self, Origin};
use hyper::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderValue, TE, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Uri, Version};
use pan_model::proxy::Forwarding;
use std::net::SocketAddr;

/// A head that can be sent more than once.
#[derive(Debug, Clone)]
pub struct Outgoing {
    method: Method,
    target: PathAndQuery,
    authority: String,
    headers: HeaderMap,
    upgrade: Option<HeaderValue>,
    trailers: bool,
}

impl Outgoing {
    /// Of a client's request. `upgrade` is what it asks to change to, if the proxy lets it.
    pub fn of(head: &Parts, origin: &Origin<'_>, mode: Forwarding, upgrade: Option<HeaderValue>) -> Self {
        let mut headers = head.headers.clone();
        let trailers = forwarded::takes_trailers(&headers);
        forwarded::strip(&mut headers);
        // The proxy has told the client to go on, or will when a server reads.
        headers.remove(EXPECT);
        headers.remove(HOST);
        forwarded::tell(&mut headers, origin, mode);
        let target = head.uri.path_and_query().map_or_else(|| PathAndQuery::from_static("/"), with_path);
        Self { method: head.method.clone(), target, authority: origin.authority.to_owned(), headers, upgrade, trailers }
    }

    /// The headers, for edits.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// As HTTP/1.1.
    pub fn one(&self, server: SocketAddr, body: Upload) -> Request<Upload> {
        let mut request = self.request(body, Version::HTTP_11);
        *request.uri_mut() = Uri::from(self.target.clone());
        let headers = request.headers_mut();
        if !headers.contains_key(HOST) {
            let host = HeaderValue::from_str(&self.authority).ok().filter(|host| !host.is_empty());
            let fallback = || HeaderValue::from_str(&server.to_string()).expect("an address is visible characters");
            headers.insert(HOST, host.unwrap_or_else(fallback));
        }
        if let Some(protocol) = &self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        request
    }

    /// As HTTP/2.
    pub fn two(&self, server: SocketAddr, body: Upload) -> Request<Upload> {
        let mut request = self.request(body, Version::HTTP_2);
        let host = request.headers_mut().remove(HOST).and_then(|host| host.to_str().map(str::to_owned).ok());
        let authority = host.unwrap_or_else(|| self.authority.clone()).parse::<Authority>();
        let fallback = || server.to_string().parse().expect("an address is an authority");
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.unwrap_or_else(|_| fallback()));
        parts.path_and_query = Some(self.target.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("it has all three");
        if self.trailers {
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        request
    }

    fn request(&self, body: Upload, version: Version) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.version_mut() = version;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// An address may have a query and no path; what a server gets always has one (RFC 9112, 3.2.1).
fn with_path(target: &PathAndQuery) -> PathAndQuery {
    let rooted = || format!("/{}", target.as_str()).parse().expect("a query is one after a slash, too");
    if target.as_str().starts_with('?') { rooted() } else { target.clone() }
}
