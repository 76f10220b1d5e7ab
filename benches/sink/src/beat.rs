//! Messages at a steady pace, each stamped with the moment at which it is written.

use std::time::{Duration, Instant};

pub struct Beat {
    left: u64,
    every: Duration,
    next: Instant,
}

impl Beat {
    pub fn new(count: u64, every: Duration) -> Self {
        Self { left: count, every, next: Instant::now() + every }
    }

    pub fn over(&self) -> bool {
        self.left == 0
    }

    /// How long until the next one is due.
    pub fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Whether one is due now; it counts as sent.
    pub fn strikes(&mut self) -> bool {
        let due = self.left > 0 && self.wait().is_zero();
        if due {
            self.left -= 1;
            self.next += self.every;
        }
        due
    }
}

/// The monotonic clock as other processes of this machine read it, in nanoseconds.
pub fn now_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every system that this runs on, and `now` may be written to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
