//! One connector as its handle and its driver share it: the handle queues, the driver moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, mem};

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::clock;
use crate::config::{Config, Will};
use crate::driver::{self, Driver};
use crate::events::{Event, Events, Gap, Level};
use crate::inbox::Inbox;
use crate::outbox::{Cause, Loss, Message, Outbox, Outcome, Rejection};
use crate::pulse::Pulse;
use crate::runtime;
use crate::sync::Mutex;
use crate::transport::{Network, Tcp};
use crate::wake::Bell;

/// How often to look whether other connectors have made room in the budget of the process.
const CROWDED_OUT: Duration = Duration::from_millis(100);

/// What the handle asks of the driver.
pub enum Command {
    Subscribe { inbox: Arc<Inbox>, filter: String, qos: u8 },
    Unsubscribe { subscription: u32 },
    Stop { timeout: Duration, goodbye: bool },
}

/// Why an inbound message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum InboxDrop {
    Full,
    NotUtf8,
    NotJson,
    TooDeep,
    TooLarge,
    NotZstd,
}

impl InboxDrop {
    pub const NAMES: [&'static str; 6] = ["inbox_full", "not_utf8", "not_json", "too_deep", "too_large", "not_zstd"];
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub connected_since: Option<f64>,
    pub reconnects: u64,
    pub last_error: Option<String>,
}

pub struct Core {
    pub config: Config,
    pub outbox: Mutex<Outbox>,
    pub bell: Arc<Bell>,
    pub events: Events,
    pub pulse: Pulse,
    status: Mutex<Status>,
    pub received: AtomicU64,
    inbox_dropped: [AtomicU64; InboxDrop::NAMES.len()],
    commands: Mutex<Vec<Command>>,
    flushes: Mutex<Flushes>,
    /// Somebody waits for room that other connectors have to make.
    crowded_out: AtomicBool,
    rest: Mutex<Rest>,
}

/// The driver while it does not run, and the will of a start that was asked for.
struct Rest {
    driver: Option<Box<Driver>>,
    start: Option<Option<Will>>,
}

#[derive(Default)]
struct Flushes {
    last_token: u32,
    /// Token, and the mark in the outbox.
    running: Vec<(u32, u64)>,
}

impl Flushes {
    /// The mark that is reached first.
    fn lowest(&self) -> Option<u64> {
        self.running.first().map(|flush| flush.1)
    }
}

impl Core {
    pub fn new(config: Config) -> Arc<Self> {
        let bell = Arc::new(Bell::default());
        Arc::new(Self {
            outbox: Mutex::new(Outbox::new(config.limits.clone())),
            events: Events::new(Arc::clone(&bell)),
            bell,
            pulse: Pulse::default(),
            status: Mutex::default(),
            received: AtomicU64::new(0),
            inbox_dropped: Default::default(),
            commands: Mutex::default(),
            flushes: Mutex::default(),
            crowded_out: AtomicBool::new(false),
            rest: Mutex::new(Rest { driver: Some(Box::new(Driver::new(&config))), start: None }),
            config,
        })
    }

    /// Queue events from now on, and dial until a stop.
    pub fn start(self: &Arc<Self>, will: Option<Will>) -> io::Result<()> {
        self.start_on(&runtime::handle()?, Tcp::default(), will);
        Ok(())
    }

    /// The same on a runtime and a network of the caller's.
    pub fn start_on(self: &Arc<Self>, runtime: &Handle, network: impl Network, will: Option<Will>) {
        self.outbox.lock().open();
        let mut rest = self.rest.lock();
        // A stop that was hurried while it ended: it is over, and not meant for this start.
        self.commands.lock().retain(|command| !matches!(command, Command::Stop { .. }));
        rest.start = Some(will);
        if let Some(driver) = rest.driver.take() {
            runtime.spawn(driver::run(Arc::clone(self), driver, network));
        }
    }

    /// The start that was asked for, or the driver is put to rest: then it ends.
    pub fn next_start(&self, mut driver: Box<Driver>) -> Option<(Box<Driver>, Option<Will>)> {
        let mut rest = self.rest.lock();
        match rest.start.take() {
            Some(will) => Some((driver, will)),
            None => {
                driver.obey_at_rest(self);
                rest.driver = Some(driver);
                None
            }
        }
    }

    pub fn command(&self, command: Command) {
        if matches!(command, Command::Stop { .. }) {
            self.outbox.lock().close();
        }
        self.commands.lock().push(command);
        // A resting driver obeys in the caller's thread, so that nothing waits for a start.
        if let Some(driver) = &mut self.rest.lock().driver {
            driver.obey_at_rest(self);
            return;
        }
        self.bell.driver.notify_one();
    }

    pub fn take_commands(&self) -> Vec<Command> {
        mem::take(&mut *self.commands.lock())
    }

    /// See `Pulse`.
    pub fn beat(&self, alive: Duration) {
        if self.pulse.beat(alive) {
            self.bell.driver.notify_one();
        }
    }

    /// Queue one message; its token, 0 unless `track`.
    #[inline]
    pub fn offer(&self, message: &Message<'_>, track: bool) -> Result<u32, Rejection> {
        self.offer_by(|outbox| outbox.offer(message, track, clock::now_ms()))
    }

    /// Queue one event, which may go in a batch.
    pub fn offer_event(&self, event: &Message<'_>) -> Result<u32, Rejection> {
        self.offer_by(|outbox| outbox.offer_event(event, clock::now_ms()))
    }

    #[inline(always)]
    fn offer_by(&self, offer: impl FnOnce(&mut Outbox) -> Result<(u32, bool), Rejection>) -> Result<u32, Rejection> {
        let (offered, news, crowded_out) = {
            let mut outbox = self.outbox.lock();
            (offer(&mut outbox), outbox.has_news(), outbox.is_crowded_out())
        };
        if news {
            self.tell_outcomes();
        }
        let (token, wake) = match offered {
            Ok(offered) => offered,
            Err(rejection) => {
                if crowded_out && !self.crowded_out.swap(true, Ordering::Relaxed) {
                    self.bell.driver.notify_one();
                }
                return Err(rejection);
            }
        };
        if wake {
            self.bell.driver.notify_one();
        }
        Ok(token)
    }

    /// Where somebody waits for room that other connectors have to make: look whether they have.
    pub fn look_for_room(&self) {
        if self.crowded_out.load(Ordering::Relaxed) {
            let crowded_out = {
                let mut outbox = self.outbox.lock();
                outbox.settle();
                outbox.is_crowded_out()
            };
            self.crowded_out.store(crowded_out, Ordering::Relaxed);
            self.tell_outcomes();
        }
    }

    /// When to look again.
    pub fn next_look(&self) -> Option<Instant> {
        self.crowded_out.load(Ordering::Relaxed).then(|| Instant::now() + CROWDED_OUT)
    }

    /// Take a tracked message back while it has not been sent: that can complete a flush or a stop, or make room.
    pub fn withdraw(&self, token: u32) -> bool {
        let withdrawn = self.outbox.lock().withdraw(token);
        if withdrawn {
            self.tell_outcomes();
            self.bell.driver.notify_one();
        }
        withdrawn
    }

    pub fn begin_flush(&self) -> u32 {
        let mark = self.outbox.lock().mark();
        let token = {
            let mut flushes = self.flushes.lock();
            flushes.last_token = flushes.last_token.wrapping_add(1);
            let token = flushes.last_token;
            flushes.running.push((token, mark));
            self.outbox.lock().watch(flushes.lowest());
            token
        };
        self.bell.driver.notify_one();
        self.tell_outcomes();
        token
    }

    /// How much of a flush is left; 0 also for one that has ended.
    pub fn flush_left(&self, token: u32) -> usize {
        let mark = self.flushes.lock().running.iter().find(|flush| flush.0 == token).map(|flush| flush.1);
        mark.map_or(0, |mark| self.outbox.lock().left(mark))
    }

    pub fn end_flush(&self, token: u32) {
        let mut flushes = self.flushes.lock();
        flushes.running.retain(|flush| flush.0 != token);
        self.outbox.lock().watch(flushes.lowest());
    }

    /// Tell of the flushes that are complete, and of what else came out of the outbox.
    pub fn tell_outcomes(&self) {
        let outcomes = self.outbox.lock().take_outcomes();
        for outcome in outcomes {
            self.events.push(match outcome {
                Outcome::Acknowledged(token) => Event::Acknowledged { token },
                Outcome::GivenUp(token, why) => Event::GivenUp { token, why: why.name() },
                Outcome::Space => Event::Space,
                Outcome::Rejected { topic, payload_bytes } => Event::Log {
                    level: Level::Warning,
                    line: format!(
                        "a message of {payload_bytes} bytes to {topic} was dropped: \
                         the broker ends every connection that it is sent on"
                    ),
                },
                Outcome::DroppingBegan => Event::Full,
                Outcome::Lost(loss) => Event::Gap(gap(loss)),
                Outcome::DroppingEnded(dropped) => Event::Drained { dropped },
            });
        }
        let mut flushes = self.flushes.lock();
        if flushes.running.is_empty() {
            return;
        }
        let mut outbox = self.outbox.lock();
        flushes.running.retain(|&(token, mark)| {
            let reached = outbox.reached(mark);
            if reached {
                self.events.push(Event::Flushed { token });
            }
            !reached
        });
        outbox.watch(flushes.lowest());
    }

    pub fn count_inbox_drop(&self, reason: InboxDrop) {
        self.count_inbox_drops(reason, 1);
    }

    pub fn count_inbox_drops(&self, reason: InboxDrop, count: usize) {
        self.inbox_dropped[reason as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn inbox_dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.inbox_dropped.iter().map(|count| count.load(Ordering::Relaxed));
        InboxDrop::NAMES.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    pub fn set_connected(&self, again: bool) {
        let mut status = self.status.lock();
        status.connected_since = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        status.reconnects += u64::from(again);
    }

    pub fn set_disconnected(&self, why: Option<&str>) {
        let mut status = self.status.lock();
        status.connected_since = None;
        if let Some(why) = why {
            status.last_error = Some(why.into());
        }
    }
}

/// The monotonic times of a loss as times of day.
fn gap(loss: Loss) -> Gap {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let time = |at_ms: u32| now - f64::from(clock::now_ms().wrapping_sub(at_ms)) / 1000.0;
    let lost = Cause::NAMES.into_iter().zip(loss.counts).filter(|(_, count)| *count > 0).collect();
    Gap { lost, since: time(loss.since_ms), until: time(loss.until_ms), topic: loss.topic }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::outbox::Message;

    fn next_event(core: &Core) -> Event {
        let until = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(event) = core.events.take().pop_front() {
                return event;
            }
            assert!(std::time::Instant::now() < until, "no event came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_stop_that_came_too_late_does_not_end_the_next_start() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let core = Core::new(Config::for_tests(port));
        let stop = || Command::Stop { timeout: Duration::ZERO, goodbye: false };
        core.commands.lock().push(stop());
        core.start(None).unwrap();
        assert!(matches!(next_event(&core), Event::Failed { .. }));
        core.command(stop());
        assert_eq!(next_event(&core), Event::Stopped);
    }

    #[test]
    fn a_flush_is_complete_when_the_last_of_its_events_gives_way() {
        let core = Core::new(Config::for_tests(1));
        core.outbox.lock().open();
        let message = Message { topic: b"a", payload: &[b'x'; 1000], qos: 0, retain: false, priority: false };
        core.offer(&message, false).unwrap();
        let [flush, later] = [(); 2].map(|()| core.begin_flush());
        let ended = core.begin_flush();
        core.end_flush(ended);
        // Full: the oldest is dropped, and nobody is there who would write.
        while core.outbox.lock().counters().dropped().count() == 0 {
            core.offer(&message, false).unwrap();
        }
        let told: Vec<Event> = core.events.take().into();
        assert!(told.contains(&Event::Flushed { token: flush }) && told.contains(&Event::Flushed { token: later }));
        assert!(!told.contains(&Event::Flushed { token: ended }));
        core.offer(&message, false).unwrap();
        assert!(core.events.take().is_empty(), "told once");
    }

    #[test]
    fn a_withdrawal_completes_the_flush_that_waited_for_the_message() {
        let core = Core::new(Config::for_tests(1));
        core.outbox.lock().open();
        let message = Message { topic: b"a", payload: b"", qos: 1, retain: false, priority: false };
        let (token, _) = core.outbox.lock().offer(&message, true, 0).unwrap();
        let flush = core.begin_flush();
        assert!(core.withdraw(token));
        assert_eq!(next_event(&core), Event::Flushed { token: flush });
    }
}
