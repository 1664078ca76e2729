//! The access log: one JSON object a line and request, with the fields below. A query may hold what is nobody's business, so
//! the path stands alone.

use serde::Serialize;
use std::net::IpAddr;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    /// When it ended: RFC 3339, UTC, microseconds.
    pub time: String,
    /// The service.
    pub service: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The host asked for.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The client's protocol: `HTTP/1.1`.
    pub protocol: &'static str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// The server that answered, or the last that failed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'a str>,
    /// How often it was sent to a server.
    pub attempts: u32,
    /// From the request's head to the answer's.
    pub first_byte_us: u64,
    /// From the request's head to the answer's end.
    pub took_us: u64,
    /// What the proxy has to say of it, if it is not a whole answer of a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'a str>,
}

impl Line<'_> {
    /// The line, without its end.
    #[must_use]
    pub fn render(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        let line = Line {
            time: "2026-01-01T00:00:00.000000Z".to_owned(),
            service: "www",
            client: [192, 0, 2, 1].into(),
            method: "GET",
            host: "x\n",
            path: "/\"",
            protocol: "HTTP/1.1",
            status: 200,
            received: 0,
            sent: 5,
            server: Some("web-1"),
            attempts: 1,
            first_byte_us: 10,
            took_us: 20,
            note: None,
        };
        let wanted = concat!(
            r#"{"time":"2026-01-01T00:00:00.000000Z","service":"www","client":"192.0.2.1","method":"GET","host":"x\n","path":"/\"","#,
            r#""protocol":"HTTP/1.1","status":200,"received":0,"sent":5,"server":"web-1","attempts":1,"firstByteUs":10,"tookUs":20}"#
        );
        assert_eq!(line.render(), wanted);
    }
}
