//! What a broker and the owner of a session know of it: what was asked and answered, and what each is owed.

use std::collections::{BTreeMap, BTreeSet};

use cascade_mqtt_core::packet::Publish;
use cascade_mqtt_core::session::{Notice, REFUSED, Session, Violation};
use cascade_mqtt_core::topic::{BATCH, matches, of_batch};

use crate::decisions::Decisions;
use crate::dice::Dice;
use crate::ear::{ACK_TIMEOUT_MS, Heard, KEEP_ALIVE_MS, RETAINED_TIMEOUT_MS, hear, session};

const FILTERS: [&str; 8] = ["a", "a/b", "a/#", "+/b", "#", "$share/g/a", "a/+", "a/@batch"];
const TOPICS: [&str; 7] = ["a", "a/b", "c/b", "d", "$SYS/b", "a/@batch", "a/b/@batch"];
/// Identifiers above those of publishes.
const FIRST_ID: u16 = 65_001;

struct Asked {
    /// How many requests of this connection were heard before it.
    place: usize,
    since: u64,
    subscribes: bool,
}

struct Member {
    filter: &'static str,
    qos: u8,
    /// It takes batches apart.
    batches: bool,
    /// On this connection: SUBACK came, or was given up.
    told: bool,
    /// Granted, and the end of the retained messages was not told.
    gathering: bool,
}

impl Member {
    /// What the broker holds for it.
    fn filters(&self) -> impl Iterator<Item = String> {
        let others = self.batches && !self.filter.ends_with('#') && !self.filter.ends_with(BATCH);
        others.then(|| format!("{}{BATCH}", self.filter)).into_iter().chain([self.filter.to_owned()])
    }

    /// A batch is for those who match its events.
    fn wants(&self, topic: &str) -> bool {
        let of = of_batch(topic).filter(|_| self.batches && !self.filter.ends_with(BATCH));
        matches(self.filter, of.unwrap_or(topic))
    }
}

pub struct Broker<'a> {
    pub dice: Decisions<'a>,
    session: Session,
    now: u64,
    connected: bool,
    paused: bool,
    members: BTreeMap<u32, Member>,
    subscriptions: u32,
    /// Subscriptions that ended, and whose owners were not told.
    leaving: BTreeSet<u32>,
    /// Not answered, by packet identifier.
    asked: BTreeMap<u16, Asked>,
    /// What was heard on this connection: a filter, and whether it is subscribed to. A broker takes them in order,
    /// in whichever order it answers.
    requests: Vec<(String, bool)>,
    taken: usize,
    /// The broker's own memory.
    held: BTreeSet<String>,
    /// QoS 2 deliveries without PUBREL.
    open: BTreeSet<u16>,
    acknowledgements: Vec<Heard>,
    pings: usize,
    last_heard_ms: u64,
    /// No SUBSCRIBE waits for retained messages any longer.
    asking_until_ms: u64,
}

impl<'a> Broker<'a> {
    pub fn new(dice: Decisions<'a>) -> Self {
        Self {
            dice,
            session: session(),
            now: 0,
            connected: false,
            paused: false,
            members: BTreeMap::new(),
            subscriptions: 0,
            leaving: BTreeSet::new(),
            asked: BTreeMap::new(),
            requests: Vec::new(),
            taken: 0,
            held: BTreeSet::new(),
            open: BTreeSet::new(),
            acknowledgements: Vec::new(),
            pings: 0,
            last_heard_ms: 0,
            asking_until_ms: 0,
        }
    }

    pub fn step(&mut self) {
        match self.dice.below(20) {
            0..4 => self.subscribe(),
            4..7 => self.unsubscribe(),
            _ if !self.connected => {
                let present = self.dice.coin();
                self.connect(present);
            }
            7..11 => self.answer(),
            11 => self.answer_anything(),
            12 => self.answer_ping(),
            13 | 14 => self.publish(),
            15 => {
                let id = self.packet_id();
                self.open.remove(&id);
                self.acknowledgements.push(Heard::PubComp(id));
                self.session.released(id);
            }
            16 => {
                self.paused = self.dice.coin();
                self.session.set_paused(self.now, self.paused);
            }
            17 => self.disconnect(),
            _ => self.wait(),
        }
        self.listen();
    }

    fn connect(&mut self, present: bool) {
        self.connected = true;
        self.paused = false;
        (self.pings, self.last_heard_ms) = (0, self.now);
        if !present {
            self.held.clear();
            self.open.clear();
        }
        for member in self.members.values_mut() {
            (member.told, member.gathering) = (false, false);
        }
        self.session.connected(self.now, present);
    }

    fn disconnect(&mut self) {
        // What was on its way may have arrived, or some of it.
        let arrived = self.taken + self.dice.below(self.requests.len() - self.taken + 1);
        self.take(arrived);
        (self.requests, self.taken) = (Vec::new(), 0);
        self.asked.clear();
        self.connected = false;
        self.acknowledgements.clear();
        self.session.disconnected();
        self.notices();
        assert!(self.leaving.is_empty(), "without a connection nothing is waited for");
    }

    /// Do what was asked first, so many requests.
    fn take(&mut self, end: usize) {
        for (filter, subscribes) in self.requests.get(self.taken..end).unwrap_or_default() {
            let _ = if *subscribes { self.held.insert(filter.clone()) } else { self.held.remove(filter) };
        }
        self.taken = self.taken.max(end);
    }

    fn subscribe(&mut self) {
        self.subscriptions += 1;
        let (filter, qos) = (FILTERS[self.dice.below(FILTERS.len())], self.dice.below(3) as u8);
        let batches = self.dice.coin();
        self.members.insert(self.subscriptions, Member { filter, qos, batches, told: false, gathering: false });
        self.session.subscribe(self.now, self.subscriptions, filter.into(), qos, batches);
    }

    fn unsubscribe(&mut self) {
        let place = self.dice.below(self.members.len() + 1);
        let Some(&subscription) = self.members.keys().nth(place) else {
            self.session.unsubscribe(self.now, u32::MAX);
            return;
        };
        self.members.remove(&subscription);
        self.leaving.insert(subscription);
        self.session.unsubscribe(self.now, subscription);
    }

    /// Answer what was asked, in any order.
    fn answer(&mut self) {
        let place = self.dice.below(self.asked.len() + 1);
        let Some((&id, _)) = self.asked.iter().nth(place) else { return };
        let refused = self.dice.below(8) == 0;
        self.answer_one(id, refused);
    }

    fn answer_one(&mut self, id: u16, refused: bool) {
        let asked = self.asked.remove(&id).expect("it is one that was asked");
        self.take(asked.place);
        let answered = match asked.subscribes {
            true if refused => {
                self.taken = self.taken.max(asked.place + 1);
                self.session.suback(self.now, id, &[REFUSED])
            }
            true => self.session.suback(self.now, id, &[self.dice.below(3) as u8]),
            false => self.session.unsuback(self.now, id),
        };
        assert_eq!(answered, Ok(()));
        self.take(asked.place + 1);
    }

    /// Answer what was not asked, or otherwise than it was asked.
    fn answer_anything(&mut self) {
        let id = self.dice.below(1 << 16) as u16;
        let wrong = match self.asked.get(&id) {
            Some(Asked { subscribes: true, .. }) if self.dice.coin() => self.session.suback(self.now, id, &[0, 0]),
            Some(Asked { subscribes: true, .. }) => self.session.unsuback(self.now, id),
            Some(_) => self.session.suback(self.now, id, &[0]),
            None if self.dice.coin() => self.session.suback(self.now, id, &[1]),
            None => self.session.unsuback(self.now, id),
        };
        // It may come late, but not for an identifier that is never used.
        assert_eq!(wrong.is_err(), id < FIRST_ID || self.asked.contains_key(&id));
        if wrong.is_err() {
            self.disconnect();
        }
    }

    fn answer_ping(&mut self) {
        self.pings = self.pings.saturating_sub(1);
        self.session.pingresp(self.now);
    }

    fn packet_id(&mut self) -> u16 {
        1 + self.dice.below(4) as u16
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.dice.below(TOPICS.len())];
        let (payload, qos) = ([self.dice.below(2) as u8], self.dice.below(3) as u8);
        let (retain, packet_id) = (self.dice.coin(), if qos > 0 { self.packet_id() } else { 0 });
        let repeated = qos == 2 && self.open.contains(&packet_id);
        assert_eq!(self.session.is_open(packet_id), self.open.contains(&packet_id));
        if !repeated {
            let message = Publish { topic, payload: &payload, qos, retain, dup: false, packet_id };
            self.route(&message);
        }
        if qos == 2 {
            self.open.insert(packet_id);
            self.session.opened(packet_id);
        }
        if qos > 0 {
            self.acknowledgements.push(if qos == 1 { Heard::PubAck(packet_id) } else { Heard::PubRec(packet_id) });
            self.session.acknowledge(qos, packet_id);
        }
    }

    fn route(&mut self, message: &Publish<'_>) {
        let mut targets = Vec::new();
        self.session.route(self.now, message, &mut targets);
        let matching = self.members.iter().filter(|(_, member)| member.wants(message.topic));
        let matching: BTreeSet<u32> = matching.map(|(subscription, _)| *subscription).collect();
        let found: BTreeSet<u32> = targets.iter().copied().collect();
        assert_eq!(found.len(), targets.len(), "each once");
        if message.retain && self.now < self.asking_until_ms {
            // A SUBSCRIBE may have asked for it, perhaps one of a subscription that has ended.
            assert!(found.is_subset(&matching));
        } else {
            assert_eq!(found, matching);
        }
    }

    /// Time passes until the session asks for a turn, or less, or more.
    fn wait(&mut self) {
        let most = 2 * KEEP_ALIVE_MS as usize;
        self.now = match self.session.deadline().filter(|_| self.dice.coin()) {
            Some(at) => self.now.max(at),
            None => self.now + self.dice.below(most) as u64,
        };
        if self.dice.coin() {
            self.session.received(self.now);
        }
        self.tick();
    }

    fn tick(&mut self) {
        match self.session.tick(self.now) {
            Ok(()) => {
                // What is over is not asked again, and the turn is not asked for again at once.
                self.asked.retain(|_, asked| self.now < asked.since + ACK_TIMEOUT_MS);
                self.listen();
                assert!(self.session.deadline().is_none_or(|at| at > self.now), "a turn asked for again and again");
                assert!(self.now < self.last_heard_ms + KEEP_ALIVE_MS, "silent for longer than was agreed");
            }
            Err(violation) => {
                assert_eq!(violation, Violation::KeepAlive);
                assert!(self.pings > 0 && !self.paused, "given up without reason");
                self.disconnect();
            }
        }
    }

    /// Hear what the session says, and what it tells its owner.
    fn listen(&mut self) {
        let heard = hear(&mut self.session);
        assert!(self.connected || heard.is_empty());
        if !heard.is_empty() {
            self.last_heard_ms = self.now;
            self.session.sent(self.now);
        }
        let mut acknowledged = Vec::new();
        for packet in heard {
            match packet {
                Heard::Subscribe { id, filter, qos } => {
                    let members = self.members.values().filter(|member| member.filters().any(|own| own == filter));
                    assert_eq!(members.map(|member| member.qos).max(), Some(qos), "as much as the most of them want");
                    self.asking_until_ms = self.now + ACK_TIMEOUT_MS + RETAINED_TIMEOUT_MS;
                    self.ask(id, filter, true);
                }
                Heard::Unsubscribe { id, filter } => self.ask(id, filter, false),
                Heard::Ping => self.pings += 1,
                other => acknowledged.push(other),
            }
        }
        assert_eq!(acknowledged, std::mem::take(&mut self.acknowledgements));
        self.notices();
    }

    fn ask(&mut self, id: u16, filter: String, subscribes: bool) {
        assert!(id >= FIRST_ID);
        self.requests.push((filter, subscribes));
        let asked = Asked { place: self.requests.len() - 1, since: self.now, subscribes };
        assert!(self.asked.insert(id, asked).is_none(), "an identifier is in use once");
    }

    fn notices(&mut self) {
        for notice in self.session.take_notices() {
            match notice {
                Notice::Subscribed { subscription, code } => {
                    let member = self.members.get_mut(&subscription).expect("it has not ended");
                    assert!(!std::mem::replace(&mut member.told, true), "once on a connection");
                    member.gathering = code != REFUSED;
                }
                Notice::Retained { subscription } => {
                    let member = self.members.get_mut(&subscription).expect("it has not ended");
                    assert!(std::mem::take(&mut member.gathering), "once, after it was granted");
                }
                Notice::Unsubscribed { subscription } => assert!(self.leaving.remove(&subscription), "once"),
                Notice::BatchesRefused { filter } => {
                    assert!(of_batch(&filter).is_some_and(|own| FILTERS.contains(&own)))
                }
                Notice::Unanswered { filter } => {
                    let own = filter.strip_suffix(BATCH);
                    assert!([Some(filter.as_str()), own].into_iter().flatten().any(|own| FILTERS.contains(&own)));
                }
            }
        }
    }

    /// Over a good connection everybody gets what they are owed, and the broker holds what is wanted, and no more.
    pub fn finish(mut self) {
        if self.connected {
            self.disconnect();
        }
        let present = self.dice.coin();
        self.connect(present);
        self.listen();
        while let Some((&id, _)) = self.asked.first_key_value() {
            self.answer_one(id, false);
            self.listen();
        }
        while self.pings > 0 {
            self.answer_ping();
        }
        assert!(self.session.is_answered());
        self.now += RETAINED_TIMEOUT_MS;
        self.tick();
        assert!(self.leaving.is_empty());
        assert!(self.members.values().all(|member| member.told && !member.gathering));
        let wanted: BTreeSet<String> = self.members.values().flat_map(Member::filters).collect();
        assert_eq!(self.held, wanted);
    }
}
