//! Sealing of secrets at rest: share records are encrypted under a record key, which is wrapped by a key-encryption key (KEK) generation.
//!
//! A generation is the unit of shredding: when it is destroyed, every record sealed under it is noise, wherever copies of it are.

mod file_kek;
mod kek;
mod pkcs11_kek;
mod sealer;

pub use file_kek::FileKek;
pub use kek::{KekError, KekGeneration, KekProvider, RECORD_KEY_LEN, WrappedKey};
pub use pkcs11_kek::{Pkcs11Kek, Pkcs11Settings};
pub use sealer::{FreshKey, RecordSealer, SealError};
