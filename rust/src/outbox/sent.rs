//! QoS 1 frames from their first transmission to their acknowledgement: packet identifiers,
//! retention in compact buffers, and replay in first order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::segment::{Entry, Segment, boundary, frame, pool_give};
use crate::packet;

/// SUBSCRIBE and UNSUBSCRIBE use the identifiers above.
pub const MAX_PUBLISH_ID: u16 = 65_000;
/// Retained buffers below this are not worth compacting again.
const COMPACT_MIN_BYTES: usize = 4 * 1024;

/// One segment of frames that were, or are being, sent.
#[derive(Debug)]
struct Sent {
    bytes: Arc<Vec<u8>>,
    entries: Vec<Entry>,
    live: u32,
    live_bytes: usize,
    /// Entries before this one have been handed to the writer on this connection.
    next: usize,
}

impl Sent {
    fn allocated(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>() + 160
    }

    /// The first frame that was not handed to the writer.
    fn unsent(&self) -> Option<&Entry> {
        self.entries[self.next..].iter().find(|entry| !entry.dead)
    }

    /// Whether frames lie so thinly that copying them is worth it. Not while the writer holds the buffer: it asks
    /// for frame boundaries in it.
    fn sparse(&self, part: usize) -> bool {
        self.next == self.entries.len()
            && self.live_bytes * part < self.bytes.capacity()
            && Arc::strong_count(&self.bytes) == 1
    }
}

/// Bytes to write: whole frames, stamped with identifiers.
#[derive(Debug, Clone)]
pub struct Span {
    pub number: u64,
    pub bytes: Arc<Vec<u8>>,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Default)]
pub struct InFlight {
    segments: BTreeMap<u64, Sent>,
    /// By identifier - 1: where the frame is that holds it.
    slots: Vec<Option<(u64, u32)>>,
    /// Identifiers given back, the longest ago first, so that a late duplicate acknowledgement
    /// seldom meets a new owner.
    free: VecDeque<u16>,
    /// The segment that is being handed to the writer, never one with nothing left to send; the ones behind it
    /// wait for a replay.
    sending: Option<u64>,
    /// Frames sent on some connection and not acknowledged.
    count: usize,
    /// Frames in `segments` that wait to be sent (again) and hold no identifier.
    waiting: usize,
    allocated: usize,
}

/// What one acknowledgement ended.
pub struct Acknowledged {
    pub token: u32,
}

impl InFlight {
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Whether a segment is there of which a part was not handed to the writer yet.
    pub fn unfinished(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether the segment being sent waits for an acknowledgement to go on.
    pub fn blocked(&self, window: usize) -> bool {
        let Some(number) = self.sending else {
            return false;
        };
        let sent = &self.segments[&number];
        sent.unsent().is_some_and(|entry| entry.packet_id == 0) && self.count >= window
    }

    pub fn oldest_number(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    pub fn oldest_waiting_ms(&self) -> Option<u32> {
        let (_, sent) = self.segments.range(self.sending?..).next()?;
        sent.unsent().map(|entry| entry.born_ms)
    }

    /// Live frames in segments before `mark`.
    pub fn left(&self, mark: u64) -> usize {
        self.segments.range(..mark).map(|(_, sent)| sent.live as usize).sum()
    }

    /// Begin to send a segment from the queue; only when `unfinished` is false.
    pub fn begin(&mut self, segment: Segment) {
        debug_assert!(self.sending.is_none());
        let number = segment.number;
        let live = segment.live;
        let live_bytes = segment.entries.iter().filter(|e| !e.dead).map(|e| e.len as usize).sum();
        let sent = Sent { bytes: Arc::new(segment.bytes), entries: segment.entries, live, live_bytes, next: 0 };
        self.waiting += live as usize;
        self.allocated += sent.allocated();
        self.segments.insert(number, sent);
        self.sending = Some(number);
    }

    /// The next frames to write, at most `window` in flight in all.
    ///
    /// The buffer must not be in the writer's hands: a `Span` is dropped before the next call.
    pub fn next_span(&mut self, window: usize) -> Option<Span> {
        let number = self.sending?;
        let sent = self.segments.get_mut(&number).expect("the sending segment is kept");
        let bytes = Arc::make_mut(&mut sent.bytes);
        let mut stamped = 0;
        while let Some(entry) = sent.entries.get_mut(sent.next) {
            if entry.dead {
                if stamped > 0 {
                    break;
                }
                sent.next += 1;
                continue;
            }
            let replayed = entry.packet_id != 0;
            if !replayed {
                if self.count >= window {
                    break;
                }
                let Some(id) = take_id(&mut self.free, &mut self.slots) else {
                    break;
                };
                entry.packet_id = id;
                self.slots[usize::from(id) - 1] = Some((number, sent.next as u32));
                self.count += 1;
                self.waiting -= 1;
            }
            let range = entry.offset as usize..(entry.offset + entry.len) as usize;
            packet::patch(&mut bytes[range], entry.packet_id, replayed);
            stamped += 1;
            sent.next += 1;
        }
        let last = sent.next;
        let span = (stamped > 0).then(|| {
            let start = sent.entries[last - stamped].offset as usize;
            let end = sent.entries[last - 1];
            Span { number, bytes: Arc::clone(&sent.bytes), start, end: (end.offset + end.len) as usize }
        });
        self.advance();
        span
    }

    /// Where the segment being sent has nothing left to send, go on to the next one.
    fn advance(&mut self) {
        while let Some(number) = self.sending {
            if let Some(sent) = self.segments.get_mut(&number) {
                if sent.unsent().is_some() {
                    return;
                }
                sent.next = sent.entries.len();
            }
            self.sending = self.segments.range(number + 1..).next().map(|(number, _)| *number);
        }
    }

    /// The writer is done with a span: keep its frames in no more memory than they need.
    pub fn retain(&mut self, span: Span) {
        let number = span.number;
        drop(span);
        if let Some(sent) = self.segments.get(&number)
            && sent.sparse(2)
        {
            self.compact(number);
        }
    }

    /// The frame boundary at or after `position` in the segment of a span.
    pub fn boundary(&self, span: &Span, position: usize) -> usize {
        self.segments.get(&span.number).map_or(span.end, |sent| boundary(&sent.entries, position).min(span.end))
    }

    /// A PUBACK; None where nothing in flight has this identifier.
    pub fn acknowledge(&mut self, packet_id: u16) -> Option<Acknowledged> {
        let slot = self.slots.get_mut(usize::from(packet_id).checked_sub(1)?)?;
        let (number, index) = slot.take()?;
        self.free.push_back(packet_id);
        self.count -= 1;
        let sent = self.segments.get_mut(&number).expect("a slot names a kept segment");
        let entry = &mut sent.entries[index as usize];
        entry.dead = true;
        entry.packet_id = 0;
        let token = entry.token;
        sent.live -= 1;
        sent.live_bytes -= entry.len as usize;
        let early = index as usize >= sent.next;
        if sent.live == 0 {
            self.forget(number);
        } else if sent.bytes.len() > COMPACT_MIN_BYTES && sent.sparse(4) {
            self.compact(number);
        }
        if early {
            // Acknowledged by a session's memory before it was sent again.
            self.advance();
        }
        if self.count == 0 {
            // An idle connector holds no table.
            self.slots = Vec::new();
            self.free = VecDeque::new();
        }
        Some(Acknowledged { token })
    }

    /// Give up a frame that waits here and was not sent; false where it was.
    pub fn withdraw(&mut self, number: u64, token: u32) -> bool {
        let Some(sent) = self.segments.get_mut(&number) else {
            return false;
        };
        let next = sent.next;
        let waiting = sent.entries[next..].iter_mut().find(|e| e.token == token && !e.dead && e.packet_id == 0);
        let Some(entry) = waiting else { return false };
        entry.dead = true;
        sent.live -= 1;
        sent.live_bytes -= entry.len as usize;
        self.waiting -= 1;
        if sent.live == 0 {
            self.forget(number);
        }
        self.advance();
        true
    }

    /// A new connection: everything unacknowledged is sent again, before anything new, in first
    /// order. With the session present the identifiers stay and DUP is set, else both begin anew
    /// (MQTT 3.1.1 section 4.4). Returns the tokens of what loses its identifier.
    pub fn replay(&mut self, session_present: bool) -> Vec<u32> {
        let mut tokens = Vec::new();
        let numbers: Vec<u64> = self.segments.keys().copied().collect();
        for &number in &numbers {
            if !session_present {
                let sent = self.segments.get_mut(&number).expect("listed above");
                let bytes = Arc::make_mut(&mut sent.bytes);
                for entry in sent.entries.iter_mut().filter(|entry| !entry.dead && entry.packet_id != 0) {
                    let range = entry.offset as usize..(entry.offset + entry.len) as usize;
                    packet::patch(&mut bytes[range], 0, false);
                    entry.packet_id = 0;
                    self.count -= 1;
                    self.waiting += 1;
                    tokens.extend((entry.token != 0).then_some(entry.token));
                }
            }
            self.segments.get_mut(&number).expect("listed above").next = 0;
        }
        if !session_present {
            self.slots = Vec::new();
            self.free = VecDeque::new();
        }
        self.sending = numbers.first().copied();
        tokens
    }

    /// Take everything out; returns the tokens of callers who wait, and how many frames there were.
    pub fn clear(&mut self) -> (Vec<u32>, usize) {
        let frames = self.count + self.waiting;
        let tokens = self
            .segments
            .values()
            .flat_map(|sent| sent.entries.iter())
            .filter(|entry| !entry.dead && entry.token != 0)
            .map(|entry| entry.token)
            .collect();
        *self = Self::default();
        (tokens, frames)
    }

    /// Nothing lives in this segment any more.
    fn forget(&mut self, number: u64) {
        let sent = self.segments.remove(&number).expect("a segment is forgotten once");
        self.allocated -= sent.allocated();
        // Still in the writer's hands: the buffer is freed there.
        if let Ok(bytes) = Arc::try_unwrap(sent.bytes) {
            pool_give(bytes, sent.entries);
        }
        if self.sending == Some(number) {
            self.advance();
        }
    }

    /// Copy the live frames of a wholly sent segment into a buffer of just their size.
    fn compact(&mut self, number: u64) {
        let sent = self.segments.get_mut(&number).expect("compaction names a kept segment");
        let before = sent.allocated();
        let mut bytes = Vec::with_capacity(sent.live_bytes);
        let mut entries = Vec::with_capacity(sent.live as usize);
        for entry in sent.entries.iter().filter(|entry| !entry.dead) {
            let offset = bytes.len() as u32;
            bytes.extend_from_slice(frame(&sent.bytes, entry));
            if entry.packet_id != 0 {
                self.slots[usize::from(entry.packet_id) - 1] = Some((number, entries.len() as u32));
            }
            entries.push(Entry { offset, ..*entry });
        }
        sent.next = entries.len();
        let old = std::mem::replace(&mut sent.bytes, Arc::new(bytes));
        let index = std::mem::replace(&mut sent.entries, entries);
        self.allocated = self.allocated - before + sent.allocated();
        if let Ok(bytes) = Arc::try_unwrap(old) {
            pool_give(bytes, index);
        }
    }
}

/// The identifier free for the longest time; a new one only when all so far are in flight.
fn take_id(free: &mut VecDeque<u16>, slots: &mut Vec<Option<(u64, u32)>>) -> Option<u16> {
    if let Some(id) = free.pop_front() {
        return Some(id);
    }
    let id = u16::try_from(slots.len() + 1).ok().filter(|id| *id <= MAX_PUBLISH_ID)?;
    slots.push(None);
    Some(id)
}
