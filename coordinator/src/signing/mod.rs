//! From a document and a request to a signed document.

mod documents;
mod gather;
mod problems;
mod views;

pub(crate) use documents::{csr, sign_document};
pub(crate) use problems::read_problem;
pub(crate) use views::Views;
