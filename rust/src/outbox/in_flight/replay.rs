//! What a new connection, a lost session and the end of a start make of what is in flight.

use std::sync::Arc;

use super::InFlight;
use crate::outbox::ids::Owner;
use crate::outbox::segment::Rejected;
use crate::outbox::sent::Sent;
use crate::packet;

/// Messages that are past PUBREC and will have no PUBCOMP: the broker has them, and may have passed them on.
#[derive(Debug, Default)]
pub struct Uncertain {
    pub events: usize,
    /// Of those who wait for them.
    pub tokens: Vec<u32>,
}

impl Uncertain {
    fn add(&mut self, token: u32, events: usize) {
        self.events += events;
        self.tokens.extend((token != 0).then_some(token));
    }
}

impl InFlight {
    /// A new connection with the session present: everything unacknowledged is sent again, before anything new, in
    /// first order, under the same identifiers and with DUP set (MQTT 3.1.1 section 4.4).
    pub fn resume(&mut self) {
        self.rewind();
    }

    /// The identifiers that PUBREL goes out for again: in the order of their PUBLISH, which is the order in which
    /// PUBREC has to come (section 4.6), and those that are open.
    pub fn releases(&self) -> Vec<u16> {
        let entries = self.segments.values().flat_map(|sent| &sent.entries);
        let released = entries.filter(|entry| entry.dead && entry.packet_id != 0).map(|entry| entry.packet_id);
        released.chain(self.ids.open()).collect()
    }

    /// A new connection without the session: the same, but all of it as new. Returns the tokens of what loses its
    /// identifier, and what is past PUBREC.
    pub fn restart(&mut self) -> (Vec<u32>, Uncertain) {
        let mut tokens = Vec::new();
        let mut uncertain = Uncertain::default();
        for number in self.segments.keys().copied().collect::<Vec<_>>() {
            let sent = self.segments.get_mut(&number).expect("listed above");
            let bytes = Arc::make_mut(&mut sent.bytes);
            for entry in sent.entries.iter_mut().filter(|entry| entry.packet_id != 0) {
                entry.packet_id = 0;
                self.count -= 1;
                self.events -= entry.events();
                if entry.dead {
                    sent.live -= 1;
                    sent.events -= entry.events();
                    uncertain.add(entry.token, entry.events());
                } else {
                    let range = entry.offset as usize..(entry.offset + entry.len) as usize;
                    packet::patch(&mut bytes[range], 0, false);
                    self.waiting += entry.events();
                    tokens.extend((entry.token != 0).then_some(entry.token));
                }
            }
            let fate = sent.fate();
            self.meet(number, fate);
        }
        (self.exactly_once, self.released) = (0, 0);
        self.ids.forget();
        self.rewind();
        (tokens, uncertain)
    }

    /// Nothing of this process was sent in the session that is present.
    pub fn join(&mut self) {
        self.ids.join();
    }

    /// Everything is to be sent from its start.
    fn rewind(&mut self) {
        for sent in self.segments.values_mut() {
            sent.next = 0;
        }
        self.sending = self.segments.keys().next().copied();
        self.again = self.begun;
        self.advance();
    }

    /// Give up the oldest frame, which was sent on the connection that has just ended.
    pub fn reject_first(&mut self) -> Option<Rejected> {
        let first = |sent: &Sent| sent.entries.iter().position(|entry| !entry.dead);
        let (number, index) = self.segments.iter().find_map(|(number, sent)| Some((*number, first(sent)?)))?;
        let sent = &self.segments[&number];
        let entry = sent.entries[index];
        let rejected = Rejected::new(&entry, &sent.bytes);
        let exactly_once = sent.is_exactly_once(&entry);
        self.finish(number, index);
        if exactly_once {
            self.exactly_once -= 1;
            // The broker may hold it.
            self.ids.leave_open(entry.packet_id);
        } else {
            self.ids.give_back(entry.packet_id);
        }
        Some(rejected)
    }

    /// Wait for no PUBCOMP any more.
    pub fn stop_releasing(&mut self) -> Uncertain {
        let mut uncertain = Uncertain::default();
        for id in self.releases() {
            if let Some(&mut Owner { number, index, .. }) = self.ids.owner(id) {
                let (token, events) = self.finish(number, index as usize);
                uncertain.add(token, events);
                self.ids.give_back(id);
            }
        }
        self.ids.close_all();
        uncertain
    }

    /// Take everything out: the tokens of what is given up and how many events that is, and what is past PUBREC.
    pub fn clear(&mut self) -> (Vec<u32>, usize, Uncertain) {
        let mut tokens = Vec::new();
        let mut uncertain = Uncertain::default();
        let mut events = self.events + self.waiting;
        for sent in std::mem::take(&mut self.segments).into_values() {
            for entry in &sent.entries {
                if entry.packet_id != 0 && (entry.dead || sent.is_exactly_once(entry)) {
                    self.ids.leave_open(entry.packet_id);
                }
                match (entry.dead, entry.packet_id) {
                    (true, 0) => {}
                    (true, _) => uncertain.add(entry.token, entry.events()),
                    (false, _) => tokens.extend((entry.token != 0).then_some(entry.token)),
                }
            }
        }
        events -= uncertain.events;
        let mut ids = std::mem::take(&mut self.ids);
        ids.rest();
        *self = Self { ids, ..Self::default() };
        (tokens, events, uncertain)
    }
}
