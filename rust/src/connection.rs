//! One established connection: its turns of reading, timers and writing, and its polite end.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::core::Core;
use crate::driver::{Driver, Goodbye};
use crate::error::Ended;
use crate::reader::{Reader, Reading};
use crate::transport::Stream;
use crate::writer::{Stopped, Writer};

/// How long a busy writer waits for more before it writes a little.
const LINGER: Duration = Duration::from_millis(1);
/// Answers that the broker has not taken: more than it can be owed for all packet identifiers there are.
const UNTAKEN_BYTES: usize = 1024 * 1024;
/// The end of a stop's time that is kept for DISCONNECT and for reading what still arrives.
const CLOSING: Duration = Duration::from_millis(250);

pub struct Connection<S> {
    stream: S,
    reader: Reader,
    writer: Writer,
    /// The broker has answered all that came before the first message.
    answered: bool,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, leftover: Vec<u8>) -> Self {
        Self { stream, reader: Reader::new(leftover), writer: Writer::default(), answered: false }
    }

    /// Move what there is to move until the connection ends: an error, or `Ok` after a stop.
    pub async fn run(&mut self, core: &Core, driver: &mut Driver) -> Result<(), Ended> {
        let ended = self.converse(core, driver).await;
        self.writer.give_back(core);
        let mut outbox = core.outbox.lock();
        outbox.disarm();
        drop(outbox);
        core.tell_outcomes();
        ended
    }

    async fn converse(&mut self, core: &Core, driver: &mut Driver) -> Result<(), Ended> {
        // Woken from idleness: what is there goes out at once, however little.
        let mut urgent = true;
        let mut linger_until: Option<Instant> = None;
        loop {
            driver.obey(core);
            core.look_for_room();
            let now = driver.now_ms();
            // Who sends and does not read is not heard until it does, so that what it is answered takes no more memory.
            let reading = match driver.session.control().len() > UNTAKEN_BYTES {
                true => Reading::Unanswerable,
                false => self.reader.pump(now, core, &mut driver.session, &driver.inboxes, &self.stream)?,
            };
            driver.session.set_paused(now, matches!(reading, Reading::Paused { .. }));
            driver.session.tick(now)?;
            if let Some(silent) = core.pulse.missed() {
                return Err(Ended::Hung(silent));
            }
            driver.tell(core);
            if !self.answered && driver.session.is_answered() {
                self.answered = true;
                driver.answered(core);
            }
            urgent |= linger_until.is_some_and(|until| Instant::now() >= until);
            let control = driver.session.control();
            let (stopped, wrote) = self.writer.pump(core, control, &self.stream, now, urgent)?;
            urgent = false;
            if wrote > 0 {
                driver.session.sent(now);
                core.tell_outcomes();
            }
            if let Some(goodbye) = driver.stopping()
                && (Instant::now() + CLOSING >= goodbye.until || core.outbox.lock().is_empty())
            {
                self.close(core, driver, goodbye).await;
                return Ok(());
            }
            if stopped == Stopped::TurnOver || reading == Reading::TurnOver {
                linger_until = None;
                yield_now().await;
                continue;
            }
            linger_until = match stopped {
                Stopped::Lingering => linger_until.filter(|_| wrote == 0).or(Some(Instant::now() + LINGER)),
                _ => None,
            };
            // The writer looks at batches when it has nothing else.
            let due = match stopped {
                Stopped::Idle | Stopped::Lingering => core.outbox.lock().next_due().map(|at| driver.instant(at)),
                _ => None,
            };
            let linger = linger_until.into_iter().chain(due).min();
            let deadline = self.deadline(core, driver, reading, linger);
            let interest = match (reading, stopped) {
                (Reading::Unanswerable, _) | (Reading::Paused { .. }, Stopped::Blocked) => Some(Interest::WRITABLE),
                (Reading::Paused { .. }, _) => None,
                (_, Stopped::Blocked) => Some(Interest::READABLE | Interest::WRITABLE),
                _ => Some(Interest::READABLE),
            };
            tokio::select! {
                biased;
                () = core.bell.driver.notified() => urgent = stopped == Stopped::Idle,
                ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                    ready?;
                }
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn deadline(&self, core: &Core, driver: &Driver, reading: Reading, linger_until: Option<Instant>) -> Instant {
        let paused = match reading {
            Reading::Paused { until_ms } => Some(driver.instant(until_ms)),
            _ => None,
        };
        let session = driver.session.deadline().map(|at| driver.instant(at));
        let stop = driver.stopping().map(|goodbye| goodbye.until.checked_sub(CLOSING).unwrap_or(goodbye.until));
        [paused, session, stop, linger_until, core.pulse.deadline(), core.next_look()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    /// DISCONNECT if asked for, the end of our side, then read and discard until the broker closes:
    /// closing with unread input resets the connection, and that destroys what was sent.
    async fn close(&mut self, core: &Core, driver: &mut Driver, goodbye: Goodbye) {
        // Nothing follows DISCONNECT (MQTT 3.1.1 section 3.14.4), least of all events counted as written.
        let mut farewell = Vec::new();
        if self.writer.at_boundary() {
            if goodbye.polite {
                driver.session.goodbye();
            }
            farewell.append(driver.session.control());
            // What goes at once goes also where the time of the stop is over; an error is met again below.
            let _ = self.writer.write_control(&mut farewell, &self.stream);
        }
        driver.within_stop(core, self.end(farewell)).await;
    }

    async fn end(&mut self, mut farewell: Vec<u8>) -> io::Result<()> {
        while !farewell.is_empty() {
            match self.writer.write_control(&mut farewell, &self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.ready(Interest::WRITABLE).await?
                }
                wrote => drop(wrote?),
            }
        }
        self.stream.shutdown_write()?;
        let mut discarded = Vec::with_capacity(16 * 1024);
        loop {
            discarded.clear();
            match self.stream.try_read_buf(&mut discarded) {
                Ok(0) => return Ok(()),
                // A peer that sends without end must not outlast the time-out, nor hold up other connectors.
                Ok(_) => yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.ready(Interest::READABLE).await?
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;
    use crate::packet;

    /// Sends QoS 1 up to a size, and reads nothing until it is told to.
    #[derive(Default)]
    struct Flood {
        sent: AtomicUsize,
        reads: AtomicBool,
    }

    const FLOOD_BYTES: usize = 32 * 1024 * 1024;

    impl Stream for &'static Flood {
        fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
            if self.sent.load(Ordering::Relaxed) >= FLOOD_BYTES {
                return Ok(0);
            }
            let before = buffer.len();
            while buffer.len() < before + 32 * 1024 {
                let start = buffer.len();
                packet::publish(buffer, b"a", b"", 1, false);
                packet::patch(&mut buffer[start..], 1, false);
            }
            self.sent.fetch_add(buffer.len() - before, Ordering::Relaxed);
            Ok(buffer.len() - before)
        }

        fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
            if self.reads.load(Ordering::Relaxed) { Ok(bytes.len()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        }

        async fn ready(&self, interest: Interest) -> io::Result<()> {
            while !interest.is_readable() && !self.reads.load(Ordering::Relaxed) {
                yield_now().await;
            }
            Ok(())
        }

        fn shutdown_write(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn answers_to_a_broker_that_does_not_read_take_bounded_memory() {
        let flood: &'static Flood = Box::leak(Box::default());
        let core = Core::new(Config::for_tests(1));
        let mut driver = Driver::new(&core.config);
        driver.session.connected(0, false);
        let mut connection = Connection::new(flood, Vec::new());
        let unread = timeout(Duration::from_secs(1), connection.run(&core, &mut driver)).await;
        assert!(unread.is_err(), "it waits for the broker: {unread:?}");
        assert!(driver.session.control().len() < 2 * UNTAKEN_BYTES);
        flood.reads.store(true, Ordering::Relaxed);
        let read = timeout(Duration::from_secs(60), connection.run(&core, &mut driver)).await;
        assert!(matches!(read, Ok(Err(Ended::ByPeer))), "all of it is heard: {read:?}");
    }
}
