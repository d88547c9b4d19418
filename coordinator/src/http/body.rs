//! Bodies of calls, received within bounds of size, time and memory.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use warifu_api::Problem;
use warifu_api::limits::BODY_BYTES_MAX;
use warifu_protocol::Fault;

use super::answer::ProblemAnswer;
use super::app::App;
use super::clients::Client;
use crate::limits::{BODY_DROP_MAX, CLIENT_BODY_DEADLINE};

/// A request whose body has not been read, to be read once it is known who calls.
pub(crate) struct Unread(Request);

/// A body that was read. It counts as memory in use until this is dropped.
pub(crate) struct Received<T> {
    pub(crate) value: T,
    _permits: [OwnedSemaphorePermit; 2],
}

impl FromRequest<Arc<App>> for Unread {
    type Rejection = ProblemAnswer;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Self::Rejection> {
        Ok(Self(request))
    }
}

impl Unread {
    /// JSON with a closed set of fields.
    pub(crate) async fn json<T: DeserializeOwned>(self, app: &App, client: &Client) -> Result<Received<T>, Problem> {
        let Received { value, _permits } = self.bytes(app, client, "application/json").await?;
        let value = serde_json::from_slice(&value)
            .map_err(|error| Problem::new(400, "malformed", Fault::Request, format!("the body is not what this call takes: {error}")))?;
        Ok(Received { value, _permits })
    }

    /// Bytes of this media type.
    pub(crate) async fn bytes(self, app: &App, client: &Client, media_type: &'static str) -> Result<Received<Bytes>, Problem> {
        let Self(request) = self;
        let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_wanted = given.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type));
        if !is_wanted {
            return Err(Problem::new(415, "media-type", Fault::Request, format!("the body must be {media_type}")));
        }
        let receive = async {
            let permits = [permit(&client.bodies).await, permit(&app.bodies).await];
            Ok(Received { value: read(request.into_body()).await?, _permits: permits })
        };
        timeout(CLIENT_BODY_DEADLINE, receive).await.unwrap_or_else(|_| {
            let detail = format!("the body did not arrive within {CLIENT_BODY_DEADLINE:?}");
            Err(Problem::new(408, "body-too-slow", Fault::Request, detail))
        })
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("the semaphore is never closed")
}

/// Reads up to the bound. What is beyond is read on and dropped for a while: a client that still sends when the connection is closed would see a
/// broken pipe and not the answer.
async fn read(body: Body) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut size = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Problem::new(400, "malformed", Fault::Request, format!("the body broke off: {error}")))?;
        size = size.saturating_add(chunk.len());
        if size <= BODY_BYTES_MAX {
            kept.extend_from_slice(&chunk);
        } else {
            kept = BytesMut::new();
            if size > BODY_DROP_MAX {
                break;
            }
        }
    }
    if size > BODY_BYTES_MAX {
        return Err(Problem::new(413, "body-too-large", Fault::Request, format!("a body may have {BODY_BYTES_MAX} bytes")));
    }
    Ok(kept.freeze())
}
