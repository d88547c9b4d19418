//! Connection ids of a server.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};

/// Long enough that no two of a server's connections ever share one.
const LEN: usize = 8;

/// Random connection ids. Every id is answered, with a stateless reset if it is unknown: quinn's usual ids are marked with a key that dies with the process,
/// and after a restart the packets of former connections would be dropped in silence.
#[derive(Debug)]
pub(super) struct RandomConnectionIds;

impl ConnectionIdGenerator for RandomConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; LEN];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
