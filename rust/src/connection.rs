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
            let reading = self.reader.pump(now, core, &mut driver.session, &driver.inboxes, &self.stream)?;
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
            let (stopped, wrote) = self.writer.pump(core, control, &self.stream, urgent)?;
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
            let deadline = self.deadline(core, driver, reading, linger_until);
            let interest = match (reading, stopped) {
                (Reading::Paused { .. }, Stopped::Blocked) => Some(Interest::WRITABLE),
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
