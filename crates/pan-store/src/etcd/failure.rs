//! How a call can fail, and what that says about whether it was carried out.

use super::endpoint::Endpoint;
use crate::error::BoxError;

/// gRPC's status codes that say something here; see the gRPC specification, `statuscodes.md`.
pub(super) mod code {
    pub(in crate::etcd) const OK: u32 = 0;
    pub(in crate::etcd) const INVALID_ARGUMENT: u32 = 3;
    pub(in crate::etcd) const PERMISSION_DENIED: u32 = 7;
    pub(in crate::etcd) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(in crate::etcd) const FAILED_PRECONDITION: u32 = 9;
    pub(in crate::etcd) const OUT_OF_RANGE: u32 = 11;
    pub(in crate::etcd) const UNIMPLEMENTED: u32 = 12;
    pub(in crate::etcd) const UNAVAILABLE: u32 = 14;
    pub(in crate::etcd) const UNAUTHENTICATED: u32 = 16;
}

/// One call to one member failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The member never got it.
    #[error("etcd member {endpoint} cannot be reached")]
    NotSent { endpoint: Endpoint, source: BoxError },
    /// The member may or may not have got it, and done it or not.
    #[error("etcd member {endpoint} did not answer")]
    Lost { endpoint: Endpoint, source: BoxError },
    /// The member's own words.
    #[error("etcd member {endpoint}: {message} (gRPC status {code})")]
    Status { endpoint: Endpoint, code: u32, message: String },
    /// The member refuses what its flags do not allow.
    #[error("etcd member {endpoint}: {message}; {advice}")]
    Limit { endpoint: Endpoint, message: String, advice: &'static str },
    /// The member has no room left. It says so of the request that took the last of it as well, which it has carried out
    /// (`quotaApplierV3` in etcd's `apply.go`): its answer is the same.
    #[error("etcd member {endpoint}: {message}; {NO_ROOM}")]
    NoRoom { endpoint: Endpoint, message: String },
    /// The answer is larger than this program takes at once.
    #[error("etcd member {endpoint} answers with more than {max} bytes at once")]
    AnswerTooLarge { endpoint: Endpoint, max: usize },
}

/// What members have to be started with; see [`arguments`](super::Member::arguments).
const LIMITS: [(&str, &str); 3] = [
    ("too many operations in txn request", "start every member with --max-txn-ops=4096"),
    ("request is too large", "start every member with --max-request-bytes=10485760"),
    ("larger than max", "start every member with --max-request-bytes=10485760"),
];

const NO_ROOM: &str = "compact and defragment every member and disarm its alarm, or start it with a larger --quota-backend-bytes";

impl Failure {
    /// A status other than OK.
    pub(super) fn status(endpoint: Endpoint, code: u32, message: String) -> Self {
        if message.contains("database space exceeded") {
            return Self::NoRoom { endpoint, message };
        }
        match LIMITS.iter().find(|(words, _)| message.contains(words)) {
            Some((_, advice)) => Self::Limit { endpoint, message, advice },
            None => Self::Status { endpoint, code, message },
        }
    }

    /// Whether the call certainly changed nothing. Of etcd's `Unavailable` only the one counts that is said
    /// before the request is looked at; all others may come while the request is on its way through the log.
    pub(super) fn changed_nothing(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Limit { .. } => true,
            Self::Lost { .. } | Self::NoRoom { .. } | Self::AnswerTooLarge { .. } => false,
            Self::Status { code: code::UNAVAILABLE, message, .. } => message == "etcdserver: no leader",
            Self::Status { code, .. } => !may_pass(*code),
        }
    }

    /// Whether the member was through with the call when it said this, done or not.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(self, Self::NoRoom { .. })
    }

    /// Whether another attempt, at another member perhaps, may fare better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Lost { .. } => true,
            Self::Limit { .. } | Self::NoRoom { .. } | Self::AnswerTooLarge { .. } => false,
            Self::Status { code, .. } => may_pass(*code),
        }
    }

    /// Whether what was asked for was compacted away.
    pub(super) fn is_compacted(&self) -> bool {
        matches!(self, Self::Status { code: code::OUT_OF_RANGE, message, .. } if message.contains("compacted"))
    }
}

/// Everything but what a member says of the request itself, before it does anything.
fn may_pass(code: u32) -> bool {
    ![
        code::INVALID_ARGUMENT,
        code::PERMISSION_DENIED,
        code::RESOURCE_EXHAUSTED,
        code::FAILED_PRECONDITION,
        code::OUT_OF_RANGE,
        code::UNIMPLEMENTED,
        code::UNAUTHENTICATED,
    ]
    .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u32, message: &str, wanted: (bool, bool)) {
        let endpoint: Endpoint = "https://e1:2379".parse().unwrap();
        let failure = Failure::status(endpoint, code, message.to_owned());
        assert_eq!((failure.changed_nothing(), failure.may_pass()), wanted, "{failure}");
    }

    #[test]
    fn only_what_is_said_before_the_log_is_certain() {
        check(14, "etcdserver: no leader", (true, true));
        check(14, "etcdserver: request timed out, possibly due to previous leader failure", (false, true));
        check(14, "etcdserver: leader changed", (false, true));
        check(14, "etcdserver: server stopped", (false, true));
        check(4, "context deadline exceeded", (false, true));
        check(3, "etcdserver: duplicate key given in txn request", (true, false));
        check(8, "etcdserver: too many requests", (true, false));
        check(7, "etcdserver: permission denied", (true, false));
    }

    #[test]
    fn no_room_is_said_after_the_last_of_it_was_taken() {
        let endpoint: Endpoint = "https://e1:2379".parse().unwrap();
        let failure = Failure::status(endpoint, 8, "etcdserver: mvcc: database space exceeded".to_owned());
        assert!(!failure.changed_nothing() && !failure.may_pass() && failure.is_an_answer());
        assert!(failure.to_string().contains("--quota-backend-bytes"), "{failure}");
    }

    #[test]
    fn what_flags_do_not_allow_names_the_flag() {
        let endpoint: Endpoint = "https://e1:2379".parse().unwrap();
        let failure = Failure::status(endpoint, 3, "etcdserver: too many operations in txn request".to_owned());
        let words =
            "etcd member https://e1:2379: etcdserver: too many operations in txn request; start every member with --max-txn-ops=4096";
        assert_eq!(failure.to_string(), words);
        assert!(failure.changed_nothing() && !failure.may_pass());
    }
}
