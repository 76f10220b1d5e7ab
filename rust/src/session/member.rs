//! A subscription of the handle's, and the filters that the broker has for it.

use super::round::Round;
use crate::topic;

#[derive(Debug)]
pub struct Member {
    pub subscription: u32,
    pub filter: String,
    pub qos: u8,
    /// Whether it takes batches apart.
    batches: bool,
    /// The filter of batches that its own does not match.
    batch_filter: Option<String>,
}

impl Member {
    pub fn new(subscription: u32, filter: String, qos: u8, batches: bool) -> Self {
        let has_them = filter.ends_with('#') || filter.ends_with(topic::BATCH);
        let others = batches && !has_them && filter.len() + topic::BATCH.len() <= topic::MAX_BYTES;
        let batch_filter = others.then(|| format!("{filter}{}", topic::BATCH));
        Self { subscription, filter, qos, batches, batch_filter }
    }

    /// What is subscribed to for it: the filter of batches first, so that who is told of the other has both.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.batch_filter.iter().chain([&self.filter]).map(String::as_str)
    }

    pub fn has(&self, filter: &str) -> bool {
        self.filters().any(|own| own == filter)
    }

    /// `of`: the topic of the events where this is a topic of batches.
    pub fn wants(&self, topic: &str, of: Option<&str>) -> bool {
        match of.filter(|_| self.batches) {
            // `a/+` matches `a/@batch`, which holds events of `a`.
            Some(of) if !self.filter.ends_with(topic::BATCH) => topic::matches(&self.filter, of),
            _ => topic::matches(&self.filter, topic),
        }
    }
}

/// Who is told what becomes of a SUBSCRIBE: those of whom it is not the filter of batches alone.
pub fn told_by(members: &[Member], round: &Round) -> Vec<u32> {
    let is_told = |member: &&Member| member.filter == round.filter && round.members.contains(&member.subscription);
    members.iter().filter(is_told).map(|member| member.subscription).collect()
}
