//! A program that is released can not be weakened.

use std::path::Path;
use std::process::{Command, Output};

use warifu_protocol::mutants::{self, Mutant};

/// Compiles the list of weakenings by itself, as a crate of that name.
fn compile(options: &[&str]) -> Output {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mutants.rs");
    let out = tempfile::tempdir().expect("a directory for what is compiled");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--crate-name=mutants", "--cap-lints=allow"]);
    command.args(options).arg("--out-dir").arg(out.path()).arg(source);
    command.output().expect("a compiler runs, since this test was compiled")
}

#[test]
fn a_release_with_weakenings_does_not_compile() {
    let refused = compile(&["--cfg=warifu_mutants", "-Copt-level=3"]);
    let reason = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && reason.contains("must not be able to weaken itself"), "{reason}");
    // The same with debug assertions, and a release without weakenings: it is not something else that fails.
    for options in [["--cfg=warifu_mutants", "-Cdebug-assertions=on"], ["-Copt-level=3", "-Cdebug-assertions=off"]] {
        let built = compile(&options);
        assert!(built.status.success(), "{options:?}: {}", String::from_utf8_lossy(&built.stderr));
    }
}

#[test]
fn each_weakening_has_a_name_of_its_own_and_none_is_on_by_itself() {
    for mutant in Mutant::ALL {
        assert_eq!(Mutant::named(mutant.name()), Some(*mutant), "{mutant:?}");
        let is_on = mutants::is_on(*mutant);
        assert!(!is_on || std::env::var_os(mutants::VARIABLE).is_some(), "{mutant:?} is on");
    }
    assert_eq!(Mutant::named("nothing of this name"), None);
}
