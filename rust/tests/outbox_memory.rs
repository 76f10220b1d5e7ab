//! What a queue allocates, counted by the allocator. One test, since others would be counted with it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use cascade_mqtt_core::outbox::{Ack, Limits, Message, OnFull, Outbox, Outcome, Rejection};
use cascade_mqtt_core::packet::{self, Incoming};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;
const CAP: usize = 32 * MIB;

fn opened(queued_bytes: usize, in_flight: usize) -> Outbox {
    opened_for(queued_bytes, in_flight, OnFull::DropOldest)
}

fn opened_for(queued_bytes: usize, in_flight: usize, on_full: OnFull) -> Outbox {
    let limits = Limits { queued_bytes, queued_events: None, in_flight, in_flight_qos2: 65_000, on_full, batch: None };
    let mut outbox = Outbox::new(limits);
    outbox.open();
    outbox
}

fn offer(outbox: &mut Outbox, payload: &[u8], qos: u8) -> Result<(u32, bool), Rejection> {
    let message = Message { topic: b"plant/line", payload, qos, retain: false, priority: false };
    outbox.offer(&message, false, 0)
}

/// Write the next QoS 1 frames; their identifiers.
fn send(outbox: &mut Outbox) -> Vec<u16> {
    let Some(mut span) = outbox.take_acknowledged() else {
        return Vec::new();
    };
    while outbox.lengthen(&mut span) {}
    let mut bytes = &span.bytes[span.start..span.end];
    let mut ids = Vec::new();
    while let Some((Incoming::Publish(publish), size)) = packet::parse(bytes, 4 * MIB).unwrap() {
        ids.push(publish.packet_id);
        bytes = &bytes[size..];
    }
    outbox.retain(span);
    ids
}

#[test]
fn memory() {
    a_million_events_without_a_connection();
    one_frame_a_write_and_no_acknowledgement();
    one_that_is_never_acknowledged();
    identifiers_that_await_pubcomp();
    connectors_share_the_budget_of_the_process();
}

fn a_million_events_without_a_connection() {
    let start = LIVE.load(Ordering::Relaxed);
    let mut outbox = opened(CAP, 100);
    for number in 0..1_000_000 {
        offer(&mut outbox, &[b'x'; 60], u8::from(number % 4 == 0)).unwrap();
        let live = LIVE.load(Ordering::Relaxed) - start;
        assert!(live <= CAP + CAP / 10, "{live}");
    }
    assert!(outbox.allocated() <= CAP);
}

fn one_frame_a_write_and_no_acknowledgement() {
    let start = LIVE.load(Ordering::Relaxed);
    for size in [10, 300, 3_000] {
        let mut outbox = opened(CAP, 65_000);
        for _ in 0..60_000 {
            offer(&mut outbox, &vec![b'x'; size], 1).unwrap();
            send(&mut outbox);
        }
        let live = LIVE.load(Ordering::Relaxed) - start;
        assert!(live <= CAP + CAP / 10, "{live} bytes for payloads of {size}, {} counted", outbox.allocated());
    }
}

fn one_that_is_never_acknowledged() {
    let start = LIVE.load(Ordering::Relaxed);
    let mut outbox = opened(64 * MIB, 10_000);
    offer(&mut outbox, b"stuck", 1).unwrap();
    let stuck = send(&mut outbox)[0];
    for _ in 0..10_000 {
        for _ in 0..100 {
            offer(&mut outbox, &[b'x'; 60], 1).unwrap();
        }
        for id in send(&mut outbox) {
            assert_ne!(id, stuck);
            assert!(outbox.acknowledge(Ack::PubAck, id).is_ok());
        }
        outbox.settle();
    }
    assert_eq!((outbox.in_flight_events(), outbox.counters().acknowledged), (1, 1_000_000));
    assert!(outbox.allocated() < 1_000, "{}", outbox.allocated());
    // The table of identifiers is as large as the window was.
    let live = LIVE.load(Ordering::Relaxed) - start;
    assert!(live < 64 * 1024, "{live}");
}

fn identifiers_that_await_pubcomp() {
    let start = LIVE.load(Ordering::Relaxed);
    let mut outbox = opened(CAP, 65_000);
    for batch in [1, 1_000] {
        for _ in 0..20_000 / batch {
            (0..batch).for_each(|_| assert!(offer(&mut outbox, &[b'x'; 300], 2).is_ok()));
            while let ids @ [_, ..] = &send(&mut outbox)[..] {
                ids.iter().for_each(|id| _ = outbox.acknowledge(Ack::PubRec, *id).unwrap());
            }
        }
    }
    let live = LIVE.load(Ordering::Relaxed) - start;
    assert_eq!(outbox.in_flight_events(), 40_000);
    // Beside what is counted, the table of identifiers: 24 bytes for each, and room to grow.
    assert!(live < outbox.allocated() + 64 * 1024 * 24 * 2, "{live} bytes, {} counted", outbox.allocated());
    assert!(outbox.allocated() < 40_000 * 300, "{}", outbox.allocated());
}

fn connectors_share_the_budget_of_the_process() {
    const BUDGET: usize = 256 * MIB;
    let mut outboxes = [0; 3].map(|_| opened(120 * MIB, 10));
    let payload = vec![0; MIB];
    let mut refused = 0;
    for _ in 0..118 {
        for outbox in &mut outboxes {
            refused += usize::from(offer(outbox, &payload, 0).is_err());
        }
    }
    let held: usize = outboxes.iter().map(Outbox::allocated).sum();
    assert!(held <= BUDGET && held > BUDGET / 10 * 9, "{held}");
    // Each drops its own to stay within.
    assert_eq!(refused, 0);
    let mut patient = opened_for(32 * MIB, 10, OnFull::Wait);
    while offer(&mut patient, &payload, 0).is_ok() {}
    assert!(patient.is_crowded_out());
    patient.settle();
    assert!(!patient.has_news());
    drop(outboxes);
    patient.settle();
    assert_eq!(patient.take_outcomes(), [Outcome::Space], "what others held is free");
    assert!(!patient.is_crowded_out());
    drop(patient);
    let mut outbox = opened(120 * MIB, 10);
    (0..100).for_each(|_| assert!(offer(&mut outbox, &payload, 0).is_ok()));
    assert_eq!(outbox.counters().dropped().count(), 0, "what others held is free again");
}
