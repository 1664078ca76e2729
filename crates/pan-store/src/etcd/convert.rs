//! Transactions and entries, to etcd's messages and back.

use super::keys::{ForeignKey, Namespace};
use super::wire;
use super::wire::Operation;
use crate::error::CommitError;
use crate::txn::{Compare, Entry, Revision, Txn, Write};

pub(super) fn to_wire(revision: Revision) -> i64 {
    i64::try_from(revision.get()).expect("revisions come from etcd, which counts with 63 bits")
}

/// Never negative: zero is what etcd says of a key that does not exist.
pub(super) fn from_wire(revision: i64) -> Revision {
    Revision::new(u64::try_from(revision).unwrap_or(0))
}

/// `txn` for etcd. If a comparison fails, the answer tells the revision of each compared key.
pub(super) fn request(txn: &Txn, namespace: &Namespace) -> wire::TxnRequest {
    let compare = |compare: &Compare| wire::Compare::mod_revision(namespace.key(&compare.key), compare.revision.map_or(0, to_wire));
    let look = |compare: &Compare| range_of_one(namespace.key(&compare.key));
    let write = |write: &Write| match write {
        Write::Put { key, value } => Operation::Put(wire::PutRequest { key: namespace.key(key), value: value.clone() }),
        Write::Delete { key } => Operation::Delete(wire::DeleteRangeRequest { key: namespace.key(key) }),
    };
    let mut success: Vec<wire::RequestOp> = txn.writes.iter().map(|one| write(one).into()).collect();
    if success.is_empty() && txn.compares.is_empty() {
        // A transaction with nothing in it would be answered by a member without asking the others.
        success.push(range_of_one(vec![0]));
    }
    wire::TxnRequest { compare: txn.compares.iter().map(compare).collect(), success, failure: txn.compares.iter().map(look).collect() }
}

fn range_of_one(key: Vec<u8>) -> wire::RequestOp {
    Operation::Range(wire::RangeRequest { key, keys_only: true, ..wire::RangeRequest::default() }).into()
}

/// What became of `txn`.
pub(super) fn outcome(txn: &Txn, answer: wire::TxnResponse) -> Result<Revision, CommitError> {
    if answer.succeeded {
        return Ok(from_wire(answer.header.unwrap_or_default().revision));
    }
    let found = |response: wire::ResponseOp| {
        let entry = response.range.unwrap_or_default().kvs.into_iter().next();
        entry.map(|entry| from_wire(entry.mod_revision))
    };
    let looked = txn.compares.iter().zip(answer.responses.into_iter().map(found));
    match looked.into_iter().find(|(compare, found)| compare.revision != *found) {
        Some((compare, found)) => Err(CommitError::Conflict { key: compare.key.clone(), expected: compare.revision, found }),
        None => Err(CommitError::Io { source: "etcd says that a comparison failed, but all of them hold".into() }),
    }
}

/// One entry.
pub(super) fn entry(found: wire::KeyValue, namespace: &Namespace) -> Result<Entry, ForeignKey> {
    let revision = from_wire(found.mod_revision);
    Ok(Entry { key: namespace.strip(found.key)?, value: found.value, revision })
}
