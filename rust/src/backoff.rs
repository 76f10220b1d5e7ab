//! How long to wait before the next attempt to connect: full jitter under a doubling ceiling.

use std::time::Duration;

/// A connection that lasted this long was a good one.
pub const STABLE: Duration = Duration::from_secs(10);
/// Where a broker closes connection after connection soon after CONNACK, attempts are this far apart.
const KICKED_FLOOR: Duration = Duration::from_secs(30);
const KICKS: u32 = 3;

pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
    kicks: u32,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, attempt: 0, kicks: 0 }
    }

    /// A connection ended after `lasted`; true when it is the one that shows a habit of closing.
    pub fn connection_ended(&mut self, lasted: Duration) -> bool {
        if lasted >= STABLE {
            (self.attempt, self.kicks) = (0, 0);
            return false;
        }
        self.kicks += 1;
        self.kicks == KICKS
    }

    pub fn next(&mut self, permanent: bool) -> Duration {
        let ceiling = self.min.saturating_mul(1 << self.attempt.min(20)).min(self.max);
        self.attempt += 1;
        if permanent {
            return self.max;
        }
        if self.kicks >= KICKS {
            return KICKED_FLOOR.min(self.max);
        }
        // Not below half of the smallest delay: a refusing broker is never asked in a tight loop.
        let floor = self.min / 2;
        floor + ceiling.saturating_sub(floor).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(2);

    #[test]
    fn delays_stay_between_the_floor_and_the_ceiling() {
        let mut backoff = Backoff::new(MIN, MAX);
        for attempt in 0..40 {
            let ceiling = MIN.saturating_mul(1 << attempt.min(20)).min(MAX);
            let delay = backoff.next(false);
            assert!(delay >= MIN / 2 && delay <= ceiling, "{attempt}: {delay:?}");
        }
    }

    #[test]
    fn three_short_connections_are_a_habit_said_once() {
        let mut backoff = Backoff::new(MIN, MAX);
        let said: Vec<bool> = (0..5).map(|_| backoff.connection_ended(Duration::from_secs(1))).collect();
        assert_eq!(said, [false, false, true, false, false]);
        assert_eq!(backoff.next(false), MAX);
        backoff.connection_ended(STABLE);
        assert!(backoff.next(false) <= MIN);
    }

    #[test]
    fn a_permanent_refusal_waits_longest() {
        assert_eq!(Backoff::new(MIN, MAX).next(true), MAX);
    }
}
