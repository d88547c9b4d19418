//! What of other versions this program understands.
//!
//! A build with debug assertions can be told by the environment to be the program of the next version, so that tests run both side by side as
//! processes: the same program that stamps what it writes, and says what it knows, with numbers one higher. A release has no such variable.

/// Newest version of [`LogEntry`](crate::LogEntry) that this program knows: of its encoding, and of what applying it does. Whatever changes
/// either raises it, and is done only for entries of that version, which the cluster uses once every node knows it.
pub const LOG_ENTRY_VERSION: u16 = 1;

/// The version before all nodes have said that they know more. Every program reads all versions from here on: the log may hold them.
pub const LOG_ENTRY_VERSION_FIRST: u16 = 1;

/// Newest version of frames, and of the messages in them, that this program speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// Oldest version of frames that this program speaks. At least one release speaks two, so that sites are upgraded one after the other.
pub const PROTOCOL_VERSION_OLDEST: u8 = 1;

/// Environment variable that makes a build with debug assertions the program of the next version: `next`.
pub const VARIABLE: &str = "WARIFU_PROGRAM_VERSION";

const _: () = assert!(LOG_ENTRY_VERSION_FIRST <= LOG_ENTRY_VERSION && PROTOCOL_VERSION_OLDEST <= PROTOCOL_VERSION);

/// [`LOG_ENTRY_VERSION`], of this process.
#[must_use]
pub fn log_entry_version() -> u16 {
    LOG_ENTRY_VERSION + u16::from(is_next())
}

/// [`PROTOCOL_VERSION`], of this process.
#[must_use]
pub fn protocol_version() -> u8 {
    PROTOCOL_VERSION + u8::from(is_next())
}

/// Whether this process speaks frames of this version.
#[must_use]
pub fn speaks(version: u8) -> bool {
    (PROTOCOL_VERSION_OLDEST..=protocol_version()).contains(&version)
}

/// Whether this process is the program of the next version.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn is_next() -> bool {
    false
}

/// Whether this process is the program of the next version.
///
/// # Panics
/// When the variable says something else, which must not pass for this version.
#[cfg(debug_assertions)]
#[must_use]
pub fn is_next() -> bool {
    static IS_NEXT: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IS_NEXT.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(which) => which == "next" || panic!("{VARIABLE}={which}: there is only `next`"),
        Err(_) => false,
    })
}
