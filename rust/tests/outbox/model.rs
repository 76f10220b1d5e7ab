//! What an outbox owes, kept by what was put in and what came out: it knows the promises only.

use std::collections::{BTreeMap, HashSet};

use cascade_mqtt_core::outbox::{Limits, MAX_PUBLISH_ID, OnFull, Outbox, Segment, Span};
use cascade_mqtt_core::packet::{self, Incoming, MAX_REMAINING};

use crate::dice::Dice;
use crate::queue::{Frame, Sample, check_account, elements};

pub struct Item {
    pub sample: Sample,
    pub protected: bool,
    pub token: u32,
    pub packet_id: Option<u16>,
    /// Handed to the writer on some connection.
    pub sent: bool,
    /// Handed to the writer on this one.
    pub sent_here: bool,
    /// PUBREC came.
    pub released: bool,
}

pub enum Hand {
    Nothing,
    Telemetry(Segment, Vec<Frame>),
    Tracked(Span, Vec<Frame>),
}

pub struct Model<D> {
    pub dice: D,
    pub outbox: Outbox,
    pub limits: Limits,
    pub next: u64,
    /// What was accepted and has not left, by number. What was dropped is found missing later.
    pub lanes: [BTreeMap<u64, Item>; 2],
    pub hand: Hand,
    pub connected: bool,
    pub present: bool,
    pub last_written: Option<u64>,
    pub last_sent_here: Option<u64>,
    pub acknowledged: u64,
    pub uncertain: u64,
    pub written: u64,
    pub expired: u64,
    pub skipped: u64,
    /// A mark, and the number from which on messages lie behind it.
    pub mark: Option<(u64, u64)>,
    pub ended: HashSet<u32>,
    pub now_ms: u64,
    /// A producer has woken the writer.
    pub woken: bool,
}

impl<D: Dice> Model<D> {
    pub fn new(dice: D, limits: Limits) -> Self {
        let mut outbox = Outbox::new(limits.clone());
        outbox.open();
        Self {
            dice,
            outbox,
            limits,
            next: 0,
            lanes: Default::default(),
            hand: Hand::Nothing,
            connected: false,
            present: false,
            last_written: None,
            last_sent_here: None,
            acknowledged: 0,
            uncertain: 0,
            written: 0,
            expired: 0,
            skipped: 0,
            mark: None,
            ended: HashSet::new(),
            now_ms: 0,
            woken: false,
        }
    }

    /// Frames come out as `packet::publish` makes them, in the order of acceptance.
    pub fn compare(&self, lane: usize, bytes: &[u8], found: &[Frame]) {
        let mut start = 0;
        for frames in found.chunk_by(|a, b| a.end == b.end) {
            let first = frames[0];
            let sample = |frame: &Frame| {
                let item = self.lanes[lane].get(&frame.number);
                &item.expect("only what was accepted and is still owed comes out").sample
            };
            let bytes = &bytes[std::mem::replace(&mut start, first.end)..first.end];
            if !sample(&first).event || self.limits.batch.is_none() {
                assert!(frames.len() == 1 && bytes == sample(&first).frame(first.packet_id, first.dup), "{first:?}");
                continue;
            }
            let samples: Vec<&Sample> = frames.iter().map(sample).collect();
            self.compare_batch(bytes, &samples);
        }
        assert!(found.is_sorted_by(|a, b| a.number < b.number));
    }

    /// A batch is of one topic and QoS, holds just its events, and no more than it may.
    fn compare_batch(&self, bytes: &[u8], samples: &[&Sample]) {
        let batching = self.limits.batch.expect("there are batches");
        let Ok(Some((Incoming::Publish(publish), size))) = packet::parse(bytes, MAX_REMAINING) else {
            panic!("a batch is one message")
        };
        assert_eq!((size, publish.retain), (bytes.len(), false));
        for sample in samples {
            assert!(sample.event && !sample.retain && !sample.priority && publish.qos == sample.qos);
            assert_eq!(publish.topic, format!("{}/@batch", sample.topic()));
        }
        let payloads: Vec<Vec<u8>> = samples.iter().map(|sample| sample.payload()).collect();
        assert_eq!(elements(publish.payload), payloads);
        let bytes: usize = payloads.iter().map(|payload| payload.len() + 1).sum::<usize>() + 1;
        assert!(samples.len() <= batching.events as usize && (bytes <= batching.bytes || samples.len() == 1));
    }

    pub fn telemetry_written(&mut self, found: &[Frame]) {
        for frame in found {
            assert!(self.last_written.is_none_or(|last| last < frame.number), "first in, first out");
            self.last_written = Some(frame.number);
            self.written += 1;
            self.skip_before(0, frame.number);
            self.lanes[0].remove(&frame.number);
        }
    }

    /// Events of a lane that were overtaken were dropped: only unprotected ones that had not been sent.
    pub fn skip_before(&mut self, lane: usize, number: u64) {
        let overtaken: Vec<u64> =
            self.lanes[lane].range(..number).filter(|(_, item)| !item.sent).map(|(number, _)| *number).collect();
        for number in overtaken {
            let item = self.lanes[lane].remove(&number).expect("listed above");
            assert!(!item.protected, "a protected message was dropped: {number}");
            self.skipped += 1;
        }
    }

    /// `first`: not the event of a batch behind its first.
    pub fn stamped(&mut self, frame: &Frame, first: bool) {
        assert!((1..=MAX_PUBLISH_ID).contains(&frame.packet_id));
        assert!(self.last_sent_here.is_none_or(|last| last < frame.number), "replays first, and all in first order");
        self.last_sent_here = Some(frame.number);
        self.skip_before(1, frame.number);
        let before = self.lanes[1].range(..frame.number);
        let in_order = before.into_iter().all(|(_, item)| item.sent_here || item.released);
        assert!(in_order, "what was sent before must be sent again first");
        let twice = self.lanes[1].values().filter(|item| item.packet_id == Some(frame.packet_id)).count();
        let item = self.lanes[1].get_mut(&frame.number).expect("only what is still owed comes out");
        assert!(!item.released, "after PUBREC a message is not sent again");
        match item.packet_id {
            Some(id) => assert_eq!((id, true, true), (frame.packet_id, frame.dup, self.present)),
            None => assert_eq!((twice == 0, frame.dup), (first, false), "an identifier is in use once"),
        }
        item.packet_id = Some(frame.packet_id);
        (item.sent, item.sent_here) = (true, true);
    }

    pub fn check(&mut self) {
        check_account(&self.outbox);
        let counters = self.outbox.counters();
        assert_eq!(counters.submitted, self.next);
        assert_eq!((counters.written, counters.acknowledged), (self.written, self.acknowledged));
        assert_eq!(counters.uncertain, self.uncertain);
        let holding = self.lanes[1].values().filter(|item| item.packet_id.is_some()).count();
        assert_eq!(self.outbox.in_flight_events(), holding);
        let ids = |least: u8| -> HashSet<u16> {
            self.lanes[1].values().filter(|item| item.sample.qos >= least).filter_map(|item| item.packet_id).collect()
        };
        assert!(ids(1).len() <= self.limits.in_flight && ids(2).len() <= self.limits.in_flight_qos2);
        assert!(self.outbox.allocated() <= self.limits.queued_bytes, "{} bytes", self.outbox.allocated());
        self.check_boundary();
        if let Some((mark, number)) = self.mark {
            let owed: usize = self.lanes.iter().map(|lane| lane.range(..number).count()).sum();
            let left = self.outbox.left(mark);
            let exact = self.limits.on_full != OnFull::DropOldest;
            assert!(if exact { left == owed } else { left <= owed }, "{left} of {owed}");
            assert_eq!(self.outbox.reached(mark), left == 0);
        }
    }

    /// Control packets go between frames, also while acknowledgements of a part-written buffer come in.
    fn check_boundary(&mut self) {
        let Hand::Tracked(span, found) = &self.hand else {
            return;
        };
        if found.iter().all(|frame| !self.lanes[1].contains_key(&frame.number)) {
            return;
        }
        let position = self.dice.below(span.end - span.start + 1);
        let next = found.iter().map(|frame| frame.end).find(|end| *end >= position);
        let boundary = next.filter(|_| position > 0).unwrap_or(0);
        assert_eq!(self.outbox.boundary(span, span.start + position), span.start + boundary);
    }
}
