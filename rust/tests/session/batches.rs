//! Subscriptions that take batches: the filter beside their own, what goes to them, and what they are told.

use cascade_mqtt_core::session::{Notice, REFUSED, Session};

use crate::ear::{ACK_TIMEOUT_MS, Heard, hear, route, session, subscribes};

/// A connected session with one subscription that takes batches; the SUBSCRIBEs that are out.
fn subscribed(filter: &str) -> (Session, Vec<(u16, String)>) {
    let mut session = session();
    session.connected(0, false);
    session.subscribe(0, 1, filter.into(), 1, true);
    let sent = filters(&mut session);
    (session, sent)
}

fn filters(session: &mut Session) -> Vec<(u16, String)> {
    subscribes(&hear(session)).into_iter().map(|(id, filter)| (id, filter.to_owned())).collect()
}

fn answer(session: &mut Session, sent: &[(u16, String)]) -> Vec<Notice> {
    sent.iter().for_each(|(id, _)| session.suback(0, *id, &[1]).unwrap());
    session.pingresp(0);
    session.tick(100).unwrap();
    session.take_notices()
}

fn unsubscribes(session: &mut Session) -> Vec<(u16, String)> {
    let out = hear(session).into_iter().filter_map(|packet| match packet {
        Heard::Unsubscribe { id, filter } => Some((id, filter)),
        _ => None,
    });
    out.collect()
}

#[test]
fn the_filter_of_batches_goes_out_first_and_both_answers_are_told_as_one() {
    for (filter, expected) in [
        ("a/+", vec!["a/+/@batch", "a/+"]),
        ("a/#", vec!["a/#"]),
        ("a/@batch", vec!["a/@batch"]),
        ("$share/g/a", vec!["$share/g/a/@batch", "$share/g/a"]),
    ] {
        let (mut session, sent) = subscribed(filter);
        assert_eq!(sent.iter().map(|(_, filter)| filter.as_str()).collect::<Vec<_>>(), expected);
        let told = answer(&mut session, &sent);
        assert_eq!(told, [Notice::Subscribed { subscription: 1, code: 1 }, Notice::Retained { subscription: 1 }]);
        session.unsubscribe(200, 1);
        let out = unsubscribes(&mut session);
        assert_eq!(out.iter().map(|(_, filter)| filter.as_str()).collect::<Vec<_>>(), expected);
        for (place, (id, _)) in out.iter().enumerate() {
            assert_eq!(session.take_notices(), [], "{place}");
            session.unsuback(200, *id).unwrap();
        }
        assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 1 }]);
    }
}

#[test]
fn a_filter_too_long_for_batches_is_subscribed_to_alone() {
    let long = "f".repeat(65_530);
    let (_, sent) = subscribed(&long);
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_batch_goes_to_whom_its_events_match() {
    let mut session = session();
    session.connected(0, false);
    for (subscription, filter, batches) in
        [(1, "a/+", true), (2, "a/#", true), (3, "a/+", false), (4, "a/b/@batch", true), (5, "a/b/@batch", false)]
    {
        session.subscribe(0, subscription, filter.into(), 1, batches);
    }
    assert_eq!(route(&mut session, 0, "a/b", "x", false), [1, 2, 3]);
    assert_eq!(route(&mut session, 0, "a/b/@batch", "x", false), [1, 2, 4, 5]);
    assert_eq!(route(&mut session, 0, "a/@batch", "x", false), [2, 3], "events of `a`, or what is there as it is");
    assert!(route(&mut session, 0, "/@batch", "x", false).is_empty());
}

#[test]
fn a_refusal_of_batches_alone_is_a_warning_and_silence_too() {
    let (mut session, sent) = subscribed("a");
    session.suback(0, sent[0].0, &[REFUSED]).unwrap();
    assert_eq!(session.take_notices(), [Notice::BatchesRefused { filter: "a/@batch".into() }]);
    let told = answer(&mut session, &sent[1..]);
    assert_eq!(told, [Notice::Subscribed { subscription: 1, code: 1 }, Notice::Retained { subscription: 1 }]);
    session.disconnected();
    for (code, expected) in [(REFUSED, 0), (1, 0), (REFUSED, 1)] {
        session.connected(200, false);
        let sent = filters(&mut session);
        session.suback(200, sent[0].0, &[code]).unwrap();
        let notices = session.take_notices();
        let said = notices.iter().filter(|notice| matches!(notice, Notice::BatchesRefused { .. })).count();
        assert_eq!(said, expected, "told once, until it is granted");
        session.disconnected();
    }
    let (mut session, sent) = subscribed("a");
    session.suback(0, sent[1].0, &[1]).unwrap();
    session.pingresp(0);
    session.take_notices();
    session.tick(ACK_TIMEOUT_MS).unwrap();
    let told = session.take_notices();
    assert!(told.contains(&Notice::Unanswered { filter: "a/@batch".into() }));
    assert!(!told.contains(&Notice::Subscribed { subscription: 1, code: REFUSED }));
}

#[test]
fn what_others_still_want_is_not_unsubscribed() {
    let (mut session, _) = subscribed("a");
    session.subscribe(0, 2, "a".into(), 1, false);
    session.subscribe(0, 3, "a/@batch".into(), 0, false);
    hear(&mut session);
    session.unsubscribe(0, 1);
    assert_eq!(
        (unsubscribes(&mut session), session.take_notices()),
        (vec![], vec![Notice::Unsubscribed { subscription: 1 }])
    );
    session.unsubscribe(0, 3);
    assert_eq!(unsubscribes(&mut session).into_iter().map(|(_, filter)| filter).collect::<Vec<_>>(), ["a/@batch"]);
}

#[test]
fn every_connection_subscribes_to_both_again_at_the_highest_qos() {
    let (mut session, _) = subscribed("a");
    session.subscribe(0, 2, "a/@batch".into(), 2, false);
    session.disconnected();
    session.take_notices();
    session.connected(100, false);
    let heard = hear(&mut session);
    let sent: Vec<(&str, u8)> = heard
        .iter()
        .filter_map(|packet| match packet {
            Heard::Subscribe { filter, qos, .. } => Some((filter.as_str(), *qos)),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [("a/@batch", 2), ("a", 1)]);
}
