//! Why the host's network cannot be kept at all.

/// Why the host's network cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel gives no socket to talk about links and routes.
    #[error("talk to the kernel about links and routes")]
    Rtnl(#[from] pan_linux::rtnl::RtnlError),
    /// Routes between hosts.
    #[error(transparent)]
    Underlay(#[from] pan_linux::underlay::UnderlayError),
    /// Partition networks.
    #[error(transparent)]
    Overlay(#[from] pan_linux::overlay::OverlayError),
    /// What servers' ports may send.
    #[error(transparent)]
    Guard(#[from] pan_linux::guard::GuardError),
    /// No thread for it.
    #[error("start the thread that keeps the network")]
    Thread(#[source] std::io::Error),
}
