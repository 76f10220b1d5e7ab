//! A subscription's queue: order, bounds, who is woken and when.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::inbox::{Batch, Inbox};
use cascade_mqtt_core::wake::{Bell, Notifier};

struct Loop {
    bell: Arc<Bell>,
    notifier: Arc<Notifier>,
    socket: UnixStream,
}

impl Loop {
    fn new() -> Self {
        let (socket, other) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        let (bell, notifier) = (Arc::new(Bell::default()), Arc::new(Notifier::new(other)));
        bell.attach(Arc::clone(&notifier), 9);
        Self { bell, notifier, socket }
    }

    fn inbox(&self, max_bytes: usize, max_messages: usize) -> Inbox {
        Inbox::new(4, false, max_bytes, max_messages, Arc::clone(&self.bell))
    }

    /// Whether the descriptor was readable; empties it.
    fn woken(&mut self) -> bool {
        self.socket.read(&mut [0; 64]).is_ok_and(|size| size > 0)
    }

    /// Whether the driver was woken since the last time.
    fn driver_woken(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::ZERO, self.bell.driver.notified()).await.is_ok() })
    }
}

fn read(inbox: &Inbox, batch: &mut Batch) -> Option<(String, Vec<u8>, u8)> {
    inbox.next(batch, |message| (message.topic.to_owned(), message.payload.to_vec(), message.flags))
}

#[test]
fn messages_come_out_whole_and_in_order() {
    let context = Loop::new();
    let inbox = context.inbox(1 << 20, usize::MAX);
    let mut batch = Batch::default();
    let expected: Vec<_> =
        (0..500_usize).map(|n| (format!("é/{}", n / 4 * 4 % 36), vec![n as u8; n % 97], (n % 13) as u8)).collect();
    let mut seen = Vec::new();
    for (n, (topic, payload, flags)) in expected.iter().enumerate() {
        inbox.push(topic, payload, *flags);
        // Now and then one is read while others arrive.
        if n % 3 == 0 {
            seen.extend(read(&inbox, &mut batch));
        }
    }
    while let Some(message) = read(&inbox, &mut batch) {
        seen.push(message);
    }
    assert!(seen == expected);
    assert_eq!((inbox.given(), inbox.read()), (500, 500));
}

#[test]
fn bytes_and_messages_are_bounded_also_while_they_are_being_read() {
    let context = Loop::new();
    for (max_bytes, max_messages) in [(1_000, usize::MAX), (usize::MAX, 8)] {
        let inbox = context.inbox(max_bytes, max_messages);
        let mut batch = Batch::default();
        assert!(!inbox.is_full(1 << 30), "an empty queue takes any one message");
        while !inbox.is_full(100) {
            inbox.push("t", &[0; 99], 0);
        }
        assert!((8..=9).contains(&inbox.given()));
        // Swapped out, but not read: it still counts.
        read(&inbox, &mut batch);
        assert!(!inbox.is_full(100));
        inbox.push("t", &[0; 99], 0);
        assert!(inbox.is_full(100));
        while read(&inbox, &mut batch).is_some() {}
        assert!(!inbox.is_full(1 << 30));
    }
}

#[test]
fn qos_1_is_taken_up_to_twice_the_bound() {
    let context = Loop::new();
    let inbox = context.inbox(1_000, usize::MAX);
    while !inbox.is_overfull(100) {
        inbox.push("t", &[0; 99], 1);
    }
    assert!((16..=20).contains(&inbox.given()), "{}", inbox.given());
}

#[test]
fn a_consumer_is_woken_once_until_it_finds_nothing() {
    let mut context = Loop::new();
    let inbox = context.inbox(1_000, 100);
    let mut batch = Batch::default();
    for _ in 0..2 {
        assert!(!context.woken());
        (0..3).for_each(|_| inbox.push("t", b"x", 0));
        assert!(context.woken() && !context.woken());
        assert_eq!(context.notifier.take(), [(9, 4)]);
        (0..3).for_each(|_| assert!(read(&inbox, &mut batch).is_some()));
        inbox.push("t", b"y", 0);
        assert!(!context.woken(), "it has not said that it waits");
        assert!(read(&inbox, &mut batch).is_some());
        assert!(read(&inbox, &mut batch).is_none());
    }
}

#[test]
fn the_driver_is_told_of_room_only_when_it_waits() {
    let context = Loop::new();
    let inbox = context.inbox(usize::MAX, 2);
    let mut batch = Batch::default();
    (0..2).for_each(|_| inbox.push("t", b"x", 0));
    while read(&inbox, &mut batch).is_some() {}
    assert!(!context.driver_woken());
    (0..2).for_each(|_| inbox.push("t", b"x", 0));
    assert!(inbox.is_full(1));
    while read(&inbox, &mut batch).is_some() {}
    assert!(context.driver_woken());
    assert!(!inbox.is_full(1));
}

#[test]
fn a_queue_has_drained_at_half_of_its_bounds() {
    let context = Loop::new();
    for (max_bytes, max_messages) in [(1_090, usize::MAX), (usize::MAX, 10)] {
        let inbox = context.inbox(max_bytes, max_messages);
        let mut batch = Batch::default();
        (0..10).for_each(|_| inbox.push("t", &[0; 99], 0));
        let mut left = 10;
        while !inbox.has_drained() {
            read(&inbox, &mut batch).unwrap();
            left -= 1;
        }
        assert_eq!(left, 5);
        (0..4).for_each(|_| inbox.push("t", &[0; 99], 0));
        assert!(!inbox.has_drained());
        while read(&inbox, &mut batch).is_some() {}
        assert!(context.driver_woken(), "who waits for a queue to drain is told");
    }
}
