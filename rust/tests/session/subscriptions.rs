//! Subscriptions over their life: SUBSCRIBE, its retained messages, routing, reconnects, UNSUBSCRIBE.

use cascade_mqtt_core::outbox::MAX_PUBLISH_ID;
use cascade_mqtt_core::session::{Notice, REFUSED, Session, Violation};

use crate::ear::{ACK_TIMEOUT_MS, Heard, RETAINED_TIMEOUT_MS, hear, route, session, subscribes};

/// A connected session with one subscription whose SUBSCRIBE is out since the time 0; its identifier.
fn subscribed(filter: &str) -> (Session, u16) {
    let mut session = session();
    session.connected(0, false);
    session.subscribe(0, 1, filter.into(), 1, false);
    let heard = hear(&mut session);
    let id = subscribes(&heard)[0].0;
    assert_eq!(heard, [Heard::Subscribe { id, filter: filter.into(), qos: 1 }, Heard::Ping]);
    (session, id)
}

/// A subscription that is through with its retained messages, at the time 100.
fn settled(filter: &str) -> Session {
    let (mut session, id) = subscribed(filter);
    session.suback(0, id, &[1]).unwrap();
    session.pingresp(0);
    session.tick(100).unwrap();
    assert_eq!(session.take_notices(), [granted(1), retained(1)]);
    session
}

fn granted(subscription: u32) -> Notice {
    Notice::Subscribed { subscription, code: 1 }
}

fn retained(subscription: u32) -> Notice {
    Notice::Retained { subscription }
}

#[test]
fn retained_messages_are_through_50_ms_after_the_pingresp_behind_subscribe() {
    let (mut session, id) = subscribed("a/#");
    session.suback(10, id, &[1]).unwrap();
    assert_eq!(session.take_notices(), [granted(1)]);
    session.pingresp(20);
    assert_eq!(session.deadline(), Some(70));
    session.tick(69).unwrap();
    assert_eq!(session.take_notices(), []);
    session.tick(70).unwrap();
    assert_eq!(session.take_notices(), [retained(1)]);
}

#[test]
fn each_retained_message_begins_the_quiet_time_anew() {
    let (mut session, id) = subscribed("a/#");
    session.suback(10, id, &[1]).unwrap();
    session.pingresp(20);
    assert_eq!(route(&mut session, 60, "a/b", "x", true), [1]);
    assert!(route(&mut session, 65, "other", "x", true).is_empty());
    session.tick(109).unwrap();
    assert_eq!(session.take_notices(), [granted(1)]);
    session.tick(110).unwrap();
    assert_eq!(session.take_notices(), [retained(1)]);
}

#[test]
fn retained_timeout_bounds_the_wait() {
    let (mut session, id) = subscribed("a/#");
    session.suback(10, id, &[1]).unwrap();
    // No PINGRESP, then one message after the other.
    for now in (20..10 + RETAINED_TIMEOUT_MS).step_by(30) {
        route(&mut session, now, "a/b", &now.to_string(), true);
        session.tick(now).unwrap();
    }
    assert_eq!(session.take_notices(), [granted(1)]);
    session.tick(10 + RETAINED_TIMEOUT_MS).unwrap();
    assert_eq!(session.take_notices(), [retained(1)]);
}

#[test]
fn a_refusal_ends_the_wait() {
    let (mut session, id) = subscribed("a/#");
    session.suback(10, id, &[REFUSED]).unwrap();
    session.pingresp(20);
    session.tick(1_000).unwrap();
    assert_eq!(session.take_notices(), [Notice::Subscribed { subscription: 1, code: REFUSED }]);
}

#[test]
fn a_subscribe_without_an_answer_is_given_up() {
    let (mut session, id) = subscribed("a/#");
    session.pingresp(20);
    session.tick(ACK_TIMEOUT_MS - 1).unwrap();
    assert_eq!(session.take_notices(), []);
    session.tick(ACK_TIMEOUT_MS).unwrap();
    let refused = Notice::Subscribed { subscription: 1, code: REFUSED };
    assert_eq!(session.take_notices(), [Notice::Unanswered { filter: "a/#".into() }, refused]);
    // A late answer harms nobody.
    session.suback(ACK_TIMEOUT_MS + 1, id, &[1]).unwrap();
    assert_eq!(session.take_notices(), []);
}

#[test]
fn acknowledgements_of_nothing_are_violations() {
    let (mut session, id) = subscribed("a/#");
    assert_eq!(session.suback(10, MAX_PUBLISH_ID, &[1]), Err(Violation::Unexpected("SUBACK")));
    assert_eq!(session.suback(10, id, &[1, 1]), Err(Violation::Unexpected("SUBACK")));
    assert_eq!(session.unsuback(0, id), Err(Violation::Unexpected("UNSUBACK")));
    // A PINGRESP that nobody asked for does not stand for the next one.
    session.pingresp(20);
    session.pingresp(21);
    session.suback(30, id, &[1]).unwrap();
    session.subscribe(30, 2, "b".into(), 1, false);
    session.subscribe(30, 3, "c".into(), 1, false);
    for (id, _) in subscribes(&hear(&mut session)) {
        session.suback(31, id, &[1]).unwrap();
    }
    session.take_notices();
    session.pingresp(40);
    session.tick(500).unwrap();
    assert_eq!(session.take_notices(), [retained(1), retained(2)]);
    session.pingresp(510);
    session.tick(560).unwrap();
    assert_eq!(session.take_notices(), [retained(3)]);
}

#[test]
fn each_connection_subscribes_to_each_filter_once_and_pings_behind_the_last() {
    let mut session = session();
    for (subscription, filter, qos) in [(1, "a", 0), (2, "b/#", 0), (3, "a", 1), (4, "b/#", 0)] {
        session.subscribe(0, subscription, filter.into(), qos, false);
    }
    assert!(hear(&mut session).is_empty(), "without a connection nothing is sent");
    for connection in 0..3 {
        let now = connection * 10_000;
        session.connected(now, false);
        let heard = hear(&mut session);
        let [Heard::Subscribe { id: first, .. }, Heard::Subscribe { id: second, .. }, Heard::Ping] = heard[..] else {
            panic!("{heard:?}");
        };
        // The highest quality of service that anybody asked for.
        assert_eq!(heard[0], Heard::Subscribe { id: first, filter: "a".into(), qos: 1 });
        assert_eq!(heard[1], Heard::Subscribe { id: second, filter: "b/#".into(), qos: 0 });
        session.suback(now, second, &[0]).unwrap();
        session.suback(now, first, &[1]).unwrap();
        session.pingresp(now);
        session.tick(now + 50).unwrap();
        let notices = session.take_notices();
        for subscription in 1..=4 {
            assert!(notices.contains(&retained(subscription)), "{notices:?}");
        }
        session.disconnected();
    }
    assert!(session.take_notices().is_empty());
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_message_reaches_each_matching_subscription_once() {
    let mut session = session();
    for (subscription, filter) in [(1, "a/#"), (2, "a/+"), (3, "b"), (4, "a/#"), (5, "#"), (6, "$SYS/#"), (7, "+/x")] {
        session.subscribe(0, subscription, filter.into(), 0, false);
    }
    assert_eq!(route(&mut session, 0, "a", "", false), [1, 4, 5]);
    assert_eq!(route(&mut session, 0, "a/x", "", false), [1, 2, 4, 5, 7]);
    assert_eq!(route(&mut session, 0, "$SYS/x", "", false), [6]);
    assert_eq!(route(&mut session, 0, "é/x", "", false), [5, 7]);
}

#[test]
fn retained_messages_go_to_those_who_asked_only() {
    let mut session = settled("a/#");
    session.subscribe(200, 2, "a/b".into(), 1, false);
    assert_eq!(route(&mut session, 210, "a/b", "x", true), [2]);
    assert_eq!(route(&mut session, 210, "a/b", "y", false), [1, 2]);
    // Nobody asked for this one: a broker that keeps the flag on what is new.
    assert_eq!(route(&mut session, 210, "a/c", "x", true), [1]);
}

#[test]
fn of_the_copies_that_overlapping_subscribes_bring_each_takes_one() {
    let mut session = session();
    session.connected(0, false);
    for (subscription, filter) in [(1, "a/#"), (2, "a/#"), (3, "a/+")] {
        session.subscribe(0, subscription, filter.into(), 1, false);
    }
    let copies = [(); 3].map(|()| route(&mut session, 1, "a/b", "x", true));
    assert_eq!(copies, [vec![1, 2, 3], vec![], vec![]]);
    // What changes meanwhile is not a copy, and neither is what changes back.
    assert_eq!(route(&mut session, 2, "a/b", "y", true), [1, 2, 3]);
    assert_eq!(route(&mut session, 3, "a/b", "x", true), [1, 2, 3]);
    assert_eq!(route(&mut session, 3, "a/c", "x", true), [1, 2, 3]);
}

#[test]
fn the_last_subscription_of_a_filter_unsubscribes_it() {
    let mut session = settled("a");
    session.subscribe(100, 2, "a".into(), 1, false);
    hear(&mut session);
    session.unsubscribe(0, 1);
    assert!(hear(&mut session).is_empty());
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 1 }]);
    session.unsubscribe(0, 2);
    let heard = hear(&mut session);
    let [Heard::Unsubscribe { id, .. }] = heard[..] else { panic!("{heard:?}") };
    assert_eq!(heard, [Heard::Unsubscribe { id, filter: "a".into() }]);
    assert_eq!(session.take_notices(), []);
    session.unsuback(0, id).unwrap();
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 2 }]);
    assert!(route(&mut session, 200, "a", "", false).is_empty());
    session.unsubscribe(0, 2);
    assert_eq!(session.take_notices(), []);
}

#[test]
fn a_lost_connection_unsubscribes_what_waited_for_unsuback() {
    let mut session = settled("a");
    session.unsubscribe(0, 1);
    session.disconnected();
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 1 }]);
    session.connected(200, false);
    assert!(hear(&mut session).is_empty());
}

#[test]
fn who_leaves_before_suback_is_told_nothing_more() {
    let (mut session, id) = subscribed("a");
    session.unsubscribe(0, 1);
    session.suback(10, id, &[1]).unwrap();
    session.pingresp(10);
    session.tick(60).unwrap();
    assert_eq!(session.take_notices(), []);
}

#[test]
fn identifiers_stay_above_those_of_publishes() {
    let mut session = session();
    session.connected(0, false);
    let mut seen = Vec::new();
    for subscription in 0..2_000 {
        session.subscribe(0, subscription, format!("t/{subscription}"), 0, false);
        session.unsubscribe(0, subscription);
        for packet in hear(&mut session) {
            match packet {
                Heard::Subscribe { id, .. } => {
                    session.suback(0, id, &[0]).unwrap();
                    seen.push(id);
                }
                Heard::Unsubscribe { id, .. } => {
                    session.unsuback(0, id).unwrap();
                    seen.push(id);
                }
                _ => {}
            }
        }
    }
    assert!(seen.iter().all(|id| *id > MAX_PUBLISH_ID));
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(seen.contains(&u16::MAX));
}
