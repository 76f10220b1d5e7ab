use bytes::BytesMut;
use cascade_mqtt_core::packet::{
    Connect, FieldTooLong, Incoming, MAX_REMAINING, WillMessage, connect, disconnect, parse, patch, pingreq, puback,
    publish, publish_size, subscribe, unsubscribe,
};
use rumqttc::mqttbytes::v4::{self, Login, Packet};
use rumqttc::mqttbytes::{QoS, qos};

const QUIET: Connect<'static> =
    Connect { client_id: "c-1", keep_alive_s: 60, clean_session: true, username: None, password: None, will: None };

fn connect_bytes(packet: &Connect<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    connect(&mut out, packet).unwrap();
    out
}

fn codec(packet: &Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, MAX_REMAINING).unwrap();
    bytes.to_vec()
}

#[test]
fn connect_is_what_the_codec_writes() {
    let will = WillMessage { topic: "cascade/status/é", payload: br#"{"status":"offline"}"#, qos: 1, retain: true };
    for (will, login) in [(None, false), (Some(will), false), (None, true), (Some(will), true)] {
        for clean_session in [true, false] {
            let ours = connect_bytes(&Connect {
                clean_session,
                username: login.then_some("user"),
                password: login.then_some(b"secret"),
                will,
                ..QUIET
            });
            let mut theirs = v4::Connect::new("c-1");
            theirs.keep_alive = 60;
            theirs.clean_session = clean_session;
            theirs.login = login.then(|| Login::new("user", "secret"));
            theirs.last_will =
                will.map(|will| v4::LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain));
            assert_eq!(ours, codec(&Packet::Connect(theirs)));
        }
    }
}

#[test]
fn connect_carries_what_the_codec_cannot() {
    let binary = connect_bytes(&Connect { username: Some(""), password: Some(b"\xff\0"), ..QUIET });
    assert_eq!(binary, b"\x10\x15\0\x04MQTT\x04\xc2\0\x3c\0\x03c-1\0\0\0\x02\xff\0");
    let nameless = connect_bytes(&Connect { password: Some(b"secret"), ..QUIET });
    assert_eq!(nameless, connect_bytes(&QUIET));
}

#[test]
fn a_field_too_long_for_connect_is_named_and_nothing_is_written() {
    let long = "x".repeat(65_536);
    let mut out = b"before".to_vec();
    for (packet, field) in [
        (Connect { client_id: &long, ..QUIET }, "identifier"),
        (Connect { username: Some(&long), ..QUIET }, "username"),
        (Connect { username: Some("user"), password: Some(long.as_bytes()), ..QUIET }, "password"),
    ] {
        assert_eq!(connect(&mut out, &packet), Err(FieldTooLong(field)));
        assert_eq!(out, b"before");
    }
}

/// Payload sizes on both sides of each length that the remaining length takes another byte for.
#[test]
fn publish_is_what_the_codec_writes_and_what_parse_reads() {
    for size in [0, 1, 110, 111, 112, 113, 16_367, 16_369, 16_371, 2_097_140] {
        let payload = vec![7; size];
        for level in 0..3 {
            for (retain, dup) in [(false, false), (true, false), (false, true), (true, true)] {
                if dup && level == 0 {
                    continue;
                }
                let mut ours = b"before".to_vec();
                let length = publish(&mut ours, "tópic/é/1".as_bytes(), &payload, level, retain);
                let frame = &mut ours[6..];
                assert_eq!(length, Some(frame.len()));
                assert_eq!(length, publish_size(11, size, level));
                if level > 0 {
                    patch(frame, 0x1234, true);
                    patch(frame, 0xFEDC, dup);
                }
                let mut theirs = v4::Publish::new("tópic/é/1", qos(level).unwrap(), payload.clone());
                theirs.retain = retain;
                theirs.dup = dup;
                theirs.pkid = if level > 0 { 0xFEDC } else { 0 };
                let (packet, consumed) = parse(frame, MAX_REMAINING).unwrap().unwrap();
                let Incoming::Publish(found) = packet else { panic!("{packet:?}") };
                assert_eq!(consumed, frame.len());
                assert_eq!((found.topic, found.payload, found.packet_id), ("tópic/é/1", &payload[..], theirs.pkid));
                assert_eq!((found.qos, found.retain, found.dup), (level, retain, dup));
                assert!(frame == codec(&Packet::Publish(theirs)), "{size} {level}");
            }
        }
    }
}

#[test]
fn publish_refuses_what_mqtt_cannot_carry() {
    assert_eq!(publish_size(1, MAX_REMAINING - 3, 0), Some(MAX_REMAINING + 5));
    assert_eq!(publish_size(1, MAX_REMAINING - 2, 0), None);
    assert_eq!(publish_size(1, MAX_REMAINING - 5, 1), Some(MAX_REMAINING + 5));
    assert_eq!(publish_size(1, MAX_REMAINING - 4, 1), None);
    assert_eq!(publish_size(1, usize::MAX, 1), None);
    let mut out = Vec::new();
    assert_eq!(publish(&mut out, &[b'a'; 65_536], b"", 0, false), None);
    assert!(out.is_empty());
}

#[test]
fn the_other_packets_are_as_the_specification_draws_them() {
    let mut out = Vec::new();
    puback(&mut out, 0x0102);
    subscribe(&mut out, 10, "a/#", 1);
    unsubscribe(&mut out, 11, "é/+");
    pingreq(&mut out);
    disconnect(&mut out);
    let expected = [
        &b"\x40\x02\x01\x02"[..],
        b"\x82\x08\0\x0a\0\x03a/#\x01",
        b"\xa2\x08\0\x0b\0\x04\xc3\xa9/+",
        b"\xc0\0",
        b"\xe0\0",
    ];
    assert_eq!(out, expected.concat());
}

/// The outbox reserves and accounts for `publish_size`; a frame that took more would grow its buffer unseen.
#[test]
fn a_frame_takes_no_more_room_than_its_size() {
    for (topic, payload, qos) in [("t", 0, 0), ("t", 0, 1), ("a/b", 119, 0), ("a/b", 200, 1), ("a", 20_000, 0)] {
        let size = publish_size(topic.len(), payload, qos).unwrap();
        let mut out = Vec::with_capacity(size);
        let room = out.capacity();
        publish(&mut out, topic.as_bytes(), &vec![b'x'; payload], qos, false).unwrap();
        assert_eq!((out.len(), out.capacity()), (size, room));
    }
}
