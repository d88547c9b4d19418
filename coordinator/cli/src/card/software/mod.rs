//! A file that behaves like a card, for trials: PIN, try counter, lock.

mod card;
mod envelope;
mod storage;

pub use card::{PIN_TRIES, SoftwareCard, TRIAL_PIN_LENGTH_MAX, TRIAL_PIN_LENGTH_MIN};
