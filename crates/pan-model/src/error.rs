//! The documented error codes. Each has a page in `pan error CODE`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident $text:literal $page:literal,)*) => {
        /// What kind of refusal or failure an error is. The text form is the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $code,)*
        }

        impl Code {
            /// Every code, in the order of the help pages.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The code as printed, `PAN-nnn`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }

            /// What the code means and what to do about it.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self { $(Self::$code => $page,)* }
            }
        }
    };
}

codes! {
    /// A document or request cannot be read.
    Invalid "PAN-100" "A document or a request cannot be read: a syntax error, an unknown field, a wrong type or unit.\nThe message names the file, the line and the column, and what was expected there. Nothing was changed.\nDo: correct the place named; `pan explain KIND` lists the fields.",
    /// A documented field that this version cannot do.
    NotYet "PAN-101" "The field belongs to the documented interface, but this version cannot do it yet.\nIt is refused rather than ignored. Nothing was changed.\nDo: remove the field, or use a version that has it.",
    /// A name refers to something that does not exist.
    Dangling "PAN-102" "A document refers to an object that exists neither in the PAN nor in the documents being applied.\nDo: correct the name or add the missing object to the same apply.",
    /// Two documents define the same object.
    Duplicate "PAN-103" "The same object is defined twice in one apply.\nDo: keep one of them.",
    /// `after` or `with` runs in a circle.
    Cycle "PAN-104" "Clusters wait for each other in a circle, so none of them could ever start.\nDo: remove one of the `after` entries named in the message.",
    /// A value contradicts another object or is out of range.
    Conflict "PAN-105" "The value contradicts another one: an address taken, a port used twice, a network too small, a fixed field changed.\nThe message names both.",
    /// A promise could not be kept.
    Protection "PAN-200" "Admitting this would break a promise: after the failures that a cluster is protected against, some server would have no place.\nDo: ask for fewer or smaller servers, lower `protect.failures`, or add a node. `pan certify` shows what holds now.",
    /// There is no room at present.
    NoCapacity "PAN-201" "No node can take this now. `pan why KIND NAME` lists every node and what it lacks.",
    /// Above the limits of the partition.
    Quota "PAN-202" "The partition's own limit would be exceeded. The message names the limit, what is asked, used and allowed.",
    /// Not found, or not visible to the caller.
    NotFound "PAN-300" "There is no such object, or it is not yours to see.\nDo: `pan get` and the kind, such as `pan get cluster`, list what there is.",
    /// Credentials missing or wrong.
    Unauthenticated "PAN-400" "The request carried no valid token.\nDo: set PAN_TOKEN, or choose a context with `pan context use NAME`.",
    /// The principal may not do this.
    Denied "PAN-401" "The token is valid but may not do this.",
    /// Too many requests at a time.
    TooMany "PAN-402" "More requests were made in a second than the token, or its partition, may make. Nothing was done.\nDo: wait as long as the answer's header Retry-After says; watch (`pan get KIND -w`) instead of asking again and again.",
    /// A log is not what was written.
    Altered "PAN-403" "A line of the audit log is not what was written, or is missing: the message names the first that does not fit.\nDo: compare with an earlier export (`pan audit --verify --file FILE`), and find out who had access to the store.",
    /// The object is in a state in which this cannot be done.
    State "PAN-500" "The object is in a state in which this cannot be done; the message names the state and what would have to happen first.",
    /// Something referred to is still in use.
    InUse "PAN-501" "Other objects depend on this one.\nDo: delete them first, or use `--cascade`.",
    /// Something of that name is still being deleted.
    Leaving "PAN-502" "Something of that name is still being deleted, and what is asked for cannot take its place before it is gone.\nMostly it can: a server, cluster or partition that is wanted again is made anew by itself once the old one is gone.\nDo: ask again when it is gone: `pan wait KIND NAME --for deleted`. `pan apply --wait` does so by itself.",
    /// The wait ended before the condition held.
    TimedOut "PAN-600" "The condition waited for did not hold within the time given. What is missing is listed. The change itself stands.",
    /// The controller cannot be reached.
    Unreachable "PAN-601" "No controller answered at the address of the context.\nDo: `pan context show`; is the PAN up (`pan lab hosts`)?",
    /// A host did not answer.
    HostUnreachable "PAN-602" "The host that runs the server did not answer.\nDo: `pan get node`; the server moves by itself if the node is dead.",
    /// No controller leads at present.
    NotLeading "PAN-603" "No controller can decide at present: one is being chosen, or the store cannot be written. Servers run on.\nNothing was changed.\nDo: try again in a second; if it stays, the message and the controllers' logs name the reason (a full disk, too few members of the store: `pan --stale status` shows those that do not answer).",
    /// A change may or may not have been made.
    InDoubt "PAN-604" "Whether a change was written is not known: the store did not answer, or the controller stopped or was deposed before it did. It may have been made, as a whole or in part.\nDo: look (`pan get`, `pan events`) before asking again; what was declared with `pan apply` can be applied again without harm.",
    /// A bug or an environment failure.
    Internal "PAN-900" "Something failed that should not. The message has the details; the controller's log has more.",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let same = |code: &&Self| code.as_str().eq_ignore_ascii_case(text);
        Self::ALL.iter().find(same).copied().ok_or_else(|| format!("no error code {text:?}: they look like PAN-100"))
    }
}
