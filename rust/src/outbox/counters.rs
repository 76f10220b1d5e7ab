//! Every event is in exactly one of these counts.

/// Why a message was never queued. The discriminants are what crosses into Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rejection {
    NotConnected = 1,
    Closed,
    QueueFull,
    TooLarge,
    InvalidTopic,
    InvalidQos,
    Unserialisable,
    Forked,
}

impl Rejection {
    const NAMES: [&'static str; 8] = [
        "not_connected",
        "closed",
        "queue_full",
        "too_large",
        "invalid_topic",
        "invalid_qos",
        "unserialisable",
        "forked",
    ];
}

/// Why an accepted message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    QueueFull,
    Expired,
    Closed,
    RejectedByPeer,
}

impl DropReason {
    const NAMES: [&'static str; 4] = ["queue_full", "expired", "closed", "rejected_by_peer"];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub submitted: u64,
    pub accepted: u64,
    pub written: u64,
    /// QoS 1: PUBACK came. QoS 2: PUBCOMP came, or it is one of the `uncertain`.
    pub acknowledged: u64,
    /// Past PUBREC when the broker forgot the session, or when the time of a stop was over: the broker has them.
    pub uncertain: u64,
    rejected: [u64; Rejection::NAMES.len()],
    dropped: [u64; DropReason::NAMES.len()],
}

impl Counters {
    pub fn reject(&mut self, reason: Rejection) -> Rejection {
        self.submitted += 1;
        self.rejected[reason as usize - 1] += 1;
        reason
    }

    pub fn drop_events(&mut self, reason: DropReason, events: usize) {
        self.dropped[reason as usize] += events as u64;
    }

    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// The reasons that have occurred, with their counts.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        seen(Rejection::NAMES, self.rejected)
    }

    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        seen(DropReason::NAMES, self.dropped)
    }
}

fn seen<const N: usize>(names: [&'static str; N], counts: [u64; N]) -> impl Iterator<Item = (&'static str, u64)> {
    names.into_iter().zip(counts).filter(|(_, count)| *count > 0)
}
