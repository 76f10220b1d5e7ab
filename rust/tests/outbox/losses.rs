//! What observers will be told of events that were lost while the queue was full.

use cascade_mqtt_core::outbox::{Loss, Message, OnFull, Outbox, Outcome};

use crate::queue::opened;

const CAP: usize = 64 * 1024;
const RUN: &str = "cascade/telemetry/local/default/r/events";

fn offer(outbox: &mut Outbox, topic: &str, born_ms: u32) -> bool {
    let message = Message { topic: topic.as_bytes(), payload: &[b'x'; 500], qos: 0, retain: false, priority: false };
    outbox.offer(&message, false, born_ms).is_ok()
}

fn losses(outbox: &mut Outbox) -> Vec<Loss> {
    let lost = outbox.take_outcomes().into_iter().filter_map(|outcome| match outcome {
        Outcome::Lost(loss) => Some(loss),
        _ => None,
    });
    lost.collect()
}

fn write_all(outbox: &mut Outbox) -> u64 {
    let mut written = 0;
    while let Some(segment) = outbox.take_telemetry() {
        written += u64::from(segment.live);
        outbox.written(segment);
    }
    written
}

#[test]
fn dropped_and_refused_events_are_told_once_there_is_room() {
    for on_full in [OnFull::DropOldest, OnFull::DropNewest] {
        let mut outbox = opened(CAP, 10, on_full);
        (0..1000).for_each(|at| _ = offer(&mut outbox, RUN, at));
        assert_eq!(losses(&mut outbox), [], "nobody can be told while the queue is full");
        let lost = 1000 - write_all(&mut outbox);
        let [loss] = &losses(&mut outbox)[..] else { panic!("one run") };
        assert_eq!((loss.topic.as_str(), loss.counts), (RUN, [lost, 0]));
        let (first, last) = match on_full {
            OnFull::DropOldest => (0, lost as u32 - 1),
            _ => (1000 - lost as u32, 999),
        };
        assert_eq!((loss.since_ms, loss.until_ms), (first, last));
        offer(&mut outbox, RUN, 1000);
        write_all(&mut outbox);
        assert_eq!(losses(&mut outbox), [], "told once");
    }
}

#[test]
fn who_waits_for_room_loses_nothing() {
    let mut outbox = opened(CAP, 10, OnFull::Wait);
    let accepted = (0..1000).filter(|&at| offer(&mut outbox, RUN, at)).count();
    assert!(accepted < 1000);
    write_all(&mut outbox);
    assert_eq!(losses(&mut outbox), []);
}

#[test]
fn each_run_is_told_of_its_own() {
    let mut outbox = opened(CAP, 10, OnFull::DropOldest);
    let runs = ["a", "b", "c"].map(|run| format!("cascade/telemetry/local/default/{run}/events"));
    for at in 0..999 {
        offer(&mut outbox, &runs[at as usize % 3], at);
        offer(&mut outbox, "another/topic", at);
    }
    write_all(&mut outbox);
    let mut topics: Vec<String> = losses(&mut outbox).into_iter().map(|loss| loss.topic).collect();
    topics.sort();
    assert_eq!(topics, runs);
}
