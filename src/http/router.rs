//! From a request's head to the handler that answers it, and from the handler to the client.
//!
//! An increment or decrement is known by hand, ahead of the router, which would cost it a tenth of
//! its speed. The same handlers stand in the router too, for spellings that only it understands.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, MatchedPath, Path, Request as RoutedRequest};
use axum::response::{IntoResponse, Response as RoutedResponse};
use axum::routing::{MethodFilter, on};
use axum::{Router, body::Body as AxumBody};
use bytes::Bytes;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use tower_service::Service;

use super::auth::{self, Access, Origin};
use super::body::{self, RequestBody};
use super::call::{Answered, Asked, Call};
use super::connection::{Connection, Phase};
use super::contract::{self, Endpoint, Limit};
use super::error::{Code, Problem};
use super::notes::Notes;
use super::reply::ReplyBody;
use super::worker::{InFlight, Worker};
use super::{
    admin, alerts, documents, head, page, parse, past, prefix, probes, push, read, subscribe, write,
};
use crate::counter::Action;
use crate::metrics::{RateLimit, Route};

/// What the router hands back with an answer.
#[derive(Clone)]
struct Noted(Route, Notes);

/// An answer of at most this many bytes is sent at once as a rule, so log and metrics take it as ended when it
/// begins.
const SHORT: u64 = 64 * 1024;

/// Answers one request. Everything that the future needs is put where it stays: the future is moved
/// when it begins, and each copy of its parts would make it larger.
pub(super) fn answer(
    worker: &Arc<Worker>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> + Send + use<> {
    connection.enter(Phase::Working);
    let (mut parts, mut body) = request.into_parts();
    let peer = connection.peer.ip();
    let call = Call {
        client: worker.limits.rates.client(peer, &parts.headers),
        worker: Arc::clone(worker),
        connection: Arc::clone(connection),
        request_id: worker.ids.of(&parts.headers),
        origin: auth::origin(
            &parts.headers,
            &parts.uri,
            &worker.options.cors_origins,
            worker.options.hosts.as_deref(),
        ),
    };
    let mut flight = InFlight::begin(
        worker,
        connection,
        call.client,
        Some(parts.method.clone()),
        call.request_id.clone(),
    );
    flight.note_trace(&parts.headers);
    async move {
        let friends = !call.worker.options.cors_origins.is_empty();
        let friend = match call.origin {
            Origin::Friend => parts.headers.get(ORIGIN).cloned(),
            Origin::Home | Origin::Stranger | Origin::Rebound => None,
        };
        let mut response = if let Err(problem) =
            head::check(&parts, call.worker.options.max_headers).and_then(|()| {
                let check = || call.check_token(Access::Admin, &parts.headers, None);
                let is_admin = || check().is_ok();
                call.worker.check_place(&call.connection, &parts, is_admin)
            }) {
            refuse(&call, problem, &parts.headers, &mut body).await
        } else if let Some((action, name)) = head::action(&parts.method, parts.uri.path()) {
            let endpoint = contract::call_of(action);
            flight.route = endpoint.route;
            flight.notes.counter = parse::name(name).ok();
            let admitted = admit(&call, endpoint, &parts.headers, &parts.uri, &mut body).await;
            let done = match admitted {
                Ok(body) => {
                    let (headers, notes) = (&mut parts.headers, &mut flight.notes);
                    write::change(&call, action, name, headers, body, notes).await
                }
                Err(problem) => Err(problem),
            };
            match done {
                Ok(response) => response,
                Err(problem) => {
                    flight.notes.refused_unless_noted(problem.code);
                    refuse(&call, problem, &parts.headers, &mut body).await
                }
            }
        } else {
            // Further requests of one turn, which were sent without waiting, let others go first.
            if call.connection.had_its_turn() {
                tokio::task::yield_now().await;
            }
            // In memory of its own, so that the future of the common calls stays small: each future is
            // moved when it begins.
            Box::pin(routed(&call, Request::from_parts(parts, body), &mut flight)).await
        };
        if friends {
            auth::let_read(&mut response, call.origin, friend.as_ref());
        }
        let status = response.status();
        if let Some(start) = response.extensions_mut().remove::<push::Start>() {
            let headers = std::mem::take(response.headers_mut());
            let handover = push::Handover {
                head: push::head(status, headers, call.worker.shared.engine.now()),
                start,
                on_end: flight.handed_over(status.as_u16()),
            };
            call.connection.hand_over(handover);
            // The connection is taken away from HTTP, and this future is dropped with it.
            return std::future::pending().await;
        }
        if call.worker.is_ending() || call.connection.place.is_kept() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if status != StatusCode::TOO_MANY_REQUESTS {
            call.connection.forget_limited();
        }
        call.connection.enter(Phase::Sending);
        match response.body().size_hint().exact() {
            Some(bytes) if bytes <= SHORT => flight.end(status.as_u16(), bytes),
            bytes if flight.method == Some(Method::HEAD) => {
                flight.end(status.as_u16(), bytes.unwrap_or(0));
            }
            _ => {
                let end = flight.answered_with(status.as_u16());
                response = response.map(|body| body.followed_by(end));
            }
        }
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
    if let Some(Noted(route, notes)) = response.extensions().get() {
        flight.route = *route;
        flight.notes = notes.clone();
    }
    response.map(ReplyBody::Routed)
}

/// The answer that carries a problem. What is left of the body is read, so that it is heard.
async fn refuse(
    call: &Call,
    problem: Problem,
    headers: &HeaderMap,
    body: &mut impl RequestBody,
) -> Response<ReplyBody> {
    let goes_on = problem.close || body::discard(body, headers, &call.connection).await;
    let problem = if goes_on { problem } else { problem.closing() };
    if problem.is_of_address() && !call.worker.is_ending() {
        let pause = call.connection.pause_of_limited();
        if !pause.is_zero() {
            // Up to a quarter more or less, so that many do not come back at one instant.
            let spread = call.worker.shared.engine.boot_ns() % 64;
            let pause = pause * (96 + spread as u32) / 128;
            // In memory of its own, so that the future of the common calls stays small.
            Box::pin(tokio::time::sleep(pause)).await;
        }
    }
    problem.into_response(&call.request_id)
}

/// Judges a request by its head and reads its body.
async fn admit(
    call: &Call,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    uri: &Uri,
    body: &mut impl RequestBody,
) -> Result<Bytes, Problem> {
    let body_limit = call.body_limit(endpoint);
    call.judge(endpoint, body_limit, headers, uri)?;
    match endpoint.limit {
        Limit::NoBody => Ok(Bytes::new()),
        Limit::Body | Limit::Batch => body::collect(body, body_limit, &call.connection).await,
    }
}

/// All calls of the contract.
pub(super) fn router() -> Router {
    let mut router = Router::new();
    for endpoint in contract::calls() {
        let handler = move |name: Result<Path<String>, PathRejection>,
                            Extension(call): Extension<Call>,
                            request: RoutedRequest| async move {
            // A path without a name has no parameter.
            let name = name.map_or_else(|_| String::new(), |Path(name)| name);
            serve(&call, endpoint, &name, request).await
        };
        // All methods of the contract are ones that axum knows.
        let Ok(filter) = MethodFilter::try_from(endpoint.method.clone()) else {
            continue;
        };
        router = router.route(endpoint.path, on(filter, handler));
    }
    router
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
}

/// Judges the request, has its handler answer it, and gives the router what that came to.
async fn serve(
    call: &Call,
    endpoint: &'static Endpoint,
    name: &str,
    request: RoutedRequest,
) -> RoutedResponse {
    let (parts, mut body) = request.into_parts();
    let mut notes = Notes::default();
    notes.counter = parse::name(name).ok();
    let done = match admit(call, endpoint, &parts.headers, &parts.uri, &mut body).await {
        Ok(body) => {
            let asked = Asked {
                endpoint,
                method: &parts.method,
                version: parts.version,
                name,
                uri: &parts.uri,
                headers: &parts.headers,
                body,
            };
            handle(call, &asked, &mut notes).await
        }
        Err(problem) => Err(problem),
    };
    settle(call, endpoint.route, done, &parts, &mut body, notes).await
}

/// The handler of each call. An increment, or another of [`Action`], comes here when its name is spelt with `%`.
async fn handle(call: &Call, asked: &Asked<'_>, notes: &mut Notes) -> Answered {
    let change = |action| (action, asked.headers.clone(), asked.body.clone());
    let (action, mut headers, body) = match asked.endpoint.route {
        Route::Increment => change(Action::Increment),
        Route::Decrement => change(Action::Decrement),
        Route::Heartbeat => change(Action::Heartbeat),
        Route::Leave => change(Action::Leave),
        Route::Batch => return write::batch(call, asked, notes).await,
        Route::Read => return read::one(call, asked).await,
        Route::ReadMany => return read::many(call, asked).await,
        Route::List => return read::list(call, asked).await,
        Route::History => return past::history(call, asked).await,
        Route::Series => return past::series(call, asked).await,
        Route::Define => return admin::define(call, asked).await,
        Route::Delete => return admin::delete(call, asked).await,
        Route::DeletePrefix => return prefix::delete(call, asked).await,
        Route::Reset => return admin::reset(call, asked).await,
        Route::Adjust => return admin::adjust(call, asked).await,
        Route::Stream => return subscribe::stream(call, asked).await,
        Route::Ws => return subscribe::ws(call, asked).await,
        Route::PushTicket => return subscribe::ticket(call, asked).await,
        Route::Alerts => return alerts::list(call, asked).await,
        Route::Silence => return alerts::silence(call, asked).await,
        Route::Page => return page::page(call, asked).await,
        Route::PageFile => return page::file(call, asked).await,
        Route::Livez => return probes::livez(call, asked).await,
        Route::Readyz => return probes::readyz(call, asked).await,
        Route::Metrics => return probes::metrics(call, asked).await,
        Route::Openapi => return documents::openapi(call, asked).await,
        Route::Docs => return documents::page(call, asked).await,
        Route::Unmatched => return Err(no_such_path(asked.uri.path())),
    };
    write::change(call, action, asked.name, &mut headers, body, notes).await
}

fn no_such_path(path: &str) -> Problem {
    let detail = match path.trim_end_matches('/') {
        "/api/v1/counter" => {
            "there is no such path; one counter is read at `/api/v1/counter/{name}`, several at \
             `/api/v1/counters?names=a,b`"
        }
        _ => "there is no such path; the calls are under /api/v1, see docs/api.md",
    };
    Problem::new(Code::NotFound, detail)
}

/// A path that is not known, or one with a method that it does not have. The router adds `Allow`.
async fn no_such_call(
    matched: Option<MatchedPath>,
    Extension(call): Extension<Call>,
    request: RoutedRequest,
) -> RoutedResponse {
    let (parts, mut body) = request.into_parts();
    let route = matched
        .as_ref()
        .map(|path| contract::route_at(path.as_str()));
    let asks = parts.method == Method::OPTIONS
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let limit = match parts.method {
        Method::GET | Method::HEAD | Method::OPTIONS => RateLimit::IpReads,
        _ => RateLimit::IpWrites,
    };
    let limited = call.check_rate(limit, 1, 0);
    let done = match call.origin {
        _ if limited.is_err() => limited.map(|()| auth::preflight()),
        _ if route.is_none() => Err(no_such_path(parts.uri.path())),
        Origin::Friend if asks => Ok(auth::preflight()),
        Origin::Stranger | Origin::Rebound if asks => {
            auth::check_origin(call.origin, true).map(|()| auth::preflight())
        }
        Origin::Home | Origin::Friend | Origin::Stranger | Origin::Rebound => Err(Problem::new(
            Code::MethodNotAllowed,
            "this path does not have this method; `Allow` lists those it has",
        )),
    };
    let route = route.unwrap_or(Route::Unmatched);
    settle(&call, route, done, &parts, &mut body, Notes::default()).await
}

/// Gives the router what a handler came to, with the notes for whoever called the router.
async fn settle(
    call: &Call,
    route: Route,
    done: Answered,
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
    response.extensions_mut().insert(Noted(route, notes));
    response.into_response()
}
