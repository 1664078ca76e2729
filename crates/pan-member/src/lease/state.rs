//! How a lease stands, and what an acknowledgement did to it.

use crate::frame::LeaseState;
use crate::tick::Tick;

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not admitted yet.
    None,
    /// Servers may send, before `until`.
    Held { until: Tick },
    /// Admitted, and closed since then: by silence, or because no majority has granted this admission yet.
    Expired { since: Tick },
    /// Revoked: this admission never opens again.
    Fenced,
}

impl State {
    /// As a heartbeat says it.
    #[must_use]
    pub const fn on_the_wire(self) -> LeaseState {
        match self {
            Self::None => LeaseState::None,
            Self::Held { .. } => LeaseState::Held,
            Self::Expired { .. } => LeaseState::Expired,
            Self::Fenced => LeaseState::Fenced,
        }
    }
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The lease was closed and is held now: write the gate's deadline.
    Opened { until: Tick },
    /// The lease was held and is held for longer: write the gate's deadline.
    Renewed { until: Tick },
    /// It counts, and changes nothing yet.
    Counted,
    /// Some lessor has revoked this admission, and the lease is held: ask for a new admission before it ends.
    Doubted,
    /// The lease is over for this admission: shut the gate, end what is no longer ours, ask for a new admission.
    Fenced,
    /// It does not count.
    Ignored(Ignored),
}

/// Why an acknowledgement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Of another boot than this.
    OtherBoot,
    /// By a host that is no lessor.
    Stranger,
    /// Of another admission than the present one.
    OtherAdmission,
    /// The lessor is not ready.
    NotReady,
    /// The lessor has revoked this admission, or is behind: it has forgotten something.
    Forgetful,
    /// Of a heartbeat that was never sent, was sent before the present admission, or too long ago.
    UnknownHeartbeat,
    /// This admission is over.
    Fenced,
}
