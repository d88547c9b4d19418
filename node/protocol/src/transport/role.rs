//! Who may call what.

use std::fmt;

pub(super) use crate::PeerId;

/// What a connection is for: one ALPN each, so that a peer that may not do a thing cannot even open a stream for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Consensus between nodes.
    Raft,
    /// Signing requests of coordinators.
    Sign,
    /// Packages of DKG, repair and refresh between nodes.
    Ceremony,
    /// Orders, sessions and queries.
    Order,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Raft, Self::Sign, Self::Ceremony, Self::Order];

    /// The ALPN protocol name.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Raft => b"warifu-raft/1",
            Self::Sign => b"warifu-sign/1",
            Self::Ceremony => b"warifu-ceremony/1",
            Self::Order => b"warifu-order/1",
        }
    }

    /// The role of an ALPN protocol name.
    #[must_use]
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.alpn() == alpn)
    }

    /// Whether this peer may use this role.
    #[must_use]
    pub const fn admits(self, peer: &PeerId) -> bool {
        match (self, peer) {
            (Self::Raft | Self::Ceremony | Self::Order, PeerId::Node(_)) | (Self::Sign | Self::Order, PeerId::Coordinator(_)) => true,
            (Self::Sign, PeerId::Node(_)) | (Self::Raft | Self::Ceremony, PeerId::Coordinator(_)) => false,
        }
    }

    /// Largest request and largest reply, in bytes. A larger request is refused, a larger reply is an error of the server.
    ///
    /// Raft sends batches of log entries, a ceremony the packages of many credentials, signing a batch of small documents, orders a chunk of a CRL.
    #[must_use]
    pub const fn frame_max(self) -> usize {
        match self {
            Self::Raft => 16 * 1024 * 1024,
            Self::Ceremony => 8 * 1024 * 1024,
            Self::Order => 4 * 1024 * 1024,
            Self::Sign => 1024 * 1024,
        }
    }

    /// Streams, that is RPCs, that a peer may have open on one connection; it waits for one to end before it can open another.
    /// With [`Role::frame_max`] this bounds the memory that one connection can claim.
    #[must_use]
    pub const fn streams_max(self) -> u32 {
        match self {
            Self::Raft | Self::Ceremony => 16,
            Self::Order => 32,
            Self::Sign => 256,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raft => "raft",
            Self::Sign => "sign",
            Self::Ceremony => "ceremony",
            Self::Order => "order",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    #[test]
    fn each_role_admits_exactly_the_peers_that_it_is_for() {
        let node = PeerId::Node(NodeId::new(1).expect("1 is in range"));
        let coordinator = PeerId::Coordinator("c1".parse().expect("a name"));
        let table = [(Role::Raft, true, false), (Role::Ceremony, true, false), (Role::Sign, false, true), (Role::Order, true, true)];
        for (role, admits_node, admits_coordinator) in table {
            assert_eq!(role.admits(&node), admits_node, "{role}");
            assert_eq!(role.admits(&coordinator), admits_coordinator, "{role}");
            assert_eq!(Role::from_alpn(role.alpn()), Some(role));
        }
        assert_eq!(Role::from_alpn(b"warifu-raft/2"), None);
    }
}
