//! Bringing an approved order to the cluster.

use warifu_api::{ApiClient, OrderAnswer};
use warifu_protocol::{ImportPacket, OrderCommand};

use super::file::{OrderError, OrderFile};
use super::import::submit_import;
use crate::console::Console;

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
        (OrderCommand::Import { .. }, _) => {
            Err(OrderError::Unfit { reason: "the order imports a key: give its sealed packets with `--packets`".to_owned() })
        }
        (_, Some(_)) => Err(OrderError::Unfit { reason: "the order announces no CRL: leave `--crl` away".to_owned() }),
        (_, None) => Ok(client.order(order).await?),
    }
}

/// What goes to the cluster with an order.
#[derive(Clone, Copy, Debug)]
pub enum Enclosed<'a> {
    /// Nothing.
    Nothing,
    /// The CRL that it announces.
    Crl(&'a [u8]),
    /// The packets of the key that it imports.
    Packets(&'a [ImportPacket]),
}

/// Submits an order with what belongs to it. May be repeated when the outcome is unknown.
///
/// # Errors
/// As [`submit`] and [`submit_import`].
pub async fn submit_enclosed(
    client: &ApiClient,
    order: &OrderFile,
    enclosed: Enclosed<'_>,
    console: Console,
) -> Result<Submitted, OrderError> {
    match enclosed {
        Enclosed::Nothing => submit(client, order, None).await,
        Enclosed::Crl(der) => submit(client, order, Some(der)).await,
        Enclosed::Packets(packets) => submit_import(client, order, packets, console).await,
    }
}
