//! Memory for bodies that have not arrived whole: so much for all connections together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How much there is, and how much of it is held; there is none before [`BodyMemory::resize`].
#[derive(Default)]
pub(super) struct BodyMemory {
    most: AtomicUsize,
    held: AtomicUsize,
}

/// What one body holds; given back when this is dropped.
pub(super) struct Held<'m> {
    memory: &'m BodyMemory,
    bytes: usize,
}

impl BodyMemory {
    /// Changes how much there is; what is held beyond it stays until it is given back.
    pub(super) fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Begins to hold memory; nothing yet.
    pub(super) fn hold(&self) -> Held<'_> {
        Held {
            memory: self,
            bytes: 0,
        }
    }
}

impl Held<'_> {
    /// Holds `bytes` in all, if there is that much.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.memory.held.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        before.saturating_add(more) <= self.memory.most.load(Ordering::Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl BodyMemory {
        pub(in crate::http) fn held(&self) -> usize {
            self.held.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_is_held_is_given_back_whether_or_not_there_was_enough() {
        let memory = BodyMemory::default();
        memory.resize(10);
        let (mut first, mut second) = (memory.hold(), memory.hold());
        assert!(first.grow_to(4) && first.grow_to(6) && first.grow_to(5));
        assert!(!second.grow_to(5));
        drop(first);
        assert!(second.grow_to(10));
        drop(second);
        assert_eq!(memory.held(), 0);
    }
}
