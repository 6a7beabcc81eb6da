//! What a handler knows beside the request itself, and what is judged before it runs.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};

use super::auth::{self, Origin};
use super::body;
use super::connection::Connection;
use super::contract::{Endpoint, Limit, Role};
use super::error::Problem;
use super::fingerprint::{self, Fingerprint};
use super::query;
use super::reply::ReplyBody;
use super::worker::Worker;
use crate::counter::RequestId;
use crate::engine::IdempotencyKey;

/// What comes of a request.
pub(super) type Answered = Result<Response<ReplyBody>, Problem>;

/// What is asked, once it was judged by its head and its body was read.
pub(super) struct Asked<'a> {
    pub(super) endpoint: &'static Endpoint,
    /// The counter's name in the path, decoded; empty for paths without one.
    pub(super) name: &'a str,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
}

impl Asked<'_> {
    /// Returns the idempotency key, bound to the call and to what `bind` adds of the body; `None` without one.
    pub(super) fn key(
        &self,
        bind: impl FnOnce(Fingerprint) -> Fingerprint,
    ) -> Result<Option<Box<IdempotencyKey>>, Problem> {
        let Endpoint { method, route, .. } = self.endpoint;
        let request = || Fingerprint::new(method.as_str(), route.as_str(), self.name);
        let key = fingerprint::key(self.headers)?;
        Ok(key.map(|key| bind(request()).bind(key)))
    }
}

/// What a handler knows beside the request itself.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) worker: Arc<Worker>,
    pub(super) connection: Arc<Connection>,
    pub(super) request_id: RequestId,
    pub(super) origin: Origin,
}

impl Call {
    /// Judges a request by its head, in the order that the docs promise: origin, size, content type,
    /// token, query. `body_limit` is the call's own.
    pub(super) fn judge(
        &self,
        endpoint: &Endpoint,
        body_limit: usize,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<(), Problem> {
        auth::check_origin(self.origin, endpoint.method != Method::GET)?;
        if endpoint.limit != Limit::NoBody {
            body::check_headers(headers, body_limit)?;
        }
        match endpoint.role {
            Role::Anyone => {}
            Role::Holder(access) => self
                .worker
                .options
                .tokens
                .load()
                .check(access, headers, None)?,
            // The handler reads the body first, then asks for the token, then judges the query.
            Role::AdminInBody => return Ok(()),
        }
        query::check(uri, endpoint)
    }

    /// Most bytes of the call's body.
    pub(super) fn body_limit(&self, endpoint: &Endpoint) -> usize {
        match endpoint.limit {
            Limit::NoBody => 0,
            Limit::Body => self.worker.limits.max_body(),
            Limit::Batch => self.worker.limits.max_batch_body(),
        }
    }
}
