//! The part of etcd's protocol that is used here, as its protobuf messages.
//!
//! Names and tags are those of `etcdserverpb/rpc.proto` and `mvccpb/kv.proto`, which are the same in
//! etcd 3.4 to 3.6. Fields left out here are skipped when they come, and have their default when sent.

/// A method, as the path of its HTTP/2 request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Range,
    Txn,
    Watch,
    MemberList,
    MemberAdd,
    MemberRemove,
}

impl Method {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Range => "/etcdserverpb.KV/Range",
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::Watch => "/etcdserverpb.Watch/Watch",
            Self::MemberList => "/etcdserverpb.Cluster/MemberList",
            Self::MemberAdd => "/etcdserverpb.Cluster/MemberAdd",
            Self::MemberRemove => "/etcdserverpb.Cluster/MemberRemove",
        }
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ResponseHeader {
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
}

/// Keys from `key` up to, without, `range_end`; `key` alone if that is empty.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    /// Zero: the newest.
    #[prost(int64, tag = "4")]
    pub(super) revision: i64,
    #[prost(bool, tag = "8")]
    pub(super) keys_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RequestOp {
    #[prost(oneof = "Operation", tags = "1, 2, 3")]
    pub(super) request: Option<Operation>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Operation {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

impl From<Operation> for RequestOp {
    fn from(operation: Operation) -> Self {
        Self { request: Some(operation) }
    }
}

/// Answers to writes carry nothing that is needed here.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub(super) range: Option<RangeResponse>,
}

/// The `result` of a comparison: equality, the only one used.
const RESULT_EQUAL: i32 = 0;
/// The `target` of a comparison: the revision of the last write, zero for a key that does not exist.
const TARGET_MOD: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    #[prost(oneof = "Target", tags = "6")]
    union: Option<Target>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
enum Target {
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

impl Compare {
    /// Holds when `key` was last written at `revision`; zero: when it does not exist.
    pub(super) fn mod_revision(key: Vec<u8>, revision: i64) -> Self {
        Self { result: RESULT_EQUAL, target: TARGET_MOD, key, union: Some(Target::ModRevision(revision)) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub(super) failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(super) responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WatchRequest {
    #[prost(oneof = "WatchCommand", tags = "1, 3")]
    pub(super) command: Option<WatchCommand>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum WatchCommand {
    #[prost(message, tag = "1")]
    Create(WatchCreate),
    /// Asks for a message with nothing in it but the header.
    #[prost(message, tag = "3")]
    Progress(WatchProgress),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct WatchProgress {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct WatchCreate {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    /// The first revision told of; zero would be: from now on.
    #[prost(int64, tag = "3")]
    pub(super) start_revision: i64,
    /// Whether a large message may come in parts.
    #[prost(bool, tag = "8")]
    pub(super) fragment: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WatchResponse {
    #[prost(bool, tag = "4")]
    pub(super) canceled: bool,
    /// With `canceled`: changes before this revision are no longer kept.
    #[prost(int64, tag = "5")]
    pub(super) compact_revision: i64,
    #[prost(string, tag = "6")]
    pub(super) cancel_reason: String,
    /// Whether the rest of this message is in the next.
    #[prost(bool, tag = "7")]
    pub(super) fragment: bool,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    /// 0: put, 1: deleted.
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) kv: Option<KeyValue>,
}

/// The `kind` of a deletion.
pub(super) const EVENT_DELETE: i32 = 1;

/// A member as the members know it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ListedMember {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// Empty until it has started for the first time.
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) client_urls: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct MemberListRequest {
    /// Since etcd 3.5; before, a member tells what it knows itself.
    #[prost(bool, tag = "1")]
    pub(super) linearizable: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct MemberAddRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) peer_urls: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct MemberAddResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) member: Option<ListedMember>,
    #[prost(message, repeated, tag = "3")]
    pub(super) members: Vec<ListedMember>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct MemberRemoveRequest {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
}

/// Who answered.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct MemberHeader {
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
}

/// The answer to a list, and to a removal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct MembersResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<MemberHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(super) members: Vec<ListedMember>,
}

impl MembersResponse {
    /// The name of the member that answered.
    pub(super) fn teller(&self) -> Option<String> {
        let id = self.header?.member_id;
        self.name_of(|member| member.id == id)
    }

    /// The name of the member that says to listen there.
    pub(super) fn listener(&self, url: &str) -> Option<String> {
        self.name_of(|member| member.client_urls.iter().any(|there| there == url))
    }

    fn name_of(&self, is_it: impl Fn(&ListedMember) -> bool) -> Option<String> {
        let member = self.members.iter().find(|member| is_it(member))?;
        Some(member.name.clone()).filter(|name| !name.is_empty())
    }
}
