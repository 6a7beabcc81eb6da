//! Where `script/mutants` plants bugs in the commit of a group, and where tests let a commit fail, so that
//! the code of a commit itself (`run`) holds none of it. In a normal build each step here is the plain one.

use crate::seeded::bug;
use crate::storage::{Batch, CommitError, Committed, Store};

use super::group::Group;
use super::ledger::Index;
use super::queue::Reply;
use super::run::Writer;
use super::{Cause, Failure};

impl Writer {
    /// The cause that refuses this turn's requests; `None` while writes are served.
    pub(super) fn refused_by(&self) -> Option<Cause> {
        let cause = self.links.mode.refuses();
        cause.filter(|_| !bug("read_only_enqueues"))
    }

    /// Between the batch and its commit.
    pub(super) fn before_commit(&mut self, group: &Group, changed: &[Index]) {
        if bug("ack_before_sync") {
            self.answer();
        }
        if bug("publish_before_sync") {
            self.publish(group, changed);
        }
    }

    /// Between the commit and the answers.
    pub(super) fn before_answers(&mut self) {
        if bug("read_only_enqueues")
            && let Some(cause) = self.links.mode.refuses()
        {
            let refused = |reply: &mut Reply| *reply = Err(Failure::ReadOnly(cause));
            self.replies
                .iter_mut()
                .for_each(|(_, reply)| refused(reply));
        }
    }

    /// Commits the batch.
    pub(super) fn commit(&mut self) -> Result<Committed, CommitError> {
        let store = self.handle.store.as_mut().ok_or(CommitError::Poisoned)?;
        let batch = &self.books.batch;
        #[cfg(test)]
        let fails = || super::tests::commit_fails(&self.handle.storage.data_dir);
        #[cfg(not(test))]
        let fails = || false;
        #[cfg(feature = "mutants")]
        if bug("dedup_in_second_batch") {
            let (first, second) = batch.split(crate::storage::Family::Dedup);
            return commit(store, &first, &fails).and_then(|_| commit(store, &second, &fails));
        }
        commit(store, batch, &fails)
    }
}

fn commit(
    store: &mut Store,
    batch: &Batch,
    fails: &dyn Fn() -> bool,
) -> Result<Committed, CommitError> {
    if fails() && !bug("retry_failed_sync") {
        return Err(CommitError::Poisoned);
    }
    store.commit(batch)
}
