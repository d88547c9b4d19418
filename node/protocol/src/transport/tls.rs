//! TLS and QUIC settings, the same at every end.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::directory::PeerDirectory;
use super::identity::TlsIdentity;
use super::limits::{HANDSHAKES_MAX, IDLE_MAX, KEEP_ALIVE};
use super::role::Role;
use super::verify::{Chain, KnownKeys, PinnedClients, PinnedServer};
use crate::{ClusterId, SpkiHash};

/// Bytes of one stream that a peer may send ahead of their being read: a path of 100 ms fills 300 Mbit/s with it.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

const _: () = assert!(STREAM_WINDOW <= CONNECTION_WINDOW);

/// aws-lc-rs with the hybrid post-quantum exchange first: ceremony traffic must stay secret for decades.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    let mut crypto = provider::default_provider();
    crypto.kx_groups = vec![provider::kx_group::X25519MLKEM768, provider::kx_group::X25519];
    Arc::new(crypto)
}

/// The peers of a directory, as keys.
struct InDirectory(Arc<dyn PeerDirectory>);

impl KnownKeys for InDirectory {
    fn knows(&self, spki: &SpkiHash) -> bool {
        self.0.by_spki(spki).is_some()
    }
}

/// The name by which a caller says in the handshake of which cluster it takes the server to be a member. The digits of the cluster's id are in two
/// labels, since 64 are one too many for one.
#[must_use]
pub fn server_name(cluster: ClusterId) -> String {
    let digits = hex::encode(cluster.as_bytes());
    let (first, second) = digits.split_at(digits.len() / 2);
    format!("{first}.{second}.warifu.invalid")
}

/// A server's key, for callers that mean its cluster: the same key may stand in the genesis of another.
#[derive(Debug)]
struct OfCluster {
    name: String,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OfCluster {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().is_some_and(|name| name == self.name).then(|| Arc::clone(&self.key))
    }
}

/// Settings of a server that admits the directory's peers.
pub(super) fn server_config(
    identity: &TlsIdentity,
    directory: Arc<dyn PeerDirectory>,
    roles: &[Role],
) -> Result<quinn::ServerConfig, rustls::Error> {
    let tls = server_tls(identity, directory, roles)?;
    let quic = QuicServerConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(transport_config(0));
    config.max_incoming(HANDSHAKES_MAX);
    Ok(config)
}

fn server_tls(identity: &TlsIdentity, directory: Arc<dyn PeerDirectory>, roles: &[Role]) -> Result<rustls::ServerConfig, rustls::Error> {
    let crypto = crypto_provider();
    let resolver = OfCluster { name: server_name(directory.cluster()), key: identity.certified() };
    let verifier = PinnedClients::new(Arc::new(InDirectory(directory)), Chain::Refused, &crypto);
    let mut tls = rustls::ServerConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = roles.iter().map(|role| role.alpn().to_vec()).collect();
    // No tickets and no early data: every connection proves both keys afresh, and nothing can be replayed.
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(tls)
}

/// Settings of a connection to the server with this key, for one role.
pub(super) fn client_config(identity: &TlsIdentity, expected: SpkiHash, role: Role) -> Result<quinn::ClientConfig, rustls::Error> {
    let tls = client_tls(identity, expected, role)?;
    let quic = QuicClientConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config.transport_config(transport_config(0));
    Ok(config)
}

fn client_tls(identity: &TlsIdentity, expected: SpkiHash, role: Role) -> Result<rustls::ClientConfig, rustls::Error> {
    let crypto = crypto_provider();
    let verifier = PinnedServer { expected, algorithms: crypto.signature_verification_algorithms };
    let mut tls = rustls::ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    tls.alpn_protocols = vec![role.alpn().to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    tls.enable_early_data = false;
    Ok(tls)
}

/// A server raises the number of streams when it knows the peer and the role; a client never accepts one.
fn transport_config(streams: u32) -> Arc<quinn::TransportConfig> {
    let mut config = quinn::TransportConfig::default();
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE_MAX.try_into().expect("20 s fit a QUIC varint of milliseconds")))
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustls::{ClientConnection, NamedGroup, ServerConnection};

    use super::super::directory::{PeerEntry, PeerRoster};
    use super::super::role::PeerId;
    use super::*;
    use crate::NodeId;

    /// The settings that QUIC is given, over a pipe, since quinn does not tell the group.
    #[test]
    fn two_peers_agree_on_their_keys_by_the_hybrid_exchange() {
        let (server, client) = (TlsIdentity::generate().expect("keys"), TlsIdentity::generate().expect("keys"));
        let peer = PeerId::Node(NodeId::new(1).expect("a node id"));
        let entry = PeerEntry { spki: client.spki_hash(), address: String::new() };
        let cluster = ClusterId::new([7; 32]);
        let roster = Arc::new(PeerRoster::new(cluster, BTreeMap::from([(peer, entry)])));
        let answering = server_tls(&server, roster, &Role::ALL).expect("settings");
        let calling = client_tls(&client, server.spki_hash(), Role::Ceremony).expect("settings");
        let mut caller = ClientConnection::new(Arc::new(calling), server_name(cluster).try_into().expect("a name")).expect("a connection");
        let mut listener = ServerConnection::new(Arc::new(answering)).expect("a connection");
        while caller.is_handshaking() || listener.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while caller.wants_write() {
                caller.write_tls(&mut there).expect("memory takes it");
            }
            listener.read_tls(&mut there.as_slice()).expect("memory gives it");
            listener.process_new_packets().expect("the listener is satisfied");
            while listener.wants_write() {
                listener.write_tls(&mut back).expect("memory takes it");
            }
            caller.read_tls(&mut back.as_slice()).expect("memory gives it");
            caller.process_new_packets().expect("the caller is satisfied");
        }
        let groups = [caller.negotiated_key_exchange_group(), listener.negotiated_key_exchange_group()];
        assert_eq!(groups.map(|group| group.map(|group| group.name())), [Some(NamedGroup::X25519MLKEM768); 2]);
        assert_eq!(caller.alpn_protocol(), Some(Role::Ceremony.alpn()));
    }
}
