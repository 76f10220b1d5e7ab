//! A lock that a fork cannot catch half-way: all there is of it lies in the lock itself.
//!
//! It is the standard library's. The locks of `parking_lot` keep who waits for them in one table of the
//! process, under locks of its own, and the child of a fork would inherit those as they were.

use std::sync::{MutexGuard, PoisonError, TryLockError};

/// A mutex without poisoning: what it guards here is never left in between.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
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
