//! One segment of QoS 1 and 2 frames that are being, or were, sent: kept in no more memory than they need.

use std::sync::Arc;

use super::ids::Ids;
use super::segment::{Entry, Segment, boundary, frame, pool_give};
use crate::packet;

/// What a segment costs beside its buffer and its index, roughly.
const OVERHEAD: usize = 160;
/// Buffers below this are not worth compacting for an acknowledgement, unless no frame is left in them.
const COMPACT_MIN_BYTES: usize = 4 * 1024;

/// What is to become of a segment that needs less than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Compacted,
    Forgotten,
}

#[derive(Debug)]
pub struct Sent {
    pub bytes: Arc<Vec<u8>>,
    pub entries: Vec<Entry>,
    /// Entries that are not at their end. Of those that await PUBCOMP the bytes are only space.
    pub live: u32,
    /// Their events.
    pub events: usize,
    live_bytes: usize,
    /// Entries before this one have been handed to the writer on this connection.
    pub next: usize,
}

/// Bytes to write: whole frames, stamped with identifiers.
#[derive(Debug, Clone)]
pub struct Span {
    pub number: u64,
    pub bytes: Arc<Vec<u8>>,
    pub start: usize,
    pub end: usize,
}

impl From<Segment> for Sent {
    fn from(segment: Segment) -> Self {
        let live_bytes = segment.entries.iter().filter(|e| !e.dead).map(|e| e.len as usize).sum();
        let (live, events) = (segment.live, segment.events as usize);
        Self { bytes: Arc::new(segment.bytes), entries: segment.entries, live, events, live_bytes, next: 0 }
    }
}

impl Sent {
    pub fn allocated(&self) -> usize {
        self.buffers() + OVERHEAD
    }

    fn buffers(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The first frame that was not handed to the writer.
    pub fn unsent(&self) -> Option<&Entry> {
        self.entries[self.next..].iter().find(|entry| !entry.dead)
    }

    pub fn is_exactly_once(&self, entry: &Entry) -> bool {
        packet::qos(frame(&self.bytes, entry)) == 2
    }

    /// The bytes of an entry are not needed any more.
    pub fn kill(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.dead = true;
        self.live_bytes -= entry.len as usize;
    }

    pub fn boundary(&self, position: usize) -> usize {
        boundary(&self.entries, position)
    }

    #[inline]
    pub fn fate(&self) -> Fate {
        match self.live {
            0 => Fate::Forgotten,
            _ if self.is_sparse(8) && (self.live_bytes == 0 || self.buffers() > COMPACT_MIN_BYTES) => Fate::Compacted,
            _ => Fate::Kept,
        }
    }

    /// Whether more than `part` times as much is held as needed. Not while the writer holds the buffer: it asks for
    /// frame boundaries in it.
    #[inline]
    pub fn is_sparse(&self, part: usize) -> bool {
        let needed = self.live_bytes + self.live as usize * size_of::<Entry>();
        needed * part < self.buffers() && self.next == self.entries.len() && Arc::strong_count(&self.bytes) == 1
    }

    /// Copy what is needed into buffers of just that size.
    pub fn compact(&mut self, ids: &mut Ids) {
        let mut bytes = Vec::with_capacity(self.live_bytes);
        let mut entries = Vec::with_capacity(self.live as usize);
        for entry in self.entries.iter().filter(|entry| !entry.dead || entry.packet_id != 0) {
            if let Some(owner) = ids.owner(entry.packet_id) {
                owner.index = entries.len() as u32;
            }
            let offset = bytes.len() as u32;
            if !entry.dead {
                bytes.extend_from_slice(frame(&self.bytes, entry));
            }
            entries.push(Entry { offset, len: bytes.len() as u32 - offset, ..*entry });
        }
        self.next = entries.len();
        let compact = Self { bytes: Arc::new(bytes), entries, ..*self };
        std::mem::replace(self, compact).recycle();
    }

    /// Still in the writer's hands the buffer is freed there.
    pub fn recycle(self) {
        if let Ok(bytes) = Arc::try_unwrap(self.bytes) {
            pool_give(bytes, self.entries);
        }
    }
}
