//! Packet identifiers of publishes: which are taken, by which frame, and what the broker owes for each.

use std::collections::{BTreeSet, VecDeque};

/// SUBSCRIBE and UNSUBSCRIBE use the identifiers above.
pub const MAX_PUBLISH_ID: u16 = 65_000;

/// The acknowledgements of our publishes (MQTT 3.1.1 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    PubAck,
    PubRec,
    PubComp,
}

/// The frame that holds an identifier.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub number: u64,
    pub index: u32,
    /// What has to come next from the broker.
    pub awaits: Ack,
}

/// An identifier's place is its distance from `first`. Those with a place in `owners` are owned, free or open.
#[derive(Debug)]
pub struct Ids {
    owners: Vec<Option<Owner>>,
    /// Identifiers given back, the longest ago first, so that a late duplicate acknowledgement
    /// seldom meets a new owner.
    free: VecDeque<u16>,
    first: u16,
    /// Of QoS 2 messages that were given up: a session that is present may still hold them, and would take
    /// a new message under one of them for a repetition.
    open: BTreeSet<u16>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { owners: Vec::new(), free: VecDeque::new(), first: 1, open: BTreeSet::new() }
    }
}

impl Ids {
    /// The identifier free for the longest time; a new one only when all so far are in flight.
    pub fn take(&mut self, owner: Owner) -> Option<u16> {
        loop {
            let id = match self.free.pop_front() {
                Some(id) => id,
                None => self.another()?,
            };
            if self.open.is_empty() || !self.open.contains(&id) {
                let place = self.place(id).expect("it has a place");
                self.owners[place] = Some(owner);
                return Some(id);
            }
        }
    }

    fn another(&mut self) -> Option<u16> {
        let place = u16::try_from(self.owners.len()).ok().filter(|place| *place < MAX_PUBLISH_ID)?;
        self.owners.push(None);
        let behind = MAX_PUBLISH_ID - self.first;
        Some(if place <= behind { self.first + place } else { place - behind })
    }

    fn place(&self, id: u16) -> Option<usize> {
        let place = match id {
            0 => return None,
            id if id > MAX_PUBLISH_ID => return None,
            id if id >= self.first => id - self.first,
            id => id + (MAX_PUBLISH_ID - self.first),
        };
        Some(usize::from(place)).filter(|place| *place < self.owners.len())
    }

    pub fn owner(&mut self, id: u16) -> Option<&mut Owner> {
        let place = self.place(id)?;
        self.owners[place].as_mut()
    }

    pub fn give_back(&mut self, id: u16) {
        self.abandon(id);
        self.free.push_back(id);
    }

    /// The message is given up, and the broker may hold its identifier (QoS 2).
    pub fn leave_open(&mut self, id: u16) {
        self.abandon(id);
        self.open.insert(id);
    }

    fn abandon(&mut self, id: u16) {
        if let Some(place) = self.place(id) {
            self.owners[place] = None;
        }
    }

    /// PUBCOMP: the broker does not hold the identifier any more. False where it was not open.
    pub fn close(&mut self, id: u16) -> bool {
        let closed = self.open.remove(&id);
        if closed && self.place(id).is_some() {
            self.free.push_back(id);
        }
        closed
    }

    /// How many can be in use at once.
    pub fn usable(&self) -> usize {
        usize::from(MAX_PUBLISH_ID) - self.open.len()
    }

    pub fn open(&self) -> impl Iterator<Item = u16> {
        self.open.iter().copied()
    }

    /// None of them matters any more.
    pub fn close_all(&mut self) {
        for id in std::mem::take(&mut self.open) {
            if self.place(id).is_some() {
                self.free.push_back(id);
            }
        }
    }

    /// Nothing is in flight: an idle connector holds no table.
    pub fn rest(&mut self) {
        self.owners = Vec::new();
        self.free = VecDeque::new();
    }

    /// The broker has forgotten the session.
    pub fn forget(&mut self) {
        self.rest();
        self.open = BTreeSet::new();
    }

    /// Another process had this session, and nobody here knows what it left open: begin far from where it is likely.
    pub fn join(&mut self) {
        debug_assert!(self.owners.is_empty());
        self.first = fastrand::u16(1..=MAX_PUBLISH_ID);
    }
}
