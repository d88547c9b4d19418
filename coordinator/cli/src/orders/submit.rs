//! Bringing an approved order to the cluster.

use warifu_api::{ApiClient, OrderAnswer};
use warifu_protocol::OrderCommand;

use super::file::{OrderError, OrderFile};

/// What became of an order.
pub type Submitted = OrderAnswer;

/// Submits an order and, when it announces a CRL, the CRL's bytes after it. May be repeated when the outcome is unknown.
///
/// # Errors
/// [`OrderError::Api`] for a refusal or an unknown outcome, [`OrderError::Unfit`] when the CRL is missing or not asked for.
pub async fn submit(client: &ApiClient, order: &OrderFile, crl: Option<&[u8]>) -> Result<Submitted, OrderError> {
    let order = &order.0;
    match (&order.body.order, crl) {
        (OrderCommand::UpdateCrl { .. }, Some(der)) => {
            client.order(order).await?;
            Ok(client.upload_crl(order.body.id, der.to_vec()).await?)
        }
        (OrderCommand::UpdateCrl { .. }, None) => {
            Err(OrderError::Unfit { reason: "the order announces a CRL: give its file with `--crl`".to_owned() })
        }
        (_, Some(_)) => Err(OrderError::Unfit { reason: "the order announces no CRL: leave `--crl` away".to_owned() }),
        (_, None) => Ok(client.order(order).await?),
    }
}
