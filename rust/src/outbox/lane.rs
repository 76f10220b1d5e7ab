//! One lane: segments in order of acceptance, the last one being filled.

use std::collections::VecDeque;

use super::Message;
use super::batch::{Batching, Open};
use super::segment::{Entry, Rejected, SEGMENT_BYTES, Segment, frame};
use crate::packet;

/// How much there is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pending {
    Nothing,
    /// Worth waiting a moment for more.
    Little,
    Worth,
}

#[derive(Debug, Default)]
pub struct Lane {
    segments: VecDeque<Segment>,
    allocated: usize,
    bytes: usize,
    /// Events that are alive.
    live: usize,
    /// Segments before this one hold nothing that may be dropped.
    first_droppable: usize,
}

impl Lane {
    /// Memory that a frame of this size would add, in bytes, where `room` is left.
    #[inline(always)]
    pub fn growth(&self, frame_len: usize, room: usize) -> usize {
        if self.takes_more(frame_len, room) {
            self.segments.back().map_or(0, |tail| tail.growth(frame_len))
        } else {
            Segment::first_cost(frame_len)
        }
    }

    /// Whether a frame goes to the tail. One that cannot double is left as it is: a small segment behind it takes
    /// less, so that the last of the room is of use.
    #[inline(always)]
    pub fn takes_more(&self, frame_len: usize, room: usize) -> bool {
        self.segments.back().is_some_and(|tail| tail.has_room(frame_len) && tail.growth(frame_len) <= room)
    }

    /// The segment to append a frame to, or an event to its open batch; the caller appends exactly that. `room`: what may
    /// be allocated for it, as it was found; 0, nothing need be.
    #[inline(always)]
    pub fn tail_for(&mut self, frame_len: usize, room: usize, next_number: &mut u64) -> &mut Segment {
        if room > 0 {
            self.enlarge(frame_len, room, next_number);
        }
        // It may have been passed over when all it held was protected.
        self.first_droppable = self.first_droppable.min(self.segments.len() - 1);
        self.bytes += frame_len;
        self.live += 1;
        self.segments.back_mut().expect("there is one where nothing need be allocated")
    }

    #[inline(never)]
    fn enlarge(&mut self, frame_len: usize, room: usize, next_number: &mut u64) {
        if !self.takes_more(frame_len, room) {
            let segment = Segment::new(*next_number, frame_len, room);
            *next_number += 1;
            self.allocated += segment.allocated();
            self.segments.push_back(segment);
        }
        let tail = self.segments.back_mut().expect("pushed above");
        if tail.growth(frame_len) > 0 {
            let before = tail.allocated();
            tail.reserve(frame_len);
            self.allocated += tail.allocated() - before;
        }
    }

    /// The oldest segment. An open batch at its end goes on in one of its own where that fits in `room`.
    pub fn pop(&mut self, room: usize, next_number: &mut u64) -> Option<Segment> {
        if self.segments.front()?.live == 0 {
            return None;
        }
        let mut segment = self.segments.pop_front()?;
        self.first_droppable = self.first_droppable.saturating_sub(1);
        self.forget(&segment);
        let open_len = segment.open_len();
        if open_len > 0 && Segment::first_cost(open_len) <= room {
            let mut rest = Segment::new(*next_number, open_len, room);
            *next_number += 1;
            rest.take_open(&mut segment);
            self.remember(&rest);
            self.segments.push_back(rest);
        } else {
            segment.close_batch();
        }
        Some(segment)
    }

    fn remember(&mut self, segment: &Segment) {
        self.allocated += segment.allocated();
        self.bytes += segment.bytes.len();
        self.live += segment.events as usize;
    }

    pub fn push_front(&mut self, segment: Segment) {
        self.remember(&segment);
        self.first_droppable = 0;
        self.segments.push_front(segment);
    }

    fn forget(&mut self, segment: &Segment) {
        self.allocated -= segment.allocated();
        self.bytes -= segment.bytes.len();
        self.live -= segment.events as usize;
    }

    /// Drop the oldest message that may be, not the open batch; returns its events, 0 where there is none. A segment of
    /// which nothing, or only the protected part, is left gives its memory back at once. `lost` sees what is dropped.
    pub fn drop_oldest(&mut self, lost: &mut impl FnMut(&Entry, &[u8])) -> usize {
        while let Some(segment) = self.segments.get_mut(self.first_droppable) {
            if !segment.droppable() {
                self.first_droppable += 1;
                continue;
            }
            let dropped = segment.drop_oldest(lost);
            debug_assert!(dropped > 0);
            self.live -= dropped;
            if !segment.droppable() {
                self.tidy(self.first_droppable);
            }
            return dropped;
        }
        0
    }

    fn tidy(&mut self, place: usize) {
        let segment = &mut self.segments[place];
        if segment.events == 0 {
            let segment = self.segments.remove(place).expect("indexed above");
            self.forget(&segment);
            segment.recycle();
            return;
        }
        let (allocated, bytes) = (segment.allocated(), segment.bytes.len());
        segment.compact();
        self.allocated = self.allocated - allocated + segment.allocated();
        self.bytes = self.bytes - bytes + segment.bytes.len();
    }

    pub fn withdraw(&mut self, number: u64, token: u32) -> bool {
        let Ok(place) = self.segments.binary_search_by_key(&number, |segment| segment.number) else {
            return false;
        };
        let segment = &mut self.segments[place];
        let Some(index) = segment.entries.iter().position(|e| e.token == token && !e.dead) else {
            return false;
        };
        segment.kill(index);
        self.live -= 1;
        if segment.live == 0 {
            self.tidy(place);
            self.first_droppable = self.first_droppable.min(place);
        }
        true
    }

    /// Give up the first message, if it lies in this segment.
    pub fn reject_first(&mut self, number: u64) -> Option<Rejected> {
        let segment = self.segments.front_mut().filter(|segment| segment.number == number)?;
        let index = segment.entries.iter().position(|entry| !entry.dead)?;
        let rejected = Rejected::new(&segment.entries[index], &segment.bytes);
        segment.kill(index);
        self.live -= rejected.events;
        if segment.live == 0 {
            self.tidy(0);
            self.first_droppable = self.first_droppable.saturating_sub(1);
        }
        Some(rejected)
    }

    /// The batch that is being filled.
    pub fn open(&mut self) -> Option<&mut Open> {
        self.segments.back_mut()?.open.as_mut()
    }

    /// Whether the open batch takes one more event.
    pub fn continues(&self, topic: &[u8], qos: u8, event_len: usize, most: usize) -> bool {
        self.segments.back().is_some_and(|tail| tail.continues(topic, qos, event_len, most))
    }

    /// A batch whose frame may grow to so many bytes begins in a segment that has room for all of it.
    pub fn make_way(&mut self, frame_len: usize) {
        if let Some(tail) = self.segments.back_mut()
            && tail.bytes.len() + frame_len > SEGMENT_BYTES
        {
            tail.sealed = true;
        }
    }

    /// Add an event to the open batch, or begin one, in at most `size` bytes; returns whether it is full then.
    pub fn add(
        &mut self,
        event: &Message<'_>,
        batching: &Batching,
        size: usize,
        room: usize,
        next_number: &mut u64,
        born_ms: u32,
    ) -> bool {
        let begins = self.open().is_none();
        let tail = self.tail_for(size, room, next_number);
        let before = tail.bytes.len();
        if begins {
            tail.begin_batch(event.topic, event.qos, batching.most(event.payload.len()), born_ms);
        }
        let full = tail.add_to_batch(event.payload, batching);
        let spare = size - (tail.bytes.len() - before);
        self.bytes -= spare;
        full
    }

    /// False where none is open.
    pub fn close_batch(&mut self) -> bool {
        let Some(tail) = self.segments.back_mut() else { return false };
        let (bytes, allocated) = (tail.bytes.len(), tail.allocated());
        if !tail.close_batch() {
            return false;
        }
        self.bytes -= bytes - tail.bytes.len();
        self.allocated += tail.allocated() - allocated;
        self.first_droppable = self.first_droppable.min(self.segments.len() - 1);
        true
    }

    /// Nothing more joins what is here, and none of it waits for more.
    pub fn seal(&mut self) {
        self.close_batch();
        self.segments.iter_mut().for_each(|segment| segment.sealed = true);
    }

    pub fn pending(&self, worth_bytes: usize) -> Pending {
        match self.segments.front() {
            None => Pending::Nothing,
            Some(front) if front.live == 0 => Pending::Nothing,
            Some(front) if front.sealed || self.is_worth(worth_bytes) => Pending::Worth,
            Some(_) => Pending::Little,
        }
    }

    /// What an event takes here, 0 where there is none.
    pub fn mean_bytes(&self) -> usize {
        self.bytes.checked_div(self.live).unwrap_or(0)
    }

    /// Whether there is so much beside the open batch.
    pub fn is_worth(&self, bytes: usize) -> bool {
        self.bytes >= bytes && self.bytes - self.segments.back().map_or(0, Segment::open_len) >= bytes
    }

    pub fn left(&self, mark: u64) -> usize {
        self.segments.iter().take_while(|s| s.number < mark).map(|s| s.events as usize).sum()
    }

    pub fn oldest_number(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.number)
    }

    fn oldest(&self) -> Option<(&Segment, &Entry)> {
        let front = self.segments.front()?;
        Some((front, front.entries.iter().find(|entry| !entry.dead)?))
    }

    pub fn oldest_ms(&self) -> Option<u32> {
        let open = || self.segments.front()?.open.map(|open| open.born_ms);
        self.oldest().map(|(_, entry)| entry.born_ms).or_else(open)
    }

    /// Whether the first message is of QoS 2.
    pub fn begins_exactly_once(&self) -> bool {
        self.oldest().is_some_and(|(segment, entry)| packet::qos(frame(&segment.bytes, entry)) == 2)
    }

    pub fn live(&self) -> usize {
        self.live
    }

    pub fn allocated(&self) -> usize {
        self.allocated
    }
}
