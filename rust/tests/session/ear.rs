//! What a broker hears from a session, read by another codec than the one that is tested.

use bytes::BytesMut;
use cascade_mqtt_core::packet::Publish;
use cascade_mqtt_core::session::{Session, Settings};
use rumqttc::mqttbytes::v4::Packet;

pub const KEEP_ALIVE_MS: u64 = 10_000;
pub const ACK_TIMEOUT_MS: u64 = 5_000;
pub const RETAINED_TIMEOUT_MS: u64 = 1_000;

pub fn session() -> Session {
    Session::new(Settings {
        keep_alive_ms: KEEP_ALIVE_MS,
        ack_timeout_ms: ACK_TIMEOUT_MS,
        retained_timeout_ms: RETAINED_TIMEOUT_MS,
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Subscribe { id: u16, filter: String, qos: u8 },
    Unsubscribe { id: u16, filter: String },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Ping,
    Disconnect,
}

/// Take what the session wants to send.
pub fn hear(session: &mut Session) -> Vec<Heard> {
    let control = std::mem::take(session.control());
    let mut bytes = BytesMut::from(&control[..]);
    let mut heard = Vec::new();
    while !bytes.is_empty() {
        heard.push(match Packet::read(&mut bytes, 1 << 20).expect("a whole packet") {
            Packet::Subscribe(packet) => {
                let [filter] = &packet.filters[..] else { panic!("one filter: {packet:?}") };
                Heard::Subscribe { id: packet.pkid, filter: filter.path.clone(), qos: filter.qos as u8 }
            }
            Packet::Unsubscribe(packet) => Heard::Unsubscribe { id: packet.pkid, filter: packet.topics.concat() },
            Packet::PubAck(packet) => Heard::PubAck(packet.pkid),
            Packet::PubRec(packet) => Heard::PubRec(packet.pkid),
            Packet::PubRel(packet) => Heard::PubRel(packet.pkid),
            Packet::PubComp(packet) => Heard::PubComp(packet.pkid),
            Packet::PingReq => Heard::Ping,
            Packet::Disconnect => Heard::Disconnect,
            other => panic!("not for a client to send: {other:?}"),
        });
    }
    heard
}

/// The identifiers and filters of the SUBSCRIBEs among what was heard.
pub fn subscribes(heard: &[Heard]) -> Vec<(u16, &str)> {
    let subscribes = heard.iter().filter_map(|packet| match packet {
        Heard::Subscribe { id, filter, .. } => Some((*id, filter.as_str())),
        _ => None,
    });
    subscribes.collect()
}

/// The subscriptions that a message is routed to.
pub fn route(session: &mut Session, now: u64, topic: &str, payload: &str, retain: bool) -> Vec<u32> {
    let payload = payload.as_bytes();
    let message = Publish { topic, payload, qos: 0, retain, dup: false, packet_id: 0 };
    let mut targets = vec![u32::MAX];
    session.route(now, &message, &mut targets);
    targets
}
