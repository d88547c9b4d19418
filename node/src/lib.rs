//! Shell of a Warifu node: QUIC, raft, store, metrics and the admin socket around the sans-IO core.
