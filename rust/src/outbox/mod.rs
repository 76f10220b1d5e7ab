//! The bounded outbound queue of one connector: two lanes, caps, what is dropped, and an account of
//! every event. No I/O, no thread, no clock: the handle appends under a lock, the driver takes.

mod batch;
mod counters;
mod delivery;
mod ids;
mod in_flight;
mod intake;
mod lane;
mod losses;
mod poison;
mod reconnect;
mod segment;
mod sent;

pub use batch::Batching;
pub use counters::{Counters, DropReason, Rejection};
pub use ids::{Ack, MAX_PUBLISH_ID};
pub use in_flight::{Mismatch, Progress};
pub use lane::Pending;
pub use losses::{Cause, Loss};
pub use segment::{Segment, forget_process_account};
pub use sent::Span;

use std::collections::HashMap;

use in_flight::InFlight;
use lane::Lane;
use losses::Losses;
use poison::Poison;

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
    /// Of QoS 2, from PUBLISH to PUBCOMP.
    pub in_flight_qos2: usize,
    pub on_full: OnFull,
    /// Whether events go in batches.
    pub batch: Option<Batching>,
}

impl Limits {
    pub fn compresses(&self) -> bool {
        self.batch.is_some_and(|batching| batching.compress)
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged(u32),
    GivenUp(u32, DropReason),
    Space,
    /// The oldest events are dropped from here on.
    DroppingBegan,
    /// The queue is half empty again; so many were dropped.
    DroppingEnded(u64),
    /// So is it, and so much of one run's telemetry was lost.
    Lost(Loss),
    /// The broker ends every connection that this message is sent on.
    Rejected {
        topic: String,
        payload_bytes: usize,
    },
}

pub struct Outbox {
    limits: Limits,
    intake: Intake,
    alarms: [Alarm; 2],
    lanes: [Lane; 2],
    in_flight: InFlight,
    /// The segment in the writer's hands, not one in flight: number, events, bytes allocated, oldest event.
    hand: Option<(u64, usize, usize, u32)>,
    /// No connection has been made yet.
    fresh: bool,
    poison: Poison,
    next_number: u64,
    next_token: u32,
    /// Which segment each tracked message lies in.
    tracked: HashMap<u32, u64>,
    outcomes: Vec<Outcome>,
    space_wanted: bool,
    /// Of those who were refused: not this queue is full, but the budget of the process.
    crowded_out: bool,
    /// The lowest mark that somebody waits for.
    watched: Option<u64>,
    /// While the oldest events are dropped: how many had been dropped before.
    dropping_since: Option<u64>,
    losses: Losses,
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
            fresh: true,
            poison: Poison::default(),
            next_number: 0,
            next_token: 0,
            tracked: HashMap::new(),
            outcomes: Vec::new(),
            space_wanted: false,
            crowded_out: false,
            watched: None,
            dropping_since: None,
            losses: Losses::default(),
            counters: Counters::default(),
            reported: 0,
        }
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

    /// Have it show in `has_news` when this mark, or the one before it, is reached.
    pub fn watch(&mut self, mark: Option<u64>) {
        self.watched = mark;
    }

    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Whether there is something to tell: outcomes, or a mark that is reached.
    pub fn has_news(&self) -> bool {
        !self.outcomes.is_empty() || self.watched.is_some_and(|mark| self.reached(mark))
    }

    /// Whether somebody waits for room that other queues of the process have to make.
    pub fn is_crowded_out(&self) -> bool {
        self.space_wanted && self.crowded_out
    }

    pub fn is_empty(&self) -> bool {
        self.queued_events() == 0 && self.in_flight.count() == 0
    }

    pub fn queued_events(&self) -> usize {
        let hand = self.hand.map_or(0, |hand| hand.1);
        hand + self.lanes.iter().map(Lane::live).sum::<usize>() + self.in_flight.waiting()
    }

    pub fn in_flight_events(&self) -> usize {
        self.in_flight.events()
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

impl Drop for Outbox {
    fn drop(&mut self) {
        segment::process_remove(self.reported);
    }
}
