//! Guard: what keeps a decision from doing harm. Each is a room of its own and works alone;
//! [`crate::balancer`] puts them together.

pub mod budget;
pub mod outlier;
pub mod panic;
pub mod queue;
pub mod slow_start;
pub mod sticky;

pub use budget::Budget;
pub use outlier::Outliers;
pub use queue::Queue;
pub use slow_start::SlowStart;
pub use sticky::Sticky;
