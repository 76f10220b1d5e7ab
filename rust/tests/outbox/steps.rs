//! What may happen to an outbox, drawn by whoever has the dice; a look at the model follows each step.

use std::collections::BTreeMap;

use cascade_mqtt_core::compression;
use cascade_mqtt_core::outbox::{Ack, DropReason, Outbox, Outcome, Pending, Progress};

use crate::dice::Dice;
use crate::model::{Hand, Item, Model};
use crate::queue::{Frame, Sample, frames, puback, take_acknowledged};

impl<D: Dice> Model<D> {
    pub fn step(&mut self) {
        match self.dice.below(100) {
            0..40 => self.offer(),
            40..45 if self.connected => self.doze(),
            45..70 if self.connected => {
                self.look();
                self.write();
            }
            70..90 if self.connected => self.acknowledge(),
            90..94 => self.withdraw(),
            94..96 => self.mark = Some((self.outbox.mark(), self.next)),
            96 if self.connected => self.disconnect(),
            _ if !self.connected => self.connect(),
            _ => {}
        }
        self.check();
    }

    fn offer(&mut self) {
        let size = match self.dice.below(100) {
            0 => self.dice.below(self.limits.queued_bytes),
            1..20 => self.dice.below(6_000),
            _ => self.dice.below(200),
        };
        let qos = self.dice.below(3) as u8;
        let track = qos > 0 && self.dice.below(10) == 0;
        let [retain, priority] = [0; 2].map(|_| self.dice.below(20) == 0);
        let event = self.limits.batch.is_some() && !(retain || priority || track) && self.dice.below(8) > 0;
        let sample = Sample { number: self.next, size, qos, retain, priority, event };
        self.next += 1;
        if let Ok((token, woken)) = sample.offer_tracked(&mut self.outbox, track) {
            assert_eq!(token != 0, track);
            self.woken |= woken;
            let protected = retain || priority || track;
            let item =
                Item { sample, protected, token, packet_id: None, sent: false, sent_here: false, released: false };
            self.lanes[usize::from(qos > 0)].insert(self.next - 1, item);
        }
    }

    /// What there is for the writer, some time later.
    fn look(&mut self) -> Pending {
        self.now_ms += self.dice.below(4) as u64;
        self.outbox.pending(self.now_ms)
    }

    /// A writer that has little or nothing sleeps: what becomes worth a write, and a batch that needs a timer, wakes it.
    fn doze(&mut self) {
        let (before, due) = (self.look(), self.outbox.next_due());
        let changed = |outbox: &Outbox| {
            let counters = outbox.counters();
            counters.rejected().chain(counters.dropped()).map(|(_, count)| count).sum::<u64>()
        };
        let unchanged = changed(&self.outbox);
        self.woken = false;
        for _ in 0..self.dice.below(4) {
            self.offer();
        }
        let instant = self.limits.batch.is_some_and(|batching| batching.linger_ms == 0);
        if before == Pending::Worth || instant || changed(&self.outbox) != unchanged {
            return;
        }
        let pending = self.outbox.pending(self.now_ms);
        // A lane whose window is full is waited for by nobody but its acknowledgements.
        let is_free = self.outbox.in_flight_events() == 0 && before == Pending::Nothing;
        let is_timed = is_free && due.is_none() && self.outbox.next_due().is_some();
        let is_news = (pending != before && before == Pending::Nothing) || pending == Pending::Worth;
        assert!(self.woken || !(is_news || is_timed), "{pending:?} after {before:?}, and nobody woke the writer");
    }

    /// Take something if the hand is empty, else write all of it.
    fn write(&mut self) {
        let compress = self.limits.compresses();
        match std::mem::replace(&mut self.hand, Hand::Nothing) {
            Hand::Telemetry(segment, found) => {
                self.telemetry_written(&found);
                self.outbox.written(segment);
            }
            Hand::Tracked(span, _) => self.outbox.retain(span),
            Hand::Nothing if self.dice.coin() => {
                if let Some(mut segment) = self.outbox.take_telemetry() {
                    if compress {
                        segment.pack(compression::shorten);
                    }
                    let found = frames(&segment.bytes);
                    self.compare(0, &segment.bytes, &found);
                    self.hand = Hand::Telemetry(segment, found);
                }
            }
            Hand::Nothing => {
                if let Some(span) = take_acknowledged(&mut self.outbox, compress) {
                    let bytes = &span.bytes[span.start..span.end];
                    let found = frames(bytes);
                    assert!(!found.is_empty());
                    for frames in found.chunk_by(|a, b| a.end == b.end) {
                        frames.iter().enumerate().for_each(|(place, frame)| self.stamped(frame, place == 0));
                    }
                    self.compare(1, bytes, &found);
                    self.hand = Hand::Tracked(span, found);
                }
            }
        }
    }

    fn acknowledge(&mut self) {
        let mut ids: Vec<(u64, u16)> = self.lanes[1]
            .iter()
            .filter(|(_, item)| item.sent_here || item.released)
            .filter_map(|(number, item)| Some((*number, item.packet_id?)))
            .collect();
        // Of a batch once.
        ids.dedup_by_key(|(_, id)| *id);
        self.dice.shuffle(&mut ids);
        ids.truncate(self.dice.below(ids.len() + 1));
        for (number, id) in ids {
            let item = self.lanes[1].get_mut(&number).expect("listed above");
            let (wrong, last) = match item.sample.qos {
                1 => (Ack::PubRec, Ack::PubAck),
                _ => (Ack::PubAck, Ack::PubComp),
            };
            assert!(self.outbox.acknowledge(wrong, id).is_err());
            if item.sample.qos == 2 && !item.released {
                assert_eq!(self.outbox.acknowledge(Ack::PubComp, id), Ok(Progress::Nothing), "late");
                assert_eq!(self.outbox.acknowledge(Ack::PubRec, id), Ok(Progress::Released));
                assert_eq!(self.outbox.acknowledge(Ack::PubRec, id), Ok(Progress::Nothing), "repeated");
                self.of_message(id).for_each(|item| item.released = true);
                if self.dice.coin() {
                    continue;
                }
            }
            let events = self.of_message(id).count();
            let item = self.lanes[1].remove(&number).expect("listed above");
            self.lanes[1].retain(|_, item| item.packet_id != Some(id));
            assert_eq!(self.outbox.acknowledge(last, id), Ok(Progress::Done { token: item.token, events }));
            for ack in [Ack::PubAck, Ack::PubRec, Ack::PubComp] {
                assert_eq!(self.outbox.acknowledge(ack, id), Ok(Progress::Nothing), "a duplicate ends nothing");
            }
            self.acknowledged += events as u64;
            assert_eq!(item.token != 0, self.outbox.take_outcomes().contains(&Outcome::Acknowledged(item.token)));
            self.ended.insert(item.token);
        }
        let unknown = self.dice.below(1 << 16) as u16;
        if self.lanes[1].values().all(|item| item.packet_id != Some(unknown)) {
            assert!(!puback(&mut self.outbox, unknown));
        }
        self.outbox.settle();
    }

    /// The events of a batch, or what else has this identifier.
    fn of_message(&mut self, id: u16) -> impl Iterator<Item = &mut Item> {
        self.lanes[1].values_mut().filter(move |item| item.packet_id == Some(id))
    }

    fn withdraw(&mut self) {
        let tracked: Vec<u64> = self.lanes[1].iter().filter(|(_, i)| i.token != 0).map(|(number, _)| *number).collect();
        let Some(&number) = tracked.get(self.dice.below(tracked.len() + 1)) else {
            let over = self.ended.iter().next().copied().unwrap_or(u32::MAX);
            assert!(!self.outbox.withdraw(over));
            return;
        };
        let (token, sent) = (self.lanes[1][&number].token, self.lanes[1][&number].sent);
        assert_eq!(self.outbox.withdraw(token), !sent, "what was sent may arrive, what was not is taken back");
        if !sent {
            self.lanes[1].remove(&number);
            self.ended.insert(token);
            self.expired += 1;
        }
    }

    fn disconnect(&mut self) {
        if let Hand::Telemetry(segment, found) = std::mem::replace(&mut self.hand, Hand::Nothing) {
            let position = self.dice.below(segment.bytes.len() + 1);
            let whole: Vec<Frame> = found.into_iter().take_while(|frame| frame.end <= position).collect();
            self.telemetry_written(&whole);
            self.outbox.give_back(segment, position);
        }
        self.outbox.disarm();
        self.connected = false;
    }

    fn connect(&mut self) {
        self.present = self.dice.coin();
        self.connected = true;
        self.last_sent_here = None;
        let released = self.outbox.connected(self.present);
        let past_pubrec = |item: &Item| item.released.then_some(item.packet_id).flatten();
        let mut expected: Vec<u16> = self.lanes[1].values().filter_map(past_pubrec).collect();
        let events = expected.len() as u64;
        expected.dedup();
        if self.present {
            assert_eq!(released, expected, "PUBREL again, in order");
        } else {
            assert!(released.is_empty());
            self.uncertain += events;
            self.acknowledged += events;
            self.lanes[1].retain(|_, item| !item.released);
        }
        for item in self.lanes[1].values_mut() {
            item.sent_here = false;
            item.packet_id = item.packet_id.filter(|_| self.present);
        }
    }

    /// Write and acknowledge until nothing is left, then compare what is missing with what was counted.
    pub fn finish(mut self) {
        if !self.connected {
            self.connect();
        }
        for _ in 0..100_000 {
            if self.outbox.is_empty() {
                break;
            }
            self.look();
            self.write();
            self.acknowledge();
            self.check();
        }
        assert!(self.outbox.is_empty(), "everything leaves in the end");
        [0, 1].into_iter().for_each(|lane| self.skip_before(lane, u64::MAX));
        let dropped: BTreeMap<_, _> = self.outbox.counters().dropped().collect();
        assert_eq!(dropped.get(DropReason::QueueFull.name()).copied().unwrap_or(0), self.skipped);
        assert_eq!(dropped.get(DropReason::Expired.name()).copied().unwrap_or(0), self.expired);
        assert_eq!(self.outbox.allocated(), 0, "an empty queue holds no memory");
    }
}
