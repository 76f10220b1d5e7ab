//! What comes in: framing, acknowledgements, and messages on their way to the subscriptions.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::Batch;
use crate::core::{Core, InboxDrop};
use crate::error::Ended;
use crate::events::{Event, Level};
use crate::inbox::Inbox;
use crate::outbox::{Ack, Mismatch};
use crate::packet::{self, Incoming, Publish};
use crate::session::{IdSet, Session};
use crate::sync;
use crate::topic;
use crate::transport::Stream;

const READ_BYTES: usize = 64 * 1024;
/// Reads in one turn of the I/O thread.
const TURN_READS: usize = 4;
/// Acknowledgements handled at a time, so that no publisher waits long for the outbox.
const LOCKED_ACKS: usize = 64;
/// A consumer that reads nothing for so long while its queue is full is stuck.
const STUCK_MS: u64 = 250;

/// Few, and looked up for each message: a tree of one node is faster than a hash.
pub type Inboxes = BTreeMap<u32, Arc<Inbox>>;

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
    /// The broker does not take the answers that there are.
    Unanswerable,
}

#[derive(Default)]
pub struct Reader {
    input: Vec<u8>,
    targets: Vec<u32>,
    /// The message as a batch, where a target takes it apart.
    batch: Batch,
    /// Brokers with Nagle's algorithm hold the next batch back until the last one is acknowledged.
    took_batch: bool,
    /// The message that reading paused at has its targets: asked again, the session would take it for a copy.
    routed: bool,
    acknowledged: Vec<(Ack, u16)>,
    stall: Option<Stall>,
    stuck: HashSet<u32>,
    /// Subscriptions whose last message was a batch that was refused: said once in a run of them.
    complained: HashSet<u32>,
    /// Deliveries that are acknowledged when no subscription is stuck any more, in order: QoS and identifier.
    withheld: VecDeque<(u8, u16)>,
    /// Those of QoS 2 among them: however often such a message is repeated, it is answered once.
    withheld_qos_2: IdSet,
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
            let paused = self.consume(now, core, session, inboxes)?;
            if std::mem::take(&mut self.took_batch) {
                stream.acknowledge_now();
            }
            if let Some(until_ms) = paused {
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
                        self.batch = Batch::default();
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
        let mut topic = "";
        let outcome = loop {
            match packet::parse_after(topic, &input[position..], core.config.max_inbound_bytes) {
                Ok(None) => break Ok(None),
                Err(malformed) => break Err(malformed.into()),
                Ok(Some((packet, used))) => {
                    if let Incoming::Publish(publish) = &packet {
                        topic = publish.topic;
                    }
                    match self.handle(now, core, session, inboxes, packet) {
                        Ok(None) => position += used,
                        paused_or_ended => break paused_or_ended,
                    }
                }
            }
        };
        self.input = input;
        self.input.drain(..position);
        let acknowledged = self.acknowledge(core, session);
        if matches!(outcome, Err(Ended::TooLarge)) {
            core.count_inbox_drop(InboxDrop::TooLarge);
        }
        acknowledged?;
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
            Incoming::PubAck(id) => self.acknowledged.push((Ack::PubAck, id)),
            Incoming::PubRec(id) => self.acknowledged.push((Ack::PubRec, id)),
            Incoming::PubComp(id) => self.acknowledged.push((Ack::PubComp, id)),
            Incoming::PubRel(id) => {
                self.withheld_qos_2.remove(id);
                session.released(id);
            }
            Incoming::SubAck { packet_id, codes } => session.suback(now, packet_id, codes)?,
            Incoming::UnsubAck(id) => session.unsuback(now, id)?,
            Incoming::PingResp => session.pingresp(now),
            Incoming::Disconnect => return Err(Ended::Takeover),
            Incoming::ConnAck { .. } => return Err(Ended::Unexpected("CONNACK")),
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
        if self.withheld.len() > usize::from(u16::MAX) {
            return Err(Ended::Unexpected("message: more than all packet identifiers await their acknowledgement"));
        }
        if publish.qos == 2 && session.is_open(publish.packet_id) {
            // Not delivered again until PUBREL (MQTT 3.1.1 section 4.3.3).
            if !self.withheld_qos_2.contains(publish.packet_id) {
                self.answer(session, publish, false);
            }
            return Ok(None);
        }
        if !self.routed {
            session.route(now, publish, &mut self.targets);
        }
        let batch_of = topic::of_batch(publish.topic)
            .filter(|_| self.targets.iter().filter_map(|target| inboxes.get(target)).any(|inbox| inbox.batches));
        let mut size = publish.topic.len() + publish.payload.len();
        if batch_of.is_some() {
            if !self.routed {
                self.read_batch(core, inboxes, publish);
            }
            size = size.max(publish.topic.len() + self.batch.len(publish.payload));
        }
        let targets = std::mem::take(&mut self.targets);
        let full = targets.iter().filter_map(|target| inboxes.get(target)).find(|inbox| inbox.is_full(size));
        let pause = full.and_then(|inbox| self.stalled(now, inbox));
        let flags = publish.qos | u8::from(publish.retain) << 2 | u8::from(publish.dup) << 3;
        if pause.is_none() {
            let inboxes = || targets.iter().filter_map(|target| inboxes.get(target));
            // Where all had room a moment ago they still have: nobody else fills them.
            let is_full = |inbox: &Inbox| full.is_some() && inbox.is_full(size);
            let withhold = publish.qos > 0 && inboxes().any(|inbox| is_full(inbox));
            let count = |inbox: &Inbox| match inbox.batches && batch_of.is_some() {
                true => self.batch.elements(publish.payload).len(),
                false => 1,
            };
            if withhold && let Some(inbox) = inboxes().find(|inbox| is_full(inbox) && inbox.is_overfull(size)) {
                core.count_inbox_drops(InboxDrop::Full, count(inbox));
                return Err(Ended::InboxFull);
            }
            for inbox in inboxes() {
                if publish.qos == 0 && is_full(inbox) {
                    core.count_inbox_drops(InboxDrop::Full, count(inbox));
                    continue;
                }
                // Before the callback can look.
                core.received.fetch_add(count(inbox) as u64, Ordering::Relaxed);
                match batch_of.filter(|_| inbox.batches) {
                    Some(topic) => inbox.push_batch(topic, self.batch.elements(publish.payload), flags),
                    None => inbox.push(publish.topic, publish.payload, flags),
                }
                if !self.complained.is_empty() {
                    self.complained.remove(&inbox.subscription);
                }
            }
            if publish.qos == 2 {
                session.opened(publish.packet_id);
            }
            self.answer(session, publish, withhold);
        }
        self.targets = targets;
        self.routed = pause.is_some();
        if batch_of.is_some() && !self.routed {
            self.batch.forget();
            self.took_batch = true;
        }
        Ok(pause)
    }

    /// Take a batch apart. Where it is none, those who would have had its messages are no targets of it.
    fn read_batch(&mut self, core: &Core, inboxes: &Inboxes, publish: &Publish<'_>) {
        let Err(reason) = self.batch.read(publish.payload, core.config.max_inbound_bytes) else { return };
        let mut said = true;
        self.targets.retain(|target| {
            let refuses = inboxes.get(target).is_some_and(|inbox| inbox.batches);
            if refuses {
                core.count_inbox_drop(reason);
                said &= !self.complained.insert(*target);
            }
            !refuses
        });
        if !said {
            let why = match reason {
                InboxDrop::TooDeep => "is nested too deep",
                InboxDrop::TooLarge => "is over max_inbound_bytes, or over 65,535 events",
                InboxDrop::NotZstd => "is not zstd",
                _ => "is not a JSON array",
            };
            let line = format!("a batch on {} was dropped: it {why}", publish.topic);
            core.events.push(Event::Log { level: Level::Warning, line });
        }
    }

    /// PUBACK or PUBREC, in the order of the messages (MQTT 3.1.1 section 4.6).
    fn answer(&mut self, session: &mut Session, publish: &Publish<'_>, withhold: bool) {
        let Publish { qos, packet_id, .. } = *publish;
        if qos == 0 {
            return;
        }
        if !withhold && self.withheld.is_empty() {
            session.acknowledge(qos, packet_id);
            return;
        }
        self.withheld.push_back((qos, packet_id));
        if qos == 2 {
            self.withheld_qos_2.insert(packet_id);
        }
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
            for (qos, id) in self.withheld.drain(..) {
                // A broker that has let go of a message already wants no answer.
                if qos == 1 || self.withheld_qos_2.remove(id) {
                    session.acknowledge(qos, id);
                }
            }
        }
    }

    fn acknowledge(&mut self, core: &Core, session: &mut Session) -> Result<(), Mismatch> {
        if self.acknowledged.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        for some in self.acknowledged.chunks(LOCKED_ACKS) {
            sync::let_others_in();
            let mut outbox = core.outbox.lock();
            for &(ack, id) in some {
                outcome = outcome.and(outbox.acknowledge(ack, id).map(|_| ()));
                if ack == Ack::PubRec {
                    // Also for what is not known here: so the broker can finish (MQTT 3.1.1 section 4.3.3).
                    session.pubrel(id);
                }
            }
        }
        self.acknowledged.clear();
        core.outbox.lock().settle();
        core.tell_outcomes();
        outcome
    }
}

#[cfg(test)]
mod tests;
