//! MQTT client protocol state: subscriptions, keep-alive, the retained messages of a SUBSCRIBE.
//! No socket and no clock: time comes in as milliseconds, packets go out through `control`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::packet::{self, Publish};
use crate::topic;

/// SUBSCRIBE and UNSUBSCRIBE take identifiers that publishes never use.
const FIRST_ID: u16 = crate::outbox::MAX_PUBLISH_ID + 1;
/// After the PINGRESP behind a SUBSCRIBE, this long without a retained message means that all are here.
const QUIET_MS: u64 = 50;
/// SUBACK return code for a refusal (MQTT 3.1.1 section 3.9.3).
pub const REFUSED: u8 = 0x80;

#[derive(Clone, Debug)]
pub struct Settings {
    /// 0 turns keep-alive off (MQTT 3.1.1 section 3.1.2.10).
    pub keep_alive_ms: u64,
    /// How long SUBACK may take.
    pub ack_timeout_ms: u64,
    /// How long to wait for retained messages after SUBACK.
    pub retained_timeout_ms: u64,
}

/// What the owner of the session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Subscribed {
        subscription: u32,
        code: u8,
    },
    /// The retained messages of a subscription have arrived.
    Retained {
        subscription: u32,
    },
    Unsubscribed {
        subscription: u32,
    },
    /// The broker did not answer a SUBSCRIBE.
    Unanswered {
        filter: String,
    },
}

/// Why the session cannot go on over this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No answer to PINGREQ in half a keep-alive.
    KeepAlive,
    /// An acknowledgement of nothing that was sent, or with the wrong number of return codes.
    Unexpected(&'static str),
}

#[derive(Debug)]
struct Member {
    subscription: u32,
    filter: String,
    qos: u8,
}

/// One SUBSCRIBE from its sending until its retained messages are through.
#[derive(Debug)]
struct Round {
    packet_id: u16,
    filter: String,
    members: Vec<u32>,
    sent_ms: u64,
    granted_ms: Option<u64>,
    /// The PINGREQ that went out behind it, counted from the start of the connection.
    ping: u64,
    answered_ms: Option<u64>,
    last_retained_ms: u64,
    /// Digests of the retained messages so far, payload by topic.
    seen: HashMap<u64, u64>,
}

impl Round {
    /// False for what came before: each SUBSCRIBE that overlaps brings a copy, and none says whose it is.
    fn is_new(&mut self, message: &Publish<'_>) -> bool {
        let payload = digest(message.payload);
        self.seen.insert(digest(message.topic.as_bytes()), payload) != Some(payload)
    }

    fn done_at(&self, retained_timeout_ms: u64) -> Option<u64> {
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

#[derive(Debug)]
pub struct Session {
    settings: Settings,
    members: Vec<Member>,
    rounds: Vec<Round>,
    unsubscribing: Vec<(u16, u32)>,
    connected: bool,
    /// Reading was paused by us, so an unread PINGRESP is no one's fault.
    paused: bool,
    next_id: u16,
    pings_sent: u64,
    pings_answered: u64,
    ping_since_ms: Option<u64>,
    last_ping_ms: u64,
    last_sent_ms: u64,
    last_received_ms: u64,
    control: Vec<u8>,
    notices: Vec<Notice>,
}

impl Session {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            members: Vec::new(),
            rounds: Vec::new(),
            unsubscribing: Vec::new(),
            connected: false,
            paused: false,
            next_id: FIRST_ID,
            pings_sent: 0,
            pings_answered: 0,
            ping_since_ms: None,
            last_ping_ms: 0,
            last_sent_ms: 0,
            last_received_ms: 0,
            control: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// CONNACK came: subscribe to everything (again).
    pub fn connected(&mut self, now: u64) {
        self.connected = true;
        self.paused = false;
        (self.pings_sent, self.pings_answered, self.ping_since_ms) = (0, 0, None);
        (self.last_sent_ms, self.last_received_ms) = (now, now);
        self.control.clear();
        let mut filters: Vec<String> = Vec::new();
        for member in &self.members {
            if !filters.contains(&member.filter) {
                filters.push(member.filter.clone());
            }
        }
        for filter in &filters {
            let members = self.members_of(filter);
            self.send_subscribe(now, filter.clone(), members);
        }
        if !filters.is_empty() {
            self.send_ping(now);
        }
    }

    /// The connection is gone, and with it what belonged to it alone.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.rounds.clear();
        self.control.clear();
        for (_, subscription) in std::mem::take(&mut self.unsubscribing) {
            self.notices.push(Notice::Unsubscribed { subscription });
        }
    }

    pub fn subscribe(&mut self, now: u64, subscription: u32, filter: String, qos: u8) {
        self.members.push(Member { subscription, filter: filter.clone(), qos });
        if self.connected {
            self.send_subscribe(now, filter, vec![subscription]);
            self.send_ping(now);
        }
    }

    pub fn unsubscribe(&mut self, subscription: u32) {
        let Some(place) = self.members.iter().position(|member| member.subscription == subscription) else {
            return;
        };
        let filter = self.members.remove(place).filter;
        for round in &mut self.rounds {
            round.members.retain(|member| *member != subscription);
        }
        let last = self.members.iter().all(|member| member.filter != filter);
        if self.connected && last {
            let id = self.take_id();
            packet::unsubscribe(&mut self.control, id, &filter);
            self.unsubscribing.push((id, subscription));
        } else {
            self.notices.push(Notice::Unsubscribed { subscription });
        }
    }

    /// The subscriptions that a message goes to, each once.
    ///
    /// A set RETAIN flag means that a SUBSCRIBE asked for the message (MQTT 3.1.1 section 3.3.1.3):
    /// where one of ours is waiting for such messages, only those who asked get it, and once.
    pub fn route(&mut self, now: u64, message: &Publish<'_>, targets: &mut Vec<u32>) {
        targets.clear();
        let mut asked = false;
        if message.retain {
            for round in self.rounds.iter_mut().filter(|round| topic::matches(&round.filter, message.topic)) {
                asked = true;
                round.last_retained_ms = now;
                if round.is_new(message) {
                    targets.extend(&round.members);
                }
            }
        }
        if !asked {
            let matching = self.members.iter().filter(|member| topic::matches(&member.filter, message.topic));
            targets.extend(matching.map(|member| member.subscription));
        }
    }

    pub fn suback(&mut self, now: u64, packet_id: u16, codes: &[u8]) -> Result<(), Violation> {
        let Some(place) = self.rounds.iter().position(|r| r.packet_id == packet_id && r.granted_ms.is_none()) else {
            // The answer to a round that timed out or whose members all left.
            return if packet_id >= FIRST_ID { Ok(()) } else { Err(Violation::Unexpected("SUBACK")) };
        };
        let &[code] = codes else {
            return Err(Violation::Unexpected("SUBACK"));
        };
        let round = &mut self.rounds[place];
        round.granted_ms = Some(now);
        for &subscription in &round.members {
            self.notices.push(Notice::Subscribed { subscription, code });
        }
        if code == REFUSED {
            self.rounds.remove(place);
        }
        Ok(())
    }

    pub fn unsuback(&mut self, packet_id: u16) -> Result<(), Violation> {
        let Some(place) = self.unsubscribing.iter().position(|(id, _)| *id == packet_id) else {
            return Err(Violation::Unexpected("UNSUBACK"));
        };
        let (_, subscription) = self.unsubscribing.remove(place);
        self.notices.push(Notice::Unsubscribed { subscription });
        Ok(())
    }

    pub fn pingresp(&mut self, now: u64) {
        self.pings_answered = self.pings_sent.min(self.pings_answered + 1);
        self.ping_since_ms = (self.pings_answered < self.pings_sent).then_some(now);
        for round in &mut self.rounds {
            if round.ping <= self.pings_answered && round.answered_ms.is_none() {
                round.answered_ms = Some(now);
            }
        }
    }

    pub fn puback(&mut self, packet_id: u16) {
        packet::puback(&mut self.control, packet_id);
    }

    pub fn goodbye(&mut self) {
        packet::disconnect(&mut self.control);
    }

    /// Bytes arrived.
    pub fn received(&mut self, now: u64) {
        self.last_received_ms = now;
    }

    /// Bytes left.
    pub fn sent(&mut self, now: u64) {
        self.last_sent_ms = now;
    }

    pub fn set_paused(&mut self, now: u64, paused: bool) {
        if self.paused && !paused {
            self.last_received_ms = now;
            self.ping_since_ms = self.ping_since_ms.map(|_| now);
        }
        self.paused = paused;
    }

    /// Do what is due.
    pub fn tick(&mut self, now: u64) -> Result<(), Violation> {
        self.finish_rounds(now);
        let keep_alive = self.settings.keep_alive_ms;
        if keep_alive == 0 || !self.connected {
            return Ok(());
        }
        match self.ping_since_ms {
            Some(since) if !self.paused && now >= since + keep_alive / 2 => Err(Violation::KeepAlive),
            _ if now >= self.ping_due() => {
                self.send_ping(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// When `tick` is due next, if at all.
    pub fn deadline(&self) -> Option<u64> {
        let keep_alive = match (self.settings.keep_alive_ms, self.ping_since_ms) {
            (0, _) => None,
            _ if !self.connected => None,
            (interval, Some(since)) if !self.paused => Some(self.ping_due().min(since + interval / 2)),
            _ => Some(self.ping_due()),
        };
        let rounds = self.rounds.iter().map(|round| {
            round.done_at(self.settings.retained_timeout_ms).unwrap_or(round.sent_ms + self.settings.ack_timeout_ms)
        });
        rounds.chain(keep_alive).min()
    }

    pub fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn finish_rounds(&mut self, now: u64) {
        let settings = self.settings.clone();
        let notices = &mut self.notices;
        self.rounds.retain(|round| match round.done_at(settings.retained_timeout_ms) {
            Some(at) if now >= at => {
                notices.extend(round.members.iter().map(|&subscription| Notice::Retained { subscription }));
                false
            }
            None if now >= round.sent_ms + settings.ack_timeout_ms => {
                notices.push(Notice::Unanswered { filter: round.filter.clone() });
                let refused = |&subscription| Notice::Subscribed { subscription, code: REFUSED };
                notices.extend(round.members.iter().map(refused));
                false
            }
            _ => true,
        });
    }

    /// When the next PINGREQ goes out: with one unanswered, which a pause of ours can make last, the broker must
    /// hear from us none the less (MQTT 3.1.1 section 3.1.2.10).
    fn ping_due(&self) -> u64 {
        let idle_since = match self.ping_since_ms {
            None => self.last_sent_ms.min(self.last_received_ms),
            Some(_) => self.last_sent_ms.max(self.last_ping_ms),
        };
        idle_since + self.settings.keep_alive_ms
    }

    fn members_of(&self, filter: &str) -> Vec<u32> {
        self.members.iter().filter(|member| member.filter == filter).map(|member| member.subscription).collect()
    }

    fn send_subscribe(&mut self, now: u64, filter: String, members: Vec<u32>) {
        let of_filter = self.members.iter().filter(|member| member.filter == filter);
        let qos = of_filter.map(|member| member.qos).max().unwrap_or(0);
        let packet_id = self.take_id();
        packet::subscribe(&mut self.control, packet_id, &filter, qos);
        self.rounds.push(Round {
            packet_id,
            filter,
            members,
            sent_ms: now,
            granted_ms: None,
            ping: self.pings_sent + 1,
            answered_ms: None,
            last_retained_ms: now,
            seen: HashMap::new(),
        });
    }

    fn send_ping(&mut self, now: u64) {
        packet::pingreq(&mut self.control);
        self.pings_sent += 1;
        self.last_ping_ms = now;
        self.ping_since_ms.get_or_insert(now);
    }

    fn take_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id = if id == u16::MAX { FIRST_ID } else { id + 1 };
        id
    }
}
