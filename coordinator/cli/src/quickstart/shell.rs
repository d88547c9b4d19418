//! Words of a POSIX shell.

use std::path::Path;

/// A path as one word, as it may be pasted into a shell.
pub(super) fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@%,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    // Between single quotes only a single quote itself has a meaning.
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_each_path_as_the_one_word_that_it_is() {
        assert_eq!(word(Path::new("/tmp/warifu-1.0/node_1")), "/tmp/warifu-1.0/node_1", "what needs no quotes has none");
        let paths =
            ["two words", "it's", "'", "$HOME", "a;b&c|d", "\"q\"", "back\\slash", "`id`", "*", "~", "#", "", "tab\tand\nline", "処方"];
        for path in paths {
            let script = format!("printf '%s|' {}", word(Path::new(path)));
            let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{path}|"), "{script}");
        }
    }
}
