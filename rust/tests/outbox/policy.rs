//! A queue that is full: what is dropped, what is refused, what is protected.

use cascade_mqtt_core::outbox::{Limits, OnFull, Outbox, Outcome, Rejection};

use crate::queue::{Sample, check_account, frames, opened, puback, send};

const CAP: usize = 64 * 1024;

fn fill(outbox: &mut Outbox, qos: u8, count: u64) -> u64 {
    (0..count).filter(|number| Sample::new(*number, qos, 100).offer(outbox).is_ok()).count() as u64
}

fn dropped(outbox: &Outbox) -> u64 {
    outbox.counters().dropped().map(|(_, count)| count).sum()
}

/// The numbers of all QoS 0 messages, written.
fn drain(outbox: &mut Outbox) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(segment) = outbox.take_telemetry() {
        numbers.extend(frames(&segment.bytes).iter().map(|frame| frame.number));
        outbox.written(segment);
    }
    numbers
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let mut outbox = opened(CAP, 10, OnFull::DropOldest);
    assert_eq!(fill(&mut outbox, 0, 10_000), 10_000);
    assert!(outbox.allocated() <= CAP);
    let kept = drain(&mut outbox);
    assert_eq!(kept, (10_000 - kept.len() as u64..10_000).collect::<Vec<_>>());
    assert_eq!(dropped(&outbox), 10_000 - kept.len() as u64);
    check_account(&outbox);
}

#[test]
fn drop_newest_keeps_the_oldest() {
    let mut outbox = opened(CAP, 10, OnFull::DropNewest);
    let accepted = fill(&mut outbox, 0, 10_000);
    assert!(accepted > 100 && accepted < 1_000);
    assert_eq!(outbox.counters().rejected().collect::<Vec<_>>(), [("queue_full", 10_000 - accepted)]);
    assert_eq!(drain(&mut outbox), (0..accepted).collect::<Vec<_>>());
    assert_eq!((dropped(&outbox), outbox.take_outcomes()), (0, vec![]));
    check_account(&outbox);
}

#[test]
fn wait_refuses_and_tells_once_when_there_is_room() {
    let mut outbox = opened(CAP, 10, OnFull::Wait);
    let accepted = fill(&mut outbox, 0, 10_000);
    assert_eq!(outbox.take_outcomes(), []);
    assert_eq!(drain(&mut outbox).len() as u64, accepted);
    assert_eq!(outbox.take_outcomes(), [Outcome::Space]);
    assert_eq!(dropped(&outbox), 0);
    fill(&mut outbox, 0, 1);
    assert_eq!(outbox.take_outcomes(), []);
}

#[test]
fn room_is_told_of_when_it_is_worth_it() {
    let mut outbox = opened(CAP, 1_000, OnFull::Wait);
    fill(&mut outbox, 1, 10_000);
    assert!(!outbox.is_crowded_out(), "its own cap is reached");
    while let found @ [_, ..] = &send(&mut outbox)[..] {
        for frame in found {
            puback(&mut outbox, frame.packet_id);
            outbox.settle();
            let room = CAP - CAP / 20 - outbox.allocated();
            if outbox.has_news() {
                assert!(room >= CAP / 16, "{room}");
                assert_eq!(outbox.take_outcomes(), [Outcome::Space]);
                return;
            }
            assert!(room < CAP / 8, "{room}");
        }
    }
    panic!("nobody was told of {CAP} bytes of room");
}

#[test]
fn unsent_qos_0_goes_first_then_unsent_qos_1_never_what_is_in_flight() {
    let mut outbox = opened(CAP, 5, OnFull::DropOldest);
    fill(&mut outbox, 1, 5);
    let span = outbox.take_acknowledged().unwrap();
    outbox.retain(span);
    fill(&mut outbox, 1, 50);
    fill(&mut outbox, 0, 50);
    let qos_0 = |outbox: &Outbox| 50 - dropped(outbox);
    while qos_0(&outbox) > 0 {
        assert_eq!(outbox.queued_events() as u64, outbox.counters().accepted - 5 - dropped(&outbox));
        fill(&mut outbox, 1, 1);
    }
    assert!(drain(&mut outbox).is_empty());
    fill(&mut outbox, 1, 5_000);
    assert_eq!(outbox.in_flight_events(), 5);
    outbox.connected(true);
    let span = outbox.take_acknowledged().unwrap();
    let again: Vec<u64> = frames(&span.bytes[span.start..span.end]).iter().map(|frame| frame.number).collect();
    assert_eq!(again, [0, 1, 2, 3, 4]);
    check_account(&outbox);
}

#[test]
fn protected_messages_are_kept_and_have_the_last_twentieth() {
    for (retain, priority) in [(true, false), (false, true)] {
        for on_full in [OnFull::DropOldest, OnFull::DropNewest] {
            let mut outbox = opened(20 * CAP, 10, on_full);
            let protect = |number| Sample { retain, priority, ..Sample::new(number, 0, 100) };
            for number in 0..20 {
                protect(number).offer(&mut outbox).unwrap();
            }
            fill(&mut outbox, 0, 50_000);
            assert!(outbox.allocated() <= 19 * CAP);
            for number in 20..200 {
                protect(number).offer(&mut outbox).unwrap();
            }
            fill(&mut outbox, 0, 50_000);
            // Of theirs alone nothing gives way.
            let mut more = 200;
            while protect(more).offer(&mut outbox).is_ok() {
                more += 1;
            }
            assert!(outbox.allocated() <= 20 * CAP);
            let kept = drain(&mut outbox);
            let high = kept.iter().filter(|number| **number < more).count();
            assert!(high as u64 >= more, "{high} of {more}");
            check_account(&outbox);
        }
    }
}

#[test]
fn what_arrives_behind_protected_messages_can_be_dropped() {
    let mut outbox = opened(CAP, 10, OnFull::DropOldest);
    let protect = |number| Sample { retain: true, ..Sample::new(number, 0, 100) };
    protect(0).offer(&mut outbox).unwrap();
    // Refused, since nothing may go; what follows lies in the same buffer.
    while Sample::new(1, 1, 100).offer(&mut outbox).is_ok() && outbox.counters().dropped().count() == 0 {}
    assert_eq!(fill(&mut outbox, 0, 5_000), 5_000);
    check_account(&outbox);
}

#[test]
fn a_message_that_cannot_fit_drops_nothing() {
    let mut outbox = opened(CAP, 10, OnFull::DropOldest);
    Sample::new(0, 1, CAP / 2).offer(&mut outbox).unwrap();
    let span = outbox.take_acknowledged().unwrap();
    outbox.retain(span);
    let accepted = fill(&mut outbox, 0, 50);
    // What is in flight leaves too little room, whatever is dropped.
    assert_eq!(Sample::new(50, 0, CAP / 2).offer(&mut outbox), Err(Rejection::QueueFull));
    // Never, not even in an empty queue; beyond what MQTT can carry.
    assert_eq!(Sample::new(51, 0, CAP).offer(&mut outbox), Err(Rejection::TooLarge));
    assert_eq!(Sample::new(52, 0, 300_000_000).offer(&mut outbox), Err(Rejection::TooLarge));
    assert_eq!(drain(&mut outbox).len() as u64, accepted);
    assert_eq!(dropped(&outbox), 0);
    check_account(&outbox);
}

#[test]
fn events_are_capped_too() {
    for (on_full, expected) in [(OnFull::DropOldest, 9_905..10_000), (OnFull::DropNewest, 0..95)] {
        let limits = Limits {
            queued_bytes: 1 << 20,
            queued_events: Some(100),
            in_flight: 10,
            in_flight_qos2: 10,
            on_full,
            batch: None,
        };
        let mut outbox = Outbox::new(limits);
        assert_eq!(Sample::new(0, 0, 100).offer(&mut outbox), Err(Rejection::NotConnected));
        outbox.open();
        fill(&mut outbox, 0, 10_000);
        assert_eq!(outbox.queued_events(), 95);
        assert_eq!(drain(&mut outbox), expected.collect::<Vec<_>>());
        check_account(&outbox);
    }
}
