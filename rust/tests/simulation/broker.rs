//! A broker of MQTT 3.1.1 with sessions that can be kept or lost, told what to do wrong by the schedule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cascade_mqtt_core::batch::Batch;
use cascade_mqtt_core::outbox::MAX_PUBLISH_ID;
use cascade_mqtt_core::topic;
use tokio::time::Instant;

use crate::ledger::{HEAD, Ledger};
use crate::session::{Delivery, Session, matches};
use crate::wire::{self, Ack, Packet, Publish};

/// What the broker can be told to keep to itself for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    ConnAck,
    Ack(Ack),
    SubAck,
    PingResp,
}

/// The connection that has been accepted.
struct Live {
    link: usize,
    identifier: String,
    clean: bool,
    session_present: bool,
    /// A message of QoS 1 or 2 without DUP has come: the replay is over.
    replayed: bool,
    silence_until: Option<Instant>,
    keep_alive: Duration,
}

#[derive(Default)]
pub struct Broker {
    pub sessions: BTreeMap<String, Session>,
    live: Option<Live>,
    inputs: BTreeMap<usize, Vec<u8>>,
    retained: BTreeMap<String, Delivery>,
    said: Vec<(usize, Vec<u8>)>,
    ended: Vec<usize>,
    /// Answers on their way to the live link, when what is withheld before them is said.
    unsaid: VecDeque<(Answer, Vec<u8>, u16)>,
    withheld: Vec<(Answer, Instant)>,
    refusal: Option<(u8, Instant)>,
    pub down_until: Option<Instant>,
    /// Messages of a size above this are poison.
    pub largest: Option<usize>,
    pub goodbyes: u64,
    /// The client was stopped, and gave up what it had in flight: the next connection begins anew.
    pub client_is_new: bool,
    /// Messages that were on their way to a client whose session is no more.
    pub forgotten: BTreeSet<u64>,
    pub violation: Option<String>,
    /// What came, in words, where somebody wants to read it.
    pub heard: Option<Vec<String>>,
}

impl Broker {
    pub fn new(traced: bool) -> Self {
        Self { heard: traced.then(Vec::new), ..Self::default() }
    }

    pub fn take_said(&mut self) -> (Vec<(usize, Vec<u8>)>, Vec<usize>) {
        (std::mem::take(&mut self.said), std::mem::take(&mut self.ended))
    }

    pub fn withhold(&mut self, answer: Answer, until: Instant) {
        self.withheld.push((answer, until));
    }

    pub fn refuse(&mut self, code: u8, until: Instant) {
        self.refusal = Some((code, until));
    }

    /// No more mistakes.
    pub fn heal(&mut self) {
        self.withheld.clear();
        self.refusal = None;
        self.down_until = None;
        self.largest = None;
        self.say_what_may_be();
    }

    pub fn live_session(&mut self) -> Option<&mut Session> {
        self.sessions.get_mut(&self.live.as_ref()?.identifier)
    }

    /// A link is over, as far as the broker knows.
    pub fn gone(&mut self, link: usize) {
        self.inputs.remove(&link);
        if let Some(live) = self.live.take_if(|live| live.link == link) {
            self.unsaid.clear();
            if live.clean {
                self.forget(&live.identifier);
            }
        }
    }

    /// The broker ends, and is away for a while.
    pub fn restart(&mut self, until: Instant, keeps_sessions: bool) {
        if let Some(link) = self.live.as_ref().map(|live| live.link) {
            self.gone(link);
        }
        self.inputs.clear();
        self.down_until = Some(until);
        if !keeps_sessions {
            self.lose_sessions();
        }
    }

    fn lose_sessions(&mut self) {
        for identifier in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.forget(&identifier);
        }
        self.retained.clear();
    }

    fn forget(&mut self, identifier: &str) {
        if let Some(session) = self.sessions.remove(identifier) {
            self.forgotten.extend(session.under_way());
        }
    }

    /// What is due by the clock.
    pub fn tick(&mut self) {
        self.say_what_may_be();
        let now = Instant::now();
        if let Some(live) = self.live.as_ref().filter(|live| live.silence_until.is_some_and(|until| until <= now)) {
            self.ended.push(live.link);
        }
    }

    /// Somebody else publishes. True where a session took it on, to be delivered at least once.
    pub fn publish(&mut self, delivery: &Delivery) -> bool {
        if delivery.retain {
            self.retained.insert(delivery.topic.clone(), delivery.clone());
        }
        let live = self.live.as_ref().map(|live| live.identifier.clone());
        let mut owed = false;
        for (identifier, session) in &mut self.sessions {
            owed |= session.enqueue(Delivery { retain: false, ..delivery.clone() }, live.as_ref() == Some(identifier));
        }
        self.deliver();
        owed
    }

    /// Send again what is not acknowledged, though nothing was cut.
    pub fn repeat(&mut self) {
        if let Some(session) = self.live_session() {
            session.repeat(false);
            self.deliver();
        }
    }

    pub fn receive(&mut self, link: usize, bytes: &[u8], ledger: &mut Ledger) {
        let mut input = self.inputs.remove(&link).unwrap_or_default();
        input.extend(bytes);
        let mut position = 0;
        let mut open = true;
        while open {
            match wire::parse(&input[position..]) {
                Ok(None) => break,
                Ok(Some((packet, size))) => {
                    if let Some(heard) = &mut self.heard {
                        heard.push(format!("    from link {link}: {packet}"));
                    }
                    open = self.handle(link, packet, ledger).unwrap_or_else(|why| {
                        self.violation.get_or_insert(why);
                        false
                    });
                    position += size;
                }
                Err(why) => {
                    self.violation.get_or_insert(why.into());
                    return;
                }
            }
        }
        if open {
            input.drain(..position);
            self.inputs.insert(link, input);
            self.deliver();
        } else {
            self.ended.push(link);
        }
    }

    /// False to close the link.
    fn handle(&mut self, link: usize, packet: Packet<'_>, ledger: &mut Ledger) -> Result<bool, String> {
        if let Packet::Connect { identifier, clean, keep_alive_s } = packet {
            return Ok(self.connect(link, identifier, clean, keep_alive_s, ledger));
        }
        let Some(live) = self.live.as_mut().filter(|live| live.link == link) else {
            return Err(format!("{packet:?} on a connection that was not accepted"));
        };
        live.silence_until = (!live.keep_alive.is_zero()).then(|| Instant::now() + live.keep_alive * 3 / 2);
        let session = self.sessions.get_mut(&live.identifier).expect("a live connection has a session");
        let windows = ledger.windows;
        match packet {
            Packet::Publish(publish) => {
                if self.largest.is_some_and(|above| publish.payload.len() > above + HEAD) {
                    // It may be given up for this, and then no answer is waited for.
                    session.answered(publish.id);
                    return Ok(false);
                }
                let numbers = numbers(&publish, link, ledger)?;
                let mut arrive = || numbers.iter().try_for_each(|&number| ledger.arrived(number, link));
                if publish.qos == 0 {
                    return if publish.dup { Err("DUP at QoS 0".into()) } else { arrive().map(|()| true) };
                }
                let number = numbers[0];
                if publish.id > MAX_PUBLISH_ID {
                    return Err(format!("PUBLISH with the identifier {} of a SUBSCRIBE", publish.id));
                }
                if publish.dup && (live.replayed || !live.session_present) {
                    return Err(format!("message {number} has DUP set where nothing is repeated"));
                }
                live.replayed |= !publish.dup;
                if session.take_in(number, &publish, windows)? {
                    arrive()?;
                }
                let answer = if publish.qos == 1 { Ack::Acknowledged } else { Ack::Received };
                self.answer(Answer::Ack(answer), wire::ack(answer, publish.id), publish.id);
            }
            Packet::Ack(Ack::Release, id) => {
                session.released(id);
                self.answer(Answer::Ack(Ack::Complete), wire::ack(Ack::Complete, id), id);
            }
            Packet::Ack(kind, id) => session.acknowledged(kind, id)?,
            Packet::Subscribe { id, filter, qos } => {
                if id <= MAX_PUBLISH_ID {
                    return Err(format!("SUBSCRIBE with the identifier {id} of a PUBLISH"));
                }
                session.subscribe(filter, qos);
                for delivery in self.retained.values().filter(|delivery| matches(filter, &delivery.topic)) {
                    session.enqueue(delivery.clone(), true);
                }
                self.answer(Answer::SubAck, wire::suback(id, qos), id);
            }
            Packet::Unsubscribe { id, filter } => {
                session.filters.remove(filter);
                self.answer(Answer::SubAck, wire::unsuback(id), id);
            }
            Packet::PingReq => self.answer(Answer::PingResp, wire::pingresp(), 0),
            Packet::Disconnect => {
                self.goodbyes += 1;
                return Ok(false);
            }
            Packet::Connect { .. } => unreachable!("handled above"),
        }
        Ok(true)
    }

    fn connect(&mut self, link: usize, identifier: &str, clean: bool, keep_alive_s: u16, ledger: &mut Ledger) -> bool {
        if let Some((code, _)) = self.refusal.filter(|(_, until)| Instant::now() < *until) {
            self.said.push((link, wire::connack(code, false)));
            return false;
        }
        if let Some(before) = self.live.as_ref().map(|live| live.link) {
            self.gone(before);
            self.ended.push(before);
        }
        if clean {
            self.forget(identifier);
        }
        let session_present = self.sessions.contains_key(identifier);
        if !session_present {
            ledger.sessions_lost += 1;
        }
        let session = self.sessions.entry(identifier.into()).or_default();
        if std::mem::take(&mut self.client_is_new) {
            session.client_forgot();
        }
        session.repeat(true);
        let keep_alive = Duration::from_secs(u64::from(keep_alive_s));
        self.live = Some(Live {
            link,
            identifier: identifier.into(),
            clean,
            session_present,
            replayed: false,
            silence_until: (keep_alive_s > 0).then(|| Instant::now() + keep_alive * 3 / 2),
            keep_alive,
        });
        self.answer(Answer::ConnAck, wire::connack(0, session_present), 0);
        true
    }

    fn answer(&mut self, kind: Answer, bytes: Vec<u8>, id: u16) {
        self.unsaid.push_back((kind, bytes, id));
        self.say_what_may_be();
    }

    fn is_withheld(&self, answer: Answer) -> bool {
        self.withheld.iter().any(|(kind, until)| *kind == answer && Instant::now() < *until)
    }

    fn say_what_may_be(&mut self) {
        let Some(link) = self.live.as_ref().map(|live| live.link) else { return };
        let mut later = VecDeque::new();
        for (kind, bytes, id) in std::mem::take(&mut self.unsaid) {
            // Nothing goes before CONNACK.
            if self.is_withheld(kind) || self.is_withheld(Answer::ConnAck) {
                later.push_back((kind, bytes, id));
                continue;
            }
            if let (Answer::Ack(Ack::Acknowledged | Ack::Complete), Some(session)) = (kind, self.live_session()) {
                session.answered(id);
            }
            self.said.push((link, bytes));
        }
        self.unsaid = later;
        self.deliver();
    }

    /// Messages on their way to the client.
    fn deliver(&mut self) {
        let connecting = self.unsaid.iter().any(|(kind, ..)| *kind == Answer::ConnAck);
        let Some(link) = self.live.as_ref().map(|live| live.link).filter(|_| !connecting) else { return };
        let Some(session) = self.live_session() else { return };
        let bytes = session.send();
        if !bytes.is_empty() {
            self.said.push((link, bytes));
        }
    }
}

/// The messages that a PUBLISH holds, which are as they were published.
fn numbers(publish: &Publish<'_>, link: usize, ledger: &mut Ledger) -> Result<Vec<u64>, String> {
    let Some(topic) = topic::of_batch(publish.topic) else {
        return Ok(vec![ledger.seen(publish, link)?]);
    };
    let mut batch = Batch::default();
    batch.read(publish.payload, 1 << 20).map_err(|why| format!("a batch is {why:?}"))?;
    let events = batch.elements(publish.payload).map(|payload| Publish { topic, payload, ..*publish });
    let numbers: Vec<u64> = events.map(|event| ledger.seen(&event, link)).collect::<Result<_, _>>()?;
    if numbers.is_empty() { Err("an empty batch".into()) } else { Ok(numbers) }
}
