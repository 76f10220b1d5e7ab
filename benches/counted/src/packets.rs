//! Bytes from messages, and messages from bytes.

use std::hint::black_box;

use cascade_mqtt_core::packet::{self, MAX_REMAINING};

use crate::{PAYLOAD, TOPIC, TURN};

/// PUBLISH of QoS 1 into a buffer that is reused.
pub fn frame(times: usize) {
    let mut out = Vec::with_capacity(TURN * 512);
    for number in 0..times {
        if number % TURN == 0 {
            out.clear();
        }
        let start = out.len();
        packet::publish(&mut out, TOPIC.as_bytes(), black_box(&PAYLOAD), 1, false);
        packet::patch(&mut out[start..], number as u16 | 1, false);
    }
    black_box(out);
}

/// One PUBLISH and one PUBACK at a time out of what a read brings.
pub fn parse(times: usize) {
    let mut bytes = Vec::new();
    for _ in 0..TURN {
        let start = bytes.len();
        packet::publish(&mut bytes, TOPIC.as_bytes(), &PAYLOAD, 1, false);
        packet::patch(&mut bytes[start..], 7, false);
        packet::puback(&mut bytes, 9);
    }
    let mut position = 0;
    for _ in 0..times * 2 {
        let (packet, size) =
            packet::parse(black_box(&bytes[position..]), MAX_REMAINING).expect("well-formed").expect("whole");
        black_box(packet);
        position = if position + size == bytes.len() { 0 } else { position + size };
    }
}
