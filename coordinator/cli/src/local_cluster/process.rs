//! One daemon's process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error::LocalClusterError;

/// A running process, killed on drop. It also ends when its standard input does, so that nothing outlives this program.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `program` with `arguments`; its output is appended to the file `log`.
    ///
    /// # Errors
    /// [`LocalClusterError::Spawn`].
    pub fn start(name: String, program: &Path, arguments: &[&Path], log: &Path) -> Result<Self, LocalClusterError> {
        Self::start_in(name, program, arguments, log, &[])
    }

    /// As [`Self::start`], with these variables in its environment beside this process's own.
    ///
    /// # Errors
    /// [`LocalClusterError::Spawn`].
    pub fn start_in(
        name: String,
        program: &Path,
        arguments: &[&Path],
        log: &Path,
        environment: &[(OsString, OsString)],
    ) -> Result<Self, LocalClusterError> {
        let spawn = || {
            let output = OpenOptions::new().create(true).append(true).open(log)?;
            Command::new(program)
                .args(arguments)
                .envs(environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::piped())
                .stdout(output.try_clone()?)
                .stderr(output)
                // A Ctrl-C at the terminal is for the parent, which ends its children in order.
                .process_group(0)
                .spawn()
        };
        let child = spawn().map_err(|source| LocalClusterError::Spawn { process: name.clone(), program: program.to_owned(), source })?;
        Ok(Self { name, log: log.to_owned(), child })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Refuses a process that ended by itself, with the end of its log.
    ///
    /// # Errors
    /// [`LocalClusterError::Ended`].
    pub fn check(&mut self) -> Result<(), LocalClusterError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(LocalClusterError::Ended {
                process: self.name.clone(),
                status: ended.map_or_else(|error| error.to_string(), |status| status.map_or_else(String::new, |status| status.to_string())),
                log: self.log.clone(),
                tail: tail(&self.log),
            }),
        }
    }

    /// Kills it at once, as a power cut would (SIGKILL), and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Kills several at one instant, as a power cut would (SIGKILL), and waits until they are gone.
    pub fn kill_together(mut processes: Vec<Self>) {
        for process in &mut processes {
            // Fails only when it has ended already.
            let _ = process.child.kill();
        }
        processes.iter_mut().for_each(Self::end);
    }

    /// Asks it to stop, by ending its standard input.
    pub fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has stopped, and kills it at `deadline`. Returns how it ended, if it ended by itself.
    pub fn wait_stopped(mut self, deadline: Instant) -> Option<ExitStatus> {
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(STOP_POLL),
                ended => return ended.ok().flatten(),
            }
        }
        self.end();
        None
    }

    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of a log, for an error.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// As much of a log as an error shows: some ten lines.
const TAIL_BYTES: u64 = 2048;

/// How often a stopping process is looked at.
const STOP_POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn must_start(program: &str, argument: &str, log: &Path) -> Process {
        Process::start("test".to_owned(), Path::new(program), &[Path::new("-c"), Path::new(argument)], log).expect("a shell starts")
    }

    #[test]
    fn a_process_that_ends_by_itself_is_reported_with_its_last_words() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let mut process = must_start("/bin/sh", "echo last words; exit 7", &log);
        let deadline = Instant::now() + Duration::from_secs(10);
        let error = loop {
            match process.check() {
                Ok(()) if Instant::now() < deadline => thread::sleep(STOP_POLL),
                outcome => break outcome.expect_err("it ended").to_string(),
            }
        };
        assert!(error.contains("last words") && error.contains('7'), "{error}");
    }

    #[test]
    fn a_process_has_the_variables_that_it_is_given() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let variables = [("WARIFU_TRIAL".into(), "is set".into())];
        let arguments = [Path::new("-c"), Path::new("echo \"$WARIFU_TRIAL\"")];
        let process = Process::start_in("test".to_owned(), Path::new("/bin/sh"), &arguments, &log, &variables).expect("a shell starts");
        process.wait_stopped(Instant::now() + Duration::from_secs(10));
        assert_eq!(std::fs::read_to_string(&log).expect("the log"), "is set\n");
    }

    #[test]
    fn a_process_ends_with_its_standard_input_or_is_killed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let mut polite = must_start("/bin/sh", "cat >/dev/null", &log);
        polite.ask_to_stop();
        let start = Instant::now();
        polite.wait_stopped(start + Duration::from_secs(10));
        assert!(start.elapsed() < Duration::from_secs(9), "it stopped by itself");

        let stubborn = must_start("/bin/sh", "exec sleep 1000", &log);
        let id = stubborn.id();
        drop(stubborn);
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "it was killed and is gone");
    }
}
