//! What one worker has answered, counted without a lock.

use std::cell::Cell;

/// Answers by the first digit of their status.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    by_class: [Cell<u64>; 6],
}

impl Tally {
    pub(super) fn count(&self, status: u16) {
        if let Some(class) = self.by_class.get(usize::from(status / 100)) {
            class.set(class.get() + 1);
        }
    }

    pub fn by_class(&self) -> [u64; 6] {
        std::array::from_fn(|class| self.by_class[class].get())
    }

    pub fn total(&self) -> u64 {
        self.by_class().iter().sum()
    }
}
