//! From a request's head to the handler that answers it, and from the handler to the client.
//!
//! An increment or decrement is known by hand, ahead of the router, which would cost it a tenth of
//! its speed. The same handlers stand in the router too, for spellings that only it understands.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, MatchedPath, Path, Request as RoutedRequest};
use axum::response::{IntoResponse, Response as RoutedResponse};
use axum::routing::{get, post};
use axum::{Router, body::Body as AxumBody};
use bytes::Bytes;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower_service::Service;

use super::auth::{self, From};
use super::body::{self, ReplyBody};
use super::connection::Connection;
use super::error::{Code, Problem};
use super::notes::Notes;
use super::worker::{InFlight, Worker};
use super::{admin, head, page, past, read, write};
use crate::counter::{Direction, RequestId};
use crate::metrics::Route;

/// What a handler knows beside the request itself.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) worker: Arc<Worker>,
    pub(super) connection: Arc<Connection>,
    pub(super) request_id: RequestId,
    pub(super) from: From,
}

/// What the router hands back with an answer.
#[derive(Clone)]
struct Seen(Route, Notes);

/// Answers one request. Everything that the future needs is put where it stays: the future is moved
/// when it begins, and each copy of its parts would make it larger.
pub(super) fn answer(
    worker: &Arc<Worker>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> + Send + use<> {
    connection.request_begins();
    let (mut parts, mut body) = request.into_parts();
    let call = Call {
        worker: Arc::clone(worker),
        connection: Arc::clone(connection),
        request_id: worker.ids.of(&parts.headers),
        from: auth::origin(&parts.headers, &parts.uri, &worker.options.cors_origins),
    };
    let mut flight = InFlight::begin(
        worker,
        connection.peer,
        parts.method.clone(),
        call.request_id.clone(),
    );
    async move {
        let friends = !call.worker.options.cors_origins.is_empty();
        let origin = match call.from {
            From::Friend => parts.headers.get(ORIGIN).cloned(),
            From::Home | From::Stranger => None,
        };
        let mut response =
            if let Err(problem) = head::check(&parts, call.worker.options.max_headers) {
                refuse(&call, problem, &parts.headers, &mut body).await
            } else if let Some((direction, name)) =
                head::increment_or_decrement(&parts.method, parts.uri.path())
            {
                flight.route = route_of(direction);
                let (headers, notes) = (&mut parts.headers, &mut flight.notes);
                let done = write::change(&call, direction, name, headers, &mut body, notes).await;
                match done {
                    Ok(response) => response,
                    Err(problem) => {
                        notes.refused_unless_noted(problem.code);
                        refuse(&call, problem, &parts.headers, &mut body).await
                    }
                }
            } else {
                // In memory of its own, so that the future of the common calls stays small: each future is
                // moved when it begins.
                Box::pin(routed(&call, Request::from_parts(parts, body), &mut flight)).await
            };
        if friends {
            auth::let_read(&mut response, call.from, origin.as_ref());
        }
        if call.worker.is_ending() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        flight.end(
            response.status().as_u16(),
            response.body().size_hint().exact().unwrap_or(0),
        );
        call.connection.answer_begins();
        Ok(response)
    }
}

async fn routed(
    call: &Call,
    mut request: Request<Incoming>,
    flight: &mut InFlight,
) -> Response<ReplyBody> {
    request.extensions_mut().insert(call.clone());
    let response = match call.worker.router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if let Some(Seen(route, notes)) = response.extensions().get() {
        flight.route = *route;
        flight.notes = notes.clone();
    }
    response.map(ReplyBody::Routed)
}

fn route_of(direction: Direction) -> Route {
    match direction {
        Direction::Increment => Route::Increment,
        Direction::Decrement => Route::Decrement,
    }
}

/// The answer that carries a problem. What is left of the body is read, so that it is heard.
async fn refuse<B>(
    call: &Call,
    problem: Problem,
    headers: &HeaderMap,
    body: &mut B,
) -> Response<ReplyBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    let goes_on = problem.close || body::discard(body, headers, &call.connection).await;
    let problem = if goes_on { problem } else { problem.closing() };
    problem.into_response(&call.request_id)
}

/// The name in the path, decoded.
type Name = Result<Path<String>, PathRejection>;

/// Makes a handler of the router's kind from one of ours.
macro_rules! named {
    ($route:expr, $handler:path) => {
        |name: Name, Extension(call): Extension<Call>, request: RoutedRequest| async move {
            let name = name.map_or_else(|_| String::new(), |Path(name)| name);
            let (parts, mut body) = request.into_parts();
            let mut notes = Notes::default();
            let done = $handler(&call, &name, &parts, &mut body, &mut notes).await;
            settle(&call, $route, done, &parts, &mut body, notes).await
        }
    };
}

/// The same for paths without a name.
macro_rules! nameless {
    ($route:expr, $handler:path) => {
        |Extension(call): Extension<Call>, request: RoutedRequest| async move {
            let (parts, mut body) = request.into_parts();
            let mut notes = Notes::default();
            let done = $handler(&call, "", &parts, &mut body, &mut notes).await;
            settle(&call, $route, done, &parts, &mut body, notes).await
        }
    };
}

/// All calls but the plain increment and decrement.
pub(super) fn router() -> Router {
    let counter = get(named!(Route::Read, read::one))
        .put(named!(Route::Define, admin::define))
        .delete(named!(Route::Delete, admin::delete));
    Router::new()
        .route("/api/v1/counter/{name}", counter)
        .route(
            "/api/v1/counter/{name}/increment",
            post(named!(Route::Increment, increment)),
        )
        .route(
            "/api/v1/counter/{name}/decrement",
            post(named!(Route::Decrement, decrement)),
        )
        .route(
            "/api/v1/counter/{name}/reset",
            post(named!(Route::Reset, admin::reset)),
        )
        .route(
            "/api/v1/counter/{name}/adjust",
            post(named!(Route::Adjust, admin::adjust)),
        )
        .route(
            "/api/v1/counters",
            get(nameless!(Route::ReadMany, read::many)),
        )
        .route(
            "/api/v1/counters/all",
            get(nameless!(Route::List, read::list)),
        )
        .route(
            "/api/v1/counter/{name}/history",
            get(named!(Route::History, past::history)),
        )
        .route(
            "/api/v1/counter/{name}/series",
            get(named!(Route::Series, past::series)),
        )
        .route("/api/v1/batch", post(nameless!(Route::Batch, write::batch)))
        .route("/livez", get(nameless!(Route::Livez, page::livez)))
        .route("/readyz", get(nameless!(Route::Readyz, page::readyz)))
        .route("/metrics", get(nameless!(Route::Metrics, page::metrics)))
        .fallback(nameless!(Route::Unmatched, not_found))
        .method_not_allowed_fallback(other_method)
}

/// The increment of a name that is spelt with `%`.
async fn increment(
    call: &Call,
    name: &str,
    parts: &Parts,
    body: &mut AxumBody,
    notes: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    write::change(
        call,
        Direction::Increment,
        name,
        &mut parts.headers.clone(),
        body,
        notes,
    )
    .await
}

/// The decrement of a name that is spelt with `%`.
async fn decrement(
    call: &Call,
    name: &str,
    parts: &Parts,
    body: &mut AxumBody,
    notes: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    write::change(
        call,
        Direction::Decrement,
        name,
        &mut parts.headers.clone(),
        body,
        notes,
    )
    .await
}

async fn not_found<B>(
    _: &Call,
    _: &str,
    _: &Parts,
    _: &mut B,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    Err(Problem::new(
        Code::NotFound,
        "there is no such path; the calls are under /api/v1, see docs/api.md",
    ))
}

/// A path that is known, with a method that it does not have. The router adds `Allow`.
async fn other_method(
    matched: Option<MatchedPath>,
    Extension(call): Extension<Call>,
    request: RoutedRequest,
) -> RoutedResponse {
    let (parts, mut body) = request.into_parts();
    let route = matched.map_or(Route::Unmatched, |path| route_at(path.as_str()));
    let asks = parts.method == Method::OPTIONS
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let done = match call.from {
        From::Friend if asks => Ok(auth::preflight()),
        From::Stranger if asks => auth::check_origin(call.from).map(|()| auth::preflight()),
        From::Home | From::Friend | From::Stranger => Err(Problem::new(
            Code::MethodNotAllowed,
            "this path does not have this method; `Allow` lists those it has",
        )),
    };
    settle(&call, route, done, &parts, &mut body, Notes::default()).await
}

/// The first call of a path.
fn route_at(path: &str) -> Route {
    match path {
        "/api/v1/counter/{name}" => Route::Read,
        "/api/v1/counter/{name}/increment" => Route::Increment,
        "/api/v1/counter/{name}/decrement" => Route::Decrement,
        "/api/v1/counter/{name}/reset" => Route::Reset,
        "/api/v1/counter/{name}/adjust" => Route::Adjust,
        "/api/v1/counters" => Route::ReadMany,
        "/api/v1/counters/all" => Route::List,
        "/api/v1/counter/{name}/history" => Route::History,
        "/api/v1/counter/{name}/series" => Route::Series,
        "/api/v1/batch" => Route::Batch,
        "/livez" => Route::Livez,
        "/readyz" => Route::Readyz,
        "/metrics" => Route::Metrics,
        _ => Route::Unmatched,
    }
}

/// Gives the router what a handler came to, with the notes for whoever called the router.
async fn settle(
    call: &Call,
    route: Route,
    done: Result<Response<ReplyBody>, Problem>,
    parts: &Parts,
    body: &mut AxumBody,
    mut notes: Notes,
) -> RoutedResponse {
    let mut response = match done {
        Ok(response) => response,
        Err(problem) => {
            if matches!(route, Route::Increment | Route::Decrement | Route::Batch) {
                notes.refused_unless_noted(problem.code);
            }
            refuse(call, problem, &parts.headers, body).await
        }
    };
    response.extensions_mut().insert(Seen(route, notes));
    response.into_response()
}
