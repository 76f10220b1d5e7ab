//! A lock that a fork cannot catch half-way: all there is of it lies in the lock itself.
//!
//! It is the standard library's. The locks of `parking_lot` keep who waits for them in one table of the
//! process, under locks of its own, and the child of a fork would inherit those as they were.

use std::sync::{MutexGuard, PoisonError, TryLockError};

/// How often one who waits looks again before it sleeps: some 25 us in all. To be woken takes as long where the
/// processor has gone to rest, and the I/O thread has given the lock back long before.
const LOOKS: usize = 120;

/// A mutex without poisoning: what it guards here is never left in between.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.try_lock() {
            Some(guard) => guard,
            None => self.lock_when_free(),
        }
    }

    #[cold]
    fn lock_when_free(&self) -> MutexGuard<'_, T> {
        for _ in 0..LOOKS {
            let_others_in();
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Between two holds of one lock, long enough for another processor to see that it is free.
pub fn let_others_in() {
    for _ in 0..4 {
        std::hint::spin_loop();
    }
}
