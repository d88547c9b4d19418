//! What a client is told of an order is so: it stands in the log where the answer says, and the log took it (design.md section 6).

use std::collections::BTreeMap;

use warifu_protocol::{Command, LogEntry, OrderId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AcknowledgedOrderIsInTheLog {
    taken: BTreeMap<u64, OrderId>,
}

impl Invariant for AcknowledgedOrderIsInTheLog {
    fn name(&self) -> &'static str {
        "acknowledged_order_is_in_the_log"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { index, refused: None, bytes, .. } => {
                if let Ok(LogEntry { command: Command::Order(order), .. }) = LogEntry::decode(&bytes.0) {
                    self.taken.insert(*index, order.body.id);
                }
            }
            Fact::OrderAcknowledged { order, index } if self.taken.get(index) != Some(order) => {
                return Err(format!("a client was told that order {order} is entry {index}, which it is not, or was refused"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use warifu_protocol::OrderCommand;

    #[test]
    fn an_order_that_is_acknowledged_and_stands_elsewhere_or_was_refused_is_a_breach() {
        let resume = order(1, OrderCommand::Resume { credential: CREDENTIAL });
        let told = |id: u8, index| Fact::OrderAcknowledged { order: OrderId::new([id; 16]), index };
        let check = |facts: &[Fact]| check_all(AcknowledgedOrderIsInTheLog::default(), facts);
        assert_eq!(check(&[logged(4, &resume), told(1, 4)]), Ok(()));
        assert!(check(&[told(1, 4), logged(4, &resume)]).is_err(), "before it is there");
        assert!(check(&[logged(4, &resume), told(1, 5)]).is_err());
        assert!(check(&[logged(4, &resume), told(2, 4)]).is_err());
        assert!(check(&[refused(4, &resume), told(1, 4)]).is_err());
    }
}
