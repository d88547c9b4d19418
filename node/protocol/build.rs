//! Lets the weakenings of `src/mutants.rs` into a build that asks for them by `WARIFU_MUTANTS=1`.

fn main() {
    println!("cargo::rerun-if-env-changed=WARIFU_MUTANTS");
    println!("cargo::rustc-check-cfg=cfg(warifu_mutants)");
    if std::env::var_os("WARIFU_MUTANTS").is_some_and(|asked| asked == "1") {
        println!("cargo::rustc-cfg=warifu_mutants");
    }
}
