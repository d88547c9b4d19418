//! The disk that forgets, tried on programs whose every word can be checked.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use warifu_chaos::preload::{Disk, Fault, Loss, Occasion, Shim, WRITER_COMMAND, numbers};
use warifu_node::store::{Database, DatabaseOptions, StoreError};

struct Place {
    _directory: tempfile::TempDir,
    root: PathBuf,
    disk: Disk,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shim = Shim::build(directory.path()).expect("there is a C compiler");
        let root = directory.path().join("root");
        std::fs::create_dir(&root).expect("makes");
        let disk = Disk::new(&shim, &root, "printed", &directory.path().join("journal")).expect("watches");
        Self { _directory: directory, root, disk }
    }

    /// Runs a script in the root, on the disk.
    fn run(&self, script: &str) -> Output {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).current_dir(&self.root).envs(self.disk.environment());
        shell.output().expect("a shell runs")
    }

    fn must_run(&self, script: &str) {
        let output = self.run(script);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(name)).ok()
    }

    fn writer(&self, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_disk-faults"));
        command.arg(WRITER_COMMAND).arg(self.root.join("store")).args(more).envs(self.disk.environment());
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts")
    }

    /// Lets a writer write until it has acknowledged some numbers, and kills it. Returns how many it acknowledged.
    fn acknowledged(&self, more: &[&str], at_least: usize) -> usize {
        let mut writer = self.writer(more);
        let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        let mut last = None;
        for line in lines.by_ref().take(at_least) {
            last = line.expect("text").parse().ok();
        }
        writer.kill().expect("it runs");
        writer.wait().expect("it ends");
        for line in lines {
            last = line.expect("text").parse().ok().or(last);
        }
        last.map_or(0, |last: usize| last + 1)
    }

    /// The next writer makes a store of its own.
    fn forget_store(&self) {
        let store = self.root.join("store");
        assert!(!store.exists() || std::fs::remove_file(&store).is_ok(), "it can be removed");
    }

    fn stored(&self) -> usize {
        stored(&self.root.join("store"))
    }
}

/// Time for a program that another test is starting to be one: until then it has what this process has open, locks of stores among it.
const LOCKED_MAX: Duration = Duration::from_secs(10);

fn stored(path: &Path) -> usize {
    let started = Instant::now();
    let database = loop {
        match Database::open(path, DatabaseOptions { cache_bytes: 1 << 20 }) {
            Err(StoreError::Open { source, .. })
                if matches!(*source, redb::Error::DatabaseAlreadyOpen) && started.elapsed() < LOCKED_MAX =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => break opened.expect("a store that a node would open"),
        }
    };
    numbers(&database).expect("reads").len()
}

fn once(nth: u64) -> Occasion<'static> {
    Occasion { nth, file: None, lasting: false }
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let place = Place::new();
    place.must_run("printf one >kept; sync kept; printf two >>kept; printf new >unsynced; printf words >printed");
    assert_eq!(place.read("kept").as_deref(), Some("onetwo"));
    let lost = place.disk.cut_power(Loss::All).expect("takes back");
    assert_eq!((place.read("kept").as_deref(), place.read("unsynced")), (Some("one"), None));
    assert_eq!((lost.files, lost.changes, lost.lost, lost.names), (2, 2, 2, 1));
    assert_eq!(place.read("printed").as_deref(), Some("words"), "this one is left alone");

    place.must_run("sync kept; : >kept; printf x >other; sync other; rm other; mv kept moved");
    place.disk.cut_power(Loss::All).expect("takes back");
    assert_eq!((place.read("kept").as_deref(), place.read("other").as_deref()), (Some("one"), Some("x")));
    place.must_run("mv kept moved; rm other; sync .");
    place.disk.cut_power(Loss::All).expect("takes back");
    assert_eq!((place.read("moved").as_deref(), place.read("kept"), place.read("other")), (Some("one"), None, None));
}

#[test]
fn a_disk_fails_where_it_is_told_to() {
    let place = Place::new();
    place.must_run("printf one >file; sync file");
    place.disk.arm(Fault::SyncFails, &once(2)).expect("arms");
    let output = place.run("printf two >>file; sync file && printf three >>file; sync file || echo refused; printf four >>file; sync file");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "refused\n");
    assert!(output.status.success(), "the next fsync is told that all is well");
    place.disk.cut_power(Loss::All).expect("takes back");
    assert_eq!(place.read("file").as_deref(), Some("onetwo\0\0\0\0\0four"), "what the failed fsync was about is gone");

    for (fault, words, left) in [(Fault::WriteFull, "No space left on device", ""), (Fault::WriteTorn, "Input/output error", "ab")] {
        place.must_run("rm -f target; : >target");
        place.disk.arm(fault, &Occasion { nth: 1, file: Some("target"), lasting: false }).expect("arms");
        let output = place.run("printf abcd >elsewhere; printf abcd | dd of=target conv=notrunc 2>&1");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(words), "{said}");
        assert_eq!((place.read("elsewhere").as_deref(), place.read("target").as_deref()), (Some("abcd"), Some(left)));
    }
    place.disk.disarm().expect("disarms");
    let before = place.disk.counts().expect("counts");
    place.disk.arm(Fault::SyncSlow(200), &once(1)).expect("arms");
    let started = Instant::now();
    place.must_run("printf x >>file; sync file");
    assert!(started.elapsed() >= Duration::from_millis(200));
    let counts = place.disk.counts().expect("counts");
    assert_eq!((counts.fired - before.fired, counts.syncs - before.syncs, counts.unseen), (1, 1, 0));
}

#[test]
fn a_store_that_is_killed_anywhere_and_loses_whatever_was_not_synced_has_all_that_it_acknowledged() {
    let place = Place::new();
    let mut most = 0;
    for seed in 0..12 {
        let fault = if seed % 2 == 0 { Fault::CutBeforeSync } else { Fault::CutAfterSync };
        place.disk.arm(fault, &once(4 + seed)).expect("arms");
        let acknowledged = place.acknowledged(&[], 100).max(most);
        let lost = place.disk.cut_power(if seed < 3 { Loss::All } else { Loss::Pieces(seed) }).expect("takes back");
        let stored = place.stored();
        assert!(stored >= acknowledged, "seed {seed}: {acknowledged} acknowledged, {stored} stored");
        assert!(stored <= acknowledged + 1, "seed {seed}: one at most was under way");
        if fault == Fault::CutBeforeSync {
            assert!(lost.changes > 0, "seed {seed}: the fsync had something to do");
        }
        most = stored;
    }
    assert!(most > 20, "{most} numbers: it wrote");
}

#[test]
fn a_store_that_waits_for_no_fsync_loses_what_it_acknowledged() {
    let place = Place::new();
    let acknowledged = place.acknowledged(&["later"], 50);
    place.disk.cut_power(Loss::All).expect("takes back");
    assert!(acknowledged >= 50 && place.stored() < acknowledged, "the disk forgets, and the test sees it");
}

/// Every fsync of a store's first commits has each fault: those of its making, and of some commits after that.
const SYNCS: u64 = 12;

#[test]
fn a_store_whose_disk_fails_at_any_fsync_says_so_and_has_what_it_acknowledged_before() {
    // Each on a disk of its own, so that they wait side by side.
    std::thread::scope(|scope| {
        for fault in [Fault::SyncFails, Fault::SyncFailsKept, Fault::WriteFull, Fault::WriteFails, Fault::WriteTorn] {
            scope.spawn(move || must_survive_at_any_fsync(fault));
        }
    });
}

fn must_survive_at_any_fsync(fault: Fault) {
    let (place, mut most) = (Place::new(), 0);
    for nth in 1..=SYNCS {
        place.forget_store();
        let before = place.disk.counts().expect("counts").fired;
        place.disk.arm(fault, &once(nth)).expect("arms");
        let output = place.writer(&[]).wait_with_output().expect("it ends by itself");
        assert_eq!(place.disk.counts().expect("counts").fired, before + 1, "{fault:?} at fsync {nth} was met");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(!output.status.success(), "{fault:?} at fsync {nth}: {said}");
        // A store that cannot be made is none that fails: nothing is printed then.
        assert!(said.ends_with("failed\n") || said.is_empty(), "{fault:?} at fsync {nth}: {said}");
        let acknowledged = said.lines().filter(|line| line.parse::<u64>().is_ok()).count();
        place.disk.cut_power(Loss::Pieces(nth)).expect("takes back");
        if acknowledged > 0 {
            let stored = place.stored();
            let is_kept = (acknowledged..=acknowledged + 1).contains(&stored);
            assert!(is_kept, "{fault:?} at fsync {nth}: {acknowledged} acknowledged, {stored} stored");
        }
        most = acknowledged.max(most);
    }
    assert!(most > 3, "{fault:?}: {most} numbers were acknowledged before a fault");
}

#[test]
fn a_store_whose_fsync_is_slow_anywhere_acknowledges_nothing_before_it_is_over() {
    let place = Place::new();
    for nth in 1..=SYNCS {
        place.forget_store();
        let before = place.disk.counts().expect("counts").fired;
        place.disk.arm(Fault::SyncSlow(100), &once(nth)).expect("arms");
        let acknowledged = place.acknowledged(&[], SYNCS as usize);
        assert_eq!(place.disk.counts().expect("counts").fired, before + 1, "fsync {nth} was slow");
        place.disk.cut_power(Loss::All).expect("takes back");
        let stored = place.stored();
        assert!((acknowledged..=acknowledged + 1).contains(&stored), "fsync {nth}: {acknowledged} acknowledged, {stored} stored");
    }
}
