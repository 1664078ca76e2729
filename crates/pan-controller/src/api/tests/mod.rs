//! Tests of the whole front over real TLS connections, with a loop that answers everything.

mod access;
mod age;
mod audit;
mod harness;
mod hosts;
mod inside;
mod objects;
mod rates;
mod requests;
mod scope;
mod traffic;
mod watching;
