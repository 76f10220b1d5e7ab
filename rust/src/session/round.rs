//! One SUBSCRIBE from its sending until its retained messages are through.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::packet::Publish;

/// After the PINGRESP behind a SUBSCRIBE, this long without a retained message means that all are here.
const QUIET_MS: u64 = 50;

#[derive(Debug)]
pub struct Round {
    pub packet_id: u16,
    pub filter: String,
    pub members: Vec<u32>,
    pub sent_ms: u64,
    pub granted_ms: Option<u64>,
    /// The PINGREQ that went out behind it, counted from the start of the connection.
    pub ping: u64,
    pub answered_ms: Option<u64>,
    pub last_retained_ms: u64,
    /// Digests of the retained messages so far, payload by topic.
    seen: HashMap<u64, u64>,
}

impl Round {
    pub fn new(now: u64, packet_id: u16, filter: String, members: Vec<u32>, ping: u64) -> Self {
        Self {
            packet_id,
            filter,
            members,
            sent_ms: now,
            granted_ms: None,
            ping,
            answered_ms: None,
            last_retained_ms: now,
            seen: HashMap::new(),
        }
    }

    /// False for what came before: each SUBSCRIBE that overlaps brings a copy, and none says whose it is.
    pub fn is_new(&mut self, message: &Publish<'_>) -> bool {
        let payload = digest(message.payload);
        self.seen.insert(digest(message.topic.as_bytes()), payload) != Some(payload)
    }

    pub fn done_at(&self, retained_timeout_ms: u64) -> Option<u64> {
        let bound = self.granted_ms? + retained_timeout_ms;
        let quiet = self.answered_ms.map(|answered| answered.max(self.last_retained_ms) + QUIET_MS);
        Some(quiet.map_or(bound, |quiet| quiet.min(bound)))
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
