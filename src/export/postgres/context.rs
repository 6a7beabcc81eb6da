//! What the export needs of a running writer: for the exporter's rounds, and for commands.

use std::sync::Arc;

use super::connect::Link;
use super::standing::{ClaimedDatabase, claim};
use super::{PostgresError, PostgresOptions};
use crate::current_day::CurrentDay;
use crate::metrics::Metrics;
use crate::storage::expiry::Horizons;
use crate::storage::{Batch, ExportCursor, Reader};
use crate::writer::{Intake, Mode, PreparedBatch, Running, Table};

/// What the export needs of a running writer.
#[derive(Clone)]
pub struct ExportContext {
    pub(super) intake: Arc<Intake>,
    pub(super) table: Arc<Table>,
    pub(super) mode: Arc<Mode>,
    pub(super) day: Arc<CurrentDay>,
    pub(super) reader: Reader,
    pub(super) horizons: Arc<Horizons>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: PostgresOptions,
}

impl ExportContext {
    /// Takes its share of a running writer.
    pub fn new(running: &Running, metrics: Arc<Metrics>, options: PostgresOptions) -> Self {
        Self {
            intake: Arc::clone(&running.intake),
            table: Arc::clone(&running.table),
            mode: Arc::clone(&running.mode),
            day: Arc::clone(&running.day),
            reader: running.reader.clone(),
            horizons: Arc::clone(&running.horizons),
            metrics,
            options,
        }
    }

    /// Claims the database for this store. `known` is how far the export was when the store last wrote there.
    pub(super) async fn claim(
        &self,
        link: &mut Link,
        known: Option<ExportCursor>,
    ) -> Result<ClaimedDatabase, PostgresError> {
        let lineage = self.reader.lineage()?;
        let database = known.map(|known| known.database);
        claim(link, self.table.epoch(), &lineage, database).await
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
        let written = self.intake.carry_out(prepared);
        written.map_err(PostgresError::Write)
    }
}
