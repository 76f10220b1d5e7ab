//! What a broker keeps of one client: filters, identifiers in use both ways, messages on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cascade_mqtt_core::compression;

use crate::ledger::{Windows, event, payload};
use crate::wire::{self, Ack, Publish};

/// A message of somebody else's.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub number: u64,
    /// Of a batch, whose first one has the number; 0: it is none.
    pub events: u64,
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub size: usize,
}

/// A message above QoS 0 that has an identifier.
struct Open {
    id: u16,
    delivery: Delivery,
    /// PUBREC has come.
    received: bool,
}

/// Filters of the schedule end in `/#`, or have no wildcard.
pub fn matches(filter: &str, topic: &str) -> bool {
    filter == topic || filter.strip_suffix('#').is_some_and(|stem| topic.starts_with(stem))
}

/// What goes over the wire, compressed or not.
fn content(delivery: &Delivery) -> Vec<u8> {
    let Delivery { number, events, size, .. } = *delivery;
    if events == 0 {
        return payload(number, size);
    }
    let elements: Vec<Vec<u8>> = (number..number + events).map(|number| event(number, size)).collect();
    let array = [b"[", &elements.join(&b","[..])[..], b"]"].concat();
    let mut packed = Vec::new();
    if number % 2 == 0 && compression::shorten(&array, &mut packed) { packed } else { array }
}

#[derive(Default)]
pub struct Session {
    pub filters: BTreeMap<String, u8>,
    queue: VecDeque<Delivery>,
    open: VecDeque<Open>,
    out: Vec<u8>,
    last_id: u16,
    /// Identifiers of QoS 2 between PUBLISH and PUBREL.
    incoming: BTreeMap<u16, u64>,
    /// Messages by identifier whose acknowledgement has not been sent.
    pub unanswered: BTreeMap<u16, u64>,
    /// Those of QoS 2.
    exactly_once: BTreeSet<u16>,
    /// Every identifier that came: the free ones are used again before new ones.
    identifiers: BTreeSet<u16>,
    /// Answers that the client owes on this connection: by PUBACK, PUBREC, PUBCOMP, in order.
    owed: [VecDeque<u16>; 3],
    /// Identifiers that were sent again on this connection: one answer for both copies is enough, two are right.
    copied: BTreeSet<u16>,
}

/// Messages above QoS 0 that a client has at once.
const WINDOW: usize = 10;

impl Session {
    /// False for a copy of what the session has already.
    pub fn take_in(&mut self, number: u64, publish: &Publish<'_>, windows: Windows) -> Result<bool, String> {
        if let Some(&before) = self.unanswered.get(&publish.id) {
            if before != number {
                return Err(format!("identifier {} of message {before} is given to {number} in flight", publish.id));
            }
            if !publish.dup {
                return Err(format!("message {number} is repeated without DUP"));
            }
        }
        self.unanswered.insert(publish.id, number);
        self.identifiers.insert(publish.id);
        if publish.qos == 2 {
            self.exactly_once.insert(publish.id);
        }
        if self.unanswered.len() > windows.all || self.exactly_once.len() > windows.exactly_once {
            return Err(format!("message {number} is one too many in flight"));
        }
        if self.identifiers.len() > windows.identifiers {
            return Err(format!("message {number} has a new identifier though others are free"));
        }
        if publish.qos == 1 {
            return Ok(true);
        }
        match self.incoming.insert(publish.id, number) {
            None => Ok(true),
            Some(before) if before == number && publish.dup => Ok(false),
            Some(before) => Err(format!("identifier {} of message {before} was not released for {number}", publish.id)),
        }
    }

    /// The client may count a message as done.
    pub fn answered(&mut self, id: u16) {
        self.unanswered.remove(&id);
        self.exactly_once.remove(&id);
    }

    /// The client has given up what it had in flight.
    pub fn client_forgot(&mut self) {
        self.unanswered.clear();
        self.exactly_once.clear();
        self.identifiers.clear();
    }

    pub fn released(&mut self, id: u16) {
        self.incoming.remove(&id);
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.filters.insert(filter.into(), qos);
    }

    /// True where it is kept until it is acknowledged.
    pub fn enqueue(&mut self, mut delivery: Delivery, live: bool) -> bool {
        let granted = self.filters.iter().filter(|(filter, _)| matches(filter, &delivery.topic)).map(|(_, qos)| *qos);
        let Some(granted) = granted.max() else { return false };
        delivery.qos = delivery.qos.min(granted);
        let kept = delivery.qos > 0;
        if kept {
            self.queue.push_back(delivery);
        } else if live {
            self.write(&delivery, 0, false);
        }
        kept
    }

    /// The messages that are lost with this session.
    pub fn under_way(self) -> impl Iterator<Item = u64> {
        let deliveries = self.queue.into_iter().chain(self.open.into_iter().map(|open| open.delivery));
        deliveries.flat_map(|delivery| delivery.number..delivery.number + delivery.events.max(1))
    }

    /// All that is open, sent again; `anew`: on a new connection, where nothing is owed yet.
    pub fn repeat(&mut self, anew: bool) {
        if anew {
            self.out.clear();
            self.owed = Default::default();
            self.copied.clear();
        }
        let open = std::mem::take(&mut self.open);
        for Open { id, delivery, received } in &open {
            if *received {
                self.out.extend(wire::ack(Ack::Release, *id));
                self.owe(2, *id);
            } else {
                self.write(delivery, *id, true);
            }
        }
        self.open = open;
    }

    /// An acknowledgement of the client's.
    pub fn acknowledged(&mut self, kind: Ack, id: u16) -> Result<(), String> {
        let which = match kind {
            Ack::Acknowledged => 0,
            Ack::Received => 1,
            _ => 2,
        };
        let owed = &mut self.owed[which];
        if owed.front() == Some(&id) {
            owed.pop_front();
        } else if !self.copied.contains(&id) {
            return Err(format!("{kind:?} of {id} where {owed:?} were owed"));
        }
        let Some(place) = self.open.iter().position(|open| open.id == id) else {
            // The answer to a copy.
            return Ok(());
        };
        if kind == Ack::Received {
            self.open[place].received = true;
            self.out.extend(wire::ack(Ack::Release, id));
            self.owe(2, id);
        } else if kind == Ack::Acknowledged || self.open[place].received {
            self.open.remove(place);
        }
        Ok(())
    }

    /// The bytes that go to the client now.
    pub fn send(&mut self) -> Vec<u8> {
        while self.open.len() < WINDOW
            && let Some(delivery) = self.queue.pop_front()
        {
            self.last_id = self.last_id % u16::MAX + 1;
            let id = self.last_id;
            self.write(&delivery, id, false);
            self.open.push_back(Open { id, delivery, received: false });
        }
        std::mem::take(&mut self.out)
    }

    /// What is under way in either direction, if anything is.
    pub fn unsettled(&self) -> Option<String> {
        let Self { queue, open, owed, unanswered, incoming, .. } = self;
        let open: Vec<(u16, bool)> = open.iter().map(|open| (open.id, open.received)).collect();
        let settled = queue.is_empty() && open.is_empty() && unanswered.is_empty() && incoming.is_empty();
        (!settled || owed.iter().any(|ids| !ids.is_empty())).then(|| {
            format!(
                "{} queued, open {open:?}, owed {owed:?}, unanswered {unanswered:?}, incoming {incoming:?}",
                queue.len()
            )
        })
    }

    fn owe(&mut self, which: usize, id: u16) {
        if self.owed[which].contains(&id) {
            self.copied.insert(id);
        } else {
            self.owed[which].push_back(id);
        }
    }

    fn write(&mut self, delivery: &Delivery, id: u16, dup: bool) {
        let Delivery { topic, qos, retain, .. } = delivery;
        let payload = content(delivery);
        let packet = Publish { dup, qos: *qos, retain: *retain, id, topic, payload: &payload };
        self.out.extend(wire::publish(&packet));
        if *qos > 0 {
            self.owe(usize::from(*qos) - 1, id);
        }
    }
}
