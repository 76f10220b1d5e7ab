//! Keep-alive and the timers of a session, on a clock that the test turns.

use cascade_mqtt_core::session::{Session, Settings, Violation};
use fastrand::Rng;

use crate::ear::{Heard, KEEP_ALIVE_MS, hear, session, subscribes};

const HALF_MS: u64 = KEEP_ALIVE_MS / 2;

fn idle() -> Session {
    let mut session = session();
    session.connected(0, false);
    session
}

/// An idle session whose PINGREQ has gone out.
fn pinging() -> Session {
    let mut session = idle();
    session.tick(KEEP_ALIVE_MS).unwrap();
    assert_eq!(hear(&mut session), [Heard::Ping]);
    session.sent(KEEP_ALIVE_MS);
    session
}

#[test]
fn an_idle_connection_is_pinged() {
    let mut session = idle();
    assert_eq!(session.deadline(), Some(KEEP_ALIVE_MS));
    session.tick(KEEP_ALIVE_MS - 1).unwrap();
    assert_eq!(hear(&mut session), []);
    session.tick(KEEP_ALIVE_MS).unwrap();
    assert_eq!(hear(&mut session), [Heard::Ping]);
    session.pingresp(KEEP_ALIVE_MS + 100);
    session.received(KEEP_ALIVE_MS + 100);
    session.tick(KEEP_ALIVE_MS + HALF_MS).unwrap();
}

#[test]
fn silence_on_either_side_is_idleness() {
    let mut sending = idle();
    sending.sent(9_000);
    sending.tick(KEEP_ALIVE_MS).unwrap();
    assert_eq!(hear(&mut sending), [Heard::Ping], "nothing came: is the broker there?");
    let mut receiving = idle();
    receiving.received(9_000);
    receiving.tick(KEEP_ALIVE_MS).unwrap();
    assert_eq!(hear(&mut receiving), [Heard::Ping], "nothing went: the broker waits for a sign");
    let mut busy = idle();
    busy.sent(9_000);
    busy.received(9_500);
    busy.tick(KEEP_ALIVE_MS).unwrap();
    assert_eq!(hear(&mut busy), []);
    assert_eq!(busy.deadline(), Some(9_000 + KEEP_ALIVE_MS));
}

#[test]
fn no_pingresp_in_half_a_keep_alive_ends_the_connection() {
    let mut session = pinging();
    assert_eq!(session.deadline(), Some(KEEP_ALIVE_MS + HALF_MS));
    session.tick(KEEP_ALIVE_MS + HALF_MS - 1).unwrap();
    assert_eq!(session.tick(KEEP_ALIVE_MS + HALF_MS), Err(Violation::KeepAlive));
    // The next connection begins with a clean slate.
    session.disconnected();
    session.connected(20_000, false);
    session.tick(20_000 + HALF_MS).unwrap();
}

#[test]
fn a_pause_of_our_own_is_not_the_brokers_silence() {
    let mut session = pinging();
    session.set_paused(KEEP_ALIVE_MS + 10, true);
    for now in (KEEP_ALIVE_MS..10 * KEEP_ALIVE_MS).step_by(500) {
        session.tick(now).unwrap();
        session.set_paused(now, true);
    }
    let end = 10 * KEEP_ALIVE_MS;
    session.set_paused(end, false);
    session.tick(end + HALF_MS - 1).unwrap();
    assert_eq!(session.tick(end + HALF_MS), Err(Violation::KeepAlive));
}

#[test]
fn the_broker_hears_from_us_through_a_long_pause() {
    let mut session = pinging();
    session.set_paused(KEEP_ALIVE_MS, true);
    let mut heard_at = KEEP_ALIVE_MS;
    for now in (KEEP_ALIVE_MS..20 * KEEP_ALIVE_MS).step_by(250) {
        session.tick(now).unwrap();
        if !hear(&mut session).is_empty() {
            session.sent(now);
            heard_at = now;
        }
        assert!(now - heard_at <= KEEP_ALIVE_MS);
    }
    // A socket that takes nothing gathers no heap of them.
    for now in (20 * KEEP_ALIVE_MS..30 * KEEP_ALIVE_MS).step_by(250) {
        session.tick(now).unwrap();
    }
    assert!(hear(&mut session).len() <= 10);
}

#[test]
fn zero_turns_keep_alive_off() {
    let mut session = Session::new(Settings { keep_alive_ms: 0, ack_timeout_ms: 5_000, retained_timeout_ms: 1_000 });
    session.connected(0, false);
    assert_eq!(session.deadline(), None);
    session.tick(1_000_000).unwrap();
    assert_eq!(hear(&mut session), []);
}

#[test]
fn acknowledgements_and_the_goodbye_are_control_packets() {
    let mut session = idle();
    session.acknowledge(1, 7);
    session.acknowledge(1, 65_535);
    session.goodbye();
    assert_eq!(hear(&mut session), [Heard::PubAck(7), Heard::PubAck(65_535), Heard::Disconnect]);
}

#[test]
fn after_a_tick_nothing_is_due() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut session = idle();
        let mut now = 0;
        for subscription in 0..300 {
            now += rng.u64(..700);
            match rng.u8(..10) {
                0 => session.subscribe(now, subscription, format!("t/{}", rng.u8(..4)), 1, false),
                1 => session.unsubscribe(now, rng.u32(..=subscription)),
                2 => session.set_paused(now, rng.bool()),
                3..6 => session.sent(now),
                6 => session.received(now),
                7 => session.pingresp(now),
                _ => {}
            }
            for (id, _) in subscribes(&hear(&mut session)) {
                session.suback(now, id, &[rng.u8(..2)]).unwrap();
            }
            match session.tick(now) {
                Ok(()) => assert!(session.deadline().is_some_and(|at| at > now), "a driver would spin"),
                Err(_) => {
                    session.disconnected();
                    assert_eq!(session.deadline(), None);
                    session.connected(now, false);
                }
            }
        }
    }
}
