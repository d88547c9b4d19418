//! How the cluster's refusals look over HTTP.

use warifu_protocol::{Fault, Refusal};

use crate::Problem;

/// A refusal that may pass by itself is worth another try after this many seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let fault = refusal.fault();
        let status = match fault {
            Fault::Request => request_status(refusal),
            Fault::Card => 403,
            Fault::Order => order_status(refusal),
            Fault::Coordinator | Fault::Node | Fault::Cluster => 503,
        };
        let problem = Self::new(status, &refusal.code(), fault, refusal.to_string());
        if status == 503 { problem.retry_after(RETRY_AFTER_SECONDS) } else { problem }
    }
}

fn request_status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::SessionUnknown | Refusal::CredentialUnknown { .. } => 404,
        Refusal::SessionClosed
        | Refusal::SessionNotValid
        | Refusal::StatementUsed
        | Refusal::SeqUsed
        | Refusal::SessionsTooMany { .. }
        | Refusal::CredentialState { .. }
        | Refusal::Stopped { .. } => 409,
        Refusal::SignatureInvalid { .. }
        | Refusal::RequestSignatureInvalid
        | Refusal::RoleMissing { .. }
        | Refusal::SeqOutOfRange { .. }
        | Refusal::FacilityUnknown { .. }
        | Refusal::TerminalUnknown { .. } => 403,
        _ => 400,
    }
}

fn order_status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::OfficerUnknown { .. }
        | Refusal::OfficerRole { .. }
        | Refusal::ApprovalDuplicate { .. }
        | Refusal::ApprovalsMissing { .. }
        | Refusal::BoundCardNeeded => 403,
        _ => 409,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whose_move_it_is() {
        let table = [
            (Refusal::SessionUnknown, 404),
            (Refusal::SeqUsed, 409),
            (Refusal::SessionClosed, 409),
            (Refusal::RequestSignatureInvalid, 403),
            (Refusal::SigningTimeFraction, 400),
            (Refusal::CardRevoked, 403),
            (Refusal::CardUnbound, 403),
            (Refusal::OrderReplayed, 409),
            (Refusal::OfficerUnknown { officer: "eve".parse().expect("a name") }, 403),
            (Refusal::CrlStale { issuer: "CA".to_owned() }, 503),
            (Refusal::NodeUnconfirmed, 503),
        ];
        for (refusal, status) in table {
            let problem = Problem::from(&refusal);
            assert_eq!(problem.status, status, "{refusal}");
            assert_eq!(problem.code(), refusal.code());
            assert_eq!(problem.fault, refusal.fault());
            assert_eq!(problem.retry_after_seconds.is_some(), status == 503);
        }
    }
}
