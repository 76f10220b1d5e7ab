//! What was published, and what became of it at the broker: order, copies, and that nothing is missing.

use std::collections::BTreeMap;

use cascade_mqtt_core::outbox::{Message, Rejection};

use crate::wire::Publish;

/// One message of ours; its number is its place in the ledger, and its payload tells it.
#[derive(Clone, Debug)]
pub struct Item {
    pub qos: u8,
    pub retain: bool,
    pub size: usize,
    pub event: bool,
    /// 0 for one that nobody waits for, or that was refused.
    pub token: u32,
    pub fate: Fate,
    arrivals: u32,
    /// The link of its last arrival, and how often the broker had lost sessions by then.
    last: Option<(usize, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Refused,
    Accepted,
    Acknowledged,
    GivenUp,
    /// Given up because the broker dies of it.
    Rejected,
    Withdrawn,
}

#[derive(Default)]
pub struct Ledger {
    pub items: Vec<Item>,
    /// The messages that somebody waits for.
    waiting: BTreeMap<u32, usize>,
    /// By lane: the latest first arrival.
    latest: [Option<u64>; 2],
    /// By lane: the latest arrival on the present link.
    on_link: [Option<u64>; 2],
    link: usize,
    pub sessions_lost: u64,
    pub windows: Windows,
    /// The least size that the broker ever died of.
    pub poison: Option<usize>,
}

/// How many messages may be in flight at once.
#[derive(Clone, Copy, Default)]
pub struct Windows {
    pub all: usize,
    pub exactly_once: usize,
    /// Identifiers in use at once, those included that a stop has left open.
    pub identifiers: usize,
}

/// What of a payload tells the number, in bytes.
pub const HEAD: usize = size_of::<u64>();

/// The topic of a message by its number; few, so that filters match several.
pub fn topic(number: u64) -> String {
    format!("out/{}", number / 16 % 7)
}

/// The payload of one that may go in a batch: JSON.
pub fn event(number: u64, size: usize) -> Vec<u8> {
    format!("\"{number}:{}\"", "x".repeat(size)).into_bytes()
}

pub fn payload(number: u64, size: usize) -> Vec<u8> {
    let filler = (0..size).map(|place| (number as usize + place) as u8);
    number.to_le_bytes().into_iter().chain(filler).collect()
}

pub fn number_of(payload: &[u8]) -> Option<u64> {
    if let [b'"', digits @ ..] = payload
        && let Some((number, _)) = str::from_utf8(digits).ok().and_then(|text| text.split_once(':'))
        && let Ok(number) = number.parse()
    {
        return Some(number);
    }
    payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

impl Ledger {
    pub fn next(&self) -> u64 {
        self.items.len() as u64
    }

    pub fn offered(&mut self, message: &Message<'_>, size: usize, event: bool, outcome: Result<u32, Rejection>) {
        if let Ok(token @ 1..) = outcome {
            self.waiting.insert(token, self.items.len());
        }
        self.items.push(Item {
            qos: message.qos,
            retain: message.retain,
            size,
            event,
            token: outcome.unwrap_or(0),
            fate: if outcome.is_ok() { Fate::Accepted } else { Fate::Refused },
            arrivals: 0,
            last: None,
        });
    }

    /// Those who wait for a message hear of it once.
    pub fn settled(&mut self, token: u32, fate: Fate) -> Result<(), String> {
        let number = self.waiting.remove(&token).ok_or(format!("token {token} settled twice, or never given"))?;
        let item = &mut self.items[number];
        item.fate = fate;
        match fate {
            Fate::Rejected if self.poison.is_none_or(|above| item.size <= above) => {
                Err(format!("token {token} rejected, but the broker never died of it"))
            }
            Fate::Acknowledged if item.arrivals == 0 => Err(format!("token {token} acknowledged, but never arrived")),
            _ => Ok(()),
        }
    }

    /// The broker has a whole message, and has not recognised it as a copy.
    pub fn arrived(&mut self, number: u64, link: usize) -> Result<(), String> {
        let item = &mut self.items[number as usize];
        let again = item.last.replace((link, self.sessions_lost));
        item.arrivals += 1;
        match (item.qos, again) {
            (_, None) => {}
            (0, Some(_)) => return Err(format!("message {number} of QoS 0 arrived twice")),
            (_, Some((before, _))) if before == link => {
                return Err(format!("message {number} was sent twice on one connection"));
            }
            (2, Some((_, lost))) if lost == self.sessions_lost => {
                return Err(format!("message {number} of QoS 2 arrived twice within one session"));
            }
            _ => {}
        }
        let latest = &mut self.latest[usize::from(item.qos > 0)];
        if again.is_none() && latest.replace(number).is_some_and(|before| before > number) {
            return Err(format!("message {number} overtook one that was published before it"));
        }
        Ok(())
    }

    /// A PUBLISH, copy or not: within a lane they come in order on each link, and as they were published.
    pub fn seen(&mut self, found: &Publish<'_>, link: usize) -> Result<u64, String> {
        let number = number_of(found.payload).filter(|number| *number < self.next()).ok_or("a payload of nobody's")?;
        let item = &self.items[number as usize];
        let published = if item.event { event(number, item.size) } else { payload(number, item.size) };
        let as_published = item.fate != Fate::Refused
            && (found.qos, found.retain) == (item.qos, item.retain)
            && found.topic == topic(number)
            && found.payload == published;
        if !as_published {
            return Err(format!("message {number} is not as it was published"));
        }
        if item.fate == Fate::Withdrawn {
            return Err(format!("message {number} was withdrawn, and sent"));
        }
        if self.link != link {
            (self.link, self.on_link) = (link, [None; 2]);
        }
        match self.on_link[usize::from(item.qos > 0)].replace(number) {
            Some(before) if before >= number => Err(format!("message {number} came behind {before} on one connection")),
            _ => Ok(number),
        }
    }

    /// When all is flushed: how many of QoS 1 and 2 were accepted and are not there.
    pub fn missing(&self) -> impl Iterator<Item = (usize, &Item)> {
        let owed = |item: &Item| item.qos > 0 && matches!(item.fate, Fate::Accepted | Fate::Acknowledged);
        self.items.iter().enumerate().filter(move |(_, item)| owed(item) && item.arrivals == 0)
    }

    /// Whether the broker has the newest.
    pub fn has_newest(&self) -> bool {
        self.items.last().is_some_and(|item| item.arrivals > 0)
    }

    /// Those who wait for what was published before this one.
    pub fn waiting_before(&self, number: u64) -> usize {
        self.waiting.values().filter(|waiting| (**waiting as u64) < number).count()
    }

    /// One of those that somebody waits for.
    pub fn waiting(&self, which: usize) -> Option<u32> {
        self.waiting.keys().nth(which % self.waiting.len().max(1)).copied()
    }
}
