//! One caller's way to one node: a socket of its own, and a flow for each address from which the caller sends.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::lane::{Lane, Sent};
use super::weather::{Party, Weather};
use crate::simulate::SeedTree;

/// Largest datagram of UDP.
const DATAGRAM_MAX: usize = 65_535;
/// Datagrams between the link's socket and a flow; a further one is lost, as in a full socket buffer.
const QUEUE_MAX: usize = 1_024;
/// A flow without a datagram for so long is forgotten: longer than a silent connection lives.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Flows of one link. A caller that restarts begins a new one; datagrams of further ones are lost.
const FLOWS_MAX: usize = 256;

/// A running link; it ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    running: AbortHandle,
}

/// Between whom, and how.
#[derive(Debug, Clone)]
pub struct Route {
    /// Who calls.
    pub from: Party,
    /// Who is called.
    pub to: Party,
    /// Where it listens.
    pub target: SocketAddr,
    /// The address of this machine that the link has its sockets at.
    pub at: Ipv4Addr,
    /// What happens to datagrams.
    pub weather: Arc<Weather>,
    /// Where everything drawn comes from.
    pub seeds: SeedTree,
}

/// One flow, as the link's socket sees it.
struct Flow {
    datagrams: mpsc::Sender<Vec<u8>>,
    running: AbortHandle,
}

impl Link {
    /// Opens a route on a free port.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub async fn open(route: Route) -> io::Result<Self> {
        let socket = UdpSocket::bind((route.at, 0)).await?;
        let address = socket.local_addr()?;
        let running = tokio::spawn(route.serve(socket)).abort_handle();
        Ok(Self { address, running })
    }

    /// Where the caller is to send.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Route {
    async fn serve(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let (mut flows, mut tasks) = (HashMap::<SocketAddr, Flow>::new(), JoinSet::new());
        let (mut buffer, mut opened) = (vec![0; DATAGRAM_MAX], 0);
        loop {
            // An error tells of a datagram that was sent before; the socket stays good.
            let Ok((len, source)) = socket.recv_from(&mut buffer).await else { continue };
            while tasks.try_join_next().is_some() {}
            if flows.get(&source).is_none_or(|flow| flow.running.is_finished()) {
                flows.retain(|_, flow| !flow.running.is_finished());
                if flows.len() >= FLOWS_MAX {
                    self.weather.counts.overflowed.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let Ok(upstream) = self.upstream().await else { continue };
                let (datagrams, incoming) = mpsc::channel(QUEUE_MAX);
                opened += 1;
                let running = tasks.spawn(self.clone().carry(opened, source, Arc::clone(&socket), upstream, incoming));
                flows.insert(source, Flow { datagrams, running });
            }
            if flows.get(&source).is_some_and(|flow| flow.datagrams.try_send(buffer[..len].to_vec()).is_err()) {
                self.weather.counts.overflowed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn upstream(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((self.at, 0)).await?;
        socket.connect(self.target).await?;
        Ok(socket)
    }

    /// Carries one flow in both directions. What cannot be sent is lost, as datagrams are.
    async fn carry(
        self,
        number: u64,
        source: SocketAddr,
        listener: Arc<UdpSocket>,
        upstream: UdpSocket,
        mut incoming: mpsc::Receiver<Vec<u8>>,
    ) {
        let part = |way: &str| self.seeds.rng(&format!("{way} between {} and {}", self.from, self.to), number);
        let mut there = Lane::new(self.from, self.to, Arc::clone(&self.weather), part("there"));
        let mut back = Lane::new(self.to, self.from, Arc::clone(&self.weather), part("back"));
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let now = Instant::now();
            let due = [there.next_due(), back.next_due()].into_iter().flatten().min();
            tokio::select! {
                datagram = incoming.recv() => {
                    let Some(datagram) = datagram else { return };
                    if there.take(&datagram, Instant::now()) == Sent::Now {
                        let _ = upstream.send(&datagram).await;
                    }
                }
                received = upstream.recv(&mut buffer) => {
                    if let Ok(len) = received
                        && back.take(&buffer[..len], Instant::now()) == Sent::Now
                    {
                        let _ = listener.send_to(&buffer[..len], source).await;
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or(now + IDLE_MAX)) => if due.is_none() { return },
            }
            let now = Instant::now();
            while let Some(datagram) = there.due(now) {
                let _ = upstream.send(&datagram).await;
            }
            while let Some(datagram) = back.due(now) {
                let _ = listener.send_to(&datagram, source).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use warifu_protocol::NodeId;

    use super::*;
    use crate::proxy::Faults;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A caller, the node that it calls, and the link between them.
    struct Pair {
        caller: UdpSocket,
        node: UdpSocket,
        link: Link,
        weather: Arc<Weather>,
    }

    const CALLER: Party = Party::Coordinator(0);

    fn called() -> Party {
        Party::Node(NodeId::new(1).expect("a node id"))
    }

    impl Pair {
        async fn must_open() -> Self {
            let (caller, node) = (must_bind().await, must_bind().await);
            let weather = Arc::new(Weather::default());
            let target = node.local_addr().expect("it is bound");
            let (at, seeds) = (Ipv4Addr::LOCALHOST, SeedTree::new(1));
            let route = Route { from: CALLER, to: called(), target, at, weather: Arc::clone(&weather), seeds };
            let link = Link::open(route).await.expect("a socket");
            Self { caller, node, link, weather }
        }

        async fn must_call(&self, text: &[u8]) {
            self.caller.send_to(text, self.link.address()).await.expect("loopback takes it");
        }
    }

    async fn must_bind() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port")
    }

    async fn must_receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) =
            tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("it arrives").expect("the socket works");
        (buffer[..len].to_vec(), from)
    }

    #[tokio::test]
    async fn datagrams_go_there_and_their_answers_come_back_to_whoever_sent_them() {
        let pair = Pair::must_open().await;
        pair.must_call(b"one").await;
        let (text, first) = must_receive(&pair.node).await;
        assert_eq!(text, b"one");
        pair.node.send_to(b"answer", first).await.expect("loopback takes it");
        assert_eq!(must_receive(&pair.caller).await, (b"answer".to_vec(), pair.link.address()));

        let restarted = must_bind().await;
        restarted.send_to(b"two", pair.link.address()).await.expect("loopback takes it");
        let (text, second) = must_receive(&pair.node).await;
        assert_eq!(text, b"two");
        assert_ne!(first, second, "a flow of its own");
        pair.node.send_to(b"to the second", second).await.expect("loopback takes it");
        assert_eq!(must_receive(&restarted).await.0, b"to the second");
        assert_eq!(pair.weather.injected().passed, 4);
    }

    #[tokio::test]
    async fn a_one_way_cut_stops_answers_and_lets_calls_through() {
        let pair = Pair::must_open().await;
        pair.weather.set(called(), CALLER, Faults::CUT);
        pair.must_call(b"one").await;
        let (text, from) = must_receive(&pair.node).await;
        assert_eq!(text, b"one");
        pair.node.send_to(b"lost", from).await.expect("loopback takes it");
        while pair.weather.injected().cut == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pair.weather.clear();
        pair.node.send_to(b"arrives", from).await.expect("loopback takes it");
        assert_eq!(must_receive(&pair.caller).await.0, b"arrives");
    }

    #[tokio::test]
    async fn a_slow_line_brings_everything_later() {
        let pair = Pair::must_open().await;
        let delay = Duration::from_millis(120);
        pair.weather.set(CALLER, called(), Faults { delay, ..Faults::CLEAR });
        let start = Instant::now();
        for number in 0..20_u8 {
            pair.must_call(&[number]).await;
        }
        for number in 0..20_u8 {
            assert_eq!(must_receive(&pair.node).await.0, [number]);
        }
        assert!(start.elapsed() >= delay);
        assert_eq!(pair.weather.injected().delayed, 20);
    }

    #[tokio::test]
    async fn a_node_that_is_down_for_a_while_is_reached_when_it_is_back() {
        let Pair { caller, node, link, weather } = Pair::must_open().await;
        let target = node.local_addr().expect("it is bound");
        drop(node);
        for _ in 0..5 {
            caller.send_to(b"nobody", link.address()).await.expect("loopback takes it");
        }
        while weather.injected().passed < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let node = UdpSocket::bind(target).await.expect("its port is free");
        caller.send_to(b"back", link.address()).await.expect("loopback takes it");
        let mut text = must_receive(&node).await.0;
        while text == b"nobody" {
            text = must_receive(&node).await.0;
        }
        assert_eq!(text, b"back");
    }
}
