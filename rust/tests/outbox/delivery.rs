//! What the writer is given: bytes, order, identifiers, replay, marks.

use cascade_mqtt_core::outbox::{DropReason, Limits, OnFull, Outbox, Outcome, Pending, Rejection, Span};

use crate::queue::{Frame, Sample, check_account, frames, limits, opened, puback, send};

const ROOM: usize = 16 << 20;

fn filled(qos: u8, count: u64, window: usize) -> Outbox {
    let mut outbox = opened(ROOM, window, OnFull::DropOldest);
    for number in 0..count {
        Sample::new(number, qos, 20).offer(&mut outbox).unwrap();
    }
    outbox
}

fn numbers(found: &[Frame]) -> Vec<u64> {
    found.iter().map(|frame| frame.number).collect()
}

#[test]
fn frames_are_those_of_packet_publish() {
    let mut outbox = opened(ROOM, 100, OnFull::DropOldest);
    let mut expected = Vec::new();
    // Sizes around each length of the fixed header, and above a buffer's size.
    for (number, size) in [0, 1, 90, 100, 127, 128, 16_300, 16_383, 16_384, 300_000, 2_097_152].into_iter().enumerate()
    {
        let sample = Sample { retain: number % 2 == 1, ..Sample::new(number as u64, 0, size) };
        sample.offer(&mut outbox).unwrap();
        expected.extend(sample.frame(0, false));
    }
    let mut written = Vec::new();
    while let Some(segment) = outbox.take_telemetry() {
        written.extend_from_slice(&segment.bytes);
        outbox.written(segment);
    }
    assert!(written == expected);
    assert_eq!((outbox.counters().written, outbox.allocated()), (11, 0));
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let mut outbox = filled(1, 10, 4);
    assert_eq!(numbers(&send(&mut outbox)), [0, 1, 2, 3]);
    assert!(send(&mut outbox).is_empty());
    assert_eq!((outbox.queued_events(), outbox.in_flight_events()), (6, 4));
    assert_eq!(outbox.pending(0), Pending::Nothing);
    // In any order; each makes room for one more.
    assert!(puback(&mut outbox, 3) && puback(&mut outbox, 1));
    assert_eq!(outbox.pending(0), Pending::Worth);
    let next = send(&mut outbox);
    assert_eq!(numbers(&next), [4, 5]);
    assert_eq!(next.iter().map(|frame| frame.packet_id).collect::<Vec<_>>(), [3, 1], "the longest unused first");
    check_account(&outbox);
}

#[test]
fn a_span_grows_by_what_follows_it_at_once() {
    let mut outbox = filled(1, 70, 1_000);
    let token = Sample::new(70, 1, 20).offer_tracked(&mut outbox, true).unwrap().0;
    (71..300).for_each(|number| assert!(Sample::new(number, 1, 20).offer(&mut outbox).is_ok()));
    let mut span = outbox.take_acknowledged().unwrap();
    let of = |span: &Span| numbers(&frames(&span.bytes[span.start..span.end]));
    assert_eq!(of(&span), (0..64).collect::<Vec<_>>(), "as many as one hold of the lock has time for");
    assert!(outbox.withdraw(token));
    assert!(outbox.lengthen(&mut span));
    assert_eq!(of(&span), (0..70).collect::<Vec<_>>(), "up to the gap");
    assert!(!outbox.lengthen(&mut span));
    outbox.retain(span);
    // A window that is full ends it as well.
    let mut span = outbox.take_acknowledged().unwrap();
    while outbox.lengthen(&mut span) {}
    assert_eq!(of(&span), (71..300).collect::<Vec<_>>());
    outbox.retain(span);
    let mut narrow = filled(1, 100, 64);
    let mut span = narrow.take_acknowledged().unwrap();
    assert!(!narrow.lengthen(&mut span));
    assert_eq!(of(&span).len(), 64);
    narrow.retain(span);
    check_account(&outbox);
    check_account(&narrow);
}

#[test]
fn the_writer_is_woken_by_a_quarter_of_a_small_queue() {
    let small_in_events = Limits { queued_events: Some(40), ..limits(ROOM, 10, 10, OnFull::Wait) };
    let small_in_bytes = limits(64 * 1024, 10, 10, OnFull::Wait);
    for (limits, worth) in [(small_in_events, 10), (small_in_bytes, 25)] {
        let mut outbox = Outbox::new(limits);
        outbox.open();
        outbox.connected(false);
        let wakes = |outbox: &mut Outbox, number| Sample::new(number, 0, 650).offer(outbox).unwrap().1;
        assert!(!wakes(&mut outbox, 0), "nobody sleeps");
        assert_eq!(outbox.pending(0), Pending::Little);
        let woken = (1..40).find(|number| wakes(&mut outbox, *number));
        assert_eq!(woken, Some(worth - 1));
        assert_eq!(outbox.pending(0), Pending::Worth);
    }
}

#[test]
fn identifiers_end_at_65000() {
    let mut outbox = filled(1, 65_010, usize::MAX);
    let mut ids = Vec::new();
    loop {
        let found = send(&mut outbox);
        if found.is_empty() {
            break;
        }
        ids.extend(found.iter().map(|frame| frame.packet_id));
    }
    assert_eq!(ids, (1..=65_000).collect::<Vec<u16>>());
    for unknown in [0, 65_001, 65_535] {
        assert!(!puback(&mut outbox, unknown));
    }
    check_account(&outbox);
}

#[test]
fn a_session_that_is_present_keeps_identifiers() {
    let mut outbox = filled(1, 6, 4);
    send(&mut outbox);
    puback(&mut outbox, 2);
    outbox.connected(true);
    let replay = send(&mut outbox);
    assert_eq!(replay.iter().map(|f| (f.number, f.packet_id, f.dup)).collect::<Vec<_>>(), [(0, 1, true)]);
    let rest = send(&mut outbox);
    let expected = [(2, 3, true), (3, 4, true), (4, 2, false)];
    assert_eq!(rest.iter().map(|f| (f.number, f.packet_id, f.dup)).collect::<Vec<_>>(), expected);
    check_account(&outbox);
}

#[test]
fn without_the_session_everything_is_new_and_comes_first() {
    let mut outbox = filled(1, 6, 4);
    send(&mut outbox);
    puback(&mut outbox, 1);
    Sample::new(6, 1, 20).offer(&mut outbox).unwrap();
    outbox.connected(false);
    assert_eq!((outbox.queued_events(), outbox.in_flight_events()), (6, 0));
    let again = send(&mut outbox);
    assert_eq!(numbers(&again), [1, 2, 3, 4]);
    assert!(again.iter().all(|frame| !frame.dup));
    check_account(&outbox);
}

#[test]
fn what_a_session_acknowledges_before_it_is_sent_again_is_not_sent() {
    let mut outbox = filled(1, 3, 3);
    send(&mut outbox);
    outbox.connected(true);
    assert!(puback(&mut outbox, 2));
    assert_eq!(numbers(&send(&mut outbox)), [0]);
    assert_eq!(numbers(&send(&mut outbox)), [2]);
    outbox.connected(true);
    assert!(puback(&mut outbox, 1) && puback(&mut outbox, 3));
    assert_eq!(outbox.pending(0), Pending::Nothing);
    // The same behind a frame that is on its way, with a gap between them.
    (3..6).for_each(|number| assert!(Sample::new(number, 1, 20).offer(&mut outbox).is_ok()));
    let ids: Vec<u16> = send(&mut outbox).iter().map(|frame| frame.packet_id).collect();
    assert!(puback(&mut outbox, ids[1]));
    outbox.connected(true);
    assert_eq!(numbers(&send(&mut outbox)), [3]);
    assert!(puback(&mut outbox, ids[2]));
    assert_eq!(outbox.pending(0), Pending::Nothing);
    check_account(&outbox);
}

#[test]
fn frames_not_wholly_written_are_given_back() {
    let mut outbox = filled(0, 5, 10);
    let segment = outbox.take_telemetry().unwrap();
    let ends: Vec<usize> = frames(&segment.bytes).iter().map(|frame| frame.end).collect();
    Sample::new(5, 0, 20).offer(&mut outbox).unwrap();
    outbox.give_back(segment, ends[1] + 3);
    assert_eq!(outbox.counters().written, 2);
    let mut rest = Vec::new();
    while let Some(segment) = outbox.take_telemetry() {
        rest.extend(numbers(&frames(&segment.bytes)));
        outbox.written(segment);
    }
    assert_eq!(rest, [2, 3, 4, 5]);
    check_account(&outbox);
}

#[test]
fn a_mark_covers_what_was_accepted_before_it() {
    let mut outbox = filled(0, 3, 10);
    let segment = outbox.take_telemetry().unwrap();
    let mark = outbox.mark();
    outbox.give_back(segment, 0);
    // What comes after the mark does not join what came before it.
    Sample::new(3, 0, 20).offer(&mut outbox).unwrap();
    assert_eq!((outbox.left(mark), outbox.reached(mark)), (3, false));
    let segment = outbox.take_telemetry().unwrap();
    assert_eq!((outbox.left(mark), outbox.reached(mark)), (3, false));
    outbox.written(segment);
    assert_eq!((outbox.left(mark), outbox.reached(mark)), (0, true));
    assert_eq!(outbox.queued_events(), 1);
}

#[test]
fn only_what_was_never_sent_is_withdrawn() {
    let mut outbox = opened(ROOM, 1, OnFull::DropOldest);
    let tokens = [0, 1].map(|number| Sample::new(number, 1, 20).offer_tracked(&mut outbox, true).unwrap().0);
    send(&mut outbox);
    assert!(!outbox.withdraw(tokens[0]), "in flight: it may arrive");
    outbox.connected(false);
    assert!(!outbox.withdraw(tokens[0]), "it may have arrived over the lost connection");
    assert!(outbox.withdraw(tokens[1]));
    assert!(!outbox.withdraw(tokens[1]));
    assert_eq!(outbox.counters().dropped().collect::<Vec<_>>(), [(DropReason::Expired.name(), 1)]);
    assert_eq!(numbers(&send(&mut outbox)), [0]);
    puback(&mut outbox, 1);
    assert_eq!(outbox.take_outcomes(), [Outcome::Acknowledged(tokens[0])]);
    assert!(outbox.is_empty());
}

#[test]
fn a_writer_that_sleeps_is_woken() {
    let mut outbox = opened(ROOM, 2, OnFull::DropOldest);
    let sent: Vec<u32> = (0..3).map(|n| Sample::new(n, 1, 20).offer_tracked(&mut outbox, true).unwrap().0).collect();
    send(&mut outbox);
    puback(&mut outbox, 1);
    // Nothing is left of what waited for the window: the writer sleeps until the next event.
    assert!(outbox.withdraw(sent[2]));
    assert_eq!(outbox.pending(0), Pending::Nothing);
    let (_, wake) = Sample::new(3, 1, 20).offer(&mut outbox).unwrap();
    assert!(wake);
    assert_eq!(numbers(&send(&mut outbox)), [3]);
}

#[test]
fn what_is_discarded_is_told_to_those_who_wait() {
    let mut outbox = opened(ROOM, 1, OnFull::DropOldest);
    let tokens = [0, 1, 2].map(|number| Sample::new(number, 1, 20).offer_tracked(&mut outbox, true).unwrap().0);
    Sample::new(3, 0, 20).offer(&mut outbox).unwrap();
    send(&mut outbox);
    outbox.close();
    assert_eq!(Sample::new(4, 0, 20).offer(&mut outbox), Err(Rejection::Closed));
    outbox.discard(DropReason::Closed);
    assert_eq!(outbox.take_outcomes(), tokens.map(|token| Outcome::GivenUp(token, DropReason::Closed)));
    assert_eq!(outbox.counters().dropped().collect::<Vec<_>>(), [("closed", 4)]);
    assert!(outbox.is_empty() && outbox.allocated() == 0);
    check_account(&outbox);
    // The next connection's identifiers begin anew.
    outbox.open();
    Sample::new(5, 1, 20).offer(&mut outbox).unwrap();
    assert_eq!(send(&mut outbox)[0].packet_id, 1);
}
