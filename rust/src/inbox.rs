//! The control channel: a bounded queue for each subscription, filled by the driver and emptied by
//! the loop that owns it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Mutex;
use crate::wake::Bell;

/// Topic length, payload length, flags: what precedes each message in a queue.
const HEADER: usize = 9;
/// A flag of messages that came in one with the message before: they have its topic, which is not repeated.
const CONTINUED: u8 = 0x80;

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    messages: usize,
    /// The consumer found nothing and waits to be woken.
    armed: bool,
    /// The driver waits for room.
    full: bool,
}

/// One subscription's queue. Bytes swapped out to the consumer still count until they are read.
pub struct Inbox {
    pub subscription: u32,
    /// Whether it takes batches as the messages that they hold.
    pub batches: bool,
    max_bytes: usize,
    max_messages: usize,
    queue: Mutex<Queue>,
    /// Bytes and messages in the consumer's hands.
    out_bytes: AtomicU64,
    out_messages: AtomicU64,
    given: AtomicU64,
    read: AtomicU64,
    bell: Arc<Bell>,
}

/// What the consumer holds: messages swapped out of the queue, read one at a time.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    position: usize,
    /// Where the last topic lies.
    topic: Range<usize>,
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
            out_bytes: AtomicU64::new(0),
            out_messages: AtomicU64::new(0),
            given: AtomicU64::new(0),
            read: AtomicU64::new(0),
            bell,
        }
    }

    /// Whether a message of this size has to wait. An empty queue takes any one message.
    pub fn is_full(&self, size: usize) -> bool {
        let mut queue = self.queue.lock();
        let (bytes, messages) = self.held(&queue);
        queue.full = messages > 0 && (bytes + size > self.max_bytes || messages >= self.max_messages);
        queue.full
    }

    /// Whether at most half of what is allowed is left; if not, the driver waits for that.
    pub fn has_drained(&self) -> bool {
        let mut queue = self.queue.lock();
        let (bytes, messages) = self.held(&queue);
        queue.full = bytes > self.max_bytes / 2 || messages > self.max_messages / 2;
        !queue.full
    }

    /// Bytes and messages not yet read.
    fn held(&self, queue: &Queue) -> (usize, usize) {
        let bytes = queue.bytes.len() + self.out_bytes.load(Ordering::Relaxed) as usize;
        let messages = queue.messages + self.out_messages.load(Ordering::Relaxed) as usize;
        (bytes, messages)
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
        let count = payloads.len();
        if count == 0 {
            return;
        }
        let wake = {
            let mut queue = self.queue.lock();
            let (mut topic, mut flags) = (topic, flags);
            for payload in payloads {
                queue.bytes.reserve(HEADER + topic.len() + payload.len());
                queue.bytes.extend_from_slice(&(topic.len() as u32).to_le_bytes());
                queue.bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                queue.bytes.push(flags);
                queue.bytes.extend_from_slice(topic.as_bytes());
                queue.bytes.extend_from_slice(payload);
                (topic, flags) = ("", flags | CONTINUED);
                queue.messages += 1;
            }
            std::mem::take(&mut queue.armed)
        };
        self.given.fetch_add(count as u64, Ordering::Relaxed);
        if wake {
            self.ring();
        }
    }

    /// The next message, copied nowhere: `read` gets it while it lies in the batch. None: nothing
    /// waits, and the next push rings.
    pub fn next<T>(&self, batch: &mut Batch, read: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        if batch.position == batch.bytes.len() && !self.swap(batch) {
            return None;
        }
        let start = batch.position;
        let word = |at: usize| {
            let bytes = &batch.bytes[start + at..start + at + 4];
            u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize
        };
        let (topic, payload) = (word(0), word(4));
        let body = start + HEADER;
        let end = body + topic + payload;
        batch.position = end;
        self.out_bytes.fetch_sub((end - start) as u64, Ordering::Relaxed);
        self.out_messages.fetch_sub(1, Ordering::Relaxed);
        self.read.fetch_add(1, Ordering::Relaxed);
        let flags = batch.bytes[start + 8];
        if flags & CONTINUED == 0 {
            batch.topic = body..body + topic;
        }
        let topic_bytes = &batch.bytes[batch.topic.clone()];
        Some(read(Message {
            topic: std::str::from_utf8(topic_bytes).unwrap_or_default(),
            payload: &batch.bytes[body + topic..end],
            flags: flags & !CONTINUED,
        }))
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
            let some = queue.messages > 0;
            if some {
                std::mem::swap(&mut queue.bytes, &mut batch.bytes);
                self.out_bytes.store(batch.bytes.len() as u64, Ordering::Relaxed);
                self.out_messages.store(std::mem::take(&mut queue.messages) as u64, Ordering::Relaxed);
            } else {
                queue.armed = true;
                // An idle subscription holds no buffers.
                queue.bytes = Vec::new();
                batch.bytes = Vec::new();
            }
            (some, std::mem::take(&mut queue.full))
        };
        if room {
            self.bell.driver.notify_one();
        }
        some
    }

    /// Messages handed to this queue since it was made.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Messages that its consumer has read: what shows that it makes progress.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}
