//! What happened on the I/O thread, queued for the Python face to fetch.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;
use crate::wake::{Bell, EVENTS, Notifier};

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
    queue: Mutex<Queue>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Threads that wait for the next one.
    watchers: Vec<Arc<Notifier>>,
}

impl Events {
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { queue: Mutex::default(), bell }
    }

    pub fn push(&self, event: Event) {
        let first = {
            let mut queue = self.queue.lock();
            // Nobody may look for days while a broker is away: the same failure again is no news.
            if matches!(event, Event::Failed { .. }) && queue.events.back() == Some(&event) {
                return;
            }
            queue.events.push_back(event);
            for watcher in queue.watchers.drain(..) {
                watcher.push(0, EVENTS);
            }
            queue.events.len() == 1
        };
        if first {
            self.bell.ring(EVENTS);
        }
    }

    pub fn take(&self) -> VecDeque<Event> {
        std::mem::take(&mut self.queue.lock().events)
    }

    /// Ring this once, at the next event; false where one waits already.
    pub fn watch(&self, watcher: Arc<Notifier>) -> bool {
        let mut queue = self.queue.lock();
        let none = queue.events.is_empty();
        if none {
            queue.watchers.push(watcher);
        }
        none
    }

    /// Nobody waits for that any longer; returns whether an event does.
    pub fn unwatch(&self, watcher: &Arc<Notifier>) -> bool {
        let mut queue = self.queue.lock();
        queue.watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        !queue.events.is_empty()
    }

    /// Wake the loop if anything waits: it has just been attached.
    pub fn ring_if_waiting(&self) {
        if !self.queue.lock().events.is_empty() {
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
