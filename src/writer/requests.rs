//! The requests of a turn: worked out in a group, written and answered, or refused.
//!
//! Where several instances append to one log, a group that others were ahead of is worked out again by what they did.
//! Nothing of it was appended, so after a time it is refused, and nobody waits without an end. An instance whose groups
//! are always too late, since they are large or its way to Redis is long, makes smaller ones.

use crate::current_day::Look;
use crate::storage::ReadError;

use super::group::Group;
use super::queue::Submission;
use super::run::Writer;
use super::tries::Tries;
use super::{Cause, Failure};

impl Writer {
    /// Works out, writes, publishes and answers everything that waits.
    pub(super) fn group(&mut self, submissions: &mut Vec<Submission>, mut look: Look) {
        if let Some(cause) = self.refused_by() {
            return self.refuse(submissions, cause);
        }
        look = self.settle(look);
        if self.is_shared() {
            self.groups(submissions, look);
        } else {
            // With a log of its own nobody is ahead.
            self.try_group(submissions, look);
        }
    }

    /// Works out, appends, publishes and answers everything that waits, in as many groups as that takes.
    fn groups(&mut self, submissions: &mut Vec<Submission>, mut look: Look) {
        let mut waiting = std::mem::take(submissions);
        let mut tries = Tries::begin();
        while !waiting.is_empty() {
            if let Some(cause) = self.refused_by() {
                return self.refuse(&mut waiting, cause);
            }
            if !self.progress.settled || self.is_too_late(&tries) {
                return self.refuse_all(&mut waiting, &Failure::Overtaken);
            }
            let size = tries.size(waiting.len());
            submissions.extend(waiting.iter().take(size).cloned());
            self.progress.tried_since = Some(tries.begun());
            if let Some(behind) = self.try_group(submissions, look) {
                look = self.take_back(&behind, look);
                tries.lose();
            } else {
                waiting.drain(..size);
                look = self.look_again(look);
                tries = Tries::begin();
            }
            self.progress.tried_since = None;
        }
    }

    /// Whether others were ahead for so long that it is not tried again. Nothing was appended by then.
    pub(super) fn is_too_late(&self, tries: &Tries) -> bool {
        let shared = self.handle.storage.shared.as_ref();
        shared.is_some_and(|log| tries.begun().elapsed() > log.timeout)
    }

    /// Works out, writes, publishes and answers what waits; returns the group where it was not appended.
    fn try_group(&mut self, submissions: &mut Vec<Submission>, look: Look) -> Option<Box<Group>> {
        let mut group = self.new_group(look);
        let mut replies = std::mem::take(&mut self.replies);
        let worked = self.with_fold(&mut group, |fold, _, _| -> Result<(), ReadError> {
            let mut waiting = submissions.drain(..);
            while let Some(Submission { request, reply_to }) = waiting.next() {
                match fold.request(request) {
                    Ok(reply) => replies.push((reply_to, reply)),
                    Err(error) => {
                        let unjudged = std::iter::once(reply_to).chain(waiting.map(|s| s.reply_to));
                        let failure = || Err(Failure::ReadOnly(Cause::StoreFailed));
                        replies.extend(unjudged.map(|reply_to| (reply_to, failure())));
                        return Err(error);
                    }
                }
            }
            Ok(())
        });
        self.replies = replies;
        match worked {
            Some(Ok(())) if group.is_empty(&self.books.ledger) => {
                self.forget_or_fail(&group);
                self.confirm();
                self.answer();
            }
            Some(Ok(())) => {
                self.books.batch.clear();
                return self.write_batch(group).err();
            }
            Some(Err(error)) => self.give_up(&error),
            None => self.refuse(submissions, Cause::StoreFailed),
        }
        None
    }

    pub(super) fn refuse(&mut self, submissions: &mut Vec<Submission>, cause: Cause) {
        self.refuse_all(submissions, &Failure::ReadOnly(cause));
    }

    fn refuse_all(&mut self, submissions: &mut Vec<Submission>, failure: &Failure) {
        let refusals = submissions.drain(..);
        self.replies
            .extend(refusals.map(|s| (s.reply_to, Err(failure.clone()))));
        self.answer();
    }

    /// Ends the handle before anything of the group was written. Nothing of it will be.
    pub(super) fn give_up(&mut self, error: &ReadError) {
        self.fail(error, None);
        self.replace_replies(&Failure::ReadOnly(Cause::StoreFailed));
        self.answer();
    }

    pub(super) fn replace_replies(&mut self, failure: &Failure) {
        for (_, reply) in &mut self.replies {
            *reply = Err(failure.clone());
        }
    }

    pub(super) fn answer(&mut self) {
        self.before_answers();
        self.links.intake.answer(&mut self.replies);
    }
}
