//! What was lost of each run's telemetry, to be told when there is room again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::topic::BATCH;

/// Runs that a loss is remembered of; those beyond show in the counters alone.
const MAX_TOPICS: usize = 1000;

/// Why an event that was meant for observers never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cause {
    QueueFull,
    RejectedByPeer,
}

impl Cause {
    pub const NAMES: [&'static str; 2] = ["queue_full", "rejected_by_peer"];
}

/// The lost events of one topic; times in milliseconds of `clock::now_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub topic: String,
    pub counts: [u64; Cause::NAMES.len()],
    pub since_ms: u32,
    pub until_ms: u32,
}

#[derive(Debug, Default)]
pub struct Losses(HashMap<Box<[u8]>, Loss>);

impl Losses {
    /// Count events, if their topic, or that of their batch, is of the telemetry form; `at_ms`: when they were published.
    pub fn note(&mut self, topic: &[u8], cause: Cause, at_ms: u32, events: usize) {
        let topic = topic.strip_suffix(BATCH.as_bytes()).unwrap_or(topic);
        if !is_telemetry(topic) {
            return;
        }
        let full = self.0.len() >= MAX_TOPICS;
        let loss = match self.0.entry(topic.into()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => return,
            Entry::Vacant(new) => new.insert(Loss {
                topic: String::from_utf8_lossy(topic).into_owned(),
                counts: Default::default(),
                since_ms: at_ms,
                until_ms: at_ms,
            }),
        };
        loss.counts[cause as usize] += events as u64;
        loss.until_ms = at_ms;
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self) -> impl Iterator<Item = Loss> + use<> {
        std::mem::take(&mut self.0).into_values()
    }
}

/// `cascade/telemetry/{org_id}/{project_id}/{run_id}/events`
fn is_telemetry(topic: &[u8]) -> bool {
    let ids = topic.strip_prefix(b"cascade/telemetry/").and_then(|rest| rest.strip_suffix(b"/events"));
    ids.is_some_and(|ids| memchr::memchr_iter(b'/', ids).count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &[u8] = b"cascade/telemetry/o/p/r/events";

    #[test]
    fn counts_by_topic_and_cause() {
        let mut losses = Losses::default();
        losses.note(RUN, Cause::QueueFull, 7, 1);
        losses.note(RUN, Cause::RejectedByPeer, 8, 1);
        losses.note(&[RUN, b"/@batch"].concat(), Cause::QueueFull, 9, 5);
        let [loss] = &losses.take().collect::<Vec<_>>()[..] else { panic!("one topic") };
        assert_eq!((loss.counts, loss.since_ms, loss.until_ms), ([6, 1], 7, 9));
        assert!(losses.is_empty());
    }

    #[test]
    fn other_topics_are_not_told_of() {
        let mut losses = Losses::default();
        for topic in ["a", "cascade/telemetry/o/p/r", "cascade/telemetry/o/p/r/x/events", "cascade/telemetry/events"] {
            losses.note(topic.as_bytes(), Cause::QueueFull, 0, 1);
        }
        assert!(losses.is_empty());
    }

    #[test]
    fn the_runs_remembered_are_bounded() {
        let mut losses = Losses::default();
        for run in 0..2 * MAX_TOPICS {
            losses.note(format!("cascade/telemetry/o/p/{run}/events").as_bytes(), Cause::QueueFull, 0, 1);
        }
        assert_eq!(losses.take().count(), MAX_TOPICS);
    }
}
