//! What a failed attempt means: another server, or an answer that says what is known of the outcome. RFC 9110 (9.2.2): a
//! request is sent again only if that cannot do what sending it once would not.

use hyper::header::HeaderName;
use hyper::{Method, StatusCode};

/// Tells a client what is known of a request that was not answered.
pub const OUTCOME: HeaderName = HeaderName::from_static("pan-outcome");

/// Makes a request recognisable (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is known of a request that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No server had a byte of it.
    NotSent,
    /// One may have acted on it.
    Unknown,
}

impl Outcome {
    /// As the header says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not-sent",
            Self::Unknown => "unknown",
        }
    }
}

/// What a request allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is once: a safe or idempotent method, or a key that the service's servers know requests by.
    Harmless,
    /// Twice may be twice.
    Never,
}

impl Repeat {
    /// Of a request. `keyed`: the service says that its servers know requests by key, and this one has a key.
    #[must_use]
    pub fn of(method: &Method, keyed: bool) -> Self {
        if keyed || method.is_idempotent() { Self::Harmless } else { Self::Never }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server could not be reached.
    Unreachable,
    /// It did not take the connection in time.
    ConnectTimeout,
    /// The connection ended before the answer began.
    Broken,
    /// The answer did not begin in time.
    AnswerTimeout,
    /// What came is no HTTP.
    NotHttp,
}

impl Failure {
    /// What happened.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => "the server could not be reached",
            Self::ConnectTimeout => "the server did not take the connection in time",
            Self::Broken => "the server's connection ended before its answer",
            Self::AnswerTimeout => "the server did not answer in time",
            Self::NotHttp => "what the server answered is no HTTP",
        }
    }
}

/// A failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How it failed.
    pub failure: Failure,
    /// Whether the server may have had a byte of it, of this or an earlier attempt.
    pub outcome: Outcome,
    /// What the request allows.
    pub repeat: Repeat,
    /// Whether all of the body that was read from the client is still there to be sent again.
    pub replayable: bool,
    /// Attempts so far, this one included.
    pub made: u32,
    /// Most that may be made.
    pub most: u32,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another server, if there is one.
    Again,
    /// The client is told.
    Tell(StatusCode, Outcome),
}

/// Decides. `budget` says whether the service can afford a retry, and spends it; it is asked only if all else allows one.
pub fn decide(attempt: &Attempt, budget: impl FnOnce() -> bool) -> Verdict {
    let harmless = match (attempt.outcome, attempt.repeat) {
        (Outcome::NotSent, _) | (Outcome::Unknown, Repeat::Harmless) => true,
        (Outcome::Unknown, Repeat::Never) => false,
    };
    // Who waited as long as the service allows for an answer is not made to wait as long again.
    let in_time = attempt.failure != Failure::AnswerTimeout;
    if harmless && in_time && attempt.replayable && attempt.made < attempt.most && budget() {
        return Verdict::Again;
    }
    let (status, outcome) = last_word(attempt);
    Verdict::Tell(status, outcome)
}

/// What the client is told if there is no other attempt.
#[must_use]
pub fn last_word(attempt: &Attempt) -> (StatusCode, Outcome) {
    (status(attempt.failure), attempt.outcome)
}

fn status(failure: Failure) -> StatusCode {
    match failure {
        Failure::ConnectTimeout | Failure::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
        Failure::Unreachable | Failure::Broken | Failure::NotHttp => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Attempt =
        Attempt { failure: Failure::Broken, outcome: Outcome::Unknown, repeat: Repeat::Harmless, replayable: true, made: 1, most: 3 };

    #[test]
    fn methods_are_repeated_as_rfc_9110_says() {
        let check = |method: Method, repeat: Repeat| assert_eq!(Repeat::of(&method, false), repeat, "{method}");
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE] {
            check(method, Repeat::Harmless);
        }
        for method in [Method::POST, Method::PATCH, Method::CONNECT, Method::from_bytes(b"LINK").unwrap()] {
            check(method, Repeat::Never);
        }
        assert_eq!(Repeat::of(&Method::POST, true), Repeat::Harmless);
    }

    /// All combinations, against the sentences of docs/layer-7.md.
    #[test]
    fn nothing_is_sent_twice_that_may_not_be() {
        let failures = [Failure::Unreachable, Failure::ConnectTimeout, Failure::Broken, Failure::AnswerTimeout, Failure::NotHttp];
        for failure in failures {
            for outcome in [Outcome::NotSent, Outcome::Unknown] {
                for repeat in [Repeat::Harmless, Repeat::Never] {
                    for (replayable, affordable) in [(true, true), (true, false), (false, true)] {
                        for made in 1..=3 {
                            let attempt = Attempt { failure, outcome, repeat, replayable, made, ..FIRST };
                            let again = decide(&attempt, || affordable) == Verdict::Again;
                            if outcome == Outcome::Unknown && repeat == Repeat::Never {
                                assert!(!again, "{attempt:?}");
                            }
                            let may = replayable && affordable && made < 3 && failure != Failure::AnswerTimeout;
                            assert_eq!(again, may && (outcome == Outcome::NotSent || repeat == Repeat::Harmless), "{attempt:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_budget_is_not_spent_on_what_is_not_tried() {
        let last = Attempt { made: 3, ..FIRST };
        let verdict = decide(&last, || panic!("nothing is left to spend it on"));
        assert_eq!(verdict, Verdict::Tell(StatusCode::BAD_GATEWAY, Outcome::Unknown));
        let late = Attempt { failure: Failure::AnswerTimeout, ..FIRST };
        let verdict = decide(&late, || panic!("nothing is left to spend it on"));
        assert_eq!(verdict, Verdict::Tell(StatusCode::GATEWAY_TIMEOUT, Outcome::Unknown));
    }
}
