//! Whether the program still says that it is alive: where it has not for too long, its connection ends.

use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Mutex;

#[derive(Clone, Copy, Debug)]
struct Beat {
    alive: Duration,
    until: Instant,
}

/// The last beat; without one nothing is expected.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Option<Beat>>);

impl Pulse {
    /// The program is alive, and beats again within `alive`; zero: it will not. True where a driver may wait for it.
    pub fn beat(&self, alive: Duration) -> bool {
        let now = Instant::now();
        let next = (!alive.is_zero()).then(|| Beat { alive, until: now + alive });
        std::mem::replace(&mut *self.0.lock(), next).is_none_or(|last| now >= last.until)
    }

    /// When the program counts as hanging, unless it beats before.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.lock().map(|beat| beat.until)
    }

    /// For how long the program may be silent, where it has been for longer.
    pub fn missed(&self) -> Option<Duration> {
        self.0.lock().filter(|beat| Instant::now() >= beat.until).map(|beat| beat.alive)
    }
}
