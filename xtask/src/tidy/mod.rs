//! `cargo xtask tidy`: lengths, headers, names and leftovers, where no compiler looks.
//!
//! `files` finds what to look at, `source` reads Rust just well enough to see functions and statements,
//! `rules` are the rules, `allow` is the list of exceptions, which may only shrink.

mod allow;
mod check;
mod files;
mod rules;
mod source;

pub use check::check;
