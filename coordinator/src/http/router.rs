//! All paths.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::{Json, Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use warifu_api::{Problem, paths};
use warifu_protocol::Fault;

use super::answer::ProblemAnswer;
use super::app::App;
use super::caller::{Anyone, Caller};
use super::{imports, orders, reads, sessions, sign, status, stops, trace};

#[derive(OpenApi)]
#[openapi(info(
    title = "Warifu coordinator",
    description = "Threshold signatures for e-prescriptions. Every call needs a TLS client certificate of a configured client."
))]
struct ApiDoc;

/// The interface, with its own description at `/openapi.json`.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, description) = described().split_for_parts();
    let description = Arc::new(description);
    router
        .route(
            paths::OPENAPI,
            axum::routing::get(move |_: Caller<Anyone>, State(_): State<Arc<App>>| {
                let description = Arc::clone(&description);
                async move { Json(description.as_ref().clone()) }
            }),
        )
        .fallback(async || ProblemAnswer(Problem::new(404, "not-found", Fault::Request, "nothing is served at this path")))
        .method_not_allowed_fallback(async || {
            ProblemAnswer(Problem::new(405, "method-not-allowed", Fault::Request, "this path does not take this method"))
        })
        // Bodies have a bound of their own, whose answer the caller can read.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(trace::panic_answer))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), trace::trace))
        .with_state(app)
}

fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(sessions::open_session))
        .routes(routes!(sessions::read_session))
        .routes(routes!(sessions::close_session))
        .routes(routes!(sign::sign))
        .routes(routes!(orders::relay_order))
        .routes(routes!(orders::upload_crl))
        .routes(routes!(imports::bring_packets))
        .routes(routes!(reads::crls))
        .routes(routes!(reads::roster))
        .routes(routes!(reads::credentials))
        .routes(routes!(reads::credential))
        .routes(routes!(reads::credential_history))
        .routes(routes!(reads::credential_csr))
        .routes(routes!(reads::object_version))
        .routes(routes!(reads::ceremony))
        .routes(routes!(stops::stop))
        .routes(routes!(status::status))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_names_every_path_of_the_interface() {
        let described: BTreeSet<String> = described().into_openapi().paths.paths.into_keys().collect();
        let expected = [
            paths::SESSIONS,
            paths::SESSION,
            paths::SESSION_CLOSE,
            paths::SIGN,
            paths::ORDERS,
            paths::CRL,
            paths::IMPORT,
            paths::CRLS,
            paths::ROSTER,
            paths::CREDENTIALS,
            paths::CREDENTIAL,
            paths::HISTORY,
            paths::CSR,
            paths::OBJECT_VERSION,
            paths::CEREMONY,
            paths::STOP,
            paths::STATUS,
        ];
        assert_eq!(described, expected.into_iter().map(str::to_owned).collect());
    }
}
