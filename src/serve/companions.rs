//! The companions of the writer: the archivist, the copies, the control socket.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::options::{alert_options, copy_options, mirror_options, postgres_options, retention};
use super::probe;
use crate::access_log::EventLevel;
use crate::alerts::{AlertBoard, AlertWatch, WatchedCopies};
use crate::background::Background;
use crate::config::Config;
use crate::control::{ControlSocket, Desk};
use crate::engine::Engine;
use crate::export::postgres::Exporter;
use crate::lifecycle::Archivist;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::writer::Running;

/// The companion threads, before there is a store to work on.
pub(super) struct Companions {
    archivist: Archivist,
    exporter: Option<Exporter>,
    mirror: Option<Mirror>,
    /// `None` once it runs.
    alerts: Option<AlertWatch>,
    pub(super) desk: Desk,
    pub(super) data_dir: PathBuf,
}

/// The companion threads, running.
pub(super) struct RunningCompanions {
    control: ControlSocket,
    threads: Vec<Background>,
}

impl Companions {
    /// Makes the companions, and the engine that requests are answered by.
    pub(super) fn new(
        config: &Config,
        running: &Running,
        metrics: &Arc<Metrics>,
        level: EventLevel,
    ) -> anyhow::Result<(Self, Engine)> {
        let exporter = postgres_options(config);
        let exporter = exporter.map(|options| Exporter::new(running, metrics, options));
        let exporter = exporter.transpose().context("the exporter's runtime")?;
        let mirror = mirror_options(config);
        let mirror = mirror.map(|options| Mirror::new(running, metrics, options));
        let mirror = mirror.transpose().context("the mirror's runtime")?;
        let mut engine = Engine::new(running);
        engine.export = exporter.as_ref().map(Exporter::status);
        engine.mirror = mirror.as_ref().map(Mirror::status);
        for status in engine.export.iter().chain(&engine.mirror) {
            probe::attach_rounds(metrics, running, status);
        }
        let copies = WatchedCopies {
            export: engine.export.clone(),
            mirror: engine.mirror.clone(),
        };
        let board = AlertBoard::new();
        engine.alerts = Arc::clone(&board);
        let companions = Self {
            alerts: Some(AlertWatch::new(
                running,
                metrics,
                alert_options(config),
                copies,
                &board,
            )),
            archivist: Archivist::new(running, retention(config), metrics),
            exporter,
            mirror,
            desk: Desk::new(running, metrics, copy_options(config)).with_level(level),
            data_dir: config.storage.data_dir.clone(),
        };
        Ok((companions, engine))
    }

    /// Starts the watch alone, while there is no store: then it tells that there is none. Returns `None` where it runs.
    pub(super) fn start_watch(&mut self) -> anyhow::Result<Option<Background>> {
        let watch = self.alerts.take();
        let started = watch.map(AlertWatch::start).transpose();
        started.context("the alerts' thread")
    }

    pub(super) fn start(mut self) -> anyhow::Result<RunningCompanions> {
        let watch = self.start_watch()?;
        let archivist = self.archivist.start().context("the archivist's thread")?;
        let control = ControlSocket::listen(&self.data_dir, self.desk)
            .context("the control socket in storage.data_dir")?;
        let mut threads = Vec::new();
        if let Some(exporter) = self.exporter {
            threads.push(exporter.start().context("the exporter's thread")?);
        }
        if let Some(mirror) = self.mirror {
            threads.push(mirror.start().context("the mirror's thread")?);
        }
        threads.extend(watch);
        // Ended last.
        threads.push(archivist);
        Ok(RunningCompanions { control, threads })
    }
}

impl RunningCompanions {
    pub(super) fn end(self) {
        self.control.end();
        self.threads.into_iter().for_each(Background::end);
    }
}
