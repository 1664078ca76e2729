//! A request's head as servers get it.

use super::upload::Upload;
use crate::edit::HeaderEdits;
use crate::forwarded::{self, Origin};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TE, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Uri, Version};
use pan_model::proxy::Forwarding;
use std::net::SocketAddr;

/// What a head is made of, anew for each time that it is sent: most are sent once.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The client's.
    pub head: &'a Parts,
    /// Where it came from.
    pub origin: Origin<'a>,
    /// Whom to believe.
    pub forwarding: Forwarding,
    /// The service's edits, and the route's.
    pub edits: [&'a HeaderEdits; 2],
    /// What it asks to change to, if the proxy lets it.
    pub upgrade: Option<&'a HeaderValue>,
}

impl Outgoing<'_> {
    /// As HTTP/1.1.
    pub fn one(&self, server: SocketAddr, body: Upload) -> Request<Upload> {
        let mut request = self.request(body, Version::HTTP_11);
        *request.uri_mut() = Uri::from(self.target());
        let headers = request.headers_mut();
        headers.entry(HOST).or_insert_with(|| {
            let fallback = || HeaderValue::try_from(server.to_string()).expect("an address is visible characters");
            Some(self.origin.authority).filter(|host| !host.is_empty()).cloned().unwrap_or_else(fallback)
        });
        if let Some(protocol) = self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        request
    }

    /// As HTTP/2.
    pub fn two(&self, server: SocketAddr, body: Upload) -> Request<Upload> {
        let mut request = self.request(body, Version::HTTP_2);
        let host = request.headers_mut().remove(HOST);
        let authority = host.as_ref().unwrap_or(self.origin.authority).to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let fallback = || server.to_string().parse().expect("an address is an authority");
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.unwrap_or_else(fallback));
        parts.path_and_query = Some(self.target());
        *request.uri_mut() = Uri::from_parts(parts).expect("it has all three");
        if forwarded::takes_trailers(&self.head.headers) {
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        request
    }

    fn target(&self) -> PathAndQuery {
        self.head.uri.path_and_query().map_or_else(|| PathAndQuery::from_static("/"), with_path)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = forwarded::onward(&self.head.headers, &self.origin, self.forwarding);
        self.edits.iter().for_each(|edits| edits.apply(&mut headers));
        headers
    }

    fn request(&self, body: Upload, version: Version) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = version;
        *request.headers_mut() = self.headers();
        request
    }
}

/// An address may have a query and no path; what a server gets always has one (RFC 9112, 3.2.1).
fn with_path(target: &PathAndQuery) -> PathAndQuery {
    let rooted = || format!("/{}", target.as_str()).parse().expect("a query is one after a slash, too");
    if target.as_str().starts_with('?') { rooted() } else { target.clone() }
}
