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
            if withhold && inboxes().any(|inbox| is_full(inbox) && inbox.is_overfull(size)) {
                core.count_inbox_drop(InboxDrop::Full);
                return Err(Ended::InboxFull);
            }
            for inbox in inboxes() {
                if publish.qos == 0 && is_full(inbox) {
                    core.count_inbox_drop(InboxDrop::Full);
                    continue;
                }
                let mut count = 1;
                match batch_of.filter(|_| inbox.batches) {
                    Some(topic) => {
                        let events = self.batch.elements(publish.payload);
                        count = events.len() as u64;
                        inbox.push_batch(topic, events, flags);
                    }
                    None => inbox.push(publish.topic, publish.payload, flags),
                }
                core.received.fetch_add(count, Ordering::Relaxed);
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
                InboxDrop::TooLarge => "is over max_inbound_bytes",
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
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::inbox::Batch as Taken;

    /// One connection after another, to a subscription with room for one message.
    struct Receiver {
        reader: Reader,
        session: Session,
        core: Arc<Core>,
        inbox: Arc<Inbox>,
        batch: Taken,
        now: u64,
    }

    impl Receiver {
        fn new(filter: &str) -> Self {
            let config = Config::for_tests(1);
            let inbox =
                Arc::new(Inbox::new(1, false, config.max_inbox_bytes, config.max_inbox_messages, Arc::default()));
            let mut session = Session::new(config.settings.clone());
            session.connected(0, false);
            session.subscribe(0, 1, filter.into(), 0, false);
            session.control().clear();
            let reader = Reader::new(Vec::new());
            Self { reader, session, core: Core::new(config), inbox, batch: Taken::default(), now: 0 }
        }

        fn publish(&mut self, topic: &str, qos: u8, id: u16, dup: bool) {
            let start = self.reader.input.len();
            packet::publish(&mut self.reader.input, topic.as_bytes(), b"x", qos, false);
            packet::patch(&mut self.reader.input[start..], id, dup);
        }

        fn consume(&mut self) -> Result<Option<u64>, Ended> {
            let inboxes = Inboxes::from([(1, Arc::clone(&self.inbox))]);
            self.reader.release(&mut self.session, &inboxes);
            self.reader.consume(self.now, &self.core, &mut self.session, &inboxes)
        }

        /// Read what has come, over as much time as it takes to find a consumer stuck.
        fn read(&mut self) {
            while let Some(until) = self.consume().unwrap() {
                self.now = until;
            }
        }

        fn taken(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.inbox.next(&mut self.batch, |message| message.topic.to_owned())).collect()
        }

        /// What went out: first bytes and identifiers.
        fn answers(&mut self) -> Vec<(u8, u16)> {
            let control = std::mem::take(self.session.control());
            control.chunks(4).map(|ack| (ack[0], u16::from_be_bytes([ack[2], ack[3]]))).collect()
        }

        fn reconnect(&mut self, session_present: bool) {
            self.session.disconnected();
            self.session.connected(self.now, session_present);
            self.session.control().clear();
            self.reader = Reader::new(Vec::new());
        }
    }

    const PUBACK: u8 = 0x40;
    const PUBREC: u8 = 0x50;
    const PUBREL: u8 = 0x62;
    const PUBCOMP: u8 = 0x70;

    #[test]
    fn a_retained_message_that_waited_for_room_is_no_copy_of_itself() {
        let mut receiver = Receiver::new("a/#");
        for topic in [b"a/1", b"a/2", b"a/3"] {
            packet::publish(&mut receiver.reader.input, topic, b"x", 0, true);
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            // Twice: it may be woken before there is room.
            for _ in 0..2 {
                receiver.consume().unwrap();
            }
            seen.extend(receiver.inbox.next(&mut receiver.batch, |message| message.topic.to_owned()));
        }
        assert_eq!(seen, ["a/1", "a/2", "a/3"]);
    }

    #[test]
    fn a_repeated_qos_2_message_is_answered_and_not_delivered_again() {
        let mut receiver = Receiver::new("#");
        for dup in [false, true, false] {
            receiver.publish("a", 2, 7, dup);
            receiver.read();
        }
        assert_eq!(receiver.taken(), ["a"]);
        receiver.reconnect(true);
        receiver.publish("a", 2, 7, true);
        receiver.reader.input.extend([PUBREL, 2, 0, 7]);
        // The identifier is free again, also for a message that nobody subscribed to.
        receiver.publish("b", 2, 7, false);
        receiver.read();
        assert_eq!(receiver.answers(), [(PUBREC, 7), (PUBCOMP, 7), (PUBREC, 7)]);
        assert_eq!(receiver.taken(), ["b"]);
        receiver.reconnect(false);
        receiver.publish("b", 2, 7, true);
        receiver.read();
        assert_eq!(receiver.taken(), ["b"], "a new session knows nothing");
    }

    #[test]
    fn pubrec_waits_in_order_behind_a_stuck_consumer() {
        let mut receiver = Receiver::new("#");
        for (id, qos) in [(1, 2), (2, 1), (3, 2), (3, 2), (4, 2)] {
            receiver.publish("a", qos, id, false);
        }
        receiver.read();
        assert_eq!(receiver.answers(), [(PUBREC, 1)]);
        // What is let go of already wants no answer.
        receiver.reader.input.extend([PUBREL, 2, 0, 4]);
        receiver.read();
        assert_eq!(receiver.answers(), [(PUBCOMP, 4)]);
        assert_eq!(receiver.taken().len(), 4);
        receiver.read();
        assert_eq!(receiver.answers(), [(PUBACK, 2), (PUBREC, 3)]);
    }

    #[test]
    fn what_was_delivered_while_its_pubrec_was_withheld_is_remembered_over_a_cut() {
        let mut receiver = Receiver::new("#");
        for id in 1..=3 {
            receiver.publish("a", 2, id, false);
        }
        receiver.read();
        receiver.answers();
        receiver.reconnect(true);
        for id in 2..=3 {
            receiver.publish("a", 2, id, true);
        }
        receiver.read();
        assert_eq!(receiver.answers(), [(PUBREC, 2), (PUBREC, 3)]);
        assert_eq!(receiver.taken().len(), 3);
    }

    #[test]
    fn open_deliveries_cost_their_identifiers() {
        let mut receiver = Receiver::new("nothing");
        for id in 1..=u16::MAX {
            receiver.publish("a", 2, id, false);
        }
        receiver.read();
        assert_eq!(receiver.answers().len(), usize::from(u16::MAX));
        (1..=u16::MAX).for_each(|id| assert!(receiver.session.is_open(id)));
    }

    #[test]
    fn pubrec_is_answered_by_pubrel_and_the_wrong_acknowledgement_ends_the_connection() {
        let mut receiver = Receiver::new("a");
        receiver.reader.input.extend([PUBREC, 2, 0, 9]);
        receiver.reader.input.extend([PUBCOMP, 2, 0, 9]);
        receiver.read();
        assert_eq!(receiver.answers(), [(PUBREL, 9)], "unknown ones too, so that the broker can finish");
        let mut outbox = receiver.core.outbox.lock();
        outbox.open();
        let message = crate::outbox::Message { topic: b"a", payload: b"", qos: 1, retain: false, priority: false };
        outbox.offer(&message, false, 0).unwrap();
        let span = outbox.take_acknowledged().unwrap();
        outbox.retain(span);
        drop(outbox);
        receiver.reader.input.extend([PUBREC, 2, 0, 1]);
        let Err(Ended::Unexpected(rule)) = receiver.consume() else { panic!("the connection ends") };
        assert_eq!(rule, "PUBREC of a QoS 1 message (MQTT 3.1.1 section 4.3.2)");
    }
}
