//! Tests that must fail: built once, with the weakenings in them, and run each by itself in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{Message, TargetKind};
use warifu_protocol::mutants::{Mutant, VARIABLE};

/// Longest time of one test. One that hangs in a weakened program has noticed it.
const TEST_DEADLINE: Duration = Duration::from_secs(240);

/// A program of tests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Program {
    /// Those inside a library: the library's name.
    Library(&'static str),
    /// Those beside it: the package's directory and the target's name.
    Beside(&'static str, &'static str),
}

/// One test of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Test {
    pub(super) program: Program,
    /// With the modules that it is in.
    pub(super) name: &'static str,
}

/// What came of a test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TestOutcome {
    Passed,
    /// What it printed.
    Failed(String),
    Hung,
}

/// Programs of tests that are built.
pub(super) struct Programs(BTreeMap<Program, (PathBuf, PathBuf)>);

impl Programs {
    /// Builds them.
    pub(super) fn build(wanted: impl IntoIterator<Item = Program>) -> anyhow::Result<Self> {
        let wanted: Vec<Program> = wanted.into_iter().collect();
        if wanted.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let mut cargo = cargo();
        cargo.args(["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
        if wanted.iter().any(|program| matches!(program, Program::Library(_))) {
            cargo.arg("--lib");
        }
        let mut targets: Vec<&str> = wanted.iter().filter_map(Program::target).collect();
        targets.sort_unstable();
        targets.dedup();
        cargo.args(targets.into_iter().flat_map(|target| ["--test", target]));
        let mut running = cargo.stdout(Stdio::piped()).spawn().context("cargo does not run")?;
        let out = running.stdout.take().context("cargo has an output")?;
        let mut built = BTreeMap::new();
        for message in Message::parse_stream(BufReader::new(out)) {
            let Message::CompilerArtifact(artifact) = message? else { continue };
            let Some(executable) = artifact.executable.filter(|_| artifact.profile.test) else { continue };
            let directory = artifact.manifest_path.parent().context("a manifest is in a directory")?;
            let name = artifact.target.name.replace('-', "_");
            let is_library = artifact.target.is_kind(TargetKind::Lib);
            let found = wanted.iter().find(|program| match program {
                Program::Library(library) => is_library && name == *library,
                Program::Beside(package, target) => !is_library && name == *target && directory.ends_with(package),
            });
            if let Some(program) = found {
                built.insert(*program, (executable.into_std_path_buf(), directory.as_std_path().to_owned()));
            }
        }
        ensure!(running.wait()?.success(), "the tests cannot be built");
        if let Some(program) = wanted.iter().find(|program| !built.contains_key(program)) {
            bail!("there is no test program {program:?}");
        }
        Ok(Self(built))
    }

    /// Runs one test in a program that is weakened so, or not at all.
    pub(super) fn run(&self, test: Test, mutant: Option<Mutant>) -> anyhow::Result<TestOutcome> {
        let (executable, directory) = self.0.get(&test.program).context("every program that is named was built")?;
        let mut command = Command::new(executable);
        command.args([test.name, "--exact"]).current_dir(directory).env("CARGO_MANIFEST_DIR", directory).env_remove(VARIABLE);
        command.envs(mutant.map(|mutant| (VARIABLE, mutant.name())));
        let mut running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut out = running.stdout.take().context("a test has an output")?;
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            out.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
        });
        let end = Instant::now() + TEST_DEADLINE;
        let status = loop {
            if let Some(status) = running.try_wait()? {
                break status;
            }
            if Instant::now() >= end {
                running.kill()?;
                running.wait()?;
                return Ok(TestOutcome::Hung);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let text = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        ensure!(text.contains("running 1 test\n"), "{:?} has no test {}", test.program, test.name);
        Ok(if status.success() { TestOutcome::Passed } else { TestOutcome::Failed(text) })
    }
}

impl Program {
    fn target(&self) -> Option<&'static str> {
        match self {
            Self::Library(_) => None,
            Self::Beside(_, target) => Some(target),
        }
    }
}

impl Test {
    /// As people find it.
    pub(super) fn describe(&self) -> String {
        let place = match self.program {
            Program::Library(library) => library.to_owned(),
            Program::Beside(package, target) => format!("{package}/tests/{target}"),
        };
        format!("{place} {}", self.name)
    }
}

/// Cargo in this workspace, for a build with the weakenings.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the workspace's directory");
    command.current_dir(workspace).env("WARIFU_MUTANTS", "1");
    command
}
