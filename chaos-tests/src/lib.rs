//! Torment for a Warifu cluster: simulator, fault proxies and invariants.
