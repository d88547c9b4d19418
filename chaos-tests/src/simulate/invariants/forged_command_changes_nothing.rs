//! A command that nobody who may say it has said, that took effect before, that is past its end or that was written for another state is refused by
//! every site (design.md G3, sections 5 and 8).

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ForgedCommandChangesNothing;

impl Invariant for ForgedCommandChangesNothing {
    fn name(&self) -> &'static str {
        "forged_command_changes_nothing"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        let Fact::Committed { index, kind, void: Some(reason), refused: None, .. } = fact else { return Ok(()) };
        Err(format!("entry {index} ({kind}) took effect, though {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_void_entry_that_is_applied_is_a_breach() {
        let refused = Some("signature-invalid".to_owned());
        let void = Some("nobody said it");
        assert_eq!(check_all(ForgedCommandChangesNothing, &[committed(1, "enrol", void, refused, Vec::new())]), Ok(()));
        assert_eq!(check_all(ForgedCommandChangesNothing, &[committed(1, "enrol", None, None, Vec::new())]), Ok(()));
        assert!(check_all(ForgedCommandChangesNothing, &[committed(1, "enrol", void, None, Vec::new())]).is_err());
    }
}
