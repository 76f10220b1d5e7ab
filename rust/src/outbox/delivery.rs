//! The writer's side of an outbox: what is taken, what comes back, and how each event ends.

use super::in_flight::{Mismatch, Progress, Window};
use super::intake::{TAKE_BYTES, TAKE_LARGE_BYTES};
use super::segment;
use super::{Ack, Alarm, DropReason, Outbox, Outcome, Pending, Segment, Span};

/// Frames that get their identifiers under one hold of the lock, so that no publisher waits long for it.
const LOCKED_FRAMES: usize = 64;

impl Outbox {
    /// Take the next QoS 0 segment to write; it comes back through `written` or `give_back`.
    pub fn take_telemetry(&mut self) -> Option<Segment> {
        debug_assert!(self.hand.is_none());
        if self.poison.is_probing() {
            return None;
        }
        self.take(0)
    }

    fn take(&mut self, which: usize) -> Option<Segment> {
        let room = self.spare(false, self.budget(false));
        let mut segment = self.lanes[which].pop(room, &mut self.next_number)?;
        if segment.has_dead() {
            segment.compact();
        }
        let oldest = segment.entries.first().map_or(0, |entry| entry.born_ms);
        self.hand = Some((segment.number, segment.events as usize, segment.allocated(), oldest));
        Some(segment)
    }

    /// The whole segment is with the operating system.
    pub fn written(&mut self, segment: Segment) {
        self.hand = None;
        self.counters.written += u64::from(segment.events);
        segment.recycle();
        self.settle();
    }

    /// The connection broke; frames that end at or before `position` were written.
    pub fn give_back(&mut self, mut segment: Segment, position: usize) {
        self.hand = None;
        let done = segment.entries.partition_point(|entry| (entry.offset + entry.len) as usize <= position);
        let before = segment.events;
        for index in 0..done {
            segment.kill(index);
        }
        self.counters.written += u64::from(before - segment.events);
        if segment.entries.get(done).is_some_and(|entry| (entry.offset as usize) < position) {
            // It keeps its place at the head of its lane.
            segment.protect(done);
            self.poison.torn(segment.number, done == 0);
        }
        if segment.live > 0 {
            // A mark may have been set meanwhile: nothing newer joins it.
            segment.sealed = true;
            self.lanes[0].push_front(segment);
        }
        self.settle();
    }

    /// The next frames of QoS 1 and 2 to write; they come back through `retain`.
    pub fn take_acknowledged(&mut self) -> Option<Span> {
        if self.poison.is_probing() {
            return self.may_probe().then(|| self.in_flight.next_span(self.window(), 1)).flatten();
        }
        loop {
            if self.in_flight.unfinished() {
                return self.in_flight.next_span(self.window(), LOCKED_FRAMES);
            }
            let segment = self.take_unsent()?;
            self.begin(segment);
        }
    }

    /// Let a span grow by the frames that follow it at once; false where it has ended.
    pub fn lengthen(&mut self, span: &mut Span) -> bool {
        !self.poison.is_probing() && self.in_flight.lengthen(span, self.window(), LOCKED_FRAMES)
    }

    /// The next segment of QoS 1 and 2 to send, where it is its turn; it comes back through `begin`.
    pub fn take_unsent(&mut self) -> Option<Segment> {
        if self.poison.is_probing() || self.in_flight.unfinished() || self.window_full() {
            return None;
        }
        self.take(1)
    }

    pub fn begin(&mut self, segment: Segment) {
        self.hand = None;
        self.in_flight.begin(segment);
    }

    pub fn retain(&mut self, span: Span) {
        self.in_flight.retain(span);
        self.settle();
    }

    pub fn boundary(&self, span: &Span, position: usize) -> usize {
        self.in_flight.boundary(span, position)
    }

    /// An acknowledgement of a publish. PUBREC is answered by PUBREL whatever it did, so that the broker can finish.
    pub fn acknowledge(&mut self, ack: Ack, packet_id: u16) -> Result<Progress, Mismatch> {
        let progress = self.in_flight.acknowledge(ack, packet_id)?;
        if self.poison.is_probing() && progress != Progress::Nothing {
            self.poison.acknowledged();
            if self.in_flight.is_replayed() {
                self.poison.replayed();
            }
        }
        if let Progress::Done { token, events } = progress {
            self.counters.acknowledged += events as u64;
            self.confirm(token);
        }
        Ok(progress)
    }

    pub(super) fn confirm(&mut self, token: u32) {
        if token != 0 {
            self.tracked.remove(&token);
            self.outcomes.push(Outcome::Acknowledged(token));
        }
    }

    /// After a batch of acknowledgements, or a write: report memory, and room to who waits for it.
    pub fn settle(&mut self) {
        self.report();
        // Room for one small message would wake who waits for every message again.
        let enough = self.limits.queued_bytes / 16;
        if self.space_wanted && [0, 1].into_iter().all(|which| self.room(which, enough, false).is_some()) {
            self.space_wanted = false;
            self.outcomes.push(Outcome::Space);
        }
        if let Some(before) = self.dropping_since
            && self.is_half_empty()
        {
            self.dropping_since = None;
            let dropped = self.counters.dropped_for(DropReason::QueueFull) - before;
            self.outcomes.push(Outcome::DroppingEnded(dropped));
        }
        if !self.losses.is_empty() && self.is_half_empty() {
            self.outcomes.extend(self.losses.take().map(Outcome::Lost));
        }
    }

    fn is_half_empty(&self) -> bool {
        let events = self.limits.queued_events.is_none_or(|cap| self.queued_events() * 2 <= cap);
        events && self.allocated() * 2 <= self.limits.queued_bytes
    }

    /// Tell the process's account what is allocated here.
    pub(super) fn report(&mut self) {
        let now = self.allocated();
        if now >= self.reported {
            segment::process_add(now - self.reported);
        } else {
            segment::process_remove(self.reported - now);
        }
        self.reported = now;
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

    /// What there is to write now, in milliseconds of the writer's clock. Unless it is worth a write, producers wake the
    /// writer from here on: at their first event, or batch, when it has nothing, when a lane is full enough when it
    /// lingers.
    pub fn pending(&mut self, now_ms: u64) -> Pending {
        self.close_what_is_due(now_ms);
        if self.poison.is_probing() {
            // Acknowledgements end the wait, not producers.
            self.alarms = [Alarm::Off; 2];
            return if self.may_probe() { Pending::Worth } else { Pending::Nothing };
        }
        let blocked = self.window_full();
        let telemetry = self.pending_in(0);
        let tracked = match blocked {
            true => Pending::Nothing,
            false if self.in_flight.unfinished() => Pending::Worth,
            false => self.pending_in(1),
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

    /// What there is to write in one lane.
    pub(super) fn pending_in(&self, which: usize) -> Pending {
        let lane = &self.lanes[which];
        let worth = if lane.mean_bytes() > 1024 { TAKE_LARGE_BYTES } else { TAKE_BYTES };
        // Of a small queue the writer does not wait to see the most.
        match lane.pending(worth.min(self.limits.queued_bytes / 4)) {
            Pending::Little if self.limits.queued_events.is_some_and(|cap| self.queued_events() >= cap / 4) => {
                Pending::Worth
            }
            pending => pending,
        }
    }

    fn close_what_is_due(&mut self, now_ms: u64) {
        let Some(batching) = self.limits.batch else { return };
        for lane in &mut self.lanes {
            if let Some(open) = lane.open()
                && now_ms >= *open.due_ms.get_or_insert(now_ms + batching.linger_ms)
            {
                // It has waited long enough: nothing joins it, and it goes at once.
                lane.seal();
            }
        }
    }

    /// When a batch is due that `pending` has seen, in milliseconds of the same clock.
    pub fn next_due(&mut self) -> Option<u64> {
        self.lanes.iter_mut().filter_map(|lane| lane.open()?.due_ms).min()
    }

    /// Nobody writes: there is no connection.
    pub fn disarm(&mut self) {
        self.alarms = [Alarm::Off; 2];
    }

    /// While probing: whether the next message of the replay may go out.
    fn may_probe(&self) -> bool {
        self.poison.is_ready() && self.in_flight.out() == 0 && !self.in_flight.is_releasing()
    }

    fn window(&self) -> Window {
        let all = self.limits.in_flight.min(self.in_flight.usable_ids());
        Window { all, exactly_once: self.limits.in_flight_qos2 }
    }

    fn window_full(&self) -> bool {
        let window = self.window();
        if self.in_flight.unfinished() {
            return self.in_flight.blocked(window);
        }
        let exactly_once = self.in_flight.is_full(window, true) && self.lanes[1].begins_exactly_once();
        self.in_flight.is_full(window, exactly_once) || self.in_flight.allocated() >= self.limits.queued_bytes / 2
    }
}
