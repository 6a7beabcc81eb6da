//! A thread that works beside the server, on a runtime of its own, until it is told to end.
//!
//! Kept out: what the thread does, and work that is done in rounds (`rounds`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// The work of a background thread.
pub trait BackgroundWork: Send + 'static {
    /// Works until `ended` is told. Work that is cut off then is done again after the next start.
    fn run(&mut self, ended: oneshot::Receiver<()>) -> impl Future<Output = ()>;

    /// Notes that the work has stopped for that reason.
    fn is_down(&mut self, error: &str);
}

/// The thread of a [`BackgroundWork`].
pub struct Background {
    name: &'static str,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Starts a thread of that name for the work.
    ///
    /// # Errors
    /// When there are no resources for a thread.
    pub fn start(
        name: &'static str,
        runtime: Arc<Runtime>,
        mut worker: impl BackgroundWork,
    ) -> std::io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let work = AssertUnwindSafe(|| runtime.block_on(worker.run(ended)));
            if catch_unwind(work).is_err() {
                let error = format!("the thread `{name}` panicked; it works again after a restart");
                worker.is_down(&error);
                tracing::error!(error);
            }
            drop(worker);
            // A look-up of a name that hangs is not waited for.
            if let Some(runtime) = Arc::into_inner(runtime) {
                runtime.shutdown_background();
            }
        })?;
        Ok(Self { name, end, thread })
    }

    /// Ends the thread and waits for that. Call it before the writer stops.
    pub fn end(self) {
        // If the thread has ended by itself, `join` tells why.
        let _ = self.end.send(());
        if self.thread.join().is_err() {
            tracing::error!(thread = self.name, "a thread panicked");
        }
    }
}

/// Makes a runtime that runs on the caller's thread.
///
/// # Errors
/// When there are no resources for one.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
