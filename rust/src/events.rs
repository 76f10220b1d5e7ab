//! What happened on the I/O thread, queued for the Python face to fetch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use crate::sync::Mutex;
use crate::wake::{Bell, EVENTS};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Connected { session_present: bool },
    Failed { permanent: bool, why: String },
    Disconnected { why: String },
    Subscribed { subscription: u32, code: u8 },
    Retained { subscription: u32, given: u64 },
    Unsubscribed { subscription: u32 },
    Acknowledged { token: u32 },
    GivenUp { token: u32, why: &'static str },
    Flushed { token: u32 },
    Space,
    Full,
    Drained { dropped: u64 },
    Gap(Gap),
    Stopped,
    Log { level: Level, line: String },
}

/// What was lost of one run's telemetry; times in Unix seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    pub topic: String,
    pub lost: Vec<(&'static str, u64)>,
    pub since: f64,
    pub until: f64,
}

/// Python's logging levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    Warning = 30,
    Error = 40,
}

pub struct Events {
    queue: Mutex<VecDeque<Event>>,
    arrived: Condvar,
    bell: Arc<Bell>,
}

impl Events {
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { queue: Mutex::new(VecDeque::new()), arrived: Condvar::new(), bell }
    }

    pub fn push(&self, event: Event) {
        let first = {
            let mut queue = self.queue.lock();
            // Nobody may look for days while a broker is away: the same failure again is no news.
            if matches!(event, Event::Failed { .. }) && queue.back() == Some(&event) {
                return;
            }
            queue.push_back(event);
            queue.len() == 1
        };
        self.arrived.notify_all();
        if first {
            self.bell.ring(EVENTS);
        }
    }

    pub fn take(&self) -> VecDeque<Event> {
        std::mem::take(&mut *self.queue.lock())
    }

    /// Block until an event waits; false on time-out.
    pub fn wait(&self, timeout: Duration) -> bool {
        let waited = self.arrived.wait_timeout_while(self.queue.lock(), timeout, |queue| queue.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Wake the loop if anything waits: it has just been attached.
    pub fn ring_if_waiting(&self) {
        if !self.queue.lock().is_empty() {
            self.bell.ring(EVENTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_again_takes_no_room() {
        let events = Events::new(Arc::default());
        let failed = |why: &str| Event::Failed { permanent: false, why: why.into() };
        for why in ["refused", "refused", "timed out", "refused"] {
            events.push(failed(why));
        }
        assert_eq!(events.take(), [failed("refused"), failed("timed out"), failed("refused")]);
    }
}
