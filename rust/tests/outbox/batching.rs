//! Events in batches: what closes one, what goes out, and what is counted.

use cascade_mqtt_core::compression;
use cascade_mqtt_core::outbox::{Ack, Batching, Cause, DropReason, Limits, OnFull, Outbox, Outcome, Pending, Progress};
use cascade_mqtt_core::packet::{self, Incoming, MAX_REMAINING};

use crate::queue::{Frame, Sample, check_account, elements, frames, limits, puback, send, take_acknowledged};

const BATCHING: Batching = Batching { events: 4, bytes: 1000, linger_ms: 5, compress: false };

fn opened(batching: Batching) -> Outbox {
    opened_with(limits(1 << 20, 100, 100, OnFull::DropOldest), batching)
}

fn opened_with(limits: Limits, batching: Batching) -> Outbox {
    let mut outbox = Outbox::new(Limits { batch: Some(batching), ..limits });
    outbox.open();
    outbox.connected(false);
    outbox
}

/// Events of one topic, from a number that is a multiple of 8 on.
fn offer(outbox: &mut Outbox, numbers: std::ops::Range<u64>, qos: u8) {
    for number in numbers {
        Sample::event(number, qos, 20).offer(outbox).unwrap();
    }
}

/// The QoS 0 messages that are closed: how many events each holds.
fn written(outbox: &mut Outbox) -> Vec<usize> {
    let Some(segment) = outbox.take_telemetry() else { return Vec::new() };
    let found = frames(&segment.bytes);
    outbox.written(segment);
    sizes(&found)
}

fn sizes(found: &[Frame]) -> Vec<usize> {
    found.chunk_by(|a, b| a.end == b.end).map(<[Frame]>::len).collect()
}

#[test]
fn a_batch_is_one_message_with_the_payloads_in_an_array() {
    let mut outbox = opened(BATCHING);
    offer(&mut outbox, 0..4, 1);
    let span = outbox.take_acknowledged().unwrap();
    let bytes = &span.bytes[span.start..span.end];
    let mut expected = Vec::new();
    let payloads: Vec<String> =
        (0..4).map(|number| String::from_utf8(Sample::event(number, 1, 20).payload()).unwrap()).collect();
    packet::publish(&mut expected, b"plant/line-0/@batch", format!("[{}]", payloads.join(",")).as_bytes(), 1, false);
    packet::patch(&mut expected, 1, false);
    assert_eq!(bytes, expected);
    let Ok(Some((Incoming::Publish(publish), _))) = packet::parse(bytes, MAX_REMAINING) else { panic!("a PUBLISH") };
    assert_eq!(elements(publish.payload).len(), 4);
    outbox.retain(span);
    assert_eq!((outbox.queued_events(), outbox.in_flight_events()), (0, 4));
    assert_eq!(outbox.acknowledge(Ack::PubAck, 1), Ok(Progress::Done { token: 0, events: 4 }));
    assert_eq!(outbox.counters().acknowledged, 4);
    check_account(&outbox);
}

#[test]
fn count_and_bytes_close_a_batch_whatever_its_header_needs() {
    for (batching, size, expected) in [
        (BATCHING, 20, vec![4, 4]),
        (Batching { events: 1, ..BATCHING }, 20, vec![1; 8]),
        // Each event is 86 bytes, and a comma or bracket behind it.
        (Batching { events: 99, bytes: 1 + 3 * 87, ..BATCHING }, 80, vec![3, 3, 2]),
        (Batching { events: 99, bytes: 3 * 87, ..BATCHING }, 80, vec![2; 4]),
        // Larger than a batch may be: one each.
        (Batching { events: 99, bytes: 60, ..BATCHING }, 80, vec![1; 8]),
        (Batching { events: 99, bytes: 400_000, ..BATCHING }, 40_000, vec![8]),
    ] {
        let mut outbox = opened(batching);
        for number in 0..8 {
            Sample::event(number, 0, size).offer(&mut outbox).unwrap();
        }
        outbox.mark();
        let mut found = Vec::new();
        while let some @ [_, ..] = &written(&mut outbox)[..] {
            found.extend_from_slice(some);
        }
        assert_eq!(found, expected, "{batching:?}");
        assert_eq!((outbox.counters().written, outbox.allocated()), (8, 0));
    }
}

#[test]
fn what_is_sent_again_is_compressed_once() {
    let limits = limits(64 << 20, 100, 100, OnFull::DropOldest);
    let mut outbox = opened_with(limits, Batching { events: 60_000, bytes: 15 << 20, compress: true, ..BATCHING });
    for _ in 0..2_000 {
        // So much of the same that even the compressed array gets shorter by compression.
        Sample::event(0, 0, 4_000).offer(&mut outbox).unwrap();
    }
    for _ in 0..2 {
        outbox.mark();
        let mut segment = outbox.take_telemetry().unwrap();
        segment.pack(compression::shorten);
        assert_eq!(frames(&segment.bytes).len(), 2_000);
        outbox.give_back(segment, 0);
    }
}

#[test]
fn what_is_no_event_of_its_topic_and_qos_closes_the_batch_before_it() {
    let mut outbox = opened(BATCHING);
    offer(&mut outbox, 6..10, 0);
    assert_eq!(outbox.pending(0), Pending::Little, "the topic changes at each multiple of 8");
    Sample::new(10, 0, 5).offer(&mut outbox).unwrap();
    Sample { priority: true, ..Sample::new(11, 0, 5) }.offer(&mut outbox).unwrap();
    offer(&mut outbox, 12..14, 0);
    offer(&mut outbox, 14..15, 2);
    offer(&mut outbox, 15..16, 1);
    offer(&mut outbox, 16..17, 1);
    assert_eq!(written(&mut outbox), [2, 2, 1, 1], "the open one goes on");
    outbox.mark();
    assert_eq!(written(&mut outbox), [2]);
    let found = send(&mut outbox);
    assert_eq!(found.iter().map(|frame| frame.number).collect::<Vec<_>>(), [14, 15, 16]);
    assert_eq!(sizes(&found), [1, 1, 1]);
}

#[test]
fn topics_that_cannot_have_batches_have_none() {
    let long = "t".repeat(65_529);
    for topic in [&long[..], "a/@batch"] {
        let mut outbox = opened(BATCHING);
        let message = cascade_mqtt_core::outbox::Message {
            topic: topic.as_bytes(),
            payload: b"1",
            qos: 0,
            retain: false,
            priority: false,
        };
        outbox.offer_event(&message, 0).unwrap();
        let segment = outbox.take_telemetry().unwrap();
        assert_eq!(
            (packet::topic_of(&segment.bytes), packet::payload_of(&segment.bytes)),
            (topic.as_bytes(), &b"1"[..])
        );
        outbox.written(segment);
    }
}

#[test]
fn a_batch_waits_for_its_time_from_when_the_writer_sees_it() {
    let mut outbox = opened(BATCHING);
    assert_eq!((outbox.pending(100), outbox.next_due()), (Pending::Nothing, None));
    assert_eq!(Sample::event(0, 0, 20).offer(&mut outbox), Ok((0, true)), "the writer is told, to set its timer");
    assert_eq!((outbox.pending(101), outbox.next_due()), (Pending::Nothing, Some(106)));
    assert_eq!(Sample::event(1, 0, 20).offer(&mut outbox), Ok((0, false)));
    assert!(outbox.take_telemetry().is_none());
    assert_eq!(outbox.pending(105), Pending::Nothing);
    assert_eq!((outbox.pending(106), outbox.next_due()), (Pending::Worth, None));
    assert_eq!(Sample::event(2, 0, 20).offer(&mut outbox), Ok((0, false)));
    assert_eq!(written(&mut outbox), [2]);
    // A full one wakes who sleeps.
    assert_eq!((outbox.pending(106), outbox.next_due()), (Pending::Nothing, Some(111)));
    let woken: Vec<bool> = (3..6).map(|number| Sample::event(number, 0, 20).offer(&mut outbox).unwrap().1).collect();
    assert_eq!(woken, [false, false, true]);
    assert_eq!(outbox.pending(107), Pending::Worth);
    assert_eq!(written(&mut outbox), [4]);
}

#[test]
fn a_flush_closes_what_is_open_and_counts_events() {
    let mut outbox = opened(BATCHING);
    offer(&mut outbox, 0..2, 0);
    offer(&mut outbox, 2..5, 1);
    let mark = outbox.mark();
    offer(&mut outbox, 5..6, 0);
    assert_eq!(outbox.left(mark), 5);
    assert_eq!(outbox.pending(0), Pending::Worth);
    assert_eq!(written(&mut outbox), [2]);
    let found = send(&mut outbox);
    assert_eq!((outbox.left(mark), sizes(&found)), (3, vec![3]));
    assert!(puback(&mut outbox, found[0].packet_id) && outbox.reached(mark));
    assert_eq!(outbox.queued_events(), 1);
}

#[test]
fn the_oldest_batch_is_dropped_whole_and_the_open_one_last() {
    const CAP: usize = 20_000;
    let mut outbox = opened_with(limits(CAP, 10, 10, OnFull::DropOldest), Batching { bytes: 100_000, ..BATCHING });
    let telemetry = |outbox: &mut Outbox, size: usize| {
        let message = cascade_mqtt_core::outbox::Message {
            topic: b"cascade/telemetry/o/p/r/events",
            payload: &vec![b'1'; size],
            qos: 0,
            retain: false,
            priority: false,
        };
        outbox.offer_event(&message, 7).unwrap();
    };
    while outbox.counters().dropped().count() == 0 {
        telemetry(&mut outbox, 500);
        check_account(&outbox);
        assert!(outbox.allocated() <= CAP);
    }
    // As many as share a buffer: only then it is given back.
    let dropped = outbox.counters().dropped_for(DropReason::QueueFull);
    assert!(dropped > 0 && dropped.is_multiple_of(4));
    // Nothing but the open batch is left: it gives way to what is larger than the room beside it.
    outbox.mark();
    while let Some(segment) = outbox.take_telemetry() {
        outbox.written(segment);
    }
    outbox.take_outcomes();
    telemetry(&mut outbox, 9_000);
    telemetry(&mut outbox, 12_000);
    assert_eq!((outbox.queued_events(), outbox.counters().dropped_for(DropReason::QueueFull)), (1, dropped + 1));
    outbox.mark();
    let segment = outbox.take_telemetry().unwrap();
    assert_eq!((segment.live, segment.events), (1, 1));
    outbox.written(segment);
    let outcomes = outbox.take_outcomes();
    let lost = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Lost(loss) => Some((loss.topic.as_str(), loss.counts[Cause::QueueFull as usize])),
        _ => None,
    });
    assert_eq!(lost, Some(("cascade/telemetry/o/p/r/events", 1)), "told by the topic of the events");
}

#[test]
fn events_are_capped_not_messages_and_the_window_is_of_messages() {
    let limits = Limits { queued_events: Some(100), ..limits(1 << 20, 2, 2, OnFull::DropNewest) };
    let mut outbox = opened_with(limits, BATCHING);
    let accepted = (0..200).filter(|number| Sample::event(*number, 1, 20).offer(&mut outbox).is_ok()).count();
    assert_eq!((accepted, outbox.queued_events()), (95, 95));
    assert_eq!(sizes(&send(&mut outbox)), [4, 4]);
    assert_eq!((outbox.queued_events(), outbox.in_flight_events()), (87, 8));
    check_account(&outbox);
}

#[test]
fn a_compressed_batch_is_sent_again_as_the_same_bytes() {
    let mut outbox = opened(Batching { events: 100, bytes: 5_000, compress: true, ..BATCHING });
    for number in 0..8 {
        Sample::event(number, 1, 200).offer(&mut outbox).unwrap();
    }
    outbox.mark();
    let first = take_acknowledged(&mut outbox, true).unwrap();
    let bytes = first.bytes[first.start..first.end].to_vec();
    assert!(bytes.len() < 400, "{}", bytes.len());
    assert_eq!(sizes(&frames(&bytes)), [8]);
    outbox.retain(first);
    assert!(outbox.allocated() < 1_000, "what is kept is what was sent: {}", outbox.allocated());
    outbox.connected(true);
    let again = take_acknowledged(&mut outbox, true).unwrap();
    let mut expected = bytes;
    packet::patch(&mut expected, 1, true);
    assert_eq!(again.bytes[again.start..again.end], expected);
    outbox.retain(again);
    assert!(puback(&mut outbox, 1));
    assert_eq!((outbox.counters().acknowledged, outbox.allocated()), (8, 0));
}
