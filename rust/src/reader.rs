//! What comes in: framing, acknowledgements, and messages on their way to the subscriptions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::{Core, InboxDrop};
use crate::error::Ended;
use crate::inbox::Inbox;
use crate::packet::{self, Incoming, Publish};
use crate::session::Session;
use crate::transport::Stream;

const READ_BYTES: usize = 64 * 1024;
/// Reads in one turn of the I/O thread.
const TURN_READS: usize = 4;
/// Acknowledgements handled at a time, so that no publisher waits long for the outbox.
const LOCKED_ACKS: usize = 64;
/// A consumer that reads nothing for so long while its queue is full is stuck.
const STUCK_MS: u64 = 250;

pub type Inboxes = HashMap<u32, Arc<Inbox>>;

/// The wait for room in a queue.
struct Stall {
    subscription: u32,
    since_ms: u64,
    read: u64,
}

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The socket is empty.
    Dry,
    TurnOver,
    /// A queue is full: no more is read until it has room, or until its consumer is found stuck.
    Paused {
        until_ms: u64,
    },
}

#[derive(Default)]
pub struct Reader {
    input: Vec<u8>,
    targets: Vec<u32>,
    /// The message that reading paused at has its targets: asked again, the session would take it for a copy.
    routed: bool,
    acknowledged: Vec<u16>,
    stall: Option<Stall>,
    stuck: HashSet<u32>,
    /// QoS 1 deliveries that are acknowledged when no subscription is stuck any more, in order.
    withheld: VecDeque<u16>,
}

impl Reader {
    /// `leftover`: what came behind CONNACK.
    pub fn new(leftover: Vec<u8>) -> Self {
        Self { input: leftover, ..Self::default() }
    }

    pub fn pump(
        &mut self,
        now: u64,
        core: &Core,
        session: &mut Session,
        inboxes: &Inboxes,
        stream: &impl Stream,
    ) -> Result<Reading, Ended> {
        self.release(session, inboxes);
        let mut reads = 0;
        loop {
            if let Some(until_ms) = self.consume(now, core, session, inboxes)? {
                return Ok(Reading::Paused { until_ms });
            }
            if reads == TURN_READS {
                return Ok(Reading::TurnOver);
            }
            reads += 1;
            self.input.reserve(READ_BYTES);
            match stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(Ended::ByPeer),
                Ok(_) => session.received(now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.input.is_empty() {
                        // An idle connection holds no buffer.
                        self.input = Vec::new();
                    }
                    return Ok(Reading::Dry);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Handle every whole packet that has arrived; some: reading pauses until then.
    fn consume(
        &mut self,
        now: u64,
        core: &Core,
        session: &mut Session,
        inboxes: &Inboxes,
    ) -> Result<Option<u64>, Ended> {
        let input = std::mem::take(&mut self.input);
        let mut position = 0;
        let outcome = loop {
            match packet::parse(&input[position..], core.config.max_inbound_bytes) {
                Ok(None) => break Ok(None),
                Err(malformed) => break Err(malformed.into()),
                Ok(Some((packet, used))) => match self.handle(now, core, session, inboxes, packet) {
                    Ok(None) => position += used,
                    paused_or_ended => break paused_or_ended,
                },
            }
        };
        self.input = input;
        self.input.drain(..position);
        self.acknowledge(core);
        if matches!(outcome, Err(Ended::TooLarge)) {
            core.count_inbox_drop(InboxDrop::TooLarge);
        }
        outcome
    }

    fn handle(
        &mut self,
        now: u64,
        core: &Core,
        session: &mut Session,
        inboxes: &Inboxes,
        packet: Incoming<'_>,
    ) -> Result<Option<u64>, Ended> {
        match packet {
            Incoming::Publish(publish) => {
                return self.deliver(now, core, session, inboxes, &publish);
            }
            Incoming::PubAck(id) => self.acknowledged.push(id),
            Incoming::SubAck { packet_id, codes } => session.suback(now, packet_id, codes)?,
            Incoming::UnsubAck(id) => session.unsuback(id)?,
            Incoming::PingResp => session.pingresp(now),
            Incoming::Disconnect => return Err(Ended::Takeover),
            Incoming::ConnAck { .. } => return Err(Ended::Unexpected("CONNACK")),
            Incoming::PubRec(_) | Incoming::PubRel(_) | Incoming::PubComp(_) => {
                return Err(Ended::Unexpected("QoS 2 acknowledgement"));
            }
        }
        Ok(None)
    }

    fn deliver(
        &mut self,
        now: u64,
        core: &Core,
        session: &mut Session,
        inboxes: &Inboxes,
        publish: &Publish<'_>,
    ) -> Result<Option<u64>, Ended> {
        if publish.qos == 2 {
            return Err(Ended::Unexpected("QoS 2 message: none was subscribed to"));
        }
        if !self.routed {
            session.route(now, publish, &mut self.targets);
        }
        let size = publish.topic.len() + publish.payload.len();
        let targets = std::mem::take(&mut self.targets);
        let full = targets.iter().filter_map(|target| inboxes.get(target)).find(|inbox| inbox.is_full(size));
        let pause = full.and_then(|inbox| self.stalled(now, inbox));
        let flags = publish.qos | u8::from(publish.retain) << 2 | u8::from(publish.dup) << 3;
        let mut withhold = false;
        if pause.is_none() {
            for inbox in targets.iter().filter_map(|target| inboxes.get(target)) {
                // Where all had room a moment ago they still have: nobody else fills them.
                if full.is_some() && inbox.is_full(size) {
                    if publish.qos == 0 {
                        core.count_inbox_drop(InboxDrop::Full);
                        continue;
                    }
                    if inbox.is_overfull(size) {
                        core.count_inbox_drop(InboxDrop::Full);
                        return Err(Ended::InboxFull);
                    }
                    withhold = true;
                }
                inbox.push(publish.topic, publish.payload, flags);
                core.received.fetch_add(1, Ordering::Relaxed);
            }
            if publish.qos == 1 {
                // Acknowledgements keep the order of the messages (MQTT 3.1.1 section 4.6).
                if withhold || !self.withheld.is_empty() {
                    self.withheld.push_back(publish.packet_id);
                } else {
                    session.puback(publish.packet_id);
                }
            }
        }
        self.targets = targets;
        self.routed = pause.is_some();
        Ok(pause)
    }

    /// Until when to wait for room in a full queue; None once its consumer is found stuck.
    fn stalled(&mut self, now: u64, inbox: &Inbox) -> Option<u64> {
        if self.stuck.contains(&inbox.subscription) {
            return None;
        }
        let read = inbox.read();
        let known = self.stall.take().filter(|stall| stall.subscription == inbox.subscription && stall.read == read);
        let since_ms = known.map_or(now, |stall| stall.since_ms);
        if now >= since_ms + STUCK_MS {
            self.stuck.insert(inbox.subscription);
            return None;
        }
        self.stall = Some(Stall { subscription: inbox.subscription, since_ms, read });
        Some(since_ms + STUCK_MS)
    }

    /// Subscriptions that are well emptied are stuck no more, one message less is not enough: the next one would
    /// stop all reading again. Then what was withheld is acknowledged.
    fn release(&mut self, session: &mut Session, inboxes: &Inboxes) {
        if self.stuck.is_empty() {
            return;
        }
        self.stuck.retain(|subscription| inboxes.get(subscription).is_some_and(|inbox| !inbox.has_drained()));
        if self.stuck.is_empty() {
            self.withheld.drain(..).for_each(|id| session.puback(id));
        }
    }

    fn acknowledge(&mut self, core: &Core) {
        if self.acknowledged.is_empty() {
            return;
        }
        for some in self.acknowledged.chunks(LOCKED_ACKS) {
            let mut outbox = core.outbox.lock();
            for &id in some {
                outbox.acknowledge(id);
            }
        }
        self.acknowledged.clear();
        core.outbox.lock().settle();
        core.tell_outcomes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::inbox::Batch;

    #[test]
    fn a_retained_message_that_waited_for_room_is_no_copy_of_itself() {
        let config = Config::for_tests(1);
        let inbox = Arc::new(Inbox::new(1, config.max_inbox_bytes, config.max_inbox_messages, Arc::default()));
        let mut session = Session::new(config.settings.clone());
        let core = Core::new(config);
        session.connected(0);
        session.subscribe(0, 1, "a/#".into(), 0);
        let mut reader = Reader::new(Vec::new());
        for topic in [b"a/1", b"a/2", b"a/3"] {
            packet::publish(&mut reader.input, topic, b"x", 0, true);
        }
        let inboxes = Inboxes::from([(1, Arc::clone(&inbox))]);
        let (mut batch, mut seen) = (Batch::default(), Vec::new());
        for _ in 0..3 {
            // Twice: it may be woken before there is room.
            for _ in 0..2 {
                reader.consume(0, &core, &mut session, &inboxes).unwrap();
            }
            seen.extend(inbox.next(&mut batch, |message| message.topic.to_owned()));
        }
        assert_eq!(seen, ["a/1", "a/2", "a/3"]);
    }
}
