//! The proxy: threads that listen, each with a runtime of its own, and what they share.

use super::connection;
use super::explain::{self, Explained, Question};
use super::gate::Clock;
use super::live::{ApplyError, Live};
use super::pool::Pool;
use super::tls::Tickets;
use crate::tally::{Number, ServiceCounts};
use arc_swap::ArcSwap;
use pan_balance::Draws;
use pan_model::proxy::{Misfit, ProxySpec};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

/// How often time goes on for balancers, and for connections at rest.
pub const TICK: Duration = Duration::from_millis(100);

/// After an error of `accept`, which is most often that there are no descriptors, none is asked for so long.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Connections that wait to be accepted; Linux allows 4096 unless told otherwise.
const BACKLOG: i32 = 4096;

/// How a proxy works.
#[derive(Debug, Default)]
pub struct Settings {
    /// Threads; one for each core if none.
    pub threads: Option<usize>,
    /// Where lines of the access log go. One that finds it full is lost and counted: a slow reader stops no request.
    pub access: Option<mpsc::Sender<String>>,
    /// Listen also on addresses that are not here (yet), ip(7) `IP_FREEBIND`: they come and go without this process.
    pub absent_addresses: bool,
}

/// What all threads know.
pub struct Shared {
    /// What is in force.
    pub live: ArcSwap<Live>,
    /// Whether it is about to end.
    pub draining: watch::Sender<bool>,
    /// Connections that are open.
    pub open: watch::Sender<usize>,
    /// Sockets that are listened on.
    listeners: watch::Sender<usize>,
    clock: Clock,
    access: Option<mpsc::Sender<String>>,
    lost: Number,
}

impl Shared {
    /// Whether lines are wanted.
    pub fn logs(&self) -> bool {
        self.access.is_some()
    }

    /// Writes a line.
    pub fn log(&self, line: String) {
        if self.access.as_ref().is_some_and(|access| access.try_send(line).is_err()) {
            self.lost.add(1);
        }
    }
}

/// A thread.
pub struct Worker {
    /// What all know.
    pub shared: Arc<Shared>,
    /// Its connections to servers.
    pub pool: Pool,
    draws: Mutex<Draws>,
}

impl Worker {
    /// Any number.
    pub fn draw(&self) -> u64 {
        self.draws.lock().expect("nobody panics who holds it").draw()
    }
}

enum Order {
    Listen(SocketAddr, std::net::TcpListener, Listening),
    Close(SocketAddr),
    /// No thread waits for connections that do not end.
    Stop,
}

/// Counts a socket as long as connections are accepted there.
struct Listening(Arc<Shared>);

impl Listening {
    fn count(shared: &Arc<Shared>) -> Self {
        shared.listeners.send_modify(|listeners| *listeners += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listeners.send_modify(|listeners| *listeners -= 1);
    }
}

struct Thread {
    orders: mpsc::UnboundedSender<Order>,
    handle: Option<JoinHandle<()>>,
}

/// A running proxy. It stops at once when dropped; [`Proxy::drain`] lets it finish.
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
    absent_addresses: bool,
    /// By address of the document, the one that it is.
    listening: Mutex<BTreeMap<SocketAddr, SocketAddr>>,
}

impl Proxy {
    /// Starts one that does nothing yet.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made, or the system gives no random numbers.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let Settings { threads, access, absent_addresses } = settings;
        let count = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        let shared = Arc::new(Shared {
            live: ArcSwap::from_pointee(Live::new(Tickets::new().map_err(io::Error::other)?)),
            draining: watch::Sender::new(false),
            open: watch::Sender::new(0),
            listeners: watch::Sender::new(0),
            clock: Clock::start(),
            access,
            lost: Number::default(),
        });
        let threads = (0..count).map(|number| thread(number, &shared)).collect::<io::Result<_>>()?;
        Ok(Self { shared, threads, absent_addresses, listening: Mutex::default() })
    }

    /// Puts a document in force, whole or not at all. Connections that are open stay; their next request goes by the
    /// new one.
    ///
    /// # Errors
    /// The document does not fit together, or an address cannot be listened on. What was in force still is.
    pub fn apply(&self, spec: &ProxySpec) -> Result<(), ApplyError> {
        // One at a time, from here to the end.
        let mut listening = self.listening.lock().expect("nobody panics who holds it");
        let (live, pending) = self.shared.live.load().compile(spec, self.shared.clock)?;
        let mut opened = Vec::new();
        for address in live.addresses().filter(|address| !listening.contains_key(address)) {
            let sockets = self.bind(address).map_err(|source| ApplyError::Listen { address, source })?;
            opened.push((address, sockets));
        }
        let gone: Vec<SocketAddr> = listening.keys().copied().filter(|address| !live.addresses().any(|kept| kept == *address)).collect();
        pending.carry_out();
        self.shared.live.store(Arc::new(live));
        for (address, (actual, sockets)) in opened {
            listening.insert(address, actual);
            for (thread, socket) in self.threads.iter().zip(sockets) {
                let _ = thread.orders.send(Order::Listen(address, socket, Listening::count(&self.shared)));
            }
        }
        for address in gone {
            listening.remove(&address);
            self.order(|| Order::Close(address));
        }
        Ok(())
    }

    /// Where an address of the document is listened on: another only if it has the port 0.
    #[must_use]
    pub fn address(&self, listen: SocketAddr) -> Option<SocketAddr> {
        self.listening.lock().expect("nobody panics who holds it").get(&listen).copied()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Vec<ServiceCounts> {
        self.shared.live.load().counts()
    }

    /// Why a request would go where it would go.
    ///
    /// # Errors
    /// There is no such service, or the request is none.
    pub fn explain(&self, question: &Question) -> Result<Explained, Misfit> {
        explain::explain(&self.shared.live.load(), question)
    }

    /// Lines of the access log that were lost.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.shared.lost.get()
    }

    /// Accepts nothing more and lets requests end, for `limit` at most. Says how many connections are left then; they are cut when this is dropped.
    pub async fn drain(&self, limit: Duration) -> usize {
        let addresses: Vec<SocketAddr> = self.listening.lock().expect("nobody panics who holds it").keys().copied().collect();
        for address in addresses {
            self.order(|| Order::Close(address));
        }
        self.shared.draining.send_replace(true);
        let (mut listeners, mut open) = (self.shared.listeners.subscribe(), self.shared.open.subscribe());
        let ended = async {
            // In this order: what waits to be accepted is accepted still.
            let _ = listeners.wait_for(|listeners| *listeners == 0).await;
            let _ = open.wait_for(|open| *open == 0).await;
        };
        let _ = tokio::time::timeout(limit, ended).await;
        *self.shared.open.borrow()
    }

    fn order(&self, order: impl Fn() -> Order) {
        for thread in &self.threads {
            let _ = thread.orders.send(order());
        }
    }

    /// A socket for each thread: the kernel spreads connections over them.
    fn bind(&self, address: SocketAddr) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
        let mut actual = address;
        let mut sockets = Vec::new();
        for _ in &self.threads {
            let socket = self.listen(actual)?;
            actual = socket.local_addr()?;
            sockets.push(socket);
        }
        Ok((actual, sockets))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            // Each family is a service's own address.
            socket.set_only_v6(true)?;
        }
        if self.absent_addresses {
            if address.is_ipv6() { socket.set_freebind_v6(true)? } else { socket.set_freebind_v4(true)? }
        }
        // Those that are accepted have it, too (tcp(7)).
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.order(|| Order::Stop);
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take()
                && handle.join().is_err()
            {
                tracing::error!("a thread of the proxy panicked");
            }
        }
    }
}

fn thread(number: usize, shared: &Arc<Shared>) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Turns of different threads need not differ from run to run, only from each other.
    let draws = Mutex::new(Draws::seeded(number as u64));
    let worker = Arc::new(Worker { shared: Arc::clone(shared), pool: Pool::default(), draws });
    let (orders, received) = mpsc::unbounded_channel();
    let handle = std::thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
        runtime.block_on(work(worker, received, number == 0));
        // Whatever is still open ends with its runtime.
        runtime.shutdown_background();
    })?;
    Ok(Thread { orders, handle: Some(handle) })
}

async fn work(worker: Arc<Worker>, mut orders: mpsc::UnboundedReceiver<Order>, first: bool) {
    let mut listening: BTreeMap<SocketAddr, oneshot::Sender<()>> = BTreeMap::new();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Listen(address, socket, counted)) => {
                    let (open, closed) = oneshot::channel();
                    listening.insert(address, open);
                    let worker = Arc::clone(&worker);
                    tokio::spawn(async move {
                        accept(worker, address, socket, closed).await;
                        drop(counted);
                    });
                }
                Some(Order::Close(address)) => drop(listening.remove(&address)),
                Some(Order::Stop) | None => {
                    worker.pool.clear();
                    return;
                }
            },
            _ = ticks.tick() => {
                worker.pool.tidy();
                if first {
                    worker.shared.live.load().tick();
                }
            }
        }
    }
}

/// Accepts until `closed` is, and then what waits already: the kernel resets whatever is not accepted when a socket closes.
async fn accept(worker: Arc<Worker>, listen: SocketAddr, socket: std::net::TcpListener, mut closed: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%listen, %error, "cannot wait for connections");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = &mut closed => return,
        };
        match accepted {
            Ok((stream, client)) => drop(tokio::spawn(connection::serve(Arc::clone(&worker), listen, stream, client))),
            Err(error) => {
                tracing::warn!(%listen, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
