//! MQTT client protocol state: subscriptions, the retained messages of a SUBSCRIBE, QoS 2 deliveries, keep-alive.
//! No socket and no clock: time comes in as milliseconds, packets go out through `control`.

mod id_set;
mod keep_alive;
mod member;
mod notice;
mod requests;
mod round;

use std::collections::BTreeSet;

pub use id_set::IdSet;
use keep_alive::KeepAlive;
use member::{Member, told_by};
pub use notice::{Notice, Violation};
use requests::{FIRST_ID, Request, Requests};
use round::Round;

use crate::packet::{self, Publish};
use crate::topic;

/// SUBACK return code for a refusal (MQTT 3.1.1 section 3.9.3).
pub const REFUSED: u8 = 0x80;

#[derive(Clone, Debug)]
pub struct Settings {
    /// 0 turns keep-alive off (MQTT 3.1.1 section 3.1.2.10).
    pub keep_alive_ms: u64,
    /// How long SUBACK and UNSUBACK may take.
    pub ack_timeout_ms: u64,
    /// How long to wait for retained messages after SUBACK.
    pub retained_timeout_ms: u64,
}

/// An UNSUBSCRIBE without its answer.
#[derive(Debug)]
struct Leaving {
    packet_id: u16,
    filter: String,
    subscription: Option<u32>,
    sent_ms: u64,
}

/// The topic that was routed last, most often that of the next message too, and the subscriptions that match it.
#[derive(Debug, Default)]
struct Route {
    topic: String,
    matching: Vec<u32>,
}

#[derive(Debug)]
pub struct Session {
    settings: Settings,
    members: Vec<Member>,
    /// Forgotten when the members change.
    route: Route,
    /// Filters that the broker may hold for this session.
    known: BTreeSet<String>,
    /// Filters of batches that it refuses, as far as that was told.
    refused: BTreeSet<String>,
    requests: Requests,
    rounds: Vec<Round>,
    leaving: Vec<Leaving>,
    /// QoS 2 deliveries between PUBLISH and PUBREL.
    open: IdSet,
    connected: bool,
    keep_alive: KeepAlive,
    control: Vec<u8>,
    notices: Vec<Notice>,
}

impl Session {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            members: Vec::new(),
            route: Route::default(),
            known: BTreeSet::new(),
            refused: BTreeSet::new(),
            requests: Requests::default(),
            rounds: Vec::new(),
            leaving: Vec::new(),
            open: IdSet::default(),
            connected: false,
            keep_alive: KeepAlive::default(),
            control: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// CONNACK came: subscribe to everything (again), and from what a session that is present still holds unsubscribe.
    pub fn connected(&mut self, now: u64, session_present: bool) {
        self.connected = true;
        self.keep_alive = KeepAlive::new(self.settings.keep_alive_ms, now);
        self.control.clear();
        if !session_present {
            self.open.clear();
            self.known.clear();
        }
        let mut filters: Vec<&str> = Vec::new();
        for filter in self.members.iter().flat_map(Member::filters) {
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        for filter in self.known.iter().filter(|known| !filters.contains(&known.as_str())) {
            self.requests.push(Request::Unsubscribe { filter: filter.clone(), subscription: None });
        }
        for filter in filters {
            let members = self.members_of(filter);
            self.requests.push(Request::Subscribe { filter: filter.to_owned(), members });
        }
        self.send_requests(now);
    }

    /// The connection is gone, and with it what belonged to it alone.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.rounds.clear();
        self.control.clear();
        let mut gone: Vec<u32> = Vec::new();
        for leaving in self.leaving.drain(..) {
            // It may not have arrived.
            self.known.insert(leaving.filter);
            gone.extend(leaving.subscription);
        }
        for request in self.requests.clear() {
            if let Request::Unsubscribe { subscription, .. } = request {
                gone.extend(subscription);
            }
        }
        self.notices.extend(gone.into_iter().map(|subscription| Notice::Unsubscribed { subscription }));
    }

    pub fn subscribe(&mut self, now: u64, subscription: u32, filter: String, qos: u8, batches: bool) {
        self.route = Route::default();
        let member = Member::new(subscription, filter, qos, batches);
        if self.connected {
            for filter in member.filters() {
                self.requests.push(Request::Subscribe { filter: filter.to_owned(), members: vec![subscription] });
            }
        }
        self.members.push(member);
        if self.connected {
            self.send_requests(now);
        }
    }

    pub fn unsubscribe(&mut self, now: u64, subscription: u32) {
        let Some(place) = self.members.iter().position(|member| member.subscription == subscription) else {
            return;
        };
        self.route = Route::default();
        let left = self.members.remove(place);
        for round in &mut self.rounds {
            round.members.retain(|member| *member != subscription);
        }
        self.requests.leave(subscription);
        let is_over =
            |filter: &&str| self.known.contains(*filter) && !self.members.iter().any(|member| member.has(filter));
        let mut over = left.filters().filter(is_over).peekable();
        if !self.connected || over.peek().is_none() {
            self.notices.push(Notice::Unsubscribed { subscription });
            return;
        }
        while let Some(filter) = over.next() {
            // It is told of once, by the last answer.
            let subscription = over.peek().is_none().then_some(subscription);
            self.requests.push(Request::Unsubscribe { filter: filter.to_owned(), subscription });
        }
        self.send_requests(now);
    }

    /// The subscriptions that a message goes to, each once.
    ///
    /// A set RETAIN flag means that a SUBSCRIBE asked for the message (MQTT 3.1.1 section 3.3.1.3):
    /// where one of ours is waiting for such messages, only those who asked get it, and once.
    pub fn route(&mut self, now: u64, message: &Publish<'_>, targets: &mut Vec<u32>) {
        targets.clear();
        let of = topic::of_batch(message.topic);
        let wanting = || self.members.iter().filter(|member| member.wants(message.topic, of));
        let mut asked = false;
        if message.retain {
            for round in self.rounds.iter_mut().filter(|round| topic::matches(&round.filter, message.topic)) {
                asked = true;
                round.last_retained_ms = now;
                if round.is_new(message) {
                    let members = wanting().map(|member| member.subscription);
                    targets.extend(members.filter(|member| round.members.contains(member)));
                }
            }
        }
        if asked {
            return;
        }
        if self.route.topic != message.topic {
            self.route.topic.replace_range(.., message.topic);
            let matching = wanting().map(|member| member.subscription);
            self.route.matching.clear();
            self.route.matching.extend(matching);
        }
        targets.extend_from_slice(&self.route.matching);
    }

    pub fn suback(&mut self, now: u64, packet_id: u16, codes: &[u8]) -> Result<(), Violation> {
        let Some(place) = self.rounds.iter().position(|r| r.packet_id == packet_id && r.granted_ms.is_none()) else {
            return self.late("SUBACK", packet_id);
        };
        let &[code] = codes else {
            return Err(Violation::Unexpected("SUBACK"));
        };
        let round = &mut self.rounds[place];
        round.granted_ms = Some(now);
        let told = told_by(&self.members, round);
        self.notices.extend(told.iter().map(|&subscription| Notice::Subscribed { subscription, code }));
        if code == REFUSED {
            let Round { filter, members, .. } = self.rounds.remove(place);
            if told.is_empty() && !members.is_empty() && self.refused.insert(filter.clone()) {
                self.notices.push(Notice::BatchesRefused { filter });
            }
        } else {
            self.refused.remove(&round.filter);
        }
        self.requests.answered(packet_id);
        self.send_requests(now);
        Ok(())
    }

    pub fn unsuback(&mut self, now: u64, packet_id: u16) -> Result<(), Violation> {
        let Some(place) = self.leaving.iter().position(|leaving| leaving.packet_id == packet_id) else {
            return self.late("UNSUBACK", packet_id);
        };
        let left = self.leaving.remove(place);
        self.notices.extend(left.subscription.map(|subscription| Notice::Unsubscribed { subscription }));
        self.requests.answered(packet_id);
        self.send_requests(now);
        Ok(())
    }

    /// An answer to what was given up is harmless; one to another kind of request, or to none of ours, is not.
    fn late(&self, what: &'static str, packet_id: u16) -> Result<(), Violation> {
        if packet_id >= FIRST_ID && !self.requests.is_out(packet_id) {
            return Ok(());
        }
        Err(Violation::Unexpected(what))
    }

    pub fn pingresp(&mut self, now: u64) {
        self.keep_alive.pingresp(now);
        for round in &mut self.rounds {
            if round.ping <= self.keep_alive.answered() && round.answered_ms.is_none() {
                round.answered_ms = Some(now);
            }
        }
    }

    /// Whether every SUBSCRIBE, UNSUBSCRIBE and PINGREQ is answered.
    pub fn is_answered(&self) -> bool {
        self.requests.is_empty() && self.keep_alive.answered() == self.keep_alive.sent()
    }

    /// Whether this QoS 2 message is here already: it is answered, and not delivered again (MQTT 3.1.1 section 4.3.3).
    pub fn is_open(&self, packet_id: u16) -> bool {
        self.open.contains(packet_id)
    }

    /// A QoS 2 message is delivered.
    pub fn opened(&mut self, packet_id: u16) {
        self.open.insert(packet_id);
    }

    /// PUBREL: the identifier is free for another message. PUBCOMP goes out whether it is known or not.
    pub fn released(&mut self, packet_id: u16) {
        self.open.remove(packet_id);
        packet::pubcomp(&mut self.control, packet_id);
    }

    /// Acknowledge a delivery: PUBACK at QoS 1, PUBREC at QoS 2.
    pub fn acknowledge(&mut self, qos: u8, packet_id: u16) {
        match qos {
            1 => packet::puback(&mut self.control, packet_id),
            _ => packet::pubrec(&mut self.control, packet_id),
        }
    }

    /// The answer to PUBREC.
    pub fn pubrel(&mut self, packet_id: u16) {
        packet::pubrel(&mut self.control, packet_id);
    }

    /// Ask for a sign of life.
    pub fn ping(&mut self, now: u64) {
        packet::pingreq(&mut self.control);
        self.keep_alive.ping_goes_out(now);
    }

    pub fn goodbye(&mut self) {
        packet::disconnect(&mut self.control);
    }

    /// Bytes arrived.
    pub fn received(&mut self, now: u64) {
        self.keep_alive.bytes_came(now);
    }

    /// Bytes left.
    pub fn sent(&mut self, now: u64) {
        self.keep_alive.bytes_left(now);
    }

    pub fn set_paused(&mut self, now: u64, paused: bool) {
        self.keep_alive.set_paused(now, paused);
    }

    /// Do what is due.
    pub fn tick(&mut self, now: u64) -> Result<(), Violation> {
        if !self.connected {
            return Ok(());
        }
        self.finish_rounds(now);
        self.give_up_leaving(now);
        self.send_requests(now);
        if self.keep_alive.is_overdue(now) {
            return Err(Violation::KeepAlive);
        }
        if self.keep_alive.is_due(now) {
            self.ping(now);
        }
        Ok(())
    }

    /// When `tick` is due next, if at all.
    pub fn deadline(&self) -> Option<u64> {
        let ack_timeout_ms = self.settings.ack_timeout_ms;
        let rounds = self
            .rounds
            .iter()
            .map(|round| round.done_at(self.settings.retained_timeout_ms).unwrap_or(round.sent_ms + ack_timeout_ms));
        let leaving = self.leaving.iter().map(|leaving| leaving.sent_ms + ack_timeout_ms);
        let keep_alive = self.keep_alive.deadline().filter(|_| self.connected);
        rounds.chain(leaving).chain(keep_alive).min()
    }

    pub fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn finish_rounds(&mut self, now: u64) {
        let Settings { retained_timeout_ms, ack_timeout_ms, .. } = self.settings;
        let (notices, requests, members) = (&mut self.notices, &mut self.requests, &self.members);
        self.rounds.retain(|round| match round.done_at(retained_timeout_ms) {
            Some(at) if now >= at => {
                let told = told_by(members, round).into_iter();
                notices.extend(told.map(|subscription| Notice::Retained { subscription }));
                false
            }
            None if now >= round.sent_ms + ack_timeout_ms => {
                notices.push(Notice::Unanswered { filter: round.filter.clone() });
                let refused = |subscription| Notice::Subscribed { subscription, code: REFUSED };
                notices.extend(told_by(members, round).into_iter().map(refused));
                requests.answered(round.packet_id);
                false
            }
            _ => true,
        });
    }

    fn give_up_leaving(&mut self, now: u64) {
        let overdue = |leaving: &mut Leaving| now >= leaving.sent_ms + self.settings.ack_timeout_ms;
        for left in self.leaving.extract_if(.., overdue) {
            self.notices.extend(left.subscription.map(|subscription| Notice::Unsubscribed { subscription }));
            self.requests.answered(left.packet_id);
            self.known.insert(left.filter);
        }
    }

    fn members_of(&self, filter: &str) -> Vec<u32> {
        self.members.iter().filter(|member| member.has(filter)).map(|member| member.subscription).collect()
    }

    /// Send what waits for an identifier, as far as there are any, and a PINGREQ behind each run of SUBSCRIBEs.
    fn send_requests(&mut self, now: u64) {
        let mut subscribed = false;
        while let Some((packet_id, request)) = self.requests.next() {
            match request {
                Request::Subscribe { filter, members } => {
                    let of_filter = self.members.iter().filter(|member| member.has(&filter));
                    let qos = of_filter.map(|member| member.qos).max().unwrap_or(0);
                    packet::subscribe(&mut self.control, packet_id, &filter, qos);
                    self.known.insert(filter.clone());
                    self.rounds.push(Round::new(now, packet_id, filter, members, self.keep_alive.sent() + 1));
                    subscribed = true;
                }
                Request::Unsubscribe { filter, subscription } => {
                    packet::unsubscribe(&mut self.control, packet_id, &filter);
                    self.known.remove(&filter);
                    self.leaving.push(Leaving { packet_id, filter, subscription, sent_ms: now });
                }
            }
        }
        if subscribed {
            self.ping(now);
        }
    }
}
