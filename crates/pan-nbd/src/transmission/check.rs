//! Whether a request is fit to be done. Everything behind this file may rely on it.

use super::machine::Facts;
use super::reply::Form;
use super::request::{Allocation, Durability, Extents, Pace, Request, Span};
use super::ticket::{Cookie, ReadTicket, StatusTicket, Ticket};
use crate::catalog::Access;
use crate::failure::{ErrorCode, Failure};
use crate::numbers::{cmd, flag};

/// The head of a request as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub flags: u16,
    pub kind: u16,
    pub cookie: Cookie,
    pub offset: u64,
    pub length: u32,
}

/// What a command may be and do.
struct Rule {
    name: &'static str,
    flags: u16,
    changes: bool,
    /// Whether `length` bytes travel with it or with its reply.
    carries: bool,
    /// The error for a range beyond the end.
    beyond: ErrorCode,
}

/// `None` for commands that are not known, and for `NBD_CMD_DISC`, which is no request.
fn rule(kind: u16, structured: bool) -> Option<Rule> {
    let plain = |name, flags| Rule { name, flags: flag::FUA | flags, changes: false, carries: false, beyond: ErrorCode::Invalid };
    Some(match kind {
        cmd::READ => Rule { carries: true, ..plain("read", if structured { flag::DF } else { 0 }) },
        cmd::WRITE => Rule { changes: true, carries: true, beyond: ErrorCode::NoSpace, ..plain("write", 0) },
        cmd::FLUSH => plain("flush", 0),
        cmd::TRIM => Rule { changes: true, ..plain("trim", 0) },
        cmd::CACHE => plain("cache", 0),
        cmd::WRITE_ZEROES => {
            Rule { changes: true, beyond: ErrorCode::NoSpace, ..plain("write of zeroes", flag::NO_HOLE | flag::FAST_ZERO) }
        }
        cmd::BLOCK_STATUS => plain("block status", flag::REQ_ONE),
        _ => return None,
    })
}

/// # Errors
/// What the client is to be told.
pub(super) fn check(facts: &Facts, head: Head) -> Result<Request, Failure> {
    let structured = facts.form == Form::Structured;
    let refuse = |code, message: String| Err(Failure::new(code, message));
    if facts.shutting_down {
        return refuse(ErrorCode::ShuttingDown, "the server is ending".to_owned());
    }
    let Some(rule) = rule(head.kind, structured) else {
        return refuse(ErrorCode::Invalid, format!("command {} is not known here", head.kind));
    };
    let name = rule.name;
    if rule.changes && facts.access == Access::ReadOnly {
        return refuse(ErrorCode::NotPermitted, format!("{name}: this export can only be read"));
    }
    let unknown = head.flags & !rule.flags;
    if unknown != 0 {
        return refuse(ErrorCode::Invalid, format!("{name} with flags {unknown:#x}, which have no meaning there"));
    }
    let ticket = Ticket { cookie: head.cookie, form: facts.form };
    if head.kind == cmd::FLUSH {
        let empty = head.offset == 0 && head.length == 0;
        return if empty { Ok(Request::Flush { ticket }) } else { refuse(ErrorCode::Invalid, "flush of a range".to_owned()) };
    }
    if head.kind == cmd::BLOCK_STATUS && !facts.context {
        return refuse(ErrorCode::Invalid, "block status without a metadata context negotiated".to_owned());
    }
    let span = range(facts, &rule, head)?;
    Ok(request(head, span, ticket))
}

fn range(facts: &Facts, rule: &Rule, head: Head) -> Result<Span, Failure> {
    let (name, Head { offset, length, .. }) = (rule.name, head);
    let refuse = |code, message: String| Err(Failure::new(code, message));
    let minimum = facts.blocks.minimum();
    if length == 0 {
        return refuse(ErrorCode::Invalid, format!("{name} of nothing"));
    }
    if !offset.is_multiple_of(u64::from(minimum)) || !length.is_multiple_of(minimum) {
        return refuse(ErrorCode::Invalid, format!("{name} of {length} bytes at {offset}: not in blocks of {minimum} bytes"));
    }
    if rule.carries && length > facts.blocks.maximum() {
        let code = if head.flags & flag::DF == 0 { ErrorCode::Invalid } else { ErrorCode::Overflow };
        return refuse(code, format!("{name} of {length} bytes; at most {}", facts.blocks.maximum()));
    }
    let inside = offset.checked_add(u64::from(length)).is_some_and(|end| end <= facts.size.0);
    if !inside {
        return refuse(rule.beyond, format!("{name} of {length} bytes at {offset}, beyond the end at {}", facts.size.0));
    }
    Ok(Span { offset, length })
}

fn request(head: Head, span: Span, ticket: Ticket) -> Request {
    let has = |bit| head.flags & bit != 0;
    let durability = if has(flag::FUA) { Durability::Stable } else { Durability::Cached };
    match head.kind {
        cmd::READ => Request::Read { span, ticket: ReadTicket { plain: ticket, span, unfragmented: has(flag::DF) } },
        cmd::WRITE => Request::Write { span, durability, ticket },
        cmd::TRIM => Request::Trim { span, durability, ticket },
        cmd::WRITE_ZEROES => {
            let allocation = if has(flag::NO_HOLE) { Allocation::MustKeep } else { Allocation::MayDiscard };
            let pace = if has(flag::FAST_ZERO) { Pace::FastOnly } else { Pace::Any };
            Request::Zero { span, durability, allocation, pace, ticket }
        }
        cmd::BLOCK_STATUS => {
            let extents = if has(flag::REQ_ONE) { Extents::One } else { Extents::Many };
            Request::Status { span, extents, ticket: StatusTicket { plain: ticket, span, extents } }
        }
        cmd::CACHE => Request::Cache { span, ticket },
        other => unreachable!("command {other} has no rule"),
    }
}
