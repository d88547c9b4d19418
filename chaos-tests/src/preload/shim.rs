//! The shared library that is preloaded.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

const SOURCE: &str = include_str!("../../preload/disk.c");
/// Names another compiler than `cc`.
const COMPILER: &str = "CC";

/// The compiled library.
#[derive(Debug, Clone)]
pub struct Shim {
    pub(super) library: PathBuf,
}

impl Shim {
    /// Compiles the shim into `directory`, which must outlive every process that uses it.
    ///
    /// # Errors
    /// Without a C compiler.
    pub fn build(directory: &Path) -> anyhow::Result<Self> {
        let (source, library) = (directory.join("disk.c"), directory.join("disk.so"));
        std::fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
        let compiler = std::env::var_os(COMPILER).unwrap_or_else(|| "cc".into());
        let mut command = Command::new(&compiler);
        // Some distributions turn the checked wrappers of the C library on, which define the very functions that are interposed.
        command.args(["-std=gnu11", "-O2", "-Wall", "-Werror", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-pthread", "-o"]);
        let output = command.arg(&library).arg(&source).arg("-ldl").output();
        let output = output.with_context(|| format!("cannot run the C compiler {}", compiler.display()))?;
        ensure!(output.status.success(), "the shim does not compile: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { library })
    }
}
