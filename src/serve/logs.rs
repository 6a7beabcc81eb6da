//! The logs of a server: of requests, and of everything else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::access_log::{
    AccessLog, EventLog, FileOptions, LogOptions, LogOutput, LogThread, init_events,
};
use crate::calendar::{Calendar, DayStart};
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;

/// Bytes that may wait for a log's thread, for each line that may.
const BYTES_A_LINE: usize = 512;

/// How long the log of requests may take to write what waits when the server ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// Both logs, at work.
pub(super) struct Logs {
    pub(super) requests: AccessLog,
    pub(super) events: EventLog,
    thread: LogThread,
}

impl Logs {
    /// Starts both. From then on events go to the log of this configuration.
    pub(super) fn start(
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let output = output(config, clock, metrics)?;
        let log = &config.log;
        let options = LogOptions {
            format: log.format,
            queue_lines: log.queue,
            queue_bytes: log.queue.saturating_mul(BYTES_A_LINE),
        };
        let events = init_events(config.log.level.as_str(), &options, &output);
        let events = events.context("the event log")?;
        let started = AccessLog::start(&options, output);
        let (requests, thread) = started.context("the request log")?;
        requests.choose(log.access, log.sample);
        Ok(Self {
            requests,
            events,
            thread,
        })
    }

    /// Writes what waits in the log of requests. Returns the log of events, which lasts until that is dropped.
    pub(super) fn end_requests(self) -> EventLog {
        if !self.thread.finish(PATIENCE) {
            tracing::warn!("the request log could not be written in time; its last lines are lost");
        }
        self.events
    }
}

fn output(config: &Config, clock: &Arc<dyn Clock>, metrics: &Metrics) -> anyhow::Result<LogOutput> {
    let (clock, metrics) = (Arc::clone(clock), metrics.log.clone());
    let Some(dir) = &config.log.dir else {
        return LogOutput::stdout(clock, metrics).context("the log");
    };
    let files = FileOptions {
        dir: dir.clone(),
        max_file_size: config.log.max_file_size,
        max_files: config.log.max_files,
    };
    // Files follow the local date, whatever hour the counters' day starts at.
    let dates = Calendar::new(&config.calendar.timezone, DayStart::default());
    let dates = dates.context("calendar.timezone")?;
    LogOutput::files(files, clock, dates, metrics).context("the log")
}
