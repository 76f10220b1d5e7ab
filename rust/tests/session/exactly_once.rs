//! QoS 2 as a session remembers it: identifiers between PUBLISH and PUBREL.

use cascade_mqtt_core::session::Session;

use crate::ear::{Heard, hear, session};

fn connected() -> Session {
    let mut session = session();
    session.connected(0, false);
    session
}

#[test]
fn a_delivery_is_open_until_pubrel() {
    let mut session = connected();
    assert!(!session.is_open(7));
    session.opened(7);
    session.acknowledge(2, 7);
    assert!(session.is_open(7) && !session.is_open(8));
    session.released(7);
    assert!(!session.is_open(7));
    assert_eq!(hear(&mut session), [Heard::PubRec(7), Heard::PubComp(7)]);
}

#[test]
fn pubrel_of_what_is_unknown_is_answered() {
    let mut session = connected();
    session.released(65_535);
    assert_eq!(hear(&mut session), [Heard::PubComp(65_535)]);
}

#[test]
fn open_deliveries_are_remembered_while_the_broker_remembers_them() {
    let mut session = connected();
    (1..=u16::MAX).for_each(|id| session.opened(id));
    session.disconnected();
    session.connected(100, true);
    assert!((1..=u16::MAX).all(|id| session.is_open(id)));
    session.disconnected();
    session.connected(200, false);
    assert!((1..=u16::MAX).all(|id| !session.is_open(id)));
}

#[test]
fn pubrel_of_ours_is_a_control_packet() {
    let mut session = connected();
    session.pubrel(3);
    assert_eq!(hear(&mut session), [Heard::PubRel(3)]);
}
