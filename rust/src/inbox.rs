//! The control channel: a bounded queue for each subscription, filled by the driver and emptied by
//! the loop that owns it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Mutex;
use crate::wake::Bell;

/// Topic length, payload length, flags: what precedes each message in a queue.
const HEADER: usize = 9;
/// In the place of a topic's length: the topic of the message before, which is not there a second time.
const AS_BEFORE: u32 = u32::MAX;

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Where the last topic lies.
    topic: Range<usize>,
    given: Amount,
    /// What the consumer had read when that was last looked at: it has read as much, or more.
    read: Amount,
    /// The consumer found nothing and waits to be woken.
    armed: bool,
    /// The driver waits for room.
    full: bool,
}

/// Messages, those of batches one by one, and their bytes since the queue was made.
#[derive(Clone, Copy, Default)]
struct Amount {
    bytes: u64,
    messages: u64,
}

/// What the consumer alone writes, for each message: where the driver does not look each time, and shares no cache line.
#[derive(Default)]
#[repr(align(128))]
struct Read {
    bytes: AtomicU64,
    messages: AtomicU64,
}

/// One subscription's queue. Bytes swapped out to the consumer still count until they are read.
pub struct Inbox {
    pub subscription: u32,
    /// Whether it takes batches as the messages that they hold.
    pub batches: bool,
    max_bytes: usize,
    max_messages: usize,
    queue: Mutex<Queue>,
    read: Read,
    bell: Arc<Bell>,
}

/// What the consumer holds: messages swapped out of the queue, read one at a time.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    position: usize,
    /// Of the message before.
    topic: String,
}

/// One message as it lies in a batch.
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub flags: u8,
}

impl Inbox {
    pub fn new(subscription: u32, batches: bool, max_bytes: usize, max_messages: usize, bell: Arc<Bell>) -> Self {
        Self {
            subscription,
            batches,
            max_bytes,
            max_messages,
            queue: Mutex::new(Queue { armed: true, ..Queue::default() }),
            read: Read::default(),
            bell,
        }
    }

    /// Whether a message of this size has to wait. An empty queue takes any one message.
    pub fn is_full(&self, size: usize) -> bool {
        let mut queue = self.queue.lock();
        let is_full =
            |(bytes, messages)| messages > 0 && (bytes + size > self.max_bytes || messages >= self.max_messages);
        // Mostly there is room even if nothing has been read since it was last looked.
        queue.full = is_full(queue.held()) && is_full(self.held(&mut queue));
        queue.full
    }

    /// Whether at most half of what is allowed is left; if not, the driver waits for that.
    pub fn has_drained(&self) -> bool {
        let mut queue = self.queue.lock();
        let (bytes, messages) = self.held(&mut queue);
        queue.full = bytes > self.max_bytes / 2 || messages > self.max_messages / 2;
        !queue.full
    }

    /// Bytes and messages not yet read.
    fn held(&self, queue: &mut Queue) -> (usize, usize) {
        let Read { bytes, messages } = &self.read;
        queue.read = Amount { bytes: bytes.load(Ordering::Relaxed), messages: messages.load(Ordering::Relaxed) };
        queue.held()
    }

    /// Whether more than twice what is allowed has gathered: QoS 1 that was taken although full.
    pub fn is_overfull(&self, size: usize) -> bool {
        let queue = self.queue.lock();
        queue.bytes.len() + size > self.max_bytes.saturating_mul(2)
    }

    pub fn push(&self, topic: &str, payload: &[u8], flags: u8) {
        self.push_batch(topic, std::iter::once(payload), flags);
    }

    /// Messages that came in one.
    pub fn push_batch<'a>(&self, topic: &str, payloads: impl ExactSizeIterator<Item = &'a [u8]>, flags: u8) {
        if payloads.len() == 0 {
            return;
        }
        let wake = {
            let mut queue = self.queue.lock();
            payloads.for_each(|payload| queue.append(topic, payload, flags));
            std::mem::take(&mut queue.armed)
        };
        if wake {
            self.ring();
        }
    }

    /// The next message, copied nowhere: `read` gets it while it lies in the batch. None: nothing
    /// waits, and the next push rings. Only one at a time may take from an inbox.
    pub fn next<T>(&self, batch: &mut Batch, read: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        if batch.position == batch.bytes.len() && !self.swap(batch) {
            return None;
        }
        let Batch { bytes, position, topic } = batch;
        let (header, mut rest) = bytes[*position..].split_first_chunk::<HEADER>()?;
        let [sizes @ .., flags] = *header;
        let sizes = u64::from_le_bytes(sizes);
        let (topic_size, payload) = (sizes as u32, (sizes >> 32) as usize);
        if topic_size != AS_BEFORE {
            let (fresh, payload) = rest.split_at(topic_size as usize);
            topic.clear();
            topic.push_str(std::str::from_utf8(fresh).unwrap_or_default());
            rest = payload;
        }
        let payload = &rest[..payload];
        let end = bytes.len() - rest.len() + payload.len();
        self.read.note((end - *position) as u64);
        *position = end;
        Some(read(Message { topic, payload, flags }))
    }

    /// Wake the consumer, who stopped before it found nothing.
    pub fn ring(&self) {
        self.bell.ring(i64::from(self.subscription));
    }

    fn swap(&self, batch: &mut Batch) -> bool {
        batch.bytes.clear();
        batch.position = 0;
        let (some, room) = {
            let mut queue = self.queue.lock();
            let some = !queue.bytes.is_empty();
            if some {
                std::mem::swap(&mut queue.bytes, &mut batch.bytes);
            } else {
                queue.armed = true;
                // An idle subscription holds no buffers.
                queue.bytes = Vec::new();
                *batch = Batch::default();
            }
            queue.topic = 0..0;
            (some, std::mem::take(&mut queue.full))
        };
        if room {
            self.bell.driver.notify_one();
        }
        some
    }

    /// Messages handed to this queue since it was made.
    pub fn given(&self) -> u64 {
        self.queue.lock().given.messages
    }

    /// Messages that its consumer has read: what shows that it makes progress.
    pub fn read(&self) -> u64 {
        self.read.messages.load(Ordering::Relaxed)
    }
}

impl Read {
    fn note(&self, bytes: u64) {
        // Nobody else writes them.
        let add = |to: &AtomicU64, count| to.store(to.load(Ordering::Relaxed) + count, Ordering::Relaxed);
        add(&self.bytes, bytes);
        add(&self.messages, 1);
    }
}

impl Queue {
    /// Bytes and messages not yet read, as far as is known.
    fn held(&self) -> (usize, usize) {
        ((self.given.bytes - self.read.bytes) as usize, (self.given.messages - self.read.messages) as usize)
    }

    fn append(&mut self, topic: &str, payload: &[u8], flags: u8) {
        let start = self.bytes.len();
        let known = !self.topic.is_empty() && self.bytes[self.topic.clone()] == *topic.as_bytes();
        let topic_size = if known { AS_BEFORE } else { topic.len() as u32 };
        self.bytes.reserve(HEADER + topic.len() + payload.len());
        self.bytes.extend_from_slice(&topic_size.to_le_bytes());
        self.bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.bytes.push(flags);
        if !known {
            self.topic = start + HEADER..start + HEADER + topic.len();
            self.bytes.extend_from_slice(topic.as_bytes());
        }
        self.bytes.extend_from_slice(payload);
        self.given.messages += 1;
        self.given.bytes += (self.bytes.len() - start) as u64;
    }
}
