//! Delivery, one connection after another.

use super::*;
use crate::compression;
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
        let inbox = Arc::new(Inbox::new(1, false, config.max_inbox_bytes, config.max_inbox_messages, Arc::default()));
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
        let inboxes = Inboxes::from([(self.inbox.subscription, Arc::clone(&self.inbox))]);
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

/// A subscription that takes batches, with room for one message.
fn batches() -> Receiver {
    let mut receiver = Receiver::new("a/#");
    let config = &receiver.core.config;
    receiver.inbox = Arc::new(Inbox::new(2, true, config.max_inbox_bytes, 1, Arc::default()));
    receiver.session.unsubscribe(0, 1);
    receiver.session.subscribe(0, 2, "a/#".into(), 0, true);
    receiver.session.control().clear();
    receiver
}

fn batch(receiver: &mut Receiver, payload: &[u8], qos: u8, id: u16) {
    let start = receiver.reader.input.len();
    packet::publish(&mut receiver.reader.input, b"a/b/@batch", payload, qos, false);
    if qos > 0 {
        packet::patch(&mut receiver.reader.input[start..], id, false);
    }
}

#[test]
fn a_batch_is_one_message_to_the_bounds_and_many_to_the_consumer() {
    let mut receiver = batches();
    batch(&mut receiver, b"[1, {\"a\":[2,3]},\"]\"]", 1, 7);
    batch(&mut receiver, b"[]", 1, 8);
    batch(&mut receiver, b"[4]", 1, 9);
    receiver.consume().unwrap();
    assert_eq!(receiver.answers(), [(PUBACK, 7)], "the next one waits for room");
    let mut next = || {
        receiver.inbox.next(&mut receiver.batch, |message| {
            (message.topic.to_owned(), String::from_utf8_lossy(message.payload).into_owned(), message.flags)
        })
    };
    let event = |text: &str| Some(("a/b".to_owned(), text.to_owned(), 1));
    assert_eq!([next(), next(), next(), next()], [event("1"), event("{\"a\":[2,3]}"), event("\"]\""), None]);
    receiver.consume().unwrap();
    assert_eq!(receiver.answers(), [(PUBACK, 8), (PUBACK, 9)]);
    assert_eq!(receiver.taken(), ["a/b"]);
    assert_eq!(receiver.core.received.load(Ordering::Relaxed), 4);
}

#[test]
fn what_is_no_batch_is_refused_counted_and_acknowledged() {
    let mut receiver = batches();
    let mut bomb = Vec::new();
    assert!(compression::shorten(&vec![b' '; receiver.core.config.max_inbound_bytes + 1], &mut bomb));
    let mut small = Vec::new();
    assert!(compression::shorten(format!("[{}]", vec!["12"; 100].join(",")).as_bytes(), &mut small));
    let mut cut = small.clone();
    cut.pop();
    let behind = [&small[..], b"x"].concat();
    let deep = format!("[{}{}]", "[".repeat(129), "]".repeat(129));
    for (id, payload) in [&b"{}"[..], b"", b"[1", deep.as_bytes(), &bomb, &cut, &behind, &small].into_iter().enumerate()
    {
        batch(&mut receiver, payload, 1, id as u16 + 1);
        receiver.consume().unwrap();
        assert_eq!(receiver.answers(), [(PUBACK, id as u16 + 1)]);
    }
    let dropped: Vec<_> = receiver.core.inbox_dropped().collect();
    assert_eq!(dropped, [("not_json", 3), ("too_deep", 1), ("too_large", 1), ("not_zstd", 2)]);
    let told: Vec<_> = receiver.core.events.take().into();
    assert_eq!(told.len(), 1, "one line for a run of them: {told:?}");
    assert_eq!(receiver.taken().len(), 100);
    batch(&mut receiver, b"1", 0, 0);
    receiver.consume().unwrap();
    assert_eq!(receiver.core.events.take().len(), 1, "the good one ended the run");
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
