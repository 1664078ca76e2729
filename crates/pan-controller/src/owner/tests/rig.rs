//! The loop of controller c1 with everything around it but sockets: what it says to the ear is kept, the store does as it is told.

use crate::core::age::Limit;
use crate::core::audit::Actor;
use crate::core::request::{Reply, Request};
use crate::core::world::{Dirty, Settings, World};
use crate::core::{hosts, persist};
use crate::ear::{Asker, Ear, Order};
use crate::handle::{Handle, Message, View};
use crate::owner::{Inbox, Links, Owner, now};
use crate::seal::Sealer;
use crate::sure::{self, Sure};
use arc_swap::ArcSwap;
use pan_api::ApiError;
use pan_api::report::{Hello, Report};
use pan_api::token::AccessRole;
use pan_linux::datagram::Waker;
use pan_member::{Profile, Timing};
use pan_model::HostName;
use pan_model::host::Role;
use pan_store::{AnyStore, Faulty, Store, Txn};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Long enough for anything on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it should have happened by now")
}

/// Waits until something holds.
pub async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    soon(waiting).await;
}

pub fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

pub fn lan() -> Timing {
    Profile::Lan.timing(7)
}

fn settings() -> Settings {
    Settings {
        outside: Vec::new(),
        pools: Vec::new(),
        reserved: Vec::new(),
        host_image_allowed: false,
        layer7: false,
        egress: None,
        reach: None,
        mtu: 1430,
        lessors: Vec::new(),
    }
}

/// How a host without servers presents itself; its number makes its addresses.
fn hello(name: &str) -> Hello {
    let number: u8 = name[1..].parse().unwrap();
    let address = |fabric: u8| [10, 200, fabric, number].into();
    let (version, software) = (pan_api::WIRE_VERSION, "0".to_owned());
    let roles = vec![Role::Controller];
    Hello { version, host: host(name), roles, software, address: address(0), a: address(1), b: address(2), node: None, storage: None }
}

pub struct Rig {
    pub handle: Handle,
    store: Arc<AnyStore>,
    said: std::sync::mpsc::Receiver<Order>,
    ear: mpsc::Sender<Message>,
    arrived: watch::Receiver<usize>,
    tasks: JoinSet<()>,
}

impl Rig {
    async fn following_in(store: Faulty) -> Self {
        let (mut rig, owner) = Self::stopped(store).await;
        rig.tasks.spawn(sure::keep(rig.store.clone(), rig.handle.sure.clone(), lan()));
        rig.tasks.spawn(async move { owner.work().await.unwrap() });
        rig
    }

    /// A controller that follows and whose loop does not turn.
    pub async fn stopped(store: Faulty) -> (Self, Owner) {
        let arrived = store.arrived();
        let store = Arc::new(AnyStore::Faulty(store));
        let (inbox, asked) = mpsc::channel(64);
        let (ear, heard) = mpsc::channel(16);
        let (orders, said) = std::sync::mpsc::channel();
        let (changed, changes) = watch::channel(0);
        let handle = Handle {
            view: Arc::new(ArcSwap::from_pointee(View::default())),
            changes,
            inbox,
            desires: Arc::default(),
            metrics: Arc::default(),
            store_lost: Arc::default(),
            members: Arc::default(),
            sure: Sure::new(Limit::of(&lan(), 3)),
            run_dir: std::path::Path::new("/nowhere").into(),
        };
        let links = Links {
            store: store.clone(),
            ear: Ear { orders, waker: Waker::new().unwrap(), protected: Arc::default() },
            inbox: Inbox { heard, asked, kept: VecDeque::new() },
            record_asker: Asker::new().0,
            handle: handle.clone(),
            changed,
        };
        let mut owner = Owner::new(host("c1"), 1, World::new(settings()), links, Sealer::new([3; 32]));
        owner.reload().await.unwrap();
        owner.publish();
        (Self { handle, store, said, ear, arrived, tasks: JoinSet::new() }, owner)
    }

    /// A controller that follows.
    pub async fn following() -> Self {
        Self::following_in(Faulty::new()).await
    }

    /// A controller that follows, to which the store says nothing of what others commit.
    pub async fn deaf() -> Self {
        let store = Faulty::new();
        store.fall_silent();
        Self::following_in(store).await
    }

    /// A controller that leads.
    pub async fn leading() -> Self {
        let mut rig = Self::following().await;
        rig.hears(Message::Take { expected: 0, term: 1 }).await;
        rig.becomes(|view| view.leads).await;
        rig.orders();
        rig.arrived.mark_unchanged();
        rig
    }

    pub fn store(&self) -> &Faulty {
        let AnyStore::Faulty(store) = &*self.store else { unreachable!("it was made with this one") };
        store
    }

    /// What the ear was told since the last time.
    pub fn orders(&self) -> Vec<Order> {
        self.said.try_iter().collect()
    }

    /// Waits for a view.
    pub async fn becomes(&self, holds: impl Fn(&View) -> bool) {
        until(|| holds(&self.handle.view())).await;
    }

    /// The ear says something.
    pub async fn hears(&self, message: Message) {
        assert!(self.ear.send(message).await.is_ok());
    }

    /// Waits until one more transaction has come to the store.
    pub async fn another_arrives(&mut self) {
        soon(self.arrived.changed()).await.unwrap();
        self.arrived.mark_unchanged();
    }

    /// How many transactions have come to the store.
    pub fn count(&self) -> usize {
        *self.arrived.borrow()
    }

    /// A host presents itself; what is received is the answer.
    pub fn says_hello(&self, name: &str) -> oneshot::Receiver<Result<(), ApiError>> {
        let (answer, answered) = oneshot::channel();
        assert!(self.handle.inbox.try_send(Message::Hello(hello(name), answer)).is_ok());
        answered
    }

    /// A host says that something is wrong with it.
    pub async fn reports(&self, name: &str, problem: &str) -> Result<(), ApiError> {
        let report: Report = serde_json::from_value(json!({
            "version": pan_api::WIRE_VERSION, "host": name, "role": "controller", "boot": 1, "sequence": 1,
            "applied": {"term": 0, "step": 0}, "problems": [problem],
        }))
        .unwrap();
        soon(self.handle.report(report)).await
    }

    /// An administrator asks for something.
    pub async fn asks(&self, request: Request) -> Result<Reply, ApiError> {
        let (answer, answered) = oneshot::channel();
        let actor = Actor::new(None, None, AccessRole::PanAdministrator, None);
        assert!(self.handle.inbox.try_send(Message::Request(Box::new(actor), request, answer)).is_ok());
        soon(answered).await.unwrap()
    }

    /// All that is in the store, as text.
    pub async fn stored(&self) -> String {
        let listing = self.store().elsewhere().list("").await.unwrap();
        listing
            .entries
            .iter()
            .map(|entry| format!("{} {} {}\n", entry.revision, entry.key, String::from_utf8_lossy(&entry.value)))
            .collect()
    }

    /// What controller c9 writes when it takes over.
    pub async fn somebody_takes(&self) -> Txn {
        let listing = self.store().elsewhere().list("").await.unwrap();
        let entries = listing.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_slice()));
        let mut world = persist::load(settings(), entries).unwrap();
        hosts::hello(&mut world, now(), &hello("c9")).unwrap();
        (world.pan.term, world.pan.leader, world.pan.instance) = (world.pan.term + 1, Some(host("c9")), 2);
        [Dirty::Pan, Dirty::Host(host("c9"))].iter().fold(Txn::new(), |txn, dirty| {
            let (key, value) = persist::write_of(&world, dirty);
            txn.put(key, value.unwrap())
        })
    }
}
