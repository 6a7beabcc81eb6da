//! What one runtime knows: the shared parts, its own counts and log lines, its connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::connection::{Connection, Order, Ticks};
use super::contract;
use super::error::{Code, Problem};
use super::limits::LimitsInForce;
use super::notes::Notes;
use super::push::{self, Hub};
use super::request_id::RequestIds;
use super::stamp::{DayFacts, DayMemo};
use super::{HttpOptions, Shared};
use crate::access_log::{AccessBuffer, Entry, PeerText, TraceParent};
use crate::calendar::Day;
use crate::counter::RequestId;
use crate::engine::Port;
use crate::metrics::{Route, Shard};

/// How often a runtime looks for late connections and hands its log lines on, at least
const SWEEP: Duration = Duration::from_millis(100);
/// and at most.
const LEAST_SWEEP: Duration = Duration::from_millis(1);

/// How long a connection has rested, or waited for the rest of a request, before it is closed for
/// another.
const RESTED_MS: u32 = 1000;

/// The header that names the trace that a request belongs to.
static TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The status under which a request is logged whose client left before the answer.
const CLIENT_LEFT: u16 = 499;

/// One runtime. All of it is used by its own thread; what is in a mutex is never waited for.
pub(super) struct Worker {
    pub(super) shared: Shared,
    /// The way of its requests to the writer.
    pub(super) port: Port,
    pub(super) options: Arc<HttpOptions>,
    pub(super) limits: Arc<LimitsInForce>,
    pub(super) router: Router,
    pub(super) ids: RequestIds,
    pub(super) ticks: Arc<Ticks>,
    /// Those who are told of changes.
    pub(super) hub: Arc<Hub>,
    days: DayMemo,
    /// Something ended that a drain waits for.
    pub(super) ended: Notify,
    /// The server was told to end, whether or not this runtime drains yet.
    ending: Arc<AtomicBool>,
    /// Long answers are made one at a time, so that short ones need not wait for many.
    lists: Semaphore,
    observer: Mutex<Observer>,
    /// Those open, by their address in memory.
    connections: Mutex<HashMap<usize, Arc<Connection>>>,
    /// Administrative calls under way, which may outlive their connection.
    detached: AtomicUsize,
}

struct Observer {
    shard: Shard,
    log: AccessBuffer,
}

impl Worker {
    pub(super) fn new(
        shared: Shared,
        port: Port,
        options: Arc<HttpOptions>,
        limits: Arc<LimitsInForce>,
        router: Router,
        ending: Arc<AtomicBool>,
        push: &Arc<push::Shared>,
    ) -> Self {
        let hub = Arc::new(Hub::new(shared.engine.clone(), Arc::clone(push)));
        Self {
            observer: Mutex::new(Observer {
                shard: shared.metrics.shard(),
                log: shared.log.buffer(),
            }),
            connections: Mutex::default(),
            detached: AtomicUsize::new(0),
            ids: RequestIds::new(),
            ticks: Arc::default(),
            days: DayMemo::default(),
            ended: Notify::new(),
            ending,
            lists: Semaphore::new(1),
            shared,
            port,
            options,
            limits,
            router,
            hub,
        }
    }

    /// Whether the server was told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Takes a connection in.
    pub(super) fn admit(self: &Arc<Self>, connection: &Arc<Connection>) -> Admitted {
        self.observer.lock().shard.connection_opened();
        let number = Arc::as_ptr(connection).addr();
        let known = Arc::clone(connection);
        self.connections.lock().insert(number, known);
        Admitted {
            worker: Arc::clone(self),
            connection: Arc::clone(connection),
        }
    }

    /// Looks for connections that are late, and hands the log lines on.
    pub(super) fn sweep(&self) {
        let limits = self.limits.others();
        for connection in self.connections.lock().values() {
            connection.judge(&limits);
        }
        self.observer.lock().log.flush();
    }

    /// Lets each connection close as soon as its requests are answered.
    pub(super) fn drain(&self) {
        self.ticks.drain();
        for connection in self.connections.lock().values() {
            connection.wake();
        }
        self.hub.drain();
    }

    /// Refuses a request on a kept place that is neither a probe nor an administrator's.
    pub(super) fn check_place(
        &self,
        connection: &Connection,
        parts: &Parts,
        is_admin: impl FnOnce() -> bool,
    ) -> Result<(), Problem> {
        let is_probe = || matches!(parts.uri.path(), "/livez" | "/readyz" | "/metrics");
        if !connection.place.is_kept() || is_probe() || is_admin() {
            return Ok(());
        }
        self.limits.places.refuse();
        self.observer.lock().shard.connection_refused();
        let detail =
            "the places that are left are for probes and administrators; retry after a pause";
        Err(Problem::new(Code::TooManyConnections, detail).closing())
    }

    /// Closes a connection, so that one from `newcomer` has a place: the one that has rested longest. When
    /// one address has more connections than the newcomer's, its connections with half a request may be
    /// closed too. Connections of the address that has most are closed first.
    pub(super) fn make_room(&self, newcomer: IpAddr) {
        let connections = self.connections.lock();
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for connection in connections.values() {
            *held.entry(connection.peer.ip()).or_default() += 1;
        }
        let of = |address: IpAddr| held.get(&address).copied().unwrap_or(0);
        let most = held.values().copied().max().unwrap_or(0);
        let chosen = connections
            .values()
            .filter_map(|connection| {
                let has_most = of(connection.peer.ip()) == most;
                let rests = connection.rests_for();
                let waits = connection
                    .waits_for()
                    .filter(|_| has_most && most > of(newcomer));
                let lasted = rests.or(waits).filter(|lasted| *lasted >= RESTED_MS)?;
                Some(((has_most, rests.is_some(), lasted), connection))
            })
            .max_by_key(|(rank, _)| *rank);
        if let Some((_, connection)) = chosen {
            connection.make_room();
        }
    }

    /// Gives `use_facts` what answers say of a local day, if there is one.
    pub(super) fn with_day<R>(
        &self,
        day: Option<Day>,
        use_facts: impl FnOnce(Option<&DayFacts>) -> R,
    ) -> R {
        let current = self.shared.engine.current_day();
        self.days.with(current, day, use_facts)
    }

    /// Waits for the turn to make a long answer. The turn ends when the returned permit is dropped.
    pub(super) async fn turn_for_a_list(&self) -> Option<SemaphorePermit<'_>> {
        self.lists.acquire().await.ok()
    }

    /// How often to look for connections that are late: at least a few times within each limit.
    pub(super) fn sweep_period(&self) -> Duration {
        let limits = self.limits.others();
        let shortest = limits.idle_timeout.min(limits.header_timeout);
        (shortest.min(limits.body_timeout) / 4).clamp(LEAST_SWEEP, SWEEP)
    }

    /// Ends all connections: what is being answered is answered, all else is cut off.
    pub(super) fn end_all(&self) {
        for connection in self.connections.lock().values() {
            connection.tell(Order::End);
        }
        self.hub.end();
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.lock().is_empty()
            && self.detached.load(Ordering::Relaxed) == 0
            && self.hub.is_empty()
    }

    /// Runs `work` to its end even if whoever waits for it leaves.
    pub(super) async fn detach<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        struct Under(Arc<Worker>);
        impl Drop for Under {
            fn drop(&mut self) {
                self.0.detached.fetch_sub(1, Ordering::Relaxed);
                self.0.ended.notify_one();
            }
        }
        self.detached.fetch_add(1, Ordering::Relaxed);
        let under = Under(Arc::clone(self));
        let task = tokio::spawn(async move {
            let _under = under;
            work.await
        });
        task.await.ok()
    }
}

/// A connection among those that its runtime knows, until this is dropped with the socket.
pub(super) struct Admitted {
    worker: Arc<Worker>,
    pub(super) connection: Arc<Connection>,
}

impl Admitted {
    /// Counts and logs what is answered without having become a request, and returns the whole answer.
    pub(super) fn answer_unread(&self, problem: &Problem) -> Vec<u8> {
        let (worker, connection) = (&self.worker, &self.connection);
        let flight = InFlight::begin(worker, connection, None, None, worker.ids.make());
        let answer = problem.to_wire(&flight.request_id);
        let bytes = problem.to_json(&flight.request_id).len() as u64;
        flight.end(problem.code.status().as_u16(), bytes);
        answer
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let number = Arc::as_ptr(&self.connection).addr();
        self.worker.connections.lock().remove(&number);
        self.worker.observer.lock().shard.connection_closed();
        self.worker.ended.notify_one();
    }
}

/// A request from its head to its answer: counted and logged once, also if the client leaves.
pub(super) struct InFlight {
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    client: Option<IpAddr>,
    /// In memory of its own: most requests have none.
    trace: Option<Box<TraceParent>>,
    started: Instant,
    /// `None` for what never became a request.
    pub(super) method: Option<Method>,
    pub(super) request_id: RequestId,
    pub(super) route: Route,
    pub(super) notes: Notes,
    answered: bool,
}

impl InFlight {
    pub(super) fn begin(
        worker: &Arc<Worker>,
        connection: &Arc<Connection>,
        client: Option<IpAddr>,
        method: Option<Method>,
        request_id: RequestId,
    ) -> Self {
        worker.observer.lock().shard.request_started();
        Self {
            worker: Arc::clone(worker),
            connection: Arc::clone(connection),
            client,
            trace: None,
            started: Instant::now(),
            method,
            request_id,
            route: Route::Unmatched,
            notes: Notes::default(),
            answered: false,
        }
    }

    /// Takes over which trace the request belongs to, where it will have a line in the log that says so.
    pub(super) fn note_trace(&mut self, headers: &HeaderMap) {
        if !self.worker.shared.log.is_on() {
            return;
        }
        let mut values = headers.get_all(&TRACE_PARENT).iter();
        // Of several none is known to be the right one.
        if let (Some(value), None) = (values.next(), values.next()) {
            self.trace = TraceParent::parse(value.as_bytes()).map(Box::new);
        }
    }

    /// The answer has begun; whoever follows its body calls what is returned at its end, or drops it when the client
    /// leaves before. What became of the operations is known already, and counted now.
    pub(super) fn answered_with(mut self, status: u16) -> impl FnOnce(u64) + Send + 'static {
        self.count_operations(&self.worker.observer.lock());
        self.notes.forget_results();
        self.connection.set_streaming(true);
        move |bytes| {
            self.connection.set_streaming(false);
            self.end(status, bytes);
        }
    }

    /// The connection goes on without HTTP: the request is answered, and has its line in the log when the returned
    /// function is called with the bytes that were sent in all.
    pub(super) fn handed_over(mut self, status: u16) -> Box<dyn FnOnce(u64) + Send> {
        self.answered = true;
        let worker = Arc::clone(&self.worker);
        let took = self.started.elapsed();
        worker
            .observer
            .lock()
            .shard
            .request_ended(self.route, status, took);
        let (started, route) = (self.started, self.route);
        let request_id = self.request_id.clone();
        let client = self.client.map(PeerText::of_client);
        let peer = client.unwrap_or_else(|| self.connection.peer_text.clone());
        let trace = self.trace.take();
        Box::new(move |bytes| {
            let observer = worker.observer.lock();
            if observer.log.wants(status) && contract::is_logged(route) {
                observer.log.record(&Entry {
                    at_ms: worker.shared.engine.now(),
                    request_id: &request_id,
                    method: Method::GET.as_str(),
                    route,
                    counter: None,
                    status,
                    took: started.elapsed(),
                    bytes,
                    peer: &peer,
                    trace: trace.as_deref(),
                });
            }
            drop(observer);
            worker.ended.notify_one();
        })
    }

    fn count_operations(&self, observer: &Observer) {
        for (result, operations) in self.notes.results() {
            observer.shard.operations(result, operations);
        }
    }

    /// The request is answered.
    pub(super) fn end(mut self, status: u16, bytes: u64) {
        self.answered = true;
        let took = self.started.elapsed();
        let observer = self.worker.observer.lock();
        observer.shard.request_ended(self.route, status, took);
        self.count_operations(&observer);
        self.log(&observer, status, bytes, took);
    }

    /// Writes its line, if it gets one.
    fn log(&self, observer: &Observer, status: u16, bytes: u64, took: Duration) {
        if !observer.log.wants(status) || !contract::is_logged(self.route) {
            return;
        }
        let client = self.client.map(PeerText::of_client);
        observer.log.record(&Entry {
            at_ms: self.worker.shared.engine.now(),
            request_id: &self.request_id,
            method: self.method.as_ref().map_or("-", Method::as_str),
            route: self.route,
            counter: self.notes.counter.as_ref(),
            status,
            took,
            bytes,
            peer: client.as_ref().unwrap_or(&self.connection.peer_text),
            trace: self.trace.as_deref(),
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.answered {
            let observer = self.worker.observer.lock();
            observer.shard.request_abandoned();
            self.log(&observer, CLIENT_LEFT, 0, self.started.elapsed());
        }
    }
}
