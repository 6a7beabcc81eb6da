//! Stores what turned; while the store takes no writes, puts it into a file beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::aside::{Aside, WriteAside};
use super::{AlertKey, AlertWatch, StoredAlerts};
use crate::alerts::book::BookedAlert;
use crate::counter::CounterName;
use crate::metrics::AlertRule;
use crate::storage::{Batch, NoticeRecord};
use crate::writer::{Failure, Intake, PreparedBatch};

/// How long what turned waits to be stored before it is told all the same.
const STORED_WITHIN: Duration = Duration::from_secs(1);

/// A write that tells the store of what turned.
pub(super) struct Saving {
    write: tokio::task::JoinHandle<Result<(), Failure>>,
    /// `None` where it goes into the file.
    saved: Option<Saved>,
}

/// What a write tells the store of.
struct Saved {
    alerts: BTreeSet<AlertKey>,
    /// The notices that the store then has.
    notices: BTreeSet<u64>,
}

impl AlertWatch {
    /// Returns what the store is to be told; `None` where it has everything.
    fn unsaved(&mut self) -> Option<(Batch, Saved)> {
        self.notices.take_done();
        if self.is_shared() {
            self.unsaved.retain(|key| !key.rule.is_of_instance());
        }
        let is_whole = self.unsaved.is_empty() && self.notices.is_saved();
        if is_whole || self.read_of.is_none() || !self.keeps {
            return None;
        }
        let mut batch = Batch::new();
        let alerts = std::mem::take(&mut self.unsaved);
        for key in &alerts {
            let counter = key.counter.as_ref();
            let alert = self.book.alerts().get(key);
            match alert.or_else(|| self.book.ended().get(key)) {
                Some(alert) => batch.put_alert(key.rule.as_str(), counter, &alert.record()),
                None => batch.delete_alert(key.rule.as_str(), counter),
            }
        }
        let notices = self.notices.put(&mut batch);
        Some((batch, Saved { alerts, notices }))
    }

    /// Notes how a write ended.
    fn wrote(&mut self, saved: Saved, written: Result<(), Failure>) -> Result<(), Failure> {
        match written {
            Ok(()) => {
                self.notices.saved(saved.notices);
                self.aside = None;
            }
            // It is tried again with the next look.
            Err(_) => self.unsaved.extend(saved.alerts),
        }
        written
    }

    /// Stores what turned, on the caller's thread.
    ///
    /// # Errors
    /// When the writer did not store it.
    pub fn save(&mut self) -> Result<(), Failure> {
        if let Some(aside) = self.put_aside() {
            return self.wrote_aside(aside.write());
        }
        let Some((batch, saved)) = self.unsaved() else {
            return Ok(());
        };
        let written = carry_out(&self.running.intake, batch, self.path_aside());
        self.wrote(saved, written)
    }

    /// Stores what turned; returns when it is stored, or cannot be, or takes long.
    pub(super) async fn save_soon(&mut self) {
        let mut saving = match self.saving.take() {
            Some(saving) => saving,
            None => {
                let Some(saving) = self.begin_saving() else {
                    return;
                };
                saving
            }
        };
        match tokio::time::timeout(STORED_WITHIN, &mut saving.write).await {
            Err(_) => self.saving = Some(saving),
            Ok(written) => {
                let written = written.unwrap_or(Err(Failure::OutcomeUnknown));
                let noted = match saving.saved {
                    Some(saved) => self.wrote(saved, written),
                    None => self.wrote_aside(written),
                };
                if let Err(error) = noted {
                    tracing::debug!(%error, "alerts could not be stored");
                }
            }
        }
    }

    /// Begins to store what turned, or to put it aside while the store takes no writes; `None` where nothing is to be
    /// done.
    fn begin_saving(&mut self) -> Option<Saving> {
        if self.running.mode.refuses().is_some() {
            let aside = self.put_aside()?;
            let write = tokio::task::spawn_blocking(move || aside.write());
            return Some(Saving { write, saved: None });
        }
        let (batch, saved) = self.unsaved()?;
        let (intake, path) = (Arc::clone(&self.running.intake), self.path_aside());
        let write = tokio::task::spawn_blocking(move || carry_out(&intake, batch, path));
        let saved = Some(saved);
        Some(Saving { write, saved })
    }

    fn path_aside(&self) -> PathBuf {
        Aside::path(&self.running.storage.data_dir)
    }

    /// Returns what is to be put aside: what the store does not have, while it takes no writes. `None` where there is
    /// nothing new.
    fn put_aside(&mut self) -> Option<WriteAside> {
        self.running.mode.refuses()?;
        let epoch = self.read_of?;
        self.notices.take_done();
        if self.unsaved.is_empty() && self.notices.is_saved() {
            return None;
        }
        let alerts = self.unsaved.iter().map(|key| {
            let alert = self.book.alerts().get(key);
            let alert = alert.or_else(|| self.book.ended().get(key));
            let record = alert.map(BookedAlert::record);
            (
                key.rule.as_str().to_owned(),
                key.counter.as_ref().map(CounterName::to_string),
                record,
            )
        });
        let aside = Aside {
            epoch,
            alerts: alerts.collect(),
            notices: self.notices.queued(),
        };
        if self.aside.as_ref() == Some(&aside) {
            return None;
        }
        self.aside = Some(aside.clone());
        let path = self.path_aside();
        Some(WriteAside { aside, path })
    }

    /// Notes how putting aside ended.
    fn wrote_aside(&mut self, written: Result<(), Failure>) -> Result<(), Failure> {
        if written.is_err() {
            self.aside = None;
        }
        written
    }

    /// Takes up what was put aside while this store took no writes; returns how alerts stand with that.
    pub(super) fn take_aside(
        &mut self,
        epoch: u64,
        mut stored: StoredAlerts,
        waiting: Vec<(u64, NoticeRecord)>,
    ) -> StoredAlerts {
        let texts = &self.options.texts;
        let aside = Aside::read(&self.path_aside()).filter(|aside| aside.epoch == epoch);
        let Some(Aside {
            alerts, notices, ..
        }) = aside
        else {
            self.notices.restore(waiting, texts);
            return stored;
        };
        let in_store = waiting.into_iter().map(|(number, _)| number).collect();
        self.notices.restore(notices, texts);
        self.notices.saved(in_store);
        for (rule, counter, record) in alerts {
            let counter = counter.and_then(|name| CounterName::parse(&name).ok());
            stored.retain(|(of, about, _)| (of, about) != (&rule, &counter));
            let known = AlertRule::of_word(&rule);
            self.unsaved.extend(known.map(|rule| AlertKey {
                rule,
                counter: counter.clone(),
            }));
            stored.extend(record.map(|record| (rule, counter, record)));
        }
        stored
    }
}

/// Stores a batch; then nothing is aside any more.
fn carry_out(intake: &Intake, batch: Batch, aside: PathBuf) -> Result<(), Failure> {
    intake.carry_out(PreparedBatch {
        batch,
        ..PreparedBatch::default()
    })?;
    // Mostly there is none.
    let _ = std::fs::remove_file(aside);
    Ok(())
}
