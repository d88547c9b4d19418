//! A bound on open connections.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// Closes connections beyond a number before any handshake is made for them.
#[derive(Clone, Debug)]
pub(crate) struct LimitConnections<A> {
    inner: A,
    free: Arc<Semaphore>,
}

impl<A> LimitConnections<A> {
    pub(crate) fn new(inner: A, connections: u32) -> Self {
        Self { inner, free: Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS))) }
    }
}

impl<A, I, S> Accept<I, S> for LimitConnections<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = A::Stream;
    type Service = Counted<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let accepted = permit.map(|permit| (permit, self.inner.accept(stream, service)));
        async move {
            let Ok((permit, accepted)) = accepted else { return Err(io::Error::other("too many connections")) };
            let (stream, service) = accepted.await?;
            Ok((stream, Counted { service, _permit: Arc::new(permit) }))
        }
        .boxed()
    }
}

/// A connection's service; the connection counts until it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    service: S,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.service.call(request)
    }
}
