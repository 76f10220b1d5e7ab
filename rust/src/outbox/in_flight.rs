//! QoS 1 and 2 from their first transmission to their acknowledgement: windows, identifiers, what goes out next.

mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use replay::Uncertain;

use super::ids::{Ack, Ids, Owner};
use super::segment::Segment;
use super::sent::{Fate, Sent, Span};
use crate::{packet, prefetch};

/// So many frames ahead memory is asked for, and so much of each: most often that holds the identifier.
const AHEAD: usize = 6;
const HEAD: usize = 128;

/// How many messages may be in flight: in all, and at QoS 2.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub all: usize,
    pub exactly_once: usize,
}

impl Window {
    /// Whether a new message has to wait, with so many in flight.
    fn is_full(self, all: usize, exactly_once: Option<usize>) -> bool {
        all >= self.all || exactly_once.is_some_and(|count| count >= self.exactly_once)
    }
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing in flight waits for it: it comes late, or again.
    Nothing,
    /// The broker has taken a QoS 2 message over, or has let go of an identifier that was left open.
    Released,
    /// A message is through; with the token of who waits for it.
    Done { token: u32, events: usize },
}

/// An acknowledgement that belongs to another QoS, in words that name the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch(pub &'static str);

#[derive(Debug, Default)]
pub struct InFlight {
    segments: BTreeMap<u64, Sent>,
    ids: Ids,
    /// The segment that is being handed to the writer, never one with nothing left to send; the ones behind it
    /// wait for a replay.
    sending: Option<u64>,
    /// Messages that hold an identifier.
    count: usize,
    /// Their events.
    events: usize,
    /// Of the messages, the ones of QoS 2.
    exactly_once: usize,
    /// Of those, the ones past PUBREC.
    released: usize,
    /// Events in `segments` that wait to be sent (again), in frames that hold no identifier.
    waiting: usize,
    /// Messages before PUBACK or PUBREC that were sent on any connection; they come before those never sent.
    begun: usize,
    /// Of those, the ones not sent again on this connection.
    again: usize,
    allocated: usize,
}

impl InFlight {
    pub fn count(&self) -> usize {
        self.count
    }

    /// Events of the messages that hold an identifier.
    pub fn events(&self) -> usize {
        self.events
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Messages sent on this connection, before PUBACK or PUBREC.
    pub fn out(&self) -> usize {
        self.begun - self.again
    }

    /// How many identifiers there are for messages in flight.
    pub fn usable_ids(&self) -> usize {
        self.ids.usable()
    }

    /// Whether an identifier awaits PUBCOMP.
    pub fn is_releasing(&self) -> bool {
        self.released > 0 || self.ids.open().next().is_some()
    }

    /// Whether nothing that a former connection sent is left.
    pub fn is_replayed(&self) -> bool {
        self.begun == 0 && !self.is_releasing()
    }

    /// Whether a segment is there of which a part was not handed to the writer yet.
    pub fn unfinished(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether the window lets no new message of this QoS in.
    pub fn is_full(&self, window: Window, exactly_once: bool) -> bool {
        window.is_full(self.count, exactly_once.then_some(self.exactly_once))
    }

    /// Whether the segment being sent waits for an acknowledgement to go on.
    pub fn blocked(&self, window: Window) -> bool {
        let Some(number) = self.sending else {
            return false;
        };
        let sent = &self.segments[&number];
        let next = sent.unsent().filter(|entry| entry.packet_id == 0);
        next.is_some_and(|entry| self.is_full(window, sent.is_exactly_once(entry)))
    }

    pub fn oldest_number(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    pub fn oldest_waiting_ms(&self) -> Option<u32> {
        let (_, sent) = self.segments.range(self.sending?..).next()?;
        sent.unsent().map(|entry| entry.born_ms)
    }

    /// Events in segments before `mark` that are not through.
    pub fn left(&self, mark: u64) -> usize {
        self.segments.range(..mark).map(|(_, sent)| sent.events).sum()
    }

    /// Begin to send a segment from the queue; only when `unfinished` is false.
    pub fn begin(&mut self, segment: Segment) {
        debug_assert!(self.sending.is_none());
        let number = segment.number;
        let sent = Sent::from(segment);
        self.waiting += sent.events;
        self.allocated += sent.allocated();
        self.segments.insert(number, sent);
        self.sending = Some(number);
    }

    /// The next frames to write, as many as the window lets in, and `most` in all.
    ///
    /// The buffer must not be in the writer's hands: a `Span` is dropped before the next call.
    pub fn next_span(&mut self, window: Window, most: usize) -> Option<Span> {
        let number = self.sending?;
        let sent = self.segments.get_mut(&number).expect("the sending segment is kept");
        let bytes = Arc::make_mut(&mut sent.bytes);
        let mut stamped = 0;
        while let Some(entry) = sent.entries.get_mut(sent.next) {
            if entry.dead {
                if stamped > 0 {
                    break;
                }
                sent.next += 1;
                continue;
            }
            let range = entry.offset as usize..(entry.offset + entry.len) as usize;
            // Whoever published it had it last; its successors are asked for while this one is stamped.
            prefetch::for_write(bytes.as_ptr().wrapping_add(range.start + AHEAD * range.len()), HEAD);
            let frame = &mut bytes[range];
            let replayed = entry.packet_id != 0;
            if !replayed {
                let exactly_once = packet::qos(frame) == 2;
                if window.is_full(self.count, exactly_once.then_some(self.exactly_once)) {
                    break;
                }
                let awaits = if exactly_once { Ack::PubRec } else { Ack::PubAck };
                let Some(id) = self.ids.take(Owner { number, index: sent.next as u32, awaits }) else {
                    break;
                };
                entry.packet_id = id;
                self.count += 1;
                self.exactly_once += usize::from(exactly_once);
                self.events += entry.events();
                self.waiting -= entry.events();
            }
            packet::patch(frame, entry.packet_id, replayed);
            if self.again > 0 {
                self.again -= 1;
            } else {
                self.begun += 1;
            }
            stamped += 1;
            sent.next += 1;
            if stamped == most {
                break;
            }
        }
        let last = sent.next;
        let span = (stamped > 0).then(|| {
            let start = sent.entries[last - stamped].offset as usize;
            let end = sent.entries[last - 1];
            Span { number, bytes: Arc::clone(&sent.bytes), start, end: (end.offset + end.len) as usize }
        });
        self.advance();
        span
    }

    /// Let a span grow by the frames that follow it at once, `most` of them; false where it has ended.
    pub fn lengthen(&mut self, span: &mut Span, window: Window, most: usize) -> bool {
        let follows =
            |sent: &Sent| sent.entries.get(sent.next).is_some_and(|e| !e.dead && e.offset as usize == span.end);
        if self.sending != Some(span.number) || !self.segments.get(&span.number).is_some_and(follows) {
            return false;
        }
        // Else the buffer would be the writer's, and stamping it would copy it.
        span.bytes = Arc::default();
        let next = self.next_span(window, most);
        let grown = next.is_some();
        match next {
            Some(next) => *span = Span { start: span.start, ..next },
            None => span.bytes = Arc::clone(&self.segments[&span.number].bytes),
        }
        grown
    }

    /// Where the segment being sent has nothing left to send, go on to the next one.
    fn advance(&mut self) {
        while let Some(number) = self.sending {
            if let Some(sent) = self.segments.get_mut(&number) {
                if sent.unsent().is_some() {
                    return;
                }
                sent.next = sent.entries.len();
            }
            self.sending = self.segments.range(number + 1..).next().map(|(number, _)| *number);
        }
    }

    /// The writer is done with a span: keep its frames in no more memory than they need.
    pub fn retain(&mut self, span: Span) {
        let number = span.number;
        drop(span);
        if self.segments.get(&number).is_some_and(|sent| sent.is_sparse(2)) {
            self.meet(number, Fate::Compacted);
        }
    }

    /// The frame boundary at or after `position` in the segment of a span.
    pub fn boundary(&self, span: &Span, position: usize) -> usize {
        self.segments.get(&span.number).map_or(span.end, |sent| sent.boundary(position).min(span.end))
    }

    /// An acknowledgement came. Those of nothing in flight are left to the caller (MQTT 3.1.1 section 4.4).
    pub fn acknowledge(&mut self, ack: Ack, packet_id: u16) -> Result<Progress, Mismatch> {
        let Some(owner) = self.ids.owner(packet_id) else {
            let closed = ack == Ack::PubComp && self.ids.close(packet_id);
            return Ok(if closed { Progress::Released } else { Progress::Nothing });
        };
        let Owner { number, index, awaits } = *owner;
        match (ack, awaits) {
            (Ack::PubAck, Ack::PubAck) | (Ack::PubComp, Ack::PubComp) => {}
            (Ack::PubRec, Ack::PubRec) => {
                owner.awaits = Ack::PubComp;
                self.release(number, index as usize);
                return Ok(Progress::Released);
            }
            // Repeated, or late: of the message that had the identifier before.
            (Ack::PubRec, Ack::PubComp) | (Ack::PubComp, _) => return Ok(Progress::Nothing),
            (Ack::PubAck, _) => return Err(Mismatch("PUBACK of a QoS 2 message (MQTT 3.1.1 section 4.3.3)")),
            (Ack::PubRec, _) => return Err(Mismatch("PUBREC of a QoS 1 message (MQTT 3.1.1 section 4.3.2)")),
        }
        self.ids.give_back(packet_id);
        let (token, events) = self.finish(number, index as usize);
        if self.count == 0 {
            self.ids.rest();
        }
        Ok(Progress::Done { token, events })
    }

    /// PUBREC: nothing but the identifier is needed any more.
    fn release(&mut self, number: u64, index: usize) {
        let sent = self.segments.get_mut(&number).expect("an owner is in a kept segment");
        sent.kill(index);
        let (early, fate) = (index >= sent.next, sent.fate());
        self.released += 1;
        self.meet(number, fate);
        self.end_of_frame(early);
    }

    /// A message is at its end; returns its token, and how many events it was. Its identifier is the caller's affair.
    fn finish(&mut self, number: u64, index: usize) -> (u32, usize) {
        let sent = self.segments.get_mut(&number).expect("an owner is in a kept segment");
        let early = index >= sent.next;
        let released = sent.entries[index].dead;
        if !released {
            sent.kill(index);
        }
        let entry = &mut sent.entries[index];
        entry.packet_id = 0;
        let (token, events) = (entry.token, entry.events());
        sent.live -= 1;
        sent.events -= events;
        let fate = sent.fate();
        self.count -= 1;
        self.events -= events;
        self.meet(number, fate);
        if released {
            self.released -= 1;
            self.exactly_once -= 1;
        } else {
            self.end_of_frame(early);
        }
        (token, events)
    }

    /// A frame need not be sent any more. `early`: a session's memory answered before it was sent again.
    fn end_of_frame(&mut self, early: bool) {
        self.begun -= 1;
        if early {
            self.again -= 1;
            self.advance();
        }
    }

    #[inline]
    fn meet(&mut self, number: u64, fate: Fate) {
        match fate {
            Fate::Kept => {}
            Fate::Compacted => {
                let sent = self.segments.get_mut(&number).expect("a segment is kept until it is forgotten");
                self.allocated -= sent.allocated();
                sent.compact(&mut self.ids);
                self.allocated += sent.allocated();
            }
            Fate::Forgotten => self.forget(number),
        }
    }

    /// Give up a frame that waits here and was not sent; false where it was.
    pub fn withdraw(&mut self, number: u64, token: u32) -> bool {
        let Some(sent) = self.segments.get_mut(&number) else {
            return false;
        };
        let next = sent.next;
        let waiting = sent.entries[next..].iter().position(|e| e.token == token && !e.dead && e.packet_id == 0);
        let Some(place) = waiting else { return false };
        let events = sent.entries[next + place].events();
        sent.kill(next + place);
        sent.live -= 1;
        sent.events -= events;
        self.waiting -= events;
        if sent.live == 0 {
            self.forget(number);
        }
        self.advance();
        true
    }

    /// Nothing lives in this segment any more.
    fn forget(&mut self, number: u64) {
        let sent = self.segments.remove(&number).expect("a segment is forgotten once");
        self.allocated -= sent.allocated();
        sent.recycle();
        if self.sending == Some(number) {
            self.advance();
        }
    }
}
