//! Problem documents, RFC 9457.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warifu_protocol::Fault;

/// Media type of a problem document.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";
/// What stands before the code in [`Problem::kind`].
pub const PROBLEM_TYPE_PREFIX: &str = "urn:warifu:problem:";

/// Why a call failed, for programs ([`Problem::code`], `fault`) and for people (`title`, `detail`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{detail} ({})", self.code())]
pub struct Problem {
    /// `urn:warifu:problem:` and a stable code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case, and what to do.
    pub detail: String,
    /// Whose move it is.
    #[schema(value_type = crate::schema::Fault)]
    pub fault: Fault,
    /// When to try again, in seconds, if that may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
    /// Id of the request, as in the answer's `x-request-id` and in the coordinator's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Problem {
    /// A problem with this status and stable kebab-case code.
    #[must_use]
    pub fn new(status: u16, code: &str, fault: Fault, detail: impl Into<String>) -> Self {
        let mut title = code.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            kind: format!("{PROBLEM_TYPE_PREFIX}{code}"),
            title,
            status,
            detail: detail.into(),
            fault,
            retry_after_seconds: None,
            instance: None,
        }
    }

    /// The same problem with a time to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(PROBLEM_TYPE_PREFIX).unwrap_or(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let problem = Problem::new(409, "seq-used", Fault::Request, "used").retry_after(2);
        let json = serde_json::to_value(&problem).expect("serializes");
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:warifu:problem:seq-used", "title": "Seq used", "status": 409, "detail": "used", "fault": "request",
                "retry_after_seconds": 2
            })
        );
        assert_eq!(serde_json::from_value::<Problem>(json).expect("reads back"), problem);
        assert_eq!(problem.code(), "seq-used");
    }
}
