//! OCI images without I/O: bytes in, documents and changes to a root file system out.
//!
//! After the OCI image specification 1.1 (<https://github.com/opencontainers/image-spec/blob/v1.1.0/spec.md>), "the specification" in
//! this crate, and the older formats of Docker that registries still hold.
//!
//! - [`manifest`] reads indexes and manifests, and picks the image of this machine.
//! - [`config`] reads what an image says of the program to run: defaults under what a cluster says.
//! - [`tar`] reads archives, [`compression`] what they are packed in.
//! - [`layer`] turns a layer into calls of a [`Sink`]: the root file system below one folder.
//! - [`bounds`] is what all of that may cost. Whoever made an image is not trusted: nothing is allocated, made or skipped for a length or
//!   a number that it names before that has been counted.
//!
//! It must not know where bytes come from, nor where files go to.

pub mod bounds;
pub mod compression;
pub mod config;
mod digest;
mod error;
pub mod layer;
pub mod manifest;
mod path;
mod sink;
pub mod tar;
#[cfg(test)]
mod testing;
pub mod user;

pub use bounds::{Bounds, Budget};
pub use digest::digest;
pub use error::{Refusal, shown};
pub use layer::apply;
pub use sink::{Meta, Parent, Sink};
