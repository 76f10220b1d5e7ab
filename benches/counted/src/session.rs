//! What a session does with each message: where it goes, and its acknowledgement.

use std::hint::black_box;

use cascade_mqtt_core::packet::Publish;
use cascade_mqtt_core::session::{Session, Settings};

use crate::{PAYLOAD, TOPIC, TURN};

/// One message at QoS 1 past three filters, two of which it matches.
pub fn deliver(times: usize) {
    let mut session =
        Session::new(Settings { keep_alive_ms: 60_000, ack_timeout_ms: 5_000, retained_timeout_ms: 1_000 });
    session.connected(0, false);
    for (subscription, filter) in
        [(1, "cascade/telemetry/#"), (2, "cascade/+/local/+/+/events"), (3, "cascade/status/+")]
    {
        session.subscribe(0, subscription, filter.into(), 1, false);
        session.suback(0, 65_000 + subscription as u16, &[1]).expect("it awaits that");
    }
    session.pingresp(0);
    let mut targets = Vec::new();
    for number in 0..times {
        let message = Publish {
            topic: TOPIC,
            payload: &PAYLOAD,
            qos: 1,
            retain: false,
            dup: false,
            packet_id: number as u16 | 1,
        };
        session.received(number as u64);
        session.route(number as u64, black_box(&message), &mut targets);
        session.acknowledge(1, message.packet_id);
        black_box(&targets);
        if number % TURN == 0 {
            session.control().clear();
        }
    }
    assert_eq!(targets, [1, 2]);
}
