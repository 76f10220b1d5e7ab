//! A session fed from a stream of bytes: a cut anywhere waits for the rest and changes nothing.

use cascade_mqtt_core::packet::{self, Incoming, Malformed};
use cascade_mqtt_core::session::{Notice, Session};

use crate::ear::{hear, session, subscribes};

/// What the broker sends after SUBSCRIBE (identifier 65,001) and UNSUBSCRIBE (65,003).
fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend([0x90, 3, 0xFD, 0xE9, 1]); // SUBACK
    packet::publish(&mut bytes, b"a/b", &[b'x'; 200], 0, true);
    let start = bytes.len();
    packet::publish(&mut bytes, b"a/c", b"y", 1, false);
    packet::patch(&mut bytes[start..], 9, false);
    bytes.extend([0xD0, 0]); // PINGRESP
    bytes.extend([0xB0, 2, 0xFD, 0xEB]); // UNSUBACK
    bytes
}

fn begun() -> Session {
    let mut session = session();
    session.connected(0, false);
    session.subscribe(0, 1, "a/#".into(), 1, false);
    session.subscribe(0, 2, "b".into(), 1, false);
    assert_eq!(subscribes(&hear(&mut session)), [(65_001, "a/#"), (65_002, "b")]);
    session.unsubscribe(0, 2);
    hear(&mut session);
    session.suback(0, 65_002, &[1]).unwrap();
    session.take_notices();
    session
}

/// Handle every whole packet; how many bytes that were.
fn feed(session: &mut Session, bytes: &[u8], routed: &mut Vec<(String, Vec<u32>)>) -> Result<usize, Malformed> {
    let mut position = 0;
    let mut targets = Vec::new();
    while let Some((packet, size)) = packet::parse(&bytes[position..], 1 << 20)? {
        position += size;
        match packet {
            Incoming::Publish(message) => {
                session.route(10, &message, &mut targets);
                routed.push((message.topic.to_owned(), targets.clone()));
                if message.qos == 1 {
                    session.acknowledge(1, message.packet_id);
                }
            }
            Incoming::SubAck { packet_id, codes } => session.suback(10, packet_id, codes).unwrap(),
            Incoming::UnsubAck(id) => session.unsuback(0, id).unwrap(),
            Incoming::PingResp => session.pingresp(10),
            other => panic!("{other:?}"),
        }
    }
    Ok(position)
}

/// All that can be seen of a session.
fn state(session: &mut Session) -> (Vec<u8>, Vec<Notice>, Option<u64>) {
    (session.control().clone(), session.take_notices(), session.deadline())
}

#[test]
fn two_reads_of_any_sizes_are_as_good_as_one() {
    let bytes = stream();
    let (mut whole, mut expected) = (begun(), Vec::new());
    assert_eq!(feed(&mut whole, &bytes, &mut expected), Ok(bytes.len()));
    assert_eq!(expected, [("a/b".into(), vec![1]), ("a/c".into(), vec![1])]);
    let expected_state = state(&mut whole);
    for cut in 0..=bytes.len() {
        let (mut session, mut routed) = (begun(), Vec::new());
        let used = feed(&mut session, &bytes[..cut], &mut routed).unwrap();
        assert!(used <= cut);
        feed(&mut session, &bytes[used..], &mut routed).unwrap();
        assert_eq!(routed, expected, "cut at {cut}");
        assert_eq!(state(&mut session), expected_state, "cut at {cut}");
    }
}

#[test]
fn an_incomplete_packet_changes_nothing() {
    let bytes = stream();
    let (mut session, mut routed) = (begun(), Vec::new());
    let mut start = 0;
    while start < bytes.len() {
        let before = session.deadline();
        let mut end = start + 1;
        while feed(&mut session, &bytes[start..end], &mut routed) == Ok(0) {
            assert_eq!(session.deadline(), before);
            assert_eq!(session.take_notices(), []);
            end += 1;
        }
        session.take_notices();
        start = end;
    }
    assert_eq!(routed.len(), 2);
}

#[test]
fn malformed_bytes_are_refused_wherever_they_are_cut() {
    // A reserved type, flags of SUBACK, a SUBACK without a code, an over-long length.
    for malformed in
        [&[0xF0, 0][..], &[0x91, 3, 0xFD, 0xE9, 1], &[0x90, 2, 0xFD, 0xE9], &[0x90, 0x80, 0x80, 0x80, 0x80]]
    {
        let (mut session, mut routed) = (begun(), Vec::new());
        let before = session.deadline();
        for cut in 0..malformed.len() {
            assert!(matches!(feed(&mut session, &malformed[..cut], &mut routed), Ok(0) | Err(_)));
        }
        assert!(feed(&mut session, malformed, &mut routed).is_err());
        assert_eq!((session.deadline(), session.take_notices()), (before, vec![]));
    }
}
