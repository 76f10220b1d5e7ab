//! QoS 2 on its way out: PUBREC, PUBREL, PUBCOMP, over cuts, lost sessions and stops.

use cascade_mqtt_core::outbox::{Ack, DropReason, MAX_PUBLISH_ID, OnFull, Outbox, Outcome, Pending, Progress};

use crate::queue::{Frame, Sample, check_account, frames, opened_with, puback, send};

const ROOM: usize = 16 << 20;

fn filled(qos: &[u8], window: usize) -> Outbox {
    let mut outbox = opened_with(ROOM, 100, window, OnFull::DropOldest);
    for (number, &qos) in qos.iter().enumerate() {
        Sample::new(number as u64, qos, 20).offer(&mut outbox).unwrap();
    }
    outbox
}

fn pubrec(outbox: &mut Outbox, id: u16) -> Progress {
    outbox.acknowledge(Ack::PubRec, id).unwrap()
}

fn pubcomp(outbox: &mut Outbox, id: u16) -> Progress {
    outbox.acknowledge(Ack::PubComp, id).unwrap()
}

fn seen(found: &[Frame]) -> Vec<(u64, u16, bool)> {
    found.iter().map(|frame| (frame.number, frame.packet_id, frame.dup)).collect()
}

/// Everything that may go out now.
fn send_all(outbox: &mut Outbox) -> Vec<(u64, u16, bool)> {
    let mut all = Vec::new();
    loop {
        let some = send(outbox);
        if some.is_empty() {
            return all;
        }
        all.extend(seen(&some));
    }
}

/// Every order in which a broker may answer `messages` of QoS 2: each number twice, PUBREC and PUBCOMP.
fn orders(messages: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..2 * messages {
        let longer = |order: &Vec<usize>| {
            let fits = |message: &usize| order.iter().filter(|done| *done == message).count() < 2;
            (0..messages).filter(fits).map(|message| [&order[..], &[message]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

#[test]
fn every_order_of_answers_and_every_cut_ends_well() {
    for order in orders(3) {
        for cut in 0..=order.len() {
            for present in [true, false] {
                one_cut(&order, cut, present);
            }
        }
    }
}

fn one_cut(order: &[usize], cut: usize, present: bool) {
    let mut outbox = filled(&[2, 2, 2], 3);
    assert_eq!(send_all(&mut outbox), [(0, 1, false), (1, 2, false), (2, 3, false)]);
    let mut steps = [0; 3];
    for &message in &order[..cut] {
        let id = message as u16 + 1;
        match steps[message] {
            0 => assert_eq!(pubrec(&mut outbox, id), Progress::Released),
            _ => assert_eq!(pubcomp(&mut outbox, id), Progress::Done { token: 0, events: 1 }),
        }
        steps[message] += 1;
        check_account(&outbox);
    }
    let at = |step| (0..3).filter(move |message| steps[*message] == step);
    let (unsent, released) = (at(0).count(), at(1).count());
    assert_eq!(outbox.in_flight_events(), unsent + released);
    let again = outbox.connected(present);
    check_account(&outbox);
    let replay = send_all(&mut outbox);
    if present {
        assert_eq!(again, at(1).map(|message| message as u16 + 1).collect::<Vec<_>>());
        let expected: Vec<_> = at(0).map(|message| (message as u64, message as u16 + 1, true)).collect();
        assert_eq!(replay, expected, "{order:?} cut at {cut}");
        for &message in &order[cut..] {
            let ack = if steps[message] == 0 { Ack::PubRec } else { Ack::PubComp };
            assert_ne!(outbox.acknowledge(ack, message as u16 + 1), Ok(Progress::Nothing));
            steps[message] += 1;
        }
        assert_eq!(outbox.counters().uncertain, 0);
    } else {
        assert!(again.is_empty());
        let expected: Vec<_> = at(0).zip(1..).map(|(message, id)| (message as u64, id, false)).collect();
        assert_eq!(replay, expected, "{order:?} cut at {cut}");
        assert_eq!(outbox.counters().uncertain, released as u64);
        for (_, id, _) in replay {
            assert_eq!(pubrec(&mut outbox, id), Progress::Released);
            assert_eq!(pubcomp(&mut outbox, id), Progress::Done { token: 0, events: 1 });
        }
    }
    check_account(&outbox);
    assert_eq!(outbox.counters().acknowledged, 3);
    assert!(outbox.is_empty() && outbox.allocated() == 0);
}

#[test]
fn the_window_of_qos_2_makes_the_lane_wait() {
    let mut outbox = filled(&[1, 2, 2, 2, 1, 2], 2);
    assert_eq!(send_all(&mut outbox), [(0, 1, false), (1, 2, false), (2, 3, false)]);
    assert_eq!(outbox.pending(0), Pending::Nothing);
    // An event behind it wakes nobody: an acknowledgement ends the wait.
    assert!(!Sample::new(6, 1, 20).offer(&mut outbox).unwrap().1);
    pubrec(&mut outbox, 2);
    assert_eq!(outbox.pending(0), Pending::Nothing, "until PUBCOMP");
    pubcomp(&mut outbox, 2);
    assert_eq!(outbox.pending(0), Pending::Worth);
    assert_eq!(send_all(&mut outbox), [(3, 2, false), (4, 4, false)]);
    assert!(puback(&mut outbox, 1) && puback(&mut outbox, 4));
    assert_eq!(send_all(&mut outbox), []);
    for id in [3, 2] {
        pubrec(&mut outbox, id);
        pubcomp(&mut outbox, id);
    }
    assert_eq!(send_all(&mut outbox), [(5, 1, false), (6, 2, false)]);
    check_account(&outbox);
}

#[test]
fn a_window_that_is_full_leaves_what_is_queued_where_it_can_be_dropped() {
    let mut outbox = filled(&[2], 1);
    send(&mut outbox);
    Sample::new(1, 2, 20).offer(&mut outbox).unwrap();
    assert_eq!(outbox.pending(0), Pending::Nothing);
    assert!(outbox.take_acknowledged().is_none());
    Sample::new(2, 0, 20).offer(&mut outbox).unwrap();
    assert_eq!(outbox.pending(0), Pending::Little, "QoS 0 does not wait");
}

#[test]
fn pubrec_releases_the_message_and_keeps_the_identifier() {
    const SIZE: usize = 1 << 20;
    let mut outbox = opened_with(ROOM, 100, 20, OnFull::DropOldest);
    for number in 0..4 {
        Sample::new(number, 2, SIZE).offer(&mut outbox).unwrap();
    }
    send_all(&mut outbox);
    for id in 1..=4 {
        assert!(outbox.allocated() > (5 - usize::from(id)) * SIZE);
        pubrec(&mut outbox, id);
    }
    assert!(outbox.allocated() < 1_000, "{}", outbox.allocated());
    assert_eq!((outbox.in_flight_events(), outbox.counters().acknowledged), (4, 0));
    Sample::new(4, 2, 20).offer(&mut outbox).unwrap();
    assert_eq!(send_all(&mut outbox), [(4, 5, false)], "no identifier is used twice");
    for id in 1..=4 {
        pubcomp(&mut outbox, id);
    }
    assert_eq!((outbox.in_flight_events(), outbox.counters().acknowledged), (1, 4));
}

#[test]
fn pubrec_while_the_writer_holds_the_buffer_moves_no_boundary() {
    let mut outbox = filled(&[2, 2, 2], 3);
    send(&mut outbox);
    outbox.connected(true);
    let span = outbox.take_acknowledged().unwrap();
    let ends: Vec<usize> = frames(&span.bytes[span.start..span.end]).iter().map(|frame| frame.end).collect();
    (1..=3).for_each(|id| assert_eq!(pubrec(&mut outbox, id), Progress::Released));
    for (place, end) in ends.iter().enumerate() {
        assert_eq!(outbox.boundary(&span, span.start + end - 1), span.start + end, "{place}");
    }
    outbox.retain(span);
    assert!(outbox.allocated() < 1_000, "{}", outbox.allocated());
}

#[test]
fn a_flush_waits_for_pubcomp() {
    let mut outbox = filled(&[2], 1);
    let mark = outbox.mark();
    send(&mut outbox);
    assert_eq!((outbox.left(mark), outbox.reached(mark)), (1, false));
    pubrec(&mut outbox, 1);
    assert_eq!((outbox.left(mark), outbox.reached(mark)), (1, false));
    pubcomp(&mut outbox, 1);
    assert_eq!((outbox.left(mark), outbox.reached(mark)), (0, true));
}

#[test]
fn who_waits_is_told_at_pubcomp() {
    let mut outbox = opened_with(ROOM, 100, 1, OnFull::DropOldest);
    let tokens = [0, 1].map(|number| Sample::new(number, 2, 20).offer_tracked(&mut outbox, true).unwrap().0);
    send(&mut outbox);
    pubrec(&mut outbox, 1);
    assert_eq!(outbox.take_outcomes(), []);
    assert!(!outbox.withdraw(tokens[0]), "the broker has it");
    assert!(outbox.withdraw(tokens[1]), "it waits for the window");
    pubcomp(&mut outbox, 1);
    assert_eq!(outbox.take_outcomes(), [Outcome::Acknowledged(tokens[0])]);
    assert!(outbox.is_empty());
}

#[test]
fn an_answer_of_the_other_qos_is_a_mismatch() {
    let mut outbox = filled(&[1, 2, 2], 2);
    send(&mut outbox);
    pubrec(&mut outbox, 3);
    assert!(outbox.acknowledge(Ack::PubRec, 1).is_err());
    assert!(outbox.acknowledge(Ack::PubAck, 2).is_err());
    assert!(outbox.acknowledge(Ack::PubAck, 3).is_err());
    // What may come late, for an identifier that has another message now.
    assert_eq!(pubcomp(&mut outbox, 1), Progress::Nothing);
    assert_eq!(pubcomp(&mut outbox, 2), Progress::Nothing);
    assert_eq!(outbox.in_flight_events(), 3);
}

/// One message that is at its end, one past PUBREC, two before it, one unsent.
fn stopped() -> (Outbox, [u32; 5]) {
    let mut outbox = opened_with(ROOM, 100, 4, OnFull::DropOldest);
    let tokens = [0, 1, 2, 3, 4].map(|number| Sample::new(number, 2, 20).offer_tracked(&mut outbox, true).unwrap().0);
    send(&mut outbox);
    for id in 1..=2 {
        pubrec(&mut outbox, id);
    }
    pubcomp(&mut outbox, 1);
    outbox.discard(DropReason::Closed);
    (outbox, tokens)
}

#[test]
fn at_the_end_of_a_stop_what_is_past_pubrec_counts_as_uncertain() {
    let (mut outbox, [done, past, before, before_too, unsent]) = stopped();
    let counters = outbox.counters();
    assert_eq!((counters.acknowledged, counters.uncertain), (2, 1));
    assert_eq!(counters.dropped().collect::<Vec<_>>(), [("closed", 3)]);
    let given_up = |token| Outcome::GivenUp(token, DropReason::Closed);
    let expected = [
        Outcome::Acknowledged(done),
        Outcome::Acknowledged(past),
        given_up(before),
        given_up(before_too),
        given_up(unsent),
    ];
    assert_eq!(outbox.take_outcomes(), expected);
    check_account(&outbox);
    assert!(outbox.is_empty() && outbox.allocated() == 0);
}

#[test]
fn what_a_stop_left_open_is_released_before_it_is_used_again() {
    let (mut outbox, _) = stopped();
    outbox.open();
    assert_eq!(outbox.connected(true), [2, 3, 4]);
    for number in 10..13 {
        Sample::new(number, 2, 20).offer(&mut outbox).unwrap();
    }
    assert_eq!(send_all(&mut outbox), [(10, 1, false), (11, 5, false), (12, 6, false)]);
    assert_eq!(pubcomp(&mut outbox, 3), Progress::Released);
    // It is not a message of ours that ended.
    assert_eq!(outbox.counters().acknowledged, 2);
    assert_eq!(outbox.connected(true), [2, 4], "until PUBCOMP");
    assert_eq!(pubcomp(&mut outbox, 2), Progress::Released);
    send_all(&mut outbox);
    for number in 13..14 {
        Sample::new(number, 2, 20).offer(&mut outbox).unwrap();
    }
    assert_eq!(send_all(&mut outbox), [(13, 3, false)]);
    check_account(&outbox);
}

#[test]
fn where_almost_all_identifiers_are_open_the_rest_is_the_window() {
    const LEFT: u16 = 10;
    let mut outbox = opened_with(64 << 20, usize::MAX, usize::MAX, OnFull::DropOldest);
    for number in 0..u64::from(MAX_PUBLISH_ID - LEFT) {
        Sample::new(number, 2, 20).offer(&mut outbox).unwrap();
    }
    send_all(&mut outbox);
    outbox.discard(DropReason::Closed);
    outbox.open();
    assert_eq!(outbox.connected(true).len(), usize::from(MAX_PUBLISH_ID - LEFT));
    for number in 0..100 {
        Sample::new(number, 1, 20).offer(&mut outbox).unwrap();
    }
    assert_eq!(send_all(&mut outbox).len(), usize::from(LEFT));
    assert_eq!(outbox.pending(0), Pending::Nothing);
    assert!(Sample::new(100, 0, 20).offer(&mut outbox).unwrap().1, "QoS 0 does not wait");
    assert_eq!(pubcomp(&mut outbox, 7), Progress::Released);
    assert_eq!(send_all(&mut outbox).iter().map(|frame| frame.1).collect::<Vec<_>>(), [7]);
}

#[test]
fn without_the_session_nothing_is_open() {
    let (mut outbox, _) = stopped();
    outbox.open();
    assert!(outbox.connected(false).is_empty());
    for number in 10..13 {
        Sample::new(number, 2, 20).offer(&mut outbox).unwrap();
    }
    assert_eq!(send_all(&mut outbox), [(10, 1, false), (11, 2, false), (12, 3, false)]);
}

#[test]
fn who_joins_a_session_begins_at_an_identifier_that_is_hard_to_guess() {
    let mut firsts = Vec::new();
    for _ in 0..20 {
        let mut outbox = Outbox::new(crate::queue::limits(ROOM, 100, 100, OnFull::DropOldest));
        outbox.open();
        outbox.connected(true);
        for number in 0..100 {
            Sample::new(number, 2, 20).offer(&mut outbox).unwrap();
        }
        let ids: Vec<u16> = send_all(&mut outbox).iter().map(|frame| frame.1).collect();
        assert!(ids.iter().all(|id| (1..=MAX_PUBLISH_ID).contains(id)));
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] % MAX_PUBLISH_ID + 1), "{ids:?}");
        for id in ids.iter().rev() {
            pubrec(&mut outbox, *id);
            assert_eq!(pubcomp(&mut outbox, *id), Progress::Done { token: 0, events: 1 });
        }
        assert!(outbox.is_empty());
        firsts.push(ids[0]);
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 1);
}
