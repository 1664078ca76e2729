//! Whether members were started with the limits this crate counts on.

use super::client::Client;
use super::failure::Failure;
use super::grpc;
use super::keys::Namespace;
use super::member::REQUEST_BYTES_MAX;
use super::wire::{Compare, Method, TxnRequest, TxnResponse};
use crate::txn::OPERATIONS_MAX;

/// What members add to `--max-request-bytes` for the largest message they take; somewhat less of it.
const ALLOWANCE_BYTES: usize = 500 << 10;

/// Asks for a transaction that reads and writes nothing, and has as many comparisons and bytes as any may have.
///
/// # Errors
/// [`Failure::Limit`]. Any other failure says nothing about limits, and is none here.
pub(super) async fn check(client: &Client, namespace: &Namespace) -> Result<(), Failure> {
    let compare = |key| Compare::mod_revision(key, 0);
    let mut request = TxnRequest { compare: vec![compare(namespace.key("-")); OPERATIONS_MAX - 1], ..TxnRequest::default() };
    request.compare.push(compare(namespace.key(&"-".repeat(REQUEST_BYTES_MAX + ALLOWANCE_BYTES - length(&request)))));
    match client.attempt::<TxnResponse>(Method::Txn, grpc::frame(&request)).await {
        Err(limit @ Failure::Limit { .. }) => Err(limit),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn length(request: &TxnRequest) -> usize {
    prost::Message::encoded_len(request)
}
