//! Shell of the coordinator: HTTPS for platforms and the CA, QUIC client of the nodes, metrics.

pub mod document;
