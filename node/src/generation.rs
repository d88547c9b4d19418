//! The generation of this virtual machine: another one means that the machine goes on from an image, perhaps beside others that do.
//!
//! Linux tells it, where the hypervisor does, by a uevent with `NEW_VMGENID=1` (since 6.10), which needs no privilege to hear; the id itself is
//! in no file of the mainline kernel. Some systems have a file with an id of the machine's generation: that is looked at again and again.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the file is looked at: a small part of a nonce's life.
pub const FILE_INTERVAL: Duration = Duration::from_millis(500);

/// As much of the file as is compared: an id is 16 bytes, however it is written.
pub const ID_BYTES_MAX: usize = 256;

/// Largest uevent; the kernel makes none of more than 2 KiB and a path.
const UEVENT_BYTES_MAX: usize = 8 * 1024;

/// The kernel's own uevents, before any daemon has handled them.
const KERNEL_GROUP: u32 = 1;

/// What tells that the generation is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The kernel said so.
    Uevent,
    /// The kernel said more than could be heard: it may have been among it.
    UeventsLost,
    /// The file has another id than before, or none any more.
    File,
}

impl Sign {
    /// For metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Uevent => "uevent",
            Self::UeventsLost => "uevents-lost",
            Self::File => "file",
        }
    }
}

/// A file that was named for the id and has none.
#[derive(Debug, thiserror::Error)]
#[error("the generation id {path} cannot be read")]
pub struct GenerationIdError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// Waits for signs.
#[derive(Debug)]
pub struct GenerationWatch {
    uevents: Option<UnixDatagram>,
    file: Option<(PathBuf, Option<Vec<u8>>)>,
    looks: Interval,
}

impl GenerationWatch {
    /// Begins to listen, and reads the id in `file`, if there is one. A system without such uevents, or where they cannot be heard, has none.
    ///
    /// # Errors
    /// When the file cannot be read: somebody relies on it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(file: Option<PathBuf>) -> Result<Self, GenerationIdError> {
        let unheard = |error: &std::io::Error| tracing::warn!(%error, "uevents cannot be heard: a new VM generation may go unnoticed");
        let uevents = listen().inspect_err(unheard).ok();
        let file = match file {
            Some(path) => Some(read_id(&path).map(|id| (path.clone(), Some(id))).map_err(|source| GenerationIdError { path, source })?),
            None => None,
        };
        let mut looks = interval(FILE_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { uevents, file, looks })
    }

    /// Waits for the next sign. May be given up and called again without losing one.
    pub async fn changed(&mut self) -> Sign {
        let Self { uevents, file, looks } = self;
        let hear = async {
            match uevents {
                Some(socket) => heard(socket).await,
                None => std::future::pending().await,
            }
        };
        let look = async {
            match file {
                Some((path, id)) => differs(looks, path, id).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            sign = hear => sign,
            () = look => Sign::File,
        }
    }
}

/// Whether these bytes are a uevent that says that the generation is another: fields that end with a NUL, after one with action and path.
#[must_use]
pub fn says_new_generation(uevent: &[u8]) -> bool {
    let mut fields = uevent.split_inclusive(|byte| *byte == 0).filter_map(|field| field.strip_suffix(&[0]));
    fields.next().is_some_and(|head| head.contains(&b'@')) && fields.any(|field| field == b"NEW_VMGENID=1")
}

/// A netlink socket is read as any socket of datagrams is, which is all that is done with this one.
fn listen() -> std::io::Result<UnixDatagram> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    UnixDatagram::from_std(socket.into())
}

async fn heard(socket: &UnixDatagram) -> Sign {
    let mut uevent = vec![0; UEVENT_BYTES_MAX];
    loop {
        match socket.recv(&mut uevent).await {
            Ok(length) if uevent.get(..length).is_some_and(says_new_generation) => return Sign::Uevent,
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => return Sign::UeventsLost,
            Err(error) => {
                tracing::error!(%error, "uevents cannot be heard any more");
                return std::future::pending().await;
            }
        }
    }
}

/// Waits until the file has another id than `before`, and takes that over.
async fn differs(looks: &mut Interval, path: &Path, before: &mut Option<Vec<u8>>) {
    loop {
        looks.tick().await;
        let path = path.to_owned();
        let Ok(read) = crate::blocking::run(move || read_id(&path)).await else { continue };
        // An id that cannot be read is none: what it was before is not known to hold.
        let now = read.ok();
        if now != *before {
            *before = now;
            return;
        }
    }
}

fn read_id(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut id = Vec::new();
    std::fs::File::open(path)?.take(ID_BYTES_MAX as u64).read_to_end(&mut id)?;
    if id.is_empty() { Err(std::io::Error::other("it is empty")) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use rustix::net::{SendFlags, sendto};

    use super::*;

    const TOLD: &[u8] = b"change@/devices/platform/QEMUVGID:00\0ACTION=change\0SUBSYSTEM=platform\0NEW_VMGENID=1\0SEQNUM=4711\0";
    /// Longer than any message takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn only_a_whole_field_of_a_whole_uevent_says_a_new_generation() {
        assert!(says_new_generation(TOLD));
        assert!(says_new_generation(b"change@/x\0NEW_VMGENID=1\0"));
        let others: [&[u8]; 10] = [
            b"",
            b"\0",
            b"NEW_VMGENID=1\0",
            b"NEW_VMGENID=1\0NEW_VMGENID=1\0",
            b"change@/NEW_VMGENID=1\0",
            b"change@/x\0NEW_VMGENID=1",
            b"change@/x\0NEW_VMGENID=10\0",
            b"change@/x\0NEW_VMGENID=0\0",
            b"change@/x\0XNEW_VMGENID=1\0",
            b"libudev\0NEW_VMGENID=1\0",
        ];
        for other in others {
            assert!(!says_new_generation(other), "{:?}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_uevent_that_is_changed_anywhere_or_cut_before_the_field_ends_does_not_say_it() {
        let field = TOLD.windows(14).position(|window| window == b"NEW_VMGENID=1\0").expect("the field");
        for place in 0..TOLD.len() {
            assert_eq!(says_new_generation(&TOLD[..place]), place >= field + 14, "cut at {place}");
            for byte in 0..=u8::MAX {
                let mut changed = TOLD.to_vec();
                changed[place] = byte;
                let inside = (field..field + 14).contains(&place) && byte != TOLD[place];
                assert!(!(inside && says_new_generation(&changed)), "{:?}", String::from_utf8_lossy(&changed));
            }
        }
    }

    #[tokio::test]
    async fn another_id_in_the_file_or_none_is_told_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("id");
        assert!(GenerationWatch::start(Some(path.clone())).is_err(), "a file that is named must be there");
        std::fs::write(&path, "first").expect("a file");
        let mut watch = GenerationWatch::start(Some(path.clone())).expect("a watch");
        watch.uevents = None;
        let quiet = tokio::time::timeout(4 * FILE_INTERVAL, watch.changed()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        std::fs::write(&path, "second").expect("a file");
        assert_eq!(tokio::time::timeout(PATIENCE, watch.changed()).await, Ok(Sign::File));
        std::fs::remove_file(&path).expect("no file");
        assert_eq!(tokio::time::timeout(PATIENCE, watch.changed()).await, Ok(Sign::File));
        let quiet = tokio::time::timeout(4 * FILE_INTERVAL, watch.changed()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        std::fs::write(&path, "second").expect("a file");
        assert_eq!(tokio::time::timeout(PATIENCE, watch.changed()).await, Ok(Sign::File));
    }

    #[tokio::test]
    async fn a_uevent_that_is_sent_as_the_kernel_sends_it_is_heard() {
        let mut watch = GenerationWatch::start(None).expect("a watch");
        if watch.uevents.is_none() {
            return skip("uevents cannot be heard here");
        }
        let sender = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(KOBJECT_UEVENT)).expect("a socket");
        let send = |uevent| sendto(&sender, uevent, SendFlags::empty(), &SocketAddrNetlink::new(0, KERNEL_GROUP));
        match send(b"change@/devices/x\0ACTION=change\0SUBSYSTEM=x\0") {
            Err(Errno::PERM) => return skip("only root may send a uevent"),
            sent => assert!(sent.is_ok(), "{sent:?}"),
        }
        let quiet = tokio::time::timeout(FILE_INTERVAL, watch.changed()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        send(TOLD).expect("it is sent");
        assert_eq!(tokio::time::timeout(PATIENCE, watch.changed()).await, Ok(Sign::Uevent));
    }

    #[expect(clippy::print_stderr, reason = "a test that proves nothing must say so")]
    fn skip(why: &str) {
        eprintln!("SKIPPED: {why}");
    }
}
