//! What is asked of each proxy, and what `wrk` says of it. Pure.

use std::str::FromStr;
use std::time::Duration;

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectorCase {
    /// Its name in reports and on the command line.
    pub name: &'static str,
    /// Whether connections of the client are kept; else each request has one of its own.
    pub(super) kept: bool,
    /// The file that is asked for.
    pub(super) file: &'static str,
    /// What passes it on.
    pub(super) how: How,
}

/// What is passed on, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Connections.
    Four,
    /// Requests.
    Seven,
    /// Requests that come by TLS.
    Tls,
}

const fn case(name: &'static str, kept: bool, file: &'static str, how: How) -> DirectorCase {
    DirectorCase { name, kept, file, how }
}

/// A file that the server has, and its length.
pub(super) const SMALL: (&str, usize) = ("small", 1 << 10);
/// Another.
pub(super) const LARGE: (&str, usize) = ("large", 100 << 10);

impl DirectorCase {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 12] = [
        case("kept-1k", true, SMALL.0, How::Seven),
        case("kept-100k", true, LARGE.0, How::Seven),
        case("each-1k", false, SMALL.0, How::Seven),
        case("each-100k", false, LARGE.0, How::Seven),
        case("kept-1k-tls", true, SMALL.0, How::Tls),
        case("kept-100k-tls", true, LARGE.0, How::Tls),
        case("each-1k-tls", false, SMALL.0, How::Tls),
        case("each-100k-tls", false, LARGE.0, How::Tls),
        case("kept-1k-layer4", true, SMALL.0, How::Four),
        case("kept-100k-layer4", true, LARGE.0, How::Four),
        case("each-1k-layer4", false, SMALL.0, How::Four),
        case("each-100k-layer4", false, LARGE.0, How::Four),
    ];

    /// The arguments of `wrk`, from its own name on.
    pub(super) fn wrk(self, authority: &str, length: Duration) -> Vec<String> {
        let scheme = if self.how == How::Tls { "https" } else { "http" };
        let seconds = length.as_secs().max(1);
        let mut argv: Vec<String> = ["wrk", "-t", "1", "-c", "32", "--latency", "-d"].map(str::to_owned).into();
        argv.push(format!("{seconds}s"));
        if !self.kept {
            argv.extend(["-H", "Connection: close"].map(str::to_owned));
        }
        argv.push(format!("{scheme}://{authority}/{}", self.file));
        argv
    }
}

impl FromStr for DirectorCase {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|case| case.name == text);
        known.ok_or_else(|| format!("{text:?} is not a case: expected {}", Self::ALL.map(|case| case.name).join(", ")))
    }
}

/// What a client saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    /// Requests in a second.
    pub rate: f64,
    /// 99 of 100 took at most so many milliseconds.
    pub p99_ms: f64,
    /// Requests in all.
    pub requests: f64,
}

/// Reads a report of `wrk --latency`.
///
/// # Errors
/// It is none, or some requests failed: rates of those are worth nothing.
pub(super) fn read(report: &str) -> Result<Figures, String> {
    let lines = || report.lines().map(str::trim);
    let after = |prefix: &str| lines().find_map(|line| line.strip_prefix(prefix).map(str::trim));
    if let Some(bad) = lines().find(|line| line.starts_with("Non-2xx") || line.starts_with("Socket errors")) {
        return Err(bad.to_owned());
    }
    let number = |text: &str| text.parse::<f64>().ok();
    let rate = after("Requests/sec:").and_then(number);
    let p99_ms = after("99%").and_then(millis);
    let requests = lines().find_map(|line| number(line.split_once(" requests in ")?.0));
    match (rate, p99_ms, requests) {
        (Some(rate), Some(p99_ms), Some(requests)) if requests > 0.0 => Ok(Figures { rate, p99_ms, requests }),
        _ => Err(format!("no report of wrk: {}", report.trim())),
    }
}

/// `812.00us`, `1.02ms`, `2.50s`.
fn millis(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    units.into_iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 4s test @ http://10.97.0.2:8001/small
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.68ms    1.20ms  24.41ms   92.01%
    Req/Sec    19.92k     1.56k   22.09k    75.00%
  Latency Distribution
     50%    1.38ms
     75%    1.80ms
     90%    2.75ms
     99%  812.00us
  79343 requests in 4.00s, 90.96MB read
Requests/sec:  19823.08
Transfer/sec:     22.73MB
";

    #[test]
    fn a_report_is_read_and_one_with_failures_is_refused() {
        let figures = read(REPORT).unwrap();
        assert_eq!((figures.rate, figures.p99_ms, figures.requests), (19_823.08, 0.812, 79_343.0));
        let bad = REPORT.replace("Requests/sec", "  Non-2xx or 3xx responses: 12\nRequests/sec");
        assert_eq!(read(&bad).unwrap_err(), "Non-2xx or 3xx responses: 12");
        let broken = REPORT.replace("Requests/sec", "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec");
        assert!(read(&broken).is_err() && read("unable to connect").is_err());
    }

    #[test]
    fn cases_are_named_once() {
        for case in DirectorCase::ALL {
            assert_eq!(case.name.parse(), Ok(case));
        }
        assert!("kept".parse::<DirectorCase>().is_err());
        let argv = DirectorCase::ALL[6].wrk("10.97.0.2:1", Duration::from_secs(2));
        assert_eq!(argv[7..], ["2s", "-H", "Connection: close", "https://10.97.0.2:1/small"]);
    }
}
