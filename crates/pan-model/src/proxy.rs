//! What an HTTP proxy is to do, whole: the document that directors give to `pan proxy`, and whoever runs it by hand. Here, so
//! that those who write documents need not know how they are carried out.

mod authority;
mod condition;
mod counts;
mod edit;
mod explain;
mod limits;
mod path;
mod route;
mod rule;
mod spec;

pub use authority::is_authority;
pub use condition::{Condition, HostPattern, PathPattern, is_header_value, is_token};
pub use counts::{BOUNDS, ServerCounts, ServiceCounts};
pub use edit::{EditSpec, HOP_BY_HOP, HeaderSpec};
pub use explain::{Explained, Out, Picked, Question, RuleSaid, Score};
pub use limits::{Limits, Timeouts};
pub use path::{BadPath, canonical, host_of};
pub use route::{MatchSpec, RedirectSpec, RouteSpec};
pub use rule::{RequestVariable, request_rule};
pub use spec::{
    BackendSpec, BalanceSpec, CapSpec, CertificateSpec, ClusterSpec, Forwarding, Misfit, Protocol, ProxyProtocol, ProxySpec, RetrySpec,
    ServiceSpec, StickySpec,
};
