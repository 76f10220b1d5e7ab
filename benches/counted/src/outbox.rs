//! The queue between producers and the writer, as both use it.

use std::hint::black_box;

use cascade_mqtt_core::outbox::{Ack, Limits, Message, OnFull, Outbox};

use crate::{PAYLOAD, TOPIC, TURN};

/// A frame's packet identifier stands behind its head, of three bytes here, and its topic.
const ID_AT: usize = 3 + 2 + TOPIC.len();
const FRAME: usize = ID_AT + 2 + PAYLOAD.len();

fn opened() -> Outbox {
    let mut outbox = Outbox::new(Limits {
        queued_bytes: 64 << 20,
        queued_events: None,
        in_flight: 10_000,
        in_flight_qos2: 20,
        on_full: OnFull::DropOldest,
        batch: None,
    });
    outbox.open();
    outbox.connected(false);
    outbox
}

fn offer(outbox: &mut Outbox, qos: u8, number: usize) {
    let payload = black_box(&PAYLOAD);
    let message = Message { topic: TOPIC.as_bytes(), payload, qos, retain: false, priority: false };
    outbox.offer(&message, false, number as u32).expect("there is room");
}

/// Offered, and taken by the writer.
pub fn telemetry(times: usize) {
    let mut outbox = opened();
    for number in 0..times {
        offer(&mut outbox, 0, number);
        if number % TURN == TURN - 1 {
            while let Some(segment) = outbox.take_telemetry() {
                outbox.written(black_box(segment));
            }
        }
    }
}

/// Offered, taken by the writer, kept, and acknowledged.
pub fn acknowledged(times: usize) {
    let mut outbox = opened();
    let mut ids = Vec::new();
    for number in 0..times {
        offer(&mut outbox, 1, number);
        if number % TURN == TURN - 1 {
            while let Some(span) = outbox.take_acknowledged() {
                let frames = span.bytes[span.start..span.end].chunks_exact(FRAME);
                ids.extend(frames.map(|frame| u16::from_be_bytes([frame[ID_AT], frame[ID_AT + 1]])));
                outbox.retain(span);
            }
            for id in ids.drain(..) {
                outbox.acknowledge(Ack::PubAck, id).expect("it awaits that");
            }
            outbox.settle();
        }
    }
    assert!(outbox.is_empty(), "all were acknowledged");
}
