//! SUBSCRIBE and UNSUBSCRIBE over their identifiers, and over what a session keeps at the broker.

use std::collections::HashSet;

use cascade_mqtt_core::outbox::MAX_PUBLISH_ID;
use cascade_mqtt_core::session::{Notice, Session, Violation};

use crate::ear::{ACK_TIMEOUT_MS, Heard, hear, session, subscribes};

const IDS: usize = (u16::MAX - MAX_PUBLISH_ID) as usize;

fn unsubscribes(heard: &[Heard]) -> Vec<(u16, &str)> {
    let unsubscribes = heard.iter().filter_map(|packet| match packet {
        Heard::Unsubscribe { id, filter } => Some((*id, filter.as_str())),
        _ => None,
    });
    unsubscribes.collect()
}

/// A session that was connected, with these filters subscribed.
fn subscribed(filters: &[&str]) -> Session {
    let mut session = session();
    session.connected(0, false);
    for (subscription, filter) in (1..).zip(filters) {
        session.subscribe(0, subscription, (*filter).into(), 1, false);
    }
    for (id, _) in subscribes(&hear(&mut session)) {
        session.suback(0, id, &[1]).unwrap();
    }
    filters.iter().for_each(|_| session.pingresp(0));
    session.take_notices();
    session
}

#[test]
fn a_thousand_subscriptions_wait_for_identifiers_and_none_is_used_twice() {
    let mut session = session();
    for subscription in 0..2_000 {
        session.subscribe(0, subscription, format!("t/{subscription}"), 1, false);
    }
    session.connected(0, false);
    let first = hear(&mut session);
    let mut out: Vec<u16> = subscribes(&first).iter().map(|(id, _)| *id).collect();
    assert_eq!((out.len(), first.last()), (IDS, Some(&Heard::Ping)));
    assert_eq!(out.iter().collect::<HashSet<_>>().len(), IDS);
    assert!(!session.is_answered());
    let mut asked = IDS;
    // Answered from the last to the first.
    while let Some(id) = out.pop() {
        session.suback(0, id, &[1]).unwrap();
        for (id, _) in subscribes(&hear(&mut session)) {
            assert!(!out.contains(&id));
            out.push(id);
            asked += 1;
        }
    }
    assert_eq!(asked, 2_000);
    assert!(!session.is_answered(), "PINGREQ is not");
    (0..asked).for_each(|_| session.pingresp(0));
    assert!(session.is_answered());
    assert_eq!(session.take_notices().len(), 2_000);
}

#[test]
fn requests_keep_their_order_while_they_wait() {
    let mut session = subscribed(&["kept"]);
    for subscription in 0..IDS as u32 {
        session.subscribe(0, 100 + subscription, format!("t/{subscription}"), 1, false);
    }
    let ids: Vec<u16> = subscribes(&hear(&mut session)).iter().map(|(id, _)| *id).collect();
    session.unsubscribe(0, 1);
    session.subscribe(0, 2, "kept".into(), 1, false);
    session.subscribe(0, 3, "never".into(), 1, false);
    session.unsubscribe(0, 3);
    assert_eq!(hear(&mut session), []);
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 3 }], "it was not asked for yet");
    for id in &ids[..2] {
        session.suback(0, *id, &[1]).unwrap();
    }
    let heard = hear(&mut session);
    let [Heard::Unsubscribe { id, .. }, Heard::Subscribe { .. }, Heard::Ping] = &heard[..] else {
        panic!("{heard:?}");
    };
    session.take_notices();
    session.unsuback(0, *id).unwrap();
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 1 }]);
}

#[test]
fn identifiers_of_what_is_never_answered_are_free_again() {
    let mut session = session();
    session.connected(0, false);
    for subscription in 0..IDS as u32 + 1 {
        session.subscribe(0, subscription, format!("t/{subscription}"), 1, false);
    }
    assert_eq!(subscribes(&hear(&mut session)).len(), IDS);
    (0..IDS).for_each(|_| session.pingresp(0));
    session.tick(ACK_TIMEOUT_MS).unwrap();
    assert_eq!(subscribes(&hear(&mut session)), [(MAX_PUBLISH_ID + 1, "t/535")]);
}

#[test]
fn an_unsubscribe_without_an_answer_is_given_up() {
    let mut session = subscribed(&["a"]);
    session.unsubscribe(10, 1);
    let heard = hear(&mut session);
    let id = unsubscribes(&heard)[0].0;
    session.tick(100).unwrap();
    session.take_notices();
    session.tick(ACK_TIMEOUT_MS + 9).unwrap();
    assert_eq!(session.take_notices(), []);
    session.tick(ACK_TIMEOUT_MS + 10).unwrap();
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 1 }]);
    session.unsuback(ACK_TIMEOUT_MS + 20, id).unwrap();
}

#[test]
fn an_answer_to_another_kind_of_request_is_a_violation() {
    let mut session = subscribed(&["a"]);
    session.unsubscribe(0, 1);
    let id = unsubscribes(&hear(&mut session))[0].0;
    assert_eq!(session.suback(0, id, &[1]), Err(Violation::Unexpected("SUBACK")));
    session.subscribe(0, 2, "b".into(), 1, false);
    let id = subscribes(&hear(&mut session))[0].0;
    assert_eq!(session.unsuback(0, id), Err(Violation::Unexpected("UNSUBACK")));
}

#[test]
fn what_was_left_offline_is_unsubscribed_where_the_session_is_present() {
    for present in [true, false] {
        let mut session = subscribed(&["gone", "kept", "shared", "shared"]);
        session.disconnected();
        session.unsubscribe(0, 1);
        session.unsubscribe(0, 3);
        session.subscribe(0, 9, "never/asked".into(), 1, false);
        session.unsubscribe(0, 9);
        assert_eq!(session.take_notices().len(), 3, "nobody waits for a connection");
        session.connected(1_000, present);
        let heard = hear(&mut session);
        let filters =
            |found: Vec<(u16, &str)>| found.iter().map(|(_, filter)| (*filter).to_owned()).collect::<Vec<_>>();
        assert_eq!(filters(unsubscribes(&heard)), if present { vec!["gone"] } else { vec![] });
        assert_eq!(filters(subscribes(&heard)), ["kept", "shared"]);
        for (id, _) in unsubscribes(&heard) {
            session.unsuback(1_000, id).unwrap();
        }
        assert_eq!(session.take_notices(), [], "that was told before");
        // Once is enough.
        session.disconnected();
        session.connected(2_000, present);
        assert_eq!(unsubscribes(&hear(&mut session)), []);
    }
}

#[test]
fn an_unsubscribe_that_a_cut_overtook_is_repeated() {
    let mut session = subscribed(&["a"]);
    session.unsubscribe(0, 1);
    session.disconnected();
    assert_eq!(session.take_notices(), [Notice::Unsubscribed { subscription: 1 }]);
    session.connected(0, true);
    assert_eq!(unsubscribes(&hear(&mut session)).len(), 1);
}
