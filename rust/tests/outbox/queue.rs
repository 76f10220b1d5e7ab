//! Numbered messages, so that what comes out of a queue can be compared with what went in.

use cascade_mqtt_core::batch::Batch;
use cascade_mqtt_core::compression;
use cascade_mqtt_core::outbox::{Ack, Limits, Message, OnFull, Outbox, Progress, Rejection, Span};
use cascade_mqtt_core::packet::{self, Incoming, MAX_REMAINING};

#[derive(Clone, Debug)]
pub struct Sample {
    pub number: u64,
    /// Bytes of payload behind the number.
    pub size: usize,
    pub qos: u8,
    pub retain: bool,
    pub priority: bool,
    /// It may go in a batch.
    pub event: bool,
}

/// One message as it came out: those of a batch have its identifier and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub number: u64,
    pub packet_id: u16,
    pub dup: bool,
    /// Where it ends in the bytes it was found in.
    pub end: usize,
}

impl Sample {
    pub fn new(number: u64, qos: u8, size: usize) -> Self {
        Self { number, size, qos, retain: false, priority: false, event: false }
    }

    pub fn event(number: u64, qos: u8, size: usize) -> Self {
        Self { event: true, ..Self::new(number, qos, size) }
    }

    pub fn offer(&self, outbox: &mut Outbox) -> Result<(u32, bool), Rejection> {
        self.offer_tracked(outbox, false)
    }

    pub fn offer_tracked(&self, outbox: &mut Outbox, track: bool) -> Result<(u32, bool), Rejection> {
        let (topic, payload) = (self.topic(), self.payload());
        let message = Message {
            topic: topic.as_bytes(),
            payload: &payload,
            qos: self.qos,
            retain: self.retain,
            priority: self.priority,
        };
        match self.event {
            true => outbox.offer_event(&message, 0),
            false => outbox.offer(&message, track, 0),
        }
    }

    /// What a broker must read.
    pub fn frame(&self, packet_id: u16, dup: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        packet::publish(&mut frame, self.topic().as_bytes(), &self.payload(), self.qos, self.retain);
        if self.qos > 0 {
            packet::patch(&mut frame, packet_id, dup);
        }
        frame
    }

    pub fn topic(&self) -> String {
        // Events come in runs, so that there are batches of more than one.
        let run = if self.event { self.number / 8 } else { self.number };
        format!("plant/line-{}", run % 11)
    }

    pub fn payload(&self) -> Vec<u8> {
        if self.event {
            return format!("[{},\"{}\"]", self.number, "x".repeat(self.size)).into_bytes();
        }
        let mut payload = self.number.to_be_bytes().to_vec();
        payload.resize(8 + self.size, self.number as u8);
        payload
    }
}

/// Read bytes of whole PUBLISH frames as a broker would, and batches as their readers.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut end = 0;
    while end < bytes.len() {
        let (packet, size) = packet::parse(&bytes[end..], MAX_REMAINING).expect("well-formed").expect("whole");
        let Incoming::Publish(publish) = packet else {
            panic!("not a PUBLISH: {packet:?}");
        };
        end += size;
        let (packet_id, dup) = (publish.packet_id, publish.dup);
        if publish.topic.ends_with("/@batch") {
            let numbers = elements(publish.payload).into_iter().map(|element| number_of(&element));
            found.extend(numbers.map(|number| Frame { number, packet_id, dup, end }));
            continue;
        }
        let number = u64::from_be_bytes(*publish.payload.first_chunk().expect("eight bytes of number"));
        found.push(Frame { number, packet_id, dup, end });
    }
    found
}

pub fn limits(queued_bytes: usize, in_flight: usize, in_flight_qos2: usize, on_full: OnFull) -> Limits {
    Limits { queued_bytes, queued_events: None, in_flight, in_flight_qos2, on_full, batch: None }
}

pub fn opened(queued_bytes: usize, in_flight: usize, on_full: OnFull) -> Outbox {
    opened_with(queued_bytes, in_flight, in_flight, on_full)
}

pub fn opened_with(queued_bytes: usize, in_flight: usize, in_flight_qos2: usize, on_full: OnFull) -> Outbox {
    let mut outbox = Outbox::new(limits(queued_bytes, in_flight, in_flight_qos2, on_full));
    outbox.open();
    outbox.connected(false);
    outbox
}

/// Write the next frames above QoS 0.
pub fn send(outbox: &mut Outbox) -> Vec<Frame> {
    let Some(span) = take_acknowledged(outbox, false) else {
        return Vec::new();
    };
    let found = frames(&span.bytes[span.start..span.end]);
    outbox.retain(span);
    found
}

/// A PUBACK; whether it ended something.
pub fn puback(outbox: &mut Outbox, packet_id: u16) -> bool {
    matches!(outbox.acknowledge(Ack::PubAck, packet_id), Ok(Progress::Done { .. }))
}

/// The identities of the account, which hold at every moment.
pub fn check_account(outbox: &Outbox) {
    let counters = outbox.counters();
    let rejected: u64 = counters.rejected().map(|(_, count)| count).sum();
    let dropped: u64 = counters.dropped().map(|(_, count)| count).sum();
    let held = (outbox.queued_events() + outbox.in_flight_events()) as u64;
    assert_eq!(counters.submitted, counters.accepted + rejected);
    assert_eq!(counters.accepted, counters.written + counters.acknowledged + dropped + held);
}

/// The elements of a batch.
pub fn elements(payload: &[u8]) -> Vec<Vec<u8>> {
    let mut batch = Batch::default();
    batch.read(payload, 1 << 24).expect("a batch");
    batch.elements(payload).map(<[u8]>::to_vec).collect()
}

/// The number that an event tells.
fn number_of(event: &[u8]) -> u64 {
    let text = std::str::from_utf8(event).expect("text");
    let (number, _) = text[1..].split_once(',').expect("a number and its filler");
    number.parse().expect("a number")
}

/// As the writer does it.
pub fn take_acknowledged(outbox: &mut Outbox, compress: bool) -> Option<Span> {
    if compress && let Some(mut segment) = outbox.take_unsent() {
        segment.pack(compression::shorten);
        outbox.begin(segment);
    }
    let mut span = outbox.take_acknowledged()?;
    while outbox.lengthen(&mut span) {}
    Some(span)
}
