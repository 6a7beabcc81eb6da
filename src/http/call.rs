//! What a handler knows beside the request itself, and what is judged before it runs.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri, Version};

use super::auth::{self, Access, Denied, Origin};
use super::body;
use super::connection::Connection;
use super::contract::{Endpoint, Limit, RateClass, Role};
use super::error::Problem;
use super::fingerprint::{self, Fingerprint};
use super::parse;
use super::query;
use super::rate_limit::Refused;
use super::reply::ReplyBody;
use super::worker::Worker;
use crate::access_log::PeerText;
use crate::counter::{CounterName, RequestId, UserId};
use crate::engine::IdempotencyKey;
use crate::metrics::{RateLimit, Route};

/// What comes of a request.
pub(super) type Answered = Result<Response<ReplyBody>, Problem>;

/// What is asked, once it was judged by its head and its body was read.
pub(super) struct Asked<'a> {
    pub(super) endpoint: &'static Endpoint,
    /// `HEAD` comes to the handler of `GET`.
    pub(super) method: &'a Method,
    pub(super) version: Version,
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
    /// Who sent it, where that is not the peer of the connection.
    pub(super) client: Option<IpAddr>,
}

impl Call {
    /// Returns the address of who sent it.
    pub(super) fn address(&self) -> IpAddr {
        let peer = || self.connection.peer.ip().to_canonical();
        self.client.unwrap_or_else(peer)
    }

    /// Returns who sent it, as logs show it.
    pub(super) fn client_text(&self) -> Cow<'_, PeerText> {
        match self.client {
            Some(client) => Cow::Owned(PeerText::of_client(client)),
            None => Cow::Borrowed(&self.connection.peer_text),
        }
    }

    /// Judges a request by its head, in the order that the docs promise: rate, origin, size, content type,
    /// token, query. `body_limit` is the call's own.
    pub(super) fn judge(
        &self,
        endpoint: &Endpoint,
        body_limit: usize,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<(), Problem> {
        match endpoint.rate {
            RateClass::Free => {}
            RateClass::Reads => self.check_rate(RateLimit::IpReads, 1, 0)?,
            RateClass::Writes => self.check_rate(RateLimit::IpWrites, 1, 0)?,
        }
        // A page that is told of changes holds a connection for as long as it likes.
        let is_guarded = endpoint.method != Method::GET || endpoint.role == Role::Watcher;
        // The page's own files say nothing of counters. Browsers name the origin for scripts, so under a host name that
        // this server does not know the page could not even say why nothing is shown.
        if endpoint.route != Route::PageFile {
            auth::check_origin(self.origin, is_guarded)?;
        }
        if endpoint.limit != Limit::NoBody {
            body::check_headers(headers, body_limit)?;
        }
        match endpoint.role {
            Role::Anyone => {}
            Role::Holder(access) => self.check_token(access, headers, None)?,
            // The handler finds the token where it is, then judges the query.
            Role::AdminInBody | Role::Watcher => return Ok(()),
        }
        query::check(uri, endpoint)
    }

    /// Refuses a request of an address that asks too often. It has so many operations, of which `paid` were taken
    /// from the address before.
    pub(super) fn check_rate(
        &self,
        limit: RateLimit,
        operations: usize,
        paid: u64,
    ) -> Result<(), Problem> {
        let rates = &self.worker.limits.rates;
        let now = || self.worker.shared.engine.boot_ns();
        rates
            .take_of_address(limit, self.address(), operations as u64, paid, now)
            .map_err(|refused| self.limited(refused))
    }

    /// Refuses an operation of a user who is counted too often.
    pub(super) fn check_user(&self, user: Option<&UserId>) -> Result<(), Problem> {
        let now = || self.worker.shared.engine.boot_ns();
        let rates = &self.worker.limits.rates;
        let taken = user.map_or(Ok(()), |user| rates.take_of_user(user, now));
        taken.map_err(|refused| self.limited(refused))
    }

    /// Refuses operations of a batch whose users are counted too often; `None` is an operation without a user.
    pub(super) fn check_users<'u>(
        &self,
        users: impl Iterator<Item = Option<&'u UserId>>,
    ) -> Result<(), Problem> {
        let rates = &self.worker.limits.rates;
        let now = || self.worker.shared.engine.boot_ns();
        let refused = rates.take_of_users(users, now);
        refused.map_err(|(refused, places)| self.limited(refused).at_operations(&places))
    }

    /// Checks that a request's tokens allow a call. An address that guesses too often is not heard.
    pub(super) fn check_token(
        &self,
        access: Access,
        headers: &HeaderMap,
        in_body: Option<&str>,
    ) -> Result<(), Problem> {
        let rates = &self.worker.limits.rates;
        let now = || self.worker.shared.engine.boot_ns();
        // Each token may be a guess: all of them are looked at, or none.
        let given = || auth::tokens_given(headers, in_body);
        let may_guess = rates.may_guess(self.address(), given, now);
        let tokens = self.worker.options.tokens.load();
        let checked = tokens.check(access, headers, in_body, may_guess.is_ok());
        let Err(Denied { problem, unknown }) = checked else {
            return Ok(());
        };
        if unknown == 0 || tokens.admin.is_empty() {
            return Err(problem);
        }
        let noted = may_guess.and_then(|()| rates.note_guesses(self.address(), unknown, now()));
        Err(noted.map_or_else(|refused| self.limited(refused), |()| problem))
    }

    /// Refuses to change a counter that is counted elsewhere.
    pub(super) fn check_counted(&self, counter: &CounterName) -> Result<(), Problem> {
        if self.worker.options.counted_names.has(counter) {
            Ok(())
        } else {
            Err(parse::not_counted(counter))
        }
    }

    fn limited(&self, refused: Refused) -> Problem {
        self.worker.limits.rates.count(&refused);
        refused.into()
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
