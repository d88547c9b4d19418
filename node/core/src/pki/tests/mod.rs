//! Certificates, lists and requests made for the purpose, good and bad, and the real sample where it is there.

#![expect(clippy::unwrap_used, reason = "tests")]

mod real_sample;
