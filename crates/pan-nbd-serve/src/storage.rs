//! What can be served, and under which names.

use std::future::Future;
use std::sync::Arc;

use pan_nbd::{Allocation, Catalog, CatalogError, Durability, Export, ExportIndex, Extents, Failure, Listing, Pace, Piece, Span, Stretch};

use crate::buffer::Buffer;

/// What a read found.
#[derive(Debug)]
pub struct Read {
    /// As long as the span.
    pub data: Buffer,
    /// Which of it need not be sent; empty if all is to be. Holes are zeroes in `data`, too.
    pub pieces: Vec<Piece>,
}

/// Block storage. All spans lie within it and are aligned to its export's blocks.
///
/// Requests of one connection, and of several, run at the same time: whoever implements this orders those that overlap. A
/// future that is dropped belongs to a client that is gone; what it had begun may happen or not, like any write that was
/// never acknowledged.
pub trait Storage: Send + Sync + 'static {
    /// Reads into `into`, which is as long as the span and has old bytes in it: all of it has to be written.
    ///
    /// # Errors
    /// For the client; so in all of these.
    fn read(&self, span: Span, into: Buffer) -> impl Future<Output = Result<Read, Failure>> + Send;

    /// # Errors
    /// For the client.
    fn write(&self, span: Span, data: Buffer, durability: Durability) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Everything acknowledged before this was called is on stable storage when it is done, on whichever connection.
    ///
    /// # Errors
    /// For the client.
    fn flush(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Gives space back, or not.
    ///
    /// # Errors
    /// For the client.
    fn trim(&self, span: Span, durability: Durability) -> impl Future<Output = Result<(), Failure>> + Send;

    /// # Errors
    /// For the client; [`pan_nbd::ErrorCode::NotSupported`] where only a fast way was wanted and there is none.
    fn zero(&self, span: Span, how: Zeroing) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Stretches from the beginning of the span on, at least one.
    ///
    /// # Errors
    /// For the client.
    fn status(&self, span: Span, extents: Extents) -> impl Future<Output = Result<Vec<Stretch>, Failure>> + Send;

    /// A read is to be expected; storage that gains nothing by knowing does nothing.
    ///
    /// # Errors
    /// For the client.
    fn cache(&self, span: Span) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = span;
        std::future::ready(Ok(()))
    }
}

/// How zeroes are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zeroing {
    pub durability: Durability,
    pub allocation: Allocation,
    pub pace: Pace,
}

/// Storage under names. Cheap to clone.
#[derive(Debug)]
pub struct Exports<S> {
    catalog: Arc<Catalog>,
    storages: Arc<[Arc<S>]>,
}

impl<S> Clone for Exports<S> {
    fn clone(&self) -> Self {
        Self { catalog: Arc::clone(&self.catalog), storages: Arc::clone(&self.storages) }
    }
}

impl<S> Exports<S> {
    /// # Errors
    /// What is wrong with the exports together.
    pub fn new(exports: Vec<(Export, Arc<S>)>, listing: Listing) -> Result<Self, CatalogError> {
        let (exports, storages): (Vec<_>, Vec<_>) = exports.into_iter().unzip();
        Ok(Self { catalog: Arc::new(Catalog::new(exports, listing)?), storages: storages.into() })
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    pub(crate) fn storage(&self, index: ExportIndex) -> Arc<S> {
        Arc::clone(&self.storages[index.0])
    }
}
