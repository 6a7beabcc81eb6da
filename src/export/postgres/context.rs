//! What the export needs of a running writer: for the exporter's rounds, and for commands.

use std::sync::Arc;

use super::connect::Link;
use super::standing::{DatabaseRow, claim};
use super::{PostgresError, PostgresOptions};
use crate::metrics::Metrics;
use crate::storage::{Batch, ExportCursor};
use crate::writer::{PreparedBatch, Running};

/// What the export needs of a running writer.
#[derive(Clone)]
pub struct ExportContext {
    pub(super) running: Running,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: PostgresOptions,
}

impl ExportContext {
    /// Takes its share of a running writer.
    pub fn new(running: &Running, metrics: Arc<Metrics>, options: PostgresOptions) -> Self {
        Self {
            running: running.clone(),
            metrics,
            options,
        }
    }

    /// Claims the database for this store. `known` is how far the export was when the store last wrote there.
    pub(super) async fn claim(
        &self,
        link: &mut Link,
        known: Option<ExportCursor>,
    ) -> Result<DatabaseRow, PostgresError> {
        let lineage = self.running.reader.lineage()?;
        let database = known.map(|known| known.database);
        claim(link, self.running.epoch(), &lineage, database).await
    }

    /// Has the writer write the batch into the store; an empty one is not written.
    pub(super) fn write(&self, batch: Batch) -> Result<(), PostgresError> {
        if batch.is_empty() {
            return Ok(());
        }
        let prepared = PreparedBatch {
            batch,
            horizons: Vec::new(),
        };
        let written = self.running.intake.carry_out(prepared);
        written.map_err(PostgresError::Write)
    }
}
