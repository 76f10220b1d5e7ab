//! A broker that dies of one message: it is found, it alone is given up, and the rest flows.

use cascade_mqtt_core::outbox::{Ack, DropReason, OnFull, Outbox, Outcome, Pending};

use crate::queue::{Sample, check_account, frames, opened_with, puback, send};

const ROOM: usize = 16 << 20;
const SOON_MS: u64 = 100;

/// A broker that ends the connection when it gets one of `poison`, and acknowledges everything else.
struct Allergic<'a> {
    outbox: &'a mut Outbox,
    poison: &'a [u64],
    present: bool,
    /// What came on each connection, QoS 0 aside.
    came: Vec<Vec<u64>>,
}

impl Allergic<'_> {
    /// One connection; false once there is nothing more to send and the broker lives.
    fn connect(&mut self) -> bool {
        let released = self.outbox.connected(self.present);
        released.into_iter().for_each(|id| _ = self.outbox.acknowledge(Ack::PubComp, id).unwrap());
        if self.outbox.is_probing() {
            assert!(self.outbox.take_acknowledged().is_none(), "not before the broker has answered");
        }
        let released = self.outbox.answered();
        released.into_iter().for_each(|id| _ = self.outbox.acknowledge(Ack::PubComp, id).unwrap());
        self.came.push(Vec::new());
        while self.outbox.pending(0) != Pending::Nothing {
            let probing = self.outbox.is_probing();
            if let Some(segment) = self.outbox.take_telemetry() {
                assert!(!probing, "nothing else");
                self.outbox.written(segment);
            }
            let found = send(self.outbox);
            assert!(!probing || found.len() == 1, "one at a time");
            for frame in found {
                self.came.last_mut().unwrap().push(frame.number);
                if self.poison.contains(&frame.number) {
                    self.outbox.disarm();
                    self.outbox.ended(true, SOON_MS);
                    return true;
                }
                if !puback(self.outbox, frame.packet_id) {
                    self.outbox.acknowledge(Ack::PubComp, frame.packet_id).unwrap();
                }
                check_account(self.outbox);
            }
        }
        false
    }
}

fn filled(qos: &[u8]) -> Outbox {
    let mut outbox = opened_with(ROOM, 1_000, 1_000, OnFull::DropOldest);
    for (number, &qos) in qos.iter().enumerate() {
        Sample::new(number as u64, qos, 20).offer(&mut outbox).unwrap();
    }
    outbox
}

#[test]
fn the_culprits_alone_are_dropped_and_the_rest_flows_in_order() {
    for present in [true, false] {
        let mut outbox = filled(&[1; 200]);
        let mut broker = Allergic { outbox: &mut outbox, poison: &[50, 51, 120], present, came: Vec::new() };
        while broker.connect() {
            assert!(broker.came.len() < 20);
        }
        let mut came = broker.came.concat();
        assert!(broker.came.iter().all(|numbers| numbers.is_sorted()));
        came.dedup();
        let mut first_seen = Vec::new();
        came.into_iter().for_each(|number| {
            if !first_seen.contains(&number) {
                first_seen.push(number)
            }
        });
        assert_eq!(first_seen, (0..200).collect::<Vec<_>>());
        assert_eq!(outbox.counters().acknowledged, 197);
        assert_eq!(outbox.counters().dropped().collect::<Vec<_>>(), [("rejected_by_peer", 3)]);
        let rejected: Vec<_> = outbox.take_outcomes();
        let expected = [50, 51, 120]
            .map(|number| Outcome::Rejected { topic: format!("plant/line-{}", number % 11), payload_bytes: 28 });
        assert_eq!(rejected, expected);
        assert!(outbox.is_empty() && outbox.allocated() == 0);
        check_account(&outbox);
    }
}

/// An outbox whose replay is probed from the next connection on.
fn deadly(outbox: &mut Outbox, present: bool) {
    send(outbox);
    outbox.ended(true, SOON_MS);
    for _ in 0..3 {
        outbox.connected(present);
        outbox.answered();
        assert!(!outbox.is_probing());
        send(outbox);
        outbox.ended(true, SOON_MS);
    }
    outbox.connected(present);
    assert!(outbox.is_probing());
}

#[test]
fn while_probing_new_events_wait_and_wake_nobody() {
    let mut outbox = filled(&[1, 1, 1]);
    deadly(&mut outbox, false);
    outbox.answered();
    let mut out = send(&mut outbox);
    assert_eq!(out.len(), 1);
    for qos in [0, 1, 2] {
        assert!(!Sample::new(10, qos, 20).offer(&mut outbox).unwrap().1);
    }
    assert_eq!(outbox.pending(0), Pending::Nothing);
    assert!(outbox.take_telemetry().is_none() && outbox.take_acknowledged().is_none());
    for next in [1, 1, 2] {
        assert!(outbox.is_probing());
        assert!(puback(&mut outbox, out[0].packet_id));
        out = send(&mut outbox);
        assert_eq!(out.len(), next);
    }
    assert!(!outbox.is_probing(), "the replay is through");
    assert!(outbox.take_telemetry().map(|segment| outbox.written(segment)).is_some());
    check_account(&outbox);
}

#[test]
fn what_was_never_sent_is_not_part_of_the_replay() {
    let mut outbox = opened_with(ROOM, 2, 2, OnFull::DropOldest);
    (0..10).for_each(|number| assert!(Sample::new(number, 1, 20).offer(&mut outbox).is_ok()));
    deadly(&mut outbox, false);
    outbox.answered();
    for _ in 0..2 {
        let id = send(&mut outbox)[0].packet_id;
        assert!(outbox.is_probing() && puback(&mut outbox, id));
    }
    assert!(!outbox.is_probing());
    assert_eq!(send(&mut outbox).len(), 2, "many at a time again");
}

#[test]
fn a_death_before_anything_was_sent_blames_nobody() {
    let mut outbox = filled(&[1, 1]);
    deadly(&mut outbox, false);
    for _ in 0..10 {
        outbox.ended(true, SOON_MS);
        outbox.connected(false);
        assert!(outbox.is_probing());
    }
    assert_eq!(outbox.counters().dropped().count(), 0);
}

#[test]
fn who_waits_for_the_culprit_is_told() {
    let mut outbox = opened_with(ROOM, 10, 10, OnFull::DropOldest);
    let (token, _) = Sample::new(0, 2, 20).offer_tracked(&mut outbox, true).unwrap();
    deadly(&mut outbox, true);
    for _ in 0..2 {
        outbox.answered();
        assert_eq!(send(&mut outbox).len(), 1);
        outbox.ended(true, SOON_MS);
        outbox.connected(true);
    }
    let outcomes = outbox.take_outcomes();
    assert_eq!(outcomes[0], Outcome::GivenUp(token, DropReason::RejectedByPeer));
    assert!(outbox.is_empty());
    // The broker may hold its identifier: it is released before another message gets it.
    assert_eq!(outbox.answered(), [1]);
    assert!(!outbox.withdraw(token));
    check_account(&outbox);
}

#[test]
fn a_broker_that_dies_of_pubrel_gets_none_any_more() {
    let mut outbox = filled(&[2, 2, 1]);
    send(&mut outbox);
    for id in [1, 2] {
        outbox.acknowledge(Ack::PubRec, id).unwrap();
    }
    outbox.ended(true, SOON_MS);
    for _ in 0..3 {
        assert_eq!(outbox.connected(true), [1, 2]);
        outbox.ended(true, SOON_MS);
    }
    for _ in 0..2 {
        assert!(outbox.connected(true).is_empty());
        assert_eq!(outbox.answered(), [1, 2]);
        assert_eq!(outbox.pending(0), Pending::Nothing, "PUBREL is alone");
        outbox.ended(true, SOON_MS);
    }
    assert_eq!((outbox.counters().acknowledged, outbox.counters().uncertain), (2, 2));
    assert!(outbox.connected(true).is_empty());
    assert!(outbox.answered().is_empty());
    assert_eq!(send(&mut outbox).len(), 1);
    assert!(puback(&mut outbox, 3) && outbox.is_empty());
    check_account(&outbox);
}

#[test]
fn a_qos_0_message_that_is_torn_three_times_is_dropped() {
    let mut outbox = filled(&[0, 0, 0, 0]);
    for (times, number) in [(1, 2), (2, 2), (3, 2)] {
        outbox.connected(false);
        let segment = outbox.take_telemetry().unwrap();
        let found = frames(&segment.bytes);
        let place = found.iter().position(|frame| frame.number == number).unwrap();
        outbox.give_back(segment, found[place].end - 1);
        // A queue that overflows meanwhile does not take it for the oldest.
        assert_eq!(outbox.counters().written, 2);
        outbox.ended(true, SOON_MS);
        assert_eq!(outbox.counters().dropped().count(), usize::from(times == 3));
    }
    assert_eq!(outbox.take_outcomes(), [Outcome::Rejected { topic: "plant/line-2".into(), payload_bytes: 28 }]);
    outbox.connected(false);
    let segment = outbox.take_telemetry().unwrap();
    assert_eq!(frames(&segment.bytes).iter().map(|frame| frame.number).collect::<Vec<_>>(), [3]);
    outbox.written(segment);
    check_account(&outbox);
}

#[test]
fn what_is_part_written_keeps_its_place_in_a_full_queue() {
    const CAP: usize = 64 * 1024;
    let mut outbox = opened_with(CAP, 10, 10, OnFull::DropOldest);
    (0..100).for_each(|number| assert!(Sample::new(number, 0, 100).offer(&mut outbox).is_ok()));
    let segment = outbox.take_telemetry().unwrap();
    outbox.give_back(segment, 10);
    (100..5_000).for_each(|number| assert!(Sample::new(number, 0, 100).offer(&mut outbox).is_ok()));
    let segment = outbox.take_telemetry().unwrap();
    assert_eq!(frames(&segment.bytes)[0].number, 0);
    outbox.written(segment);
    check_account(&outbox);
}
