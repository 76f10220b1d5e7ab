//! The producers' side of an outbox: what is let in, and what is dropped to make room for it.
//!
//! There are two ways in, and what they share is inlined into both: left to the compiler, calls cost a message alone 2 %.

use super::batch;
use super::segment::{self, Entry, PROCESS_BYTES, SEGMENT_BYTES, Segment};
use super::{Alarm, Cause, DropReason, Intake, Lane, Message, OnFull, Outbox, Outcome, Pending, Rejection};
use crate::packet;

/// A busy writer is woken, or a lingering one ends its wait, when a lane holds this much. Each wake costs the publisher a
/// call to the kernel: three buffers of small messages.
pub const TAKE_BYTES: usize = 3 * SEGMENT_BYTES;
/// Of messages above 1 KiB, which cost more themselves, nearly one buffer: more would leave the processor's cache.
pub const TAKE_LARGE_BYTES: usize = SEGMENT_BYTES - SEGMENT_BYTES / 8;

impl Outbox {
    pub fn open(&mut self) {
        self.intake = Intake::Open;
    }

    pub fn close(&mut self) {
        if self.intake == Intake::Open {
            self.intake = Intake::Closed;
        }
    }

    /// Count a message that cannot even be offered.
    pub fn reject(&mut self, reason: Rejection) -> Rejection {
        self.counters.reject(reason)
    }

    /// Append one message. Returns its token (0 unless `track`) and whether to wake the writer.
    pub fn offer(&mut self, message: &Message<'_>, track: bool, born_ms: u32) -> Result<(u32, bool), Rejection> {
        self.check_open()?;
        let Some(size) = packet::publish_size(message.topic.len(), message.payload.len(), message.qos) else {
            return Err(self.reject(Rejection::TooLarge));
        };
        let protected = message.retain || message.priority || track;
        if Segment::first_cost(size) > share(self.limits.queued_bytes, protected) {
            // An empty queue could not hold it: waiting for room would be waiting for ever.
            return Err(self.reject(Rejection::TooLarge));
        }
        let which = usize::from(message.qos > 0);
        if self.limits.batch.is_some() {
            // Within a lane nothing is overtaken.
            self.lanes[which].close_batch();
        }
        let Some(room) = self.admit(which, size, protected) else {
            return Err(self.refuse(message, born_ms));
        };
        let token = if track { self.new_token() } else { 0 };
        let lane = &mut self.lanes[which];
        let segment = lane.tail_for(size, room, &mut self.next_number);
        let offset = segment.bytes.len() as u32;
        packet::publish(&mut segment.bytes, message.topic, message.payload, message.qos, message.retain);
        segment.push_entry(Entry {
            offset,
            len: segment.bytes.len() as u32 - offset,
            born_ms,
            token,
            packet_id: 0,
            batched: 0,
            protected,
            dead: false,
        });
        if token != 0 {
            let number = segment.number;
            self.tracked.insert(token, number);
        }
        if room > 0 {
            self.report();
        }
        self.counters.submitted += 1;
        self.counters.accepted += 1;
        Ok((token, self.wakes(which)))
    }

    /// Append one event, to a batch where there are batches. It is not retained, and nobody waits for it.
    #[inline(never)]
    pub fn offer_event(&mut self, event: &Message<'_>, born_ms: u32) -> Result<(u32, bool), Rejection> {
        let (topic, len) = (event.topic, event.payload.len());
        let Some(batching) = self.limits.batch.filter(|batching| batching.takes(topic, len)) else {
            return self.offer(event, false, born_ms);
        };
        self.check_open()?;
        let whole = batch::frame_len(topic.len(), len + 2);
        if Segment::first_cost(whole) > share(self.limits.queued_bytes, false) {
            return Err(self.reject(Rejection::TooLarge));
        }
        let which = usize::from(event.qos > 0);
        if !self.lanes[which].continues(topic, event.qos, len, batching.bytes) {
            let full = self.lanes[which].continues(topic, event.qos, 0, usize::MAX);
            self.close_batch(which, full);
        }
        let (size, room, begins) = loop {
            let adds = self.lanes[which].open().is_some();
            if !adds {
                self.lanes[which].make_way(batch::frame_len(topic.len(), batching.most(len)));
            }
            let size = if adds { len + 1 } else { whole };
            let Some(room) = self.admit(which, size, false) else {
                return Err(self.refuse(event, born_ms));
            };
            // The batch may have given way, or may be unable to grow: then a new one begins.
            match self.lanes[which].open().is_some() {
                open if open != adds => {}
                true if !self.lanes[which].takes_more(size, room) => drop(self.lanes[which].close_batch()),
                open => break (size, room, !open),
            }
        };
        let full = self.lanes[which].add(event, &batching, size, room, &mut self.next_number, born_ms);
        if full {
            self.close_batch(which, true);
        }
        if room > 0 {
            self.report();
        }
        self.counters.submitted += 1;
        self.counters.accepted += 1;
        Ok((0, (begins || full) && self.wakes(which)))
    }

    /// Where the writer has time a full batch is worth a write, and any batch where it has nothing else.
    fn close_batch(&mut self, which: usize, full: bool) {
        let lane = &mut self.lanes[which];
        let waited_for = match self.alarms[which] {
            Alarm::Off => false,
            Alarm::Any => true,
            Alarm::Full => full,
        };
        match waited_for && lane.open().is_some() {
            true => lane.seal(),
            false => drop(lane.close_batch()),
        }
    }

    #[inline(always)]
    fn check_open(&mut self) -> Result<(), Rejection> {
        match self.intake {
            Intake::Open => Ok(()),
            Intake::NotConnected => Err(self.reject(Rejection::NotConnected)),
            Intake::Closed => Err(self.reject(Rejection::Closed)),
        }
    }

    /// There is no room.
    #[cold]
    fn refuse(&mut self, message: &Message<'_>, born_ms: u32) -> Rejection {
        if self.limits.on_full != OnFull::Wait {
            // Who waits for room tries again.
            self.losses.note(message.topic, Cause::QueueFull, born_ms, 1);
        }
        self.reject(Rejection::QueueFull)
    }

    fn new_token(&mut self) -> u32 {
        loop {
            self.next_token = self.next_token.wrapping_add(1);
            if self.next_token != 0 && !self.tracked.contains_key(&self.next_token) {
                return self.next_token;
            }
        }
    }

    #[inline(always)]
    fn wakes(&mut self, which: usize) -> bool {
        let wake = match self.alarms[which] {
            Alarm::Off => false,
            Alarm::Any => true,
            Alarm::Full => self.pending_in(which) == Pending::Worth,
        };
        if wake {
            self.alarms = [Alarm::Off; 2];
        }
        wake
    }

    /// Find room for a frame, dropping as the policy allows: the bytes that may be allocated, 0 where none need be;
    /// None to refuse it.
    #[inline]
    fn admit(&mut self, which: usize, size: usize, protected: bool) -> Option<usize> {
        if self.limits.queued_events.is_none() && self.lanes[which].growth(size, 0) == 0 {
            return Some(0);
        }
        self.make_room(which, size, protected)
    }

    fn make_room(&mut self, which: usize, size: usize, protected: bool) -> Option<usize> {
        loop {
            if let Some(room) = self.room(which, size, protected) {
                return Some(room);
            }
            let may_drop = self.limits.on_full == OnFull::DropOldest && self.could_fit(size, protected);
            if !may_drop || !self.drop_oldest() {
                self.space_wanted = self.limits.on_full == OnFull::Wait;
                self.crowded_out = self.space_wanted && self.room_within(which, size, protected, usize::MAX).is_some();
                return None;
            }
        }
    }

    /// Whether there would be room if all that may be dropped were.
    fn could_fit(&self, size: usize, protected: bool) -> bool {
        let fixed = self.hand.map_or(0, |hand| hand.2) + self.in_flight.allocated();
        fixed + Segment::first_cost(size) <= share(self.limits.queued_bytes, protected)
    }

    /// Bytes that may be allocated for a frame; None where it does not fit.
    #[inline(always)]
    pub(super) fn room(&self, which: usize, size: usize, protected: bool) -> Option<usize> {
        self.room_within(which, size, protected, self.budget(protected))
    }

    /// What of the process's bytes is for this queue.
    #[inline(always)]
    pub(super) fn budget(&self, protected: bool) -> usize {
        let others = segment::process_used().saturating_sub(self.reported);
        share(PROCESS_BYTES, protected).saturating_sub(others)
    }

    /// Bytes that may still be allocated.
    #[inline(always)]
    pub(super) fn spare(&self, protected: bool, budget: usize) -> usize {
        share(self.limits.queued_bytes, protected).min(budget).saturating_sub(self.allocated())
    }

    /// The same where `budget` bytes are for this queue.
    #[inline(always)]
    fn room_within(&self, which: usize, size: usize, protected: bool, budget: usize) -> Option<usize> {
        if let Some(cap) = self.limits.queued_events
            && self.queued_events() >= share(cap, protected).max(1)
        {
            return None;
        }
        let lane = &self.lanes[which];
        if lane.growth(size, 0) == 0 {
            return Some(0);
        }
        let room = self.spare(protected, budget);
        (lane.growth(size, room) <= room).then_some(room)
    }

    #[inline(never)]
    fn drop_oldest(&mut self) -> bool {
        let losses = &mut self.losses;
        let mut note = |entry: &Entry, frame: &[u8]| {
            losses.note(packet::topic_of(frame), Cause::QueueFull, entry.born_ms, entry.events());
        };
        let mut oldest = |lane: &mut Lane| Some(lane.drop_oldest(&mut note)).filter(|events| *events > 0);
        let dropped = self.lanes.iter_mut().find_map(&mut oldest).or_else(|| {
            // Nothing else is left to give.
            self.lanes.iter_mut().find_map(|lane| lane.close_batch().then(|| oldest(lane)).flatten())
        });
        if let Some(events) = dropped {
            if self.dropping_since.is_none() {
                self.dropping_since = Some(self.counters.dropped_for(DropReason::QueueFull));
                self.outcomes.push(Outcome::DroppingBegan);
            }
            self.counters.drop_events(DropReason::QueueFull, events);
        }
        dropped.is_some()
    }
}

/// The last twentieth is for what matters most.
fn share(cap: usize, protected: bool) -> usize {
    if protected { cap } else { cap - cap / 20 }
}
