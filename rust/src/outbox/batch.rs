//! The batch that a lane fills: events of one topic and QoS in one message, at the end of its last segment.

use super::segment::{Entry, SEGMENT_BYTES, Segment, frame};
use crate::packet;
use crate::topic::BATCH;

/// What closes a batch.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    pub events: u32,
    /// Of the array, before it is compressed; a larger event has one of its own.
    pub bytes: usize,
    /// From when the writer sees it first, for which the first event wakes it.
    pub linger_ms: u64,
    /// Whether the writer compresses what is closed.
    pub compress: bool,
}

impl Batching {
    /// Whether events of this topic can go in a batch.
    pub fn takes(&self, topic: &[u8], event_len: usize) -> bool {
        !topic.ends_with(BATCH.as_bytes())
            && packet::publish_size(topic.len() + BATCH.len(), event_len + 2, 2).is_some()
    }

    /// Most bytes of the array that an event of this size begins.
    pub fn most(&self, event_len: usize) -> usize {
        self.bytes.max(event_len + 2)
    }
}

/// A frame with an array of so many bytes, at most.
pub fn frame_len(topic_len: usize, array_len: usize) -> usize {
    1 + 4 + 2 + topic_len + BATCH.len() + 2 + array_len
}

/// A batch that is not closed: the last bytes of its segment, and no entry yet.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    start: usize,
    /// Where the topic of its events and its array begin, from `start` on.
    topic: usize,
    topic_len: usize,
    array: usize,
    qos: u8,
    pub events: u32,
    pub born_ms: u32,
    /// When its time is over, once the writer has seen it.
    pub due_ms: Option<u64>,
}

impl Segment {
    /// `most`: bytes that the array may grow to.
    pub fn begin_batch(&mut self, topic: &[u8], qos: u8, most: usize, born_ms: u32) {
        let start = self.bytes.len();
        packet::begin_publish(&mut self.bytes, [topic, BATCH.as_bytes()], qos, most);
        let array = self.bytes.len() - start;
        self.limit = self.limit.max(start + array + most);
        self.bytes.push(b'[');
        let behind = BATCH.len() + if qos == 0 { 0 } else { 2 };
        let at = array - behind - topic.len();
        let topic_len = topic.len();
        self.open = Some(Open { start, topic: at, topic_len, array, qos, events: 0, born_ms, due_ms: None });
    }

    /// Whether the open batch is of this topic and QoS, and grows to no more than `most` bytes.
    pub fn continues(&self, topic: &[u8], qos: u8, event_len: usize, most: usize) -> bool {
        self.open.is_some_and(|open| {
            let at = open.start + open.topic;
            open.qos == qos && self.array_len(&open) + event_len < most && self.bytes[at..at + open.topic_len] == *topic
        })
    }

    fn array_len(&self, open: &Open) -> usize {
        self.bytes.len() - open.start - open.array
    }

    /// Returns whether the batch is full now.
    pub fn add_to_batch(&mut self, event: &[u8], batching: &Batching) -> bool {
        self.bytes.extend_from_slice(event);
        self.bytes.push(b',');
        self.events += 1;
        let Some(open) = &mut self.open else { return false };
        open.events += 1;
        let open = *open;
        open.events >= batching.events || self.array_len(&open) >= batching.bytes
    }

    /// False where none is open.
    pub fn close_batch(&mut self) -> bool {
        let Some(open) = self.open.take() else { return false };
        let last = self.bytes.len() - 1;
        self.bytes[last] = b']';
        packet::end_publish(&mut self.bytes, open.start);
        self.limit = SEGMENT_BYTES;
        self.events -= open.events;
        self.push_entry(Entry {
            offset: open.start as u32,
            len: (self.bytes.len() - open.start) as u32,
            born_ms: open.born_ms,
            token: 0,
            packet_id: 0,
            batched: open.events,
            protected: false,
            dead: false,
        });
        true
    }

    /// Bytes of the batch that is not closed.
    pub fn open_len(&self) -> usize {
        self.open.map_or(0, |open| self.bytes.len() - open.start)
    }

    /// Let the open batch of another segment go on in this one, which is new.
    pub fn take_open(&mut self, from: &mut Segment) {
        self.open = from.move_open(&mut self.bytes);
        let events = self.open.map_or(0, |open| open.events);
        from.events -= events;
        self.events += events;
        self.limit = std::mem::replace(&mut from.limit, SEGMENT_BYTES);
    }

    /// The bytes of the open batch to the end of another buffer.
    pub fn move_open(&mut self, to: &mut Vec<u8>) -> Option<Open> {
        let open = self.open.take()?;
        let start = to.len();
        to.extend_from_slice(&self.bytes[open.start..]);
        self.bytes.truncate(open.start);
        Some(Open { start, ..open })
    }

    /// Let `compress` replace the arrays of batches by what is shorter; false: one stays as it is.
    pub fn pack(&mut self, mut compress: impl FnMut(&[u8], &mut Vec<u8>) -> bool) {
        let (mut array, mut packed) = (Vec::new(), Vec::new());
        let mut end = 0;
        for entry in self.entries.iter_mut() {
            let (start, len) = (entry.offset as usize, entry.len as usize);
            let old = frame(&self.bytes, entry);
            array.clear();
            let payload = packet::payload_of(old);
            // One that a lost connection gave back may be compressed already.
            if entry.batched > 0 && payload.starts_with(b"[") && compress(payload, &mut array) {
                packed.clear();
                packet::publish(&mut packed, packet::topic_of(old), &array, packet::qos(old), false);
                self.bytes[end..end + packed.len()].copy_from_slice(&packed);
                entry.len = packed.len() as u32;
            } else {
                self.bytes.copy_within(start..start + len, end);
            }
            entry.offset = end as u32;
            end += entry.len as usize;
        }
        self.bytes.truncate(end);
    }
}
