//! What the beginning and the end of a connection mean for what is unacknowledged.

use super::in_flight::Uncertain;
use super::losses::{Cause, Losses};
use super::poison::{Alone, Culprits};
use super::segment::Rejected;
use super::{DropReason, Outbox, Outcome, SENT};

impl Outbox {
    /// A connection is made: what is unacknowledged goes first. Returns the identifiers that PUBREL goes out for.
    pub fn connected(&mut self, session_present: bool) -> Vec<u16> {
        let fresh = std::mem::replace(&mut self.fresh, false);
        if session_present {
            if fresh {
                self.in_flight.join();
            }
            self.in_flight.resume();
        } else {
            let (tokens, uncertain) = self.in_flight.restart();
            for token in tokens {
                // It may have arrived, so it is not taken back, though it waits to be sent again.
                self.tracked.insert(token, SENT);
            }
            self.count_uncertain(uncertain);
            self.settle();
        }
        self.poison.connected(!self.in_flight.is_replayed());
        if self.poison.is_probing() { Vec::new() } else { self.in_flight.releases() }
    }

    /// Whether the replay goes out one message at a time, once the broker has answered SUBSCRIBE and PINGREQ.
    pub fn is_probing(&self) -> bool {
        self.poison.is_probing()
    }

    /// The broker has. Returns the identifiers that PUBREL goes out for only now.
    pub fn answered(&mut self) -> Vec<u16> {
        self.poison.answered();
        if self.poison.is_probing() { self.in_flight.releases() } else { Vec::new() }
    }

    /// The connection is gone, `lasted_ms` after CONNACK; `by_peer`: it was not us who ended it.
    pub fn ended(&mut self, by_peer: bool, lasted_ms: u64) {
        let alone = match () {
            () if self.in_flight.out() > 0 => Some(Alone::Message),
            () if self.in_flight.is_releasing() => Some(Alone::Releases),
            () => None,
        };
        let Culprits { alone, torn } = self.poison.ended(by_peer, lasted_ms, alone);
        if alone == Some(Alone::Releases) {
            let uncertain = self.in_flight.stop_releasing();
            self.count_uncertain(uncertain);
        }
        let message = alone.filter(|alone| *alone == Alone::Message).and_then(|_| self.in_flight.reject_first());
        let torn = torn.and_then(|number| self.lanes[0].reject_first(number));
        for rejected in [message, torn].into_iter().flatten() {
            self.count_rejected(rejected);
        }
        self.settle();
    }

    fn count_rejected(&mut self, rejected: Rejected) {
        let Rejected { topic, payload_bytes, born_ms, token, events } = rejected;
        self.counters.drop_events(DropReason::RejectedByPeer, events);
        self.losses.note(topic.as_bytes(), Cause::RejectedByPeer, born_ms, events);
        if token != 0 {
            self.tracked.remove(&token);
            self.outcomes.push(Outcome::GivenUp(token, DropReason::RejectedByPeer));
        }
        self.outcomes.push(Outcome::Rejected { topic, payload_bytes });
    }

    fn count_uncertain(&mut self, uncertain: Uncertain) {
        self.counters.acknowledged += uncertain.events as u64;
        self.counters.uncertain += uncertain.events as u64;
        uncertain.tokens.into_iter().for_each(|token| self.confirm(token));
    }

    /// Give up everything that is still here.
    pub fn discard(&mut self, reason: DropReason) {
        let (tokens, events, uncertain) = self.in_flight.clear();
        self.count_uncertain(uncertain);
        // A writer that panicked has given nothing back.
        let mut lost = events + self.hand.take().map_or(0, |hand| hand.1);
        self.outcomes.extend(tokens.into_iter().map(|token| Outcome::GivenUp(token, reason)));
        for lane in &mut self.lanes {
            lane.seal();
            while let Some(segment) = lane.pop(0, &mut self.next_number) {
                lost += segment.events as usize;
                let tokens = segment.entries.iter().filter(|e| !e.dead && e.token != 0);
                self.outcomes.extend(tokens.map(|entry| Outcome::GivenUp(entry.token, reason)));
            }
        }
        self.tracked.clear();
        // Nobody is left who could tell of it.
        self.losses = Losses::default();
        self.poison = Default::default();
        self.counters.drop_events(reason, lost);
        self.settle();
    }
}
