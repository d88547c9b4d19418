//! Ports that are free now and that nobody takes by chance later.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::error::LocalClusterError;

/// First port tried. The range lies below the system's ephemeral ports, from which the outgoing connections of a restarting cluster would
/// otherwise take the port of a node that is down.
const PORT_FIRST: u16 = 20_000;
/// Last port tried.
const PORT_LAST: u16 = 31_999;

/// Finds `count` loopback addresses whose port is free over UDP and TCP.
///
/// # Errors
/// [`LocalClusterError::Ports`].
pub(super) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, LocalClusterError> {
    let span = PORT_LAST - PORT_FIRST + 1;
    let start = rand::random::<u16>() % span;
    let found: Vec<SocketAddr> = (0..span)
        .map(|step| SocketAddr::new(LOOPBACK, PORT_FIRST + (start + step) % span))
        .filter(|address| UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok())
        .take(count)
        .collect();
    if found.len() == count { Ok(found) } else { Err(LocalClusterError::Ports { wanted: count, from: PORT_FIRST, to: PORT_LAST }) }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_free() {
        let found = free_addresses(20).expect("a machine has 20 free ports");
        let listeners: Vec<_> = found.iter().map(|address| TcpListener::bind(address).expect("free, and distinct")).collect();
        assert_eq!(listeners.len(), 20);
    }
}
