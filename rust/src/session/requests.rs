//! SUBSCRIBE and UNSUBSCRIBE that wait for a packet identifier, and the identifiers of those that are out.

use std::collections::VecDeque;

use super::IdSet;

/// SUBSCRIBE and UNSUBSCRIBE take identifiers that publishes never use.
pub const FIRST_ID: u16 = crate::outbox::MAX_PUBLISH_ID + 1;
const IDS: usize = (u16::MAX - FIRST_ID) as usize + 1;

#[derive(Debug)]
pub enum Request {
    Subscribe {
        filter: String,
        members: Vec<u32>,
    },
    Unsubscribe {
        filter: String,
        /// Who is told of UNSUBACK.
        subscription: Option<u32>,
    },
}

#[derive(Debug)]
pub struct Requests {
    waiting: VecDeque<Request>,
    /// Identifiers of those without an answer.
    out: IdSet,
    next_id: u16,
}

impl Default for Requests {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), out: IdSet::default(), next_id: FIRST_ID }
    }
}

impl Requests {
    pub fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// The next one to send, with its identifier; None also while all identifiers are out.
    pub fn next(&mut self) -> Option<(u16, Request)> {
        if self.out.len() == IDS {
            return None;
        }
        let request = self.waiting.pop_front()?;
        while !self.out.insert(self.next_id) {
            self.step();
        }
        let id = self.next_id;
        self.step();
        Some((id, request))
    }

    fn step(&mut self) {
        self.next_id = self.next_id.checked_add(1).unwrap_or(FIRST_ID);
    }

    /// The answer came, or is awaited no longer.
    pub fn answered(&mut self, id: u16) {
        self.out.remove(id);
    }

    pub fn is_out(&self, id: u16) -> bool {
        self.out.contains(id)
    }

    /// A subscription left; a SUBSCRIBE that nobody wants any more is not sent.
    pub fn leave(&mut self, subscription: u32) {
        self.waiting.retain_mut(|request| match request {
            Request::Subscribe { members, .. } => {
                members.retain(|member| *member != subscription);
                !members.is_empty()
            }
            Request::Unsubscribe { .. } => true,
        });
    }

    /// Whether nothing waits and nothing is out.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty()
    }

    /// The connection is gone; returns what was not sent.
    pub fn clear(&mut self) -> VecDeque<Request> {
        self.out.clear();
        std::mem::take(&mut self.waiting)
    }
}
