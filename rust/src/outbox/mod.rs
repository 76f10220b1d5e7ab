//! The bounded outbound queue of one connector: two lanes, caps, what is dropped, and an account of
//! every event. No I/O, no thread, no clock: the handle appends under a lock, the driver takes.

mod counters;
mod lane;
mod segment;
mod sent;

pub use counters::{Counters, DropReason, Rejection};
pub use lane::Pending;
pub use segment::{Segment, forget_process_account};
pub use sent::{MAX_PUBLISH_ID, Span};

use std::collections::HashMap;

use crate::packet;
use lane::Lane;
use segment::{Entry, PROCESS_BYTES};
use sent::InFlight;

/// A busy writer is woken, or a lingering one ends its wait, when a lane holds this much.
const TAKE_BYTES: usize = 96 * 1024;
/// Stands for the segment of a tracked message that a lost connection carried.
const SENT: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    DropOldest,
    DropNewest,
    Wait,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub queued_bytes: usize,
    pub queued_events: Option<usize>,
    pub in_flight: usize,
    pub on_full: OnFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    NotConnected,
    Open,
    Closed,
}

/// When a producer wakes the writer, for each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The writer looks by itself.
    Off,
    /// At the first event: the writer sleeps.
    Any,
    /// When a lane is worth a write: the writer lingers.
    Full,
}

/// A message on its way in; the topic is valid.
pub struct Message<'a> {
    pub topic: &'a [u8],
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
    pub priority: bool,
}

/// How a tracked message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged(u32),
    GivenUp(u32, DropReason),
    Space,
}

pub struct Outbox {
    limits: Limits,
    intake: Intake,
    alarms: [Alarm; 2],
    lanes: [Lane; 2],
    in_flight: InFlight,
    /// The QoS 0 segment in the writer's hands: number, events, bytes allocated, oldest event.
    hand: Option<(u64, usize, usize, u32)>,
    next_number: u64,
    next_token: u32,
    /// Which segment each tracked message lies in.
    tracked: HashMap<u32, u64>,
    outcomes: Vec<Outcome>,
    space_wanted: bool,
    counters: Counters,
    /// What this outbox has added to the process's account.
    reported: usize,
}

impl Outbox {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            intake: Intake::NotConnected,
            alarms: [Alarm::Off; 2],
            lanes: [Lane::default(), Lane::default()],
            in_flight: InFlight::default(),
            hand: None,
            next_number: 0,
            next_token: 0,
            tracked: HashMap::new(),
            outcomes: Vec::new(),
            space_wanted: false,
            counters: Counters::default(),
            reported: 0,
        }
    }

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
        match self.intake {
            Intake::Open => {}
            Intake::NotConnected => return Err(self.reject(Rejection::NotConnected)),
            Intake::Closed => return Err(self.reject(Rejection::Closed)),
        }
        let Some(size) = packet::publish_size(message.topic.len(), message.payload.len(), message.qos) else {
            return Err(self.reject(Rejection::TooLarge));
        };
        let protected = message.retain || message.priority || track;
        if Segment::first_cost(size) > share(self.limits.queued_bytes, protected) {
            // An empty queue could not hold it: waiting for room would be waiting for ever.
            return Err(self.reject(Rejection::TooLarge));
        }
        let which = usize::from(message.qos > 0);
        let Some(room) = self.admit(which, size, protected) else {
            return Err(self.reject(Rejection::QueueFull));
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

    fn new_token(&mut self) -> u32 {
        loop {
            self.next_token = self.next_token.wrapping_add(1);
            if self.next_token != 0 && !self.tracked.contains_key(&self.next_token) {
                return self.next_token;
            }
        }
    }

    fn wakes(&mut self, which: usize) -> bool {
        let wake = match self.alarms[which] {
            Alarm::Off => false,
            Alarm::Any => true,
            Alarm::Full => self.lanes[which].bytes() >= TAKE_BYTES,
        };
        if wake {
            self.alarms = [Alarm::Off; 2];
        }
        wake
    }

    /// Find room for a frame, dropping as the policy allows: the bytes that may be allocated, 0 where none need be;
    /// None to refuse it.
    fn admit(&mut self, which: usize, size: usize, protected: bool) -> Option<usize> {
        loop {
            if let Some(room) = self.room(which, size, protected) {
                return Some(room);
            }
            let may_drop = self.limits.on_full == OnFull::DropOldest && self.could_fit(size, protected);
            if !may_drop || !self.drop_oldest() {
                self.space_wanted = self.limits.on_full == OnFull::Wait;
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
    fn room(&self, which: usize, size: usize, protected: bool) -> Option<usize> {
        if let Some(cap) = self.limits.queued_events
            && self.queued_events() >= share(cap, protected).max(1)
        {
            return None;
        }
        let lane = &self.lanes[which];
        if lane.growth(size, 0) == 0 {
            return Some(0);
        }
        let allocated = self.allocated();
        let process = (segment::process_used() + allocated).saturating_sub(self.reported);
        let room = share(self.limits.queued_bytes, protected).saturating_sub(allocated);
        let room = room.min(share(PROCESS_BYTES, protected).saturating_sub(process));
        (lane.growth(size, room) <= room).then_some(room)
    }

    fn drop_oldest(&mut self) -> bool {
        let dropped = self.lanes.iter_mut().any(Lane::drop_oldest);
        if dropped {
            self.counters.drop_events(DropReason::QueueFull, 1);
        }
        dropped
    }

    /// Take the next QoS 0 segment to write; it comes back through `written` or `give_back`.
    pub fn take_telemetry(&mut self) -> Option<Segment> {
        debug_assert!(self.hand.is_none());
        let mut segment = self.lanes[0].pop()?;
        if segment.has_dead() {
            segment.compact();
        }
        let oldest = segment.entries.first().map_or(0, |entry| entry.born_ms);
        self.hand = Some((segment.number, segment.live as usize, segment.allocated(), oldest));
        Some(segment)
    }

    /// The whole segment is with the operating system.
    pub fn written(&mut self, segment: Segment) {
        self.hand = None;
        self.counters.written += u64::from(segment.live);
        segment.recycle();
        self.settle();
    }

    /// The connection broke; frames that end at or before `position` were written.
    pub fn give_back(&mut self, mut segment: Segment, position: usize) {
        self.hand = None;
        let done = segment.entries.partition_point(|entry| (entry.offset + entry.len) as usize <= position);
        for index in 0..done {
            segment.kill(index);
        }
        self.counters.written += done as u64;
        if segment.live > 0 {
            // A mark may have been set meanwhile: nothing newer joins it.
            segment.sealed = true;
            self.lanes[0].push_front(segment);
        }
        self.settle();
    }

    /// The next QoS 1 frames to write; they come back through `retain`.
    pub fn take_acknowledged(&mut self) -> Option<Span> {
        loop {
            if self.in_flight.unfinished() {
                return self.in_flight.next_span(self.window());
            }
            if self.window_full() {
                return None;
            }
            let mut segment = self.lanes[1].pop()?;
            if segment.has_dead() {
                segment.compact();
            }
            self.in_flight.begin(segment);
        }
    }

    pub fn retain(&mut self, span: Span) {
        self.in_flight.retain(span);
        self.settle();
    }

    pub fn boundary(&self, span: &Span, position: usize) -> usize {
        self.in_flight.boundary(span, position)
    }

    /// A PUBACK; false where nothing in flight has this identifier.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        let Some(done) = self.in_flight.acknowledge(packet_id) else {
            return false;
        };
        self.counters.acknowledged += 1;
        if done.token != 0 {
            self.tracked.remove(&done.token);
            self.outcomes.push(Outcome::Acknowledged(done.token));
        }
        true
    }

    /// After a batch of acknowledgements, or a write: report memory, and room to who waits for it.
    pub fn settle(&mut self) {
        self.report();
        if self.space_wanted && [0, 1].into_iter().all(|which| self.room(which, 1, false).is_some()) {
            self.space_wanted = false;
            self.outcomes.push(Outcome::Space);
        }
    }

    /// Tell the process's account what is allocated here.
    fn report(&mut self) {
        let now = self.allocated();
        if now >= self.reported {
            segment::process_add(now - self.reported);
        } else {
            segment::process_remove(self.reported - now);
        }
        self.reported = now;
    }

    /// A connection is made: what is unacknowledged goes first.
    pub fn connected(&mut self, session_present: bool) {
        for token in self.in_flight.replay(session_present) {
            // It may have arrived, so it is not taken back, though it waits to be sent again.
            self.tracked.insert(token, SENT);
        }
    }

    /// Take a tracked message back while it has not been sent.
    pub fn withdraw(&mut self, token: u32) -> bool {
        let Some(&number) = self.tracked.get(&token) else {
            return false;
        };
        let withdrawn = self.lanes[1].withdraw(number, token) || self.in_flight.withdraw(number, token);
        if withdrawn {
            self.tracked.remove(&token);
            self.counters.drop_events(DropReason::Expired, 1);
            self.settle();
        }
        withdrawn
    }

    /// Give up everything that is still here.
    pub fn discard(&mut self, reason: DropReason) {
        debug_assert!(self.hand.is_none());
        let (tokens, frames) = self.in_flight.clear();
        let mut lost = frames;
        self.outcomes.extend(tokens.into_iter().map(|token| Outcome::GivenUp(token, reason)));
        for lane in &mut self.lanes {
            while let Some(segment) = lane.pop() {
                lost += segment.live as usize;
                let tokens = segment.entries.iter().filter(|e| !e.dead && e.token != 0);
                self.outcomes.extend(tokens.map(|entry| Outcome::GivenUp(entry.token, reason)));
            }
        }
        self.tracked.clear();
        self.counters.drop_events(reason, lost);
        self.settle();
    }

    /// Begin to watch what is accepted so far; `left` of the mark tells how much of it remains.
    pub fn mark(&mut self) -> u64 {
        for lane in &mut self.lanes {
            lane.seal();
        }
        self.next_number
    }

    pub fn left(&self, mark: u64) -> usize {
        let hand = self.hand.filter(|hand| hand.0 < mark).map_or(0, |hand| hand.1);
        let lanes: usize = self.lanes.iter().map(|lane| lane.left(mark)).sum();
        hand + lanes + self.in_flight.left(mark)
    }

    /// Whether anything accepted before the mark remains; cheaper than `left`.
    pub fn reached(&self, mark: u64) -> bool {
        let oldest = [
            self.hand.map(|hand| hand.0),
            self.lanes[0].oldest_number(),
            self.lanes[1].oldest_number(),
            self.in_flight.oldest_number(),
        ];
        oldest.into_iter().flatten().min().is_none_or(|number| number >= mark)
    }

    /// What there is to write now. Unless it is worth a write, producers wake the writer from here
    /// on: at their first event when it has nothing, when a lane is full enough when it lingers.
    pub fn pending(&mut self) -> Pending {
        let blocked = self.window_full();
        let telemetry = self.lanes[0].pending(TAKE_BYTES);
        let tracked = match blocked {
            true => Pending::Nothing,
            false if self.in_flight.unfinished() => Pending::Worth,
            false => self.lanes[1].pending(TAKE_BYTES),
        };
        let pending = telemetry.max(tracked);
        let alarm = match pending {
            Pending::Nothing => Alarm::Any,
            Pending::Little => Alarm::Full,
            Pending::Worth => Alarm::Off,
        };
        // With the window full, an acknowledgement ends the wait, not a producer.
        self.alarms = [alarm, if blocked { Alarm::Off } else { alarm }];
        pending
    }

    /// Nobody writes: there is no connection.
    pub fn disarm(&mut self) {
        self.alarms = [Alarm::Off; 2];
    }

    fn window(&self) -> usize {
        self.limits.in_flight.min(usize::from(MAX_PUBLISH_ID))
    }

    fn window_full(&self) -> bool {
        if self.in_flight.unfinished() {
            return self.in_flight.blocked(self.window());
        }
        self.in_flight.count() >= self.window() || self.in_flight.allocated() >= self.limits.queued_bytes / 2
    }

    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    pub fn is_empty(&self) -> bool {
        self.queued_events() == 0 && self.in_flight.count() == 0
    }

    pub fn queued_events(&self) -> usize {
        let hand = self.hand.map_or(0, |hand| hand.1);
        hand + self.lanes.iter().map(Lane::live).sum::<usize>() + self.in_flight.waiting()
    }

    pub fn in_flight_events(&self) -> usize {
        self.in_flight.count()
    }

    /// Memory held for events, in bytes.
    pub fn allocated(&self) -> usize {
        let hand = self.hand.map_or(0, |hand| hand.2);
        hand + self.lanes.iter().map(Lane::allocated).sum::<usize>() + self.in_flight.allocated()
    }

    /// When the oldest event that waits to be sent was accepted, in milliseconds of the clock.
    pub fn oldest_waiting_ms(&self) -> Option<u32> {
        let hand = self.hand.map(|hand| hand.3);
        let lanes = self.lanes.iter().filter_map(Lane::oldest_ms);
        lanes.chain(hand).chain(self.in_flight.oldest_waiting_ms()).min()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The last twentieth is for what matters most.
fn share(cap: usize, protected: bool) -> usize {
    if protected { cap } else { cap - cap / 20 }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        segment::process_remove(self.reported);
    }
}
