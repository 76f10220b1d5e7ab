//! Bytes of a broker: what is made of them does not depend on where they are cut, another codec reads
//! the same, and writing it again gives the same bytes.
#![no_main]

use bytes::{Bytes, BytesMut};
use cascade_mqtt_core::packet::{self, Incoming, MAX_REMAINING, Publish, parse};
use libfuzzer_sys::fuzz_target;
use rumqttc::mqttbytes::qos;
use rumqttc::mqttbytes::v4::{self, Packet};

/// Small, so that inputs go beyond it.
const MAX_SIZE: usize = 1_000;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((packet, size))) = whole(rest) {
        let (frame, behind) = rest.split_at(size);
        assert_eq!(parse(frame, MAX_SIZE), Ok(Some((packet, size))), "what follows a packet is no part of it");
        if let Incoming::Publish(publish) = packet {
            assert_eq!(written(&publish), frame);
        }
        agree(&packet, frame);
        rest = behind;
    }
});

type Parsed<'a> = Result<Option<(Incoming<'a>, usize)>, packet::Malformed>;

/// `parse`, and what it makes of the first so many bytes: nothing yet, or the same.
fn whole(bytes: &[u8]) -> Parsed<'_> {
    let parsed = parse(bytes, MAX_SIZE);
    let size = match parsed {
        Ok(Some((_, size))) => size,
        _ => bytes.len(),
    };
    assert!(size <= bytes.len());
    let mut decided = false;
    // In between there is only more of a topic or a payload.
    for cut in (0..=size).filter(|cut| *cut < 64 || cut + 64 > size) {
        let found = parse(&bytes[..cut], MAX_SIZE);
        if found == Ok(None) {
            assert!(!decided, "what was refused comes in parts at {cut}");
        } else {
            assert_eq!(found, parsed, "cut at {cut}");
            decided = true;
        }
        assert!(!matches!(found, Ok(Some(_))) || cut == size, "a packet before its end at {cut}");
    }
    parsed
}

fn written(publish: &Publish<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    let size = packet::publish(&mut frame, publish.topic.as_bytes(), publish.payload, publish.qos, publish.retain);
    assert_eq!(size, Some(frame.len()));
    if publish.qos > 0 {
        packet::patch(&mut frame, publish.packet_id, publish.dup);
    }
    frame
}

/// rumqttc's codec takes all that we take, but for what it does not know.
fn agree(ours: &Incoming<'_>, frame: &[u8]) {
    let expected = match *ours {
        // Codes of MQTT 5, and the reason that brokers of MQTT 5 add.
        Incoming::ConnAck { code: 6.., .. } | Incoming::Disconnect => return,
        Incoming::ConnAck { session_present, code } => {
            use v4::ConnectReturnCode::*;
            let codes =
                [Success, RefusedProtocolVersion, BadClientId, ServiceUnavailable, BadUserNamePassword, NotAuthorized];
            Packet::ConnAck(v4::ConnAck { session_present, code: codes[usize::from(code)] })
        }
        Incoming::Publish(publish) => Packet::Publish(v4::Publish {
            dup: publish.dup,
            qos: qos(publish.qos).expect("0, 1 or 2"),
            retain: publish.retain,
            topic: publish.topic.to_owned(),
            pkid: publish.packet_id,
            payload: Bytes::copy_from_slice(publish.payload),
        }),
        Incoming::PubAck(id) => Packet::PubAck(v4::PubAck::new(id)),
        Incoming::PubRec(id) => Packet::PubRec(v4::PubRec::new(id)),
        Incoming::PubRel(id) => Packet::PubRel(v4::PubRel::new(id)),
        Incoming::PubComp(id) => Packet::PubComp(v4::PubComp::new(id)),
        Incoming::SubAck { packet_id, codes } => {
            let codes = codes.iter().map(|&code| v4::SubscribeReasonCode::try_from(code).expect("not reserved"));
            Packet::SubAck(v4::SubAck::new(packet_id, codes.collect()))
        }
        Incoming::UnsubAck(id) => Packet::UnsubAck(v4::UnsubAck::new(id)),
        Incoming::PingResp => Packet::PingResp,
    };
    let mut bytes = BytesMut::from(frame);
    let read = Packet::read(&mut bytes, MAX_REMAINING).expect("what we take, it takes");
    assert_eq!(read, expected);
    assert!(bytes.is_empty());
    let mut again = BytesMut::new();
    expected.write(&mut again, MAX_REMAINING).expect("it was read");
    assert_eq!(again, frame);
}
