//! A run of finished frames in one buffer, with an index, and the pool that such buffers come from.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::batch::Open;
use crate::sync::Mutex;
use crate::{packet, prefetch};

/// Frames above this start a buffer of their own; buffers of this size stay in the processor's cache.
pub const SEGMENT_BYTES: usize = 256 * 1024;
/// A buffer begins small, so that an almost idle connector costs little, and doubles.
const FIRST_BYTES: usize = 4 * 1024;
const FIRST_ENTRIES: usize = 16;
/// What a segment costs beside its buffer and its index, roughly.
const OVERHEAD: usize = 160;
/// Spare buffers that the process keeps; more than this go back to the allocator.
const POOL_BUFFERS: usize = 8;

/// Where one frame lies, and what may be done with it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub offset: u32,
    pub len: u32,
    /// Milliseconds of `clock::now_ms`.
    pub born_ms: u32,
    /// Token of a caller who waits for the outcome; 0 for nobody.
    pub token: u32,
    /// Packet identifier while in flight; 0 before.
    pub packet_id: u16,
    /// Events of a batch; 0: it is none.
    pub batched: u32,
    /// Retained, confirmed or of high priority: not dropped to make room.
    pub protected: bool,
    /// Dropped, withdrawn or acknowledged; its bytes are only space. With an identifier still: PUBREC came, and
    /// PUBCOMP is awaited.
    pub dead: bool,
}

impl Entry {
    /// How many events it stands for.
    #[inline]
    pub fn events(&self) -> usize {
        self.batched.max(1) as usize
    }
}

/// A message that the broker does not take.
#[derive(Debug)]
pub struct Rejected {
    pub topic: String,
    pub payload_bytes: usize,
    pub born_ms: u32,
    pub token: u32,
    pub events: usize,
}

impl Rejected {
    pub fn new(entry: &Entry, bytes: &[u8]) -> Self {
        let frame = frame(bytes, entry);
        Self {
            topic: String::from_utf8_lossy(packet::topic_of(frame)).into_owned(),
            payload_bytes: packet::payload_of(frame).len(),
            born_ms: entry.born_ms,
            token: entry.token,
            events: entry.events(),
        }
    }
}

#[derive(Debug, Default)]
pub struct Segment {
    /// Segments are numbered in the order of acceptance, over both lanes.
    pub number: u64,
    pub bytes: Vec<u8>,
    pub entries: Vec<Entry>,
    /// Entries that are alive.
    pub live: u32,
    /// Their events, and those of an open batch.
    pub events: u32,
    /// Of the entries alive, how many are protected.
    pub protected: u32,
    /// No droppable entry lies before this one.
    cursor: usize,
    /// Nothing more is appended: a flush counts it, or it goes to be written.
    pub sealed: bool,
    pub open: Option<Open>,
    /// What it may grow to, in bytes.
    pub limit: usize,
}

impl Segment {
    /// `room`: bytes that may still be allocated; a spare buffer that is larger stays in the pool.
    pub fn new(number: u64, frame_len: usize, room: usize) -> Self {
        let (bytes, entries) = pool_take(frame_len, room);
        Self { number, bytes, entries, limit: SEGMENT_BYTES, ..Self::default() }
    }

    /// Whether one more frame goes into this segment at all.
    #[inline(always)]
    pub fn has_room(&self, frame_len: usize) -> bool {
        !self.sealed && (self.bytes.len() + frame_len <= self.limit)
    }

    /// Memory that this segment occupies, in bytes.
    #[inline(always)]
    pub fn allocated(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>() + OVERHEAD
    }

    /// Memory that appending a frame would add, in bytes.
    #[inline(always)]
    pub fn growth(&self, frame_len: usize) -> usize {
        let wanted = self.bytes.len() + frame_len;
        let bytes = if wanted > self.bytes.capacity() {
            wanted.max(self.bytes.capacity() * 2).min(self.limit.max(wanted)) - self.bytes.capacity()
        } else {
            0
        };
        let index = if self.entries.len() == self.entries.capacity() {
            self.entries.capacity().max(4) * size_of::<Entry>()
        } else {
            0
        };
        bytes + index
    }

    /// What a new segment for such a frame would occupy, in bytes.
    pub fn first_cost(frame_len: usize) -> usize {
        FIRST_BYTES.max(frame_len) + FIRST_ENTRIES * size_of::<Entry>() + OVERHEAD
    }

    /// Reserve as `growth` said, so that capacity never overshoots what was checked.
    #[inline(always)]
    pub fn reserve(&mut self, frame_len: usize) {
        let wanted = self.bytes.len() + frame_len;
        if wanted > self.bytes.capacity() {
            let target = wanted.max(self.bytes.capacity() * 2).min(self.limit.max(wanted));
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(self.entries.capacity().max(4));
        }
    }

    #[inline(always)]
    pub fn push_entry(&mut self, entry: Entry) {
        self.live += 1;
        self.events += entry.events() as u32;
        self.protected += u32::from(entry.protected);
        self.entries.push(entry);
        // The next frame is most often about as long. Who wrote this buffer out read it on another processor, and
        // fetching it from there as late as when it is written would hold up the release of the lock.
        prefetch::for_write(self.bytes.as_ptr_range().end, entry.len as usize);
    }

    pub fn droppable(&self) -> bool {
        self.live > self.protected
    }

    /// Give up the oldest entry that may be dropped, and show it to `lost`; returns its events, 0 where there is none.
    pub fn drop_oldest(&mut self, lost: &mut impl FnMut(&Entry, &[u8])) -> usize {
        while let Some(entry) = self.entries.get_mut(self.cursor) {
            self.cursor += 1;
            if !entry.dead && !entry.protected {
                entry.dead = true;
                self.live -= 1;
                self.events -= entry.events() as u32;
                lost(entry, frame(&self.bytes, entry));
                return entry.events();
            }
        }
        0
    }

    pub fn protect(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        self.protected += u32::from(!entry.protected);
        entry.protected = true;
    }

    pub fn kill(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        debug_assert!(!entry.dead);
        entry.dead = true;
        self.live -= 1;
        self.events -= entry.events() as u32;
        self.protected -= u32::from(entry.protected);
    }

    pub fn has_dead(&self) -> bool {
        self.live as usize != self.entries.len()
    }

    /// Copy what is alive into buffers of just that size; the old ones go back to the pool.
    pub fn compact(&mut self) {
        let alive = || self.entries.iter().filter(|entry| !entry.dead);
        let mut bytes = Vec::with_capacity(alive().map(|entry| entry.len as usize).sum::<usize>() + self.open_len());
        // The open batch will have an entry too.
        let mut entries = Vec::with_capacity(self.live as usize + usize::from(self.open.is_some()));
        for entry in alive() {
            let offset = bytes.len();
            bytes.extend_from_slice(frame(&self.bytes, entry));
            entries.push(Entry { offset: offset as u32, ..*entry });
        }
        self.open = self.move_open(&mut bytes);
        let old = std::mem::replace(&mut self.bytes, bytes);
        let index = std::mem::replace(&mut self.entries, entries);
        self.cursor = 0;
        self.sealed = self.open.is_none();
        pool_give(old, index);
    }

    /// The first frame boundary at or after `position`.
    pub fn boundary(&self, position: usize) -> usize {
        boundary(&self.entries, position)
    }

    pub fn recycle(self) {
        pool_give(self.bytes, self.entries);
    }
}

pub fn frame<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    &bytes[entry.offset as usize..(entry.offset + entry.len) as usize]
}

pub fn boundary(entries: &[Entry], position: usize) -> usize {
    let next = entries.partition_point(|entry| (entry.offset as usize) < position);
    match entries.get(next) {
        Some(entry) => entry.offset as usize,
        None => entries.last().map_or(0, |entry| (entry.offset + entry.len) as usize),
    }
}

type Buffers = (Vec<u8>, Vec<Entry>);
static POOL: Mutex<Vec<Buffers>> = Mutex::new(Vec::new());
/// Bytes allocated by all outboxes of the process.
static USED: AtomicUsize = AtomicUsize::new(0);
/// What all outboxes of a process may allocate together, in bytes.
pub const PROCESS_BYTES: usize = 256 * 1024 * 1024;

// `try_lock`: after a fork the lock may be held by a thread that does not exist in the child.
fn pool_take(frame_len: usize, room: usize) -> Buffers {
    let fits = |(bytes, entries): &mut Buffers| {
        frame_len <= bytes.capacity() && bytes.capacity() + entries.capacity() * size_of::<Entry>() + OVERHEAD <= room
    };
    if let Some(buffers) = POOL.try_lock().and_then(|mut pool| pool.pop_if(fits)) {
        return buffers;
    }
    (Vec::with_capacity(FIRST_BYTES.max(frame_len)), Vec::with_capacity(FIRST_ENTRIES))
}

/// Keep a buffer for the next segment of any connector, if it is of use.
pub fn pool_give(mut bytes: Vec<u8>, mut entries: Vec<Entry>) {
    // Only grown buffers are worth keeping; giants are not.
    if (SEGMENT_BYTES / 2..=SEGMENT_BYTES).contains(&bytes.capacity())
        && let Some(mut pool) = POOL.try_lock()
        && pool.len() < POOL_BUFFERS
    {
        bytes.clear();
        entries.clear();
        pool.push((bytes, entries));
    }
}

pub fn process_used() -> usize {
    USED.load(Ordering::Relaxed)
}

pub fn process_add(bytes: usize) {
    USED.fetch_add(bytes, Ordering::Relaxed);
}

pub fn process_remove(bytes: usize) {
    USED.fetch_sub(bytes, Ordering::Relaxed);
}

/// A forked child owes nothing for what the parent's connectors hold.
pub fn forget_process_account() {
    USED.store(0, Ordering::Relaxed);
}
