//! Certificates, lists and requests made for the purpose, good and bad, and the real sample where it is there.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod certificates;
mod lists;
mod paths;
mod real_sample;
mod signatures;
mod support;
