//! A subscription as its owner sees it: what came, in which order, and how often.

use std::collections::BTreeMap;
use std::sync::Arc;

use cascade_mqtt_core::batch;
use cascade_mqtt_core::inbox::{Batch, Inbox, Message};
use cascade_mqtt_core::topic::BATCH;

use crate::ledger::{event, number_of, payload};
use crate::session::Delivery;

/// How a consumer reads.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    Stuck,
    /// So many messages a look.
    Slow(usize),
    Eager,
}

pub struct Consumer {
    pub slot: u8,
    pub filter: String,
    pub inbox: Arc<Inbox>,
    pub pace: Pace,
    pub subscribed: bool,
    /// What the broker's last answer was to: a SUBSCRIBE, or an UNSUBSCRIBE.
    answer: Option<bool>,
    /// The first message that was published after it subscribed: copies of older ones come in any order.
    first: u64,
    batch: Batch,
    /// By number: how often the broker had lost sessions when it came last.
    seen: BTreeMap<u64, u64>,
    /// The latest first arrival, at QoS 0 and above it.
    latest: [Option<u64>; 2],
    /// Messages that a session took on since this subscription was made.
    owed: Vec<u64>,
}

pub fn filter(slot: u8) -> String {
    format!("in/{slot}/#")
}

pub fn topic(slot: u8) -> String {
    format!("in/{slot}/x")
}

impl Consumer {
    pub fn new(slot: u8, filter: String, inbox: Arc<Inbox>, first: u64) -> Self {
        Self {
            slot,
            filter,
            inbox,
            pace: Pace::Eager,
            subscribed: true,
            answer: None,
            first,
            batch: Batch::default(),
            seen: BTreeMap::new(),
            latest: [None; 2],
            owed: Vec::new(),
        }
    }

    /// What it is subscribed to at the broker.
    pub fn filters(&self) -> impl Iterator<Item = String> {
        let batches = (self.inbox.batches && !self.filter.ends_with('#')).then(|| format!("{}{BATCH}", self.filter));
        [self.filter.clone()].into_iter().chain(batches)
    }

    /// Whether batches come to it, as they are or taken apart.
    pub fn has_batches(&self) -> bool {
        self.inbox.batches || self.filter.ends_with('#')
    }

    pub fn answered(&mut self, subscribed: bool) -> Result<(), String> {
        match self.answer.replace(subscribed) {
            Some(false) => Err(format!("subscription {} is told of behind its end", self.inbox.subscription)),
            _ => Ok(()),
        }
    }

    /// Whether its owner heard of what it asked for last.
    pub fn is_answered(&self) -> bool {
        self.answer == Some(self.subscribed)
    }

    pub fn expect(&mut self, number: u64) {
        self.owed.push(number);
    }

    pub fn has(&self, number: u64) -> bool {
        self.seen.contains_key(&number)
    }

    /// What is owed and has not come; `forgotten` by the broker is not owed.
    pub fn missing(&self, forgotten: &std::collections::BTreeSet<u64>) -> Option<u64> {
        self.owed.iter().copied().find(|number| !self.seen.contains_key(number) && !forgotten.contains(number))
    }

    /// Read as the pace allows, and check each message.
    pub fn look(&mut self, published: &[Delivery], sessions_lost: u64) -> Result<(), String> {
        let most = match self.pace {
            Pace::Stuck => 0,
            Pace::Slow(messages) => messages,
            Pace::Eager => usize::MAX,
        };
        for _ in 0..most {
            let mut batch = std::mem::take(&mut self.batch);
            let batches = self.inbox.batches;
            let read = self.inbox.next(&mut batch, |message| {
                numbers(&message, batches, published).map(|numbers| (numbers, message.flags))
            });
            self.batch = batch;
            let Some(read) = read else { return Ok(()) };
            let (numbers, flags) = read.ok_or("a message that nobody published")?;
            for number in numbers {
                self.came(number, flags, sessions_lost)?;
            }
        }
        Ok(())
    }

    fn came(&mut self, number: u64, flags: u8, sessions_lost: u64) -> Result<(), String> {
        let (qos, retained) = (flags & 0b11, flags & 0b100 != 0);
        if retained {
            // Every SUBSCRIBE brings these again.
            return Ok(());
        }
        let before = self.seen.insert(number, sessions_lost);
        match (qos, before) {
            (0, Some(_)) => return Err(format!("message {number} came twice at QoS 0")),
            (2, Some(lost)) if lost == sessions_lost => {
                return Err(format!("message {number} came twice at QoS 2 within one session"));
            }
            _ => {}
        }
        let latest = &mut self.latest[usize::from(qos > 0)];
        if before.is_none() && number >= self.first && latest.replace(number).is_some_and(|before| before > number) {
            return Err(format!("message {number} came behind a later one"));
        }
        Ok(())
    }
}

/// What a message tells: its number, and those of a batch that comes as it is. None: nobody published it.
fn numbers(message: &Message<'_>, batches: bool, published: &[Delivery]) -> Option<Vec<u64>> {
    let one = |content: &[u8], topic: &str| {
        let delivery = published.get(number_of(content)? as usize)?;
        let number = delivery.number;
        let as_published =
            if delivery.events > 0 { event(number, delivery.size) } else { payload(number, delivery.size) };
        (topic == delivery.topic && content == as_published).then_some(number)
    };
    if batches && let Some(number) = one(message.payload, &format!("{}{BATCH}", message.topic)) {
        return Some(vec![number]);
    }
    if !message.topic.ends_with(BATCH) {
        return Some(vec![one(message.payload, message.topic)?]);
    }
    let mut batch = batch::Batch::default();
    batch.read(message.payload, 1 << 20).ok().filter(|()| !batches)?;
    batch.elements(message.payload).map(|element| one(element, message.topic)).collect()
}
