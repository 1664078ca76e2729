//! The store in etcd.

use std::sync::Arc;

use rustls::ClientConfig;

use super::client::{Client, Repeat};
use super::convert;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::keys::Namespace;
use super::limits;
use super::pulse::Pulse;
use super::timing::Timing;
use super::watching;
use super::wire::{Method, RangeRequest, RangeResponse, TxnResponse};
use crate::error::{BoxError, CommitError, ReadError};
use crate::store::{Listing, Store};
use crate::txn::{Entry, Revision, Txn};
use crate::watch::Watch;

/// Longest prefix; what a transaction adds to its keys has to fit the members' limits.
pub const PREFIX_BYTES_MAX: usize = 64;

/// Entries asked for at once. Fewer, when they turn out to be large.
const PAGE: i64 = 1000;

/// Listings begun anew because etcd compacted what they were reading; each takes far less than the time
/// between two compactions.
const LISTINGS_MAX: usize = 3;

/// Where etcd is and how to speak to it.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// Every member, more than once if it has more than one address.
    pub endpoints: Vec<Endpoint>,
    /// Whom to trust and which certificate to show; what is said about protocols in it is replaced.
    pub tls: Arc<ClientConfig>,
    /// In front of every key, so that several stores fit into one etcd; at most [`PREFIX_BYTES_MAX`].
    pub prefix: String,
    /// How long to wait.
    pub timing: Timing,
}

/// There is no store to be had there.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no member of etcd is named")]
    NoEndpoint,
    #[error("the prefix has {found} bytes; at most {PREFIX_BYTES_MAX} are possible")]
    Prefix { found: usize },
    #[error("no member of etcd answers as it should; tried {}", list(.endpoints))]
    Unreachable { endpoints: Vec<Endpoint>, source: BoxError },
    #[error("etcd takes only small transactions")]
    Limits { source: BoxError },
}

fn list(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A [`Store`] in etcd 3.4 or later, for a PAN with several controllers.
///
/// Reads are linearizable: a member that is cut off from the others does not answer them. Watches have
/// connections of their own and go on when this is dropped. [`Store::watch`] wants to be called in a runtime.
#[derive(Debug)]
pub struct Etcd {
    client: Arc<Client>,
    namespace: Namespace,
}

impl Etcd {
    /// Finds a member that answers, and checks that it takes transactions of the size this crate promises.
    ///
    /// # Errors
    /// [`ConnectError`]. What it says about flags is said of the one member that answered.
    pub async fn connect(options: EtcdOptions) -> Result<Self, ConnectError> {
        let EtcdOptions { endpoints, tls, prefix, timing } = options;
        if endpoints.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(ConnectError::Prefix { found: prefix.len() });
        }
        let client = Arc::new(Client::new(endpoints, &tls, timing));
        let etcd = Self { client, namespace: Namespace::new(prefix) };
        etcd.check().await?;
        Ok(etcd)
    }

    /// Asks each member whether it answers, on connections of its own.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse::of(Arc::clone(&self.client))
    }

    async fn check(&self) -> Result<(), ConnectError> {
        let unreachable =
            |failure: Failure| ConnectError::Unreachable { endpoints: self.client.endpoints().to_vec(), source: failure.into() };
        let one = RangeRequest { key: vec![0], limit: 1, keys_only: true, ..RangeRequest::default() };
        self.client.call::<RangeResponse>(Method::Range, &one, Repeat::Reading).await.map_err(unreachable)?;
        limits::check(&self.client, &self.namespace).await.map_err(|failure| ConnectError::Limits { source: failure.into() })
    }

    /// All pages of one listing, as they stood at the revision of the first.
    async fn pages(&self, prefix: &str) -> Result<Listing, Failed> {
        let (mut key, range_end) = self.namespace.range(prefix);
        let (mut revision, mut entries, mut limit) = (0, Vec::<Entry>::new(), PAGE);
        loop {
            let request = RangeRequest { key: key.clone(), range_end: range_end.clone(), limit, revision, keys_only: false };
            let answer = match self.client.call::<RangeResponse>(Method::Range, &request, Repeat::Reading).await {
                Ok(answer) => answer,
                Err(Failure::AnswerTooLarge { .. }) if limit > 1 => {
                    limit = (limit / 8).max(1);
                    continue;
                }
                Err(failure) => return Err(Failed::Call(failure)),
            };
            if revision == 0 {
                revision = answer.header.unwrap_or_default().revision;
            }
            if let Some(last) = answer.kvs.last() {
                // The first possible key after it.
                key = [last.key.as_slice(), &[0]].concat();
            }
            for found in answer.kvs {
                entries.push(convert::entry(found, &self.namespace).map_err(|error| Failed::Key(error.into()))?);
            }
            if !answer.more {
                return Ok(Listing { revision: convert::from_wire(revision), entries });
            }
        }
    }
}

enum Failed {
    Call(Failure),
    Key(BoxError),
}

impl Store for Etcd {
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        let mut tried = 1;
        loop {
            let source = match self.pages(prefix).await {
                Ok(listing) => return Ok(listing),
                Err(Failed::Call(failure)) if failure.is_compacted() && tried < LISTINGS_MAX => {
                    tried += 1;
                    continue;
                }
                Err(Failed::Call(failure)) => failure.into(),
                Err(Failed::Key(error)) => error,
            };
            return Err(ReadError::Io { prefix: prefix.to_owned(), source });
        }
    }

    async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        txn.check()?;
        let request = convert::request(txn, &self.namespace);
        match self.client.call::<TxnResponse>(Method::Txn, &request, Repeat::Writing).await {
            Ok(answer) => convert::outcome(txn, answer),
            Err(failure) if failure.changed_nothing() => Err(CommitError::Io { source: failure.into() }),
            Err(failure) => Err(CommitError::InDoubt { settled: failure.is_an_answer(), source: failure.into() }),
        }
    }

    fn watch(&self, prefix: &str, after: Revision) -> Watch {
        watching::start(Arc::clone(&self.client), self.namespace.clone(), prefix, after)
    }
}
