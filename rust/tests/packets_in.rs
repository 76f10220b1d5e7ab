use cascade_mqtt_core::packet::{Incoming, MAX_REMAINING, Malformed, parse};
use serde_json::{Value, json};

mod vectors;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(case: &Value) -> Vec<u8> {
    let text = case["hex"].as_str().expect("hex").replace(' ', "");
    assert!(text.len().is_multiple_of(2), "{case}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// A packet in the words of the vectors.
fn summary(packet: &Incoming<'_>) -> Value {
    let acknowledgement = |kind: &str, id: &u16| json!({"type": kind, "packet_id": id});
    match packet {
        Incoming::ConnAck { session_present, code } => {
            json!({"type": "connack", "session_present": session_present, "code": code})
        }
        Incoming::Publish(publish) => json!({
            "type": "publish", "topic": publish.topic, "payload": hex(publish.payload), "qos": publish.qos,
            "retain": publish.retain, "dup": publish.dup, "packet_id": publish.packet_id,
        }),
        Incoming::PubAck(id) => acknowledgement("puback", id),
        Incoming::PubRec(id) => acknowledgement("pubrec", id),
        Incoming::PubRel(id) => acknowledgement("pubrel", id),
        Incoming::PubComp(id) => acknowledgement("pubcomp", id),
        Incoming::SubAck { packet_id, codes } => {
            json!({"type": "suback", "packet_id": packet_id, "codes": codes})
        }
        Incoming::UnsubAck(id) => acknowledgement("unsuback", id),
        Incoming::PingResp => json!({"type": "pingresp"}),
        Incoming::Disconnect => json!({"type": "disconnect"}),
    }
}

#[test]
fn vectors_are_parsed_or_refused_as_they_say() {
    for case in vectors::cases(&vectors::load("packets.json"), "incoming") {
        let bytes = unhex(case);
        match (parse(&bytes, MAX_REMAINING), &case["expect"]) {
            (Ok(None), Value::String(expect)) => assert_eq!(expect, "incomplete", "{case}"),
            (Err(error), Value::String(expect)) => {
                let section = case["section"].as_str().expect("section");
                let told = error.to_string();
                assert_eq!(expect, "malformed", "{case}: {told}");
                assert!(told.ends_with(&format!("(MQTT 3.1.1 section {section})")), "{case}: {told}");
            }
            (Ok(Some((packet, size))), expect) => {
                assert_eq!(summary(&packet), *expect, "{case}");
                assert_eq!(size, bytes.len(), "{case}");
            }
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
}

fn whole_packets() -> Vec<Vec<u8>> {
    let vectors = vectors::load("packets.json");
    let whole = vectors::cases(&vectors, "incoming").iter().filter(|case| case["expect"].is_object());
    whole.map(unhex).collect()
}

#[test]
fn a_packet_cut_anywhere_is_incomplete() {
    for packet in whole_packets() {
        for cut in 0..packet.len() {
            assert_eq!(parse(&packet[..cut], MAX_REMAINING), Ok(None), "{} at {cut}", hex(&packet));
        }
    }
}

#[test]
fn packets_follow_one_another_in_a_buffer() {
    let packets = whole_packets();
    let stream = packets.concat();
    let mut rest = &stream[..];
    for packet in packets {
        let alone = parse(&packet, MAX_REMAINING).unwrap().unwrap();
        let found = parse(rest, MAX_REMAINING).unwrap().unwrap();
        assert_eq!(found, alone);
        rest = &rest[found.1..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header() {
    let header = [0x30, 0x80, 0x08];
    assert_eq!(parse(&header, 1024), Ok(None));
    assert_eq!(parse(&header, 1023), Err(Malformed::TooLarge { size: 1024, limit: 1023 }));
}

/// What is made of any bytes is a packet that they hold, never a panic.
#[test]
fn random_bytes_do_no_harm() {
    let packets = whole_packets();
    let mut random = fastrand::Rng::with_seed(311);
    let mut outcomes = [0; 3];
    for _ in 0..200_000 {
        let mut bytes = packets[random.usize(..packets.len())].clone();
        if random.bool() {
            bytes.truncate(64);
            random.fill(&mut bytes);
        } else if !bytes.is_empty() {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(..);
        }
        match parse(&bytes, 4096) {
            Ok(Some((_, size))) => {
                assert!((2..=bytes.len()).contains(&size));
                outcomes[0] += 1;
            }
            Ok(None) => outcomes[1] += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                outcomes[2] += 1;
            }
        }
    }
    assert!(outcomes.iter().all(|&count| count > 1_000), "{outcomes:?}");
}
