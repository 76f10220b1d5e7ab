//! One run: the real core on virtual time, the schedule done to it, and everything checked all along.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::core::{Command, Core};
use cascade_mqtt_core::events::{Event, Level};
use cascade_mqtt_core::inbox::Inbox;
use cascade_mqtt_core::outbox::{Limits, Message, OnFull};
use cascade_mqtt_core::sync::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep};

use crate::consumer::{self, Consumer, Pace};
use crate::ledger::{self, Fate, Windows};
use crate::net::{Dialler, Way, Weather};
use crate::schedule::{Action, Qos, Schedule, TOP};
use crate::session::Delivery;
use crate::world::{Shared, World};

/// How often the run looks at everything, in milliseconds.
const LOOK_MS: u64 = 20;

/// What a run came to.
pub struct Report {
    pub failure: Option<String>,
    /// Empty unless asked for.
    pub trace: Vec<String>,
}

pub fn run(seed: u64, schedule: &Schedule, traced: bool) -> Report {
    // The core's own dice: back-off and identifiers.
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let world = runtime.block_on(async {
        let world = Arc::new(Mutex::new(World::new(seed, schedule.config.reconnect_min_delay / 2, traced)));
        let mut run = Run::new(schedule, Arc::clone(&world));
        let _ = run.whole().await;
        world
    });
    drop(runtime);
    let mut world = world.lock();
    Report { failure: world.failure.take(), trace: world.trace.take().unwrap_or_default() }
}

/// Something failed, and the world knows what.
struct Broken;

struct Run<'a> {
    schedule: &'a Schedule,
    core: Arc<Core>,
    world: Shared,
    consumers: Vec<Consumer>,
    remote: Vec<Delivery>,
    /// Flushes under way: token, and the number of the first message behind it.
    flushes: Vec<(u32, u64)>,
    connected: bool,
    stopped: bool,
}

impl<'a> Run<'a> {
    fn new(schedule: &'a Schedule, world: Shared) -> Self {
        Self {
            schedule,
            core: Core::new(schedule.config.clone()),
            world,
            consumers: Vec::new(),
            remote: Vec::new(),
            flushes: Vec::new(),
            connected: false,
            stopped: true,
        }
    }

    async fn whole(&mut self) -> Result<(), Broken> {
        self.start();
        for (after_ms, action) in &self.schedule.steps {
            self.pass(*after_ms).await?;
            self.world.lock().note(|| format!("{action:?}"));
            self.act(action).await?;
        }
        self.pass(LOOK_MS).await?;
        self.heal();
        self.recovers().await?;
        self.works().await?;
        self.ends().await
    }

    fn start(&mut self) {
        let mut world = self.world.lock();
        world.forget_dials();
        world.broker.client_is_new = true;
        let Limits { in_flight, in_flight_qos2, .. } = self.schedule.config.limits;
        // Every stop may leave as many open as the window of QoS 2 lets in.
        let identifiers = world.ledger.windows.identifiers.max(in_flight) + in_flight_qos2;
        world.ledger.windows = Windows { all: in_flight, exactly_once: in_flight_qos2, identifiers };
        drop(world);
        self.stopped = false;
        self.core.start_on(&Handle::current(), Dialler(Arc::clone(&self.world)), None);
    }

    async fn act(&mut self, action: &Action) -> Result<(), Broken> {
        let now = Instant::now();
        let after = |ms: u64| now + Duration::from_millis(ms);
        let newest = self.world.lock().links.len().checked_sub(1);
        match *action {
            Action::Publish { messages, size, qos, tracked } => {
                for _ in 0..messages {
                    self.publish(size, qos, tracked);
                }
            }
            Action::Withdraw => self.withdraw(),
            Action::Flush => self.flush(),
            Action::Subscribe { slot, qos } => self.subscribe(slot, qos),
            Action::Unsubscribe { which } => self.unsubscribe(which),
            Action::Read { which, pace } => {
                if let Some(consumer) = nth(&mut self.consumers, which) {
                    consumer.pace = pace;
                }
            }
            Action::Remote { slot, messages, size, qos, retain } => {
                for _ in 0..messages {
                    self.publish_remotely(slot, size, qos, retain);
                }
            }
            Action::Weather(ref weather) => self.world.lock().change_weather(weather.clone()),
            Action::Withhold { answer, for_ms } => self.world.lock().broker.withhold(answer, after(for_ms)),
            Action::Refuse { code, for_ms } => self.world.lock().broker.refuse(code, after(for_ms)),
            Action::Poison { above } => self.world.lock().broker.largest = Some(above),
            Action::Repeat => {
                let mut world = self.world.lock();
                world.broker.repeat();
                world.broker_speaks();
            }
            Action::Restart { keeps, polite, for_ms } => {
                let mut world = self.world.lock();
                world.broker.restart(after(for_ms), keeps);
                for number in 0..world.links.len() {
                    match polite {
                        true => world.broker_closes(number),
                        false => world.reset(number, true),
                    }
                }
            }
            Action::Stop { timeout_ms, polite, hurried_after_ms, for_ms } => {
                self.stop(timeout_ms, polite, hurried_after_ms).await?;
                self.pass(for_ms).await?;
                self.start();
            }
            Action::Cut { .. } | Action::Reset { .. } | Action::Close | Action::HalfOpen | Action::Stall { .. } => {
                if let Some(number) = newest {
                    self.harm(number, action);
                }
            }
        }
        Ok(())
    }

    fn harm(&self, number: usize, action: &Action) {
        let mut world = self.world.lock();
        let link = &mut world.links[number];
        match *action {
            Action::Cut { way, after } => link.pipe(way).cut_in = Some(after),
            Action::Stall { way, for_ms } => {
                link.pipe(way).stalled_until = Instant::now() + Duration::from_millis(for_ms);
            }
            Action::HalfOpen => (link.up.swallows, link.down.swallows) = (true, true),
            Action::Reset { noticed } => world.reset(number, noticed),
            _ => world.broker_closes(number),
        }
    }

    /// The faults end, and with them the links that cannot be mended.
    fn heal(&mut self) {
        let mut world = self.world.lock();
        world.note(|| "the faults end".into());
        world.broker.heal();
        for number in 0..world.links.len() {
            let link = &mut world.links[number];
            for way in [Way::ToBroker, Way::ToClient] {
                let pipe = link.pipe(way);
                (pipe.stalled_until, pipe.cut_in) = (Instant::now(), None);
            }
            if link.held && !link.reset && (link.up.swallows || link.silent) {
                world.reset(number, true);
            }
        }
        world.change_weather(Weather::FAIR);
        world.broker_speaks();
        for consumer in &mut self.consumers {
            consumer.pace = Pace::Eager;
        }
    }

    /// Connected within the longest delay and a second, then everything that waits is through.
    async fn recovers(&mut self) -> Result<(), Broken> {
        let bound = self.schedule.config.reconnect_max_delay + Duration::from_secs(1);
        sleep_in_looks(self, bound).await?;
        self.demand(self.connected, "not connected again in time")?;
        self.flush();
        self.until(60_000, "everything is flushed", |run| run.flushes.is_empty()).await?;
        self.pass(10_000).await?;
        let unsettled = self.world.lock().broker.live_session().and_then(|session| session.unsettled());
        self.demand(unsettled.is_none(), &format!("the session is not settled: {unsettled:?}"))
    }

    /// What is subscribed to is, and messages go both ways.
    async fn works(&mut self) -> Result<(), Broken> {
        let wanted: BTreeSet<String> = self.subscribed().map(|consumer| consumer::filter(consumer.slot)).collect();
        let active: BTreeSet<String> = self
            .world
            .lock()
            .broker
            .live_session()
            .map(|session| session.filters.keys().cloned().collect())
            .unwrap_or_default();
        self.demand(active == wanted, &format!("subscribed to {active:?}, not {wanted:?}"))?;
        let first = self.remote.len() as u64;
        for slot in 0..3 {
            self.publish_remotely(slot, 20, 1, false);
        }
        self.publish(20, Qos::Only(1), true);
        self.flush();
        self.until(5_000, "a message to every subscription, and one back", |run| {
            let came = |consumer: &Consumer| consumer.has(first + u64::from(consumer.slot));
            run.flushes.is_empty() && run.subscribed().all(came)
        })
        .await?;
        self.pass(3_000).await?;
        self.demand(self.connected, "a connection that nothing disturbs has ended")
    }

    async fn ends(&mut self) -> Result<(), Broken> {
        let goodbyes = self.world.lock().broker.goodbyes;
        self.stop(2_000, true, None).await?;
        let said = self.world.lock().broker.goodbyes - goodbyes;
        self.demand(said == 1, "no DISCONNECT at the end")?;
        let forgotten = std::mem::take(&mut self.world.lock().broker.forgotten);
        for consumer in self.subscribed() {
            if let Some(number) = consumer.missing(&forgotten) {
                return self.demand(false, &format!("message {number} never came to its subscription"));
            }
        }
        let dropped: u64 = self.core.outbox.lock().counters().dropped().map(|(_, count)| count).sum();
        let (waited_for, missing) = {
            let world = self.world.lock();
            let waited_for = world.ledger.missing().find(|(_, item)| item.token != 0).map(|(number, _)| number);
            (waited_for, world.ledger.missing().count() as u64)
        };
        self.demand(waited_for.is_none(), &format!("message {waited_for:?} never arrived"))?;
        self.demand(missing <= dropped, &format!("{missing} messages never arrived, {dropped} were dropped"))?;
        let unsettled = self.world.lock().ledger.waiting(0);
        self.demand(unsettled.is_none(), &format!("nobody was told of token {unsettled:?}"))
    }

    fn publish(&mut self, size: usize, qos: Qos, tracked: bool) {
        let mut world = self.world.lock();
        let number = world.ledger.next();
        let qos = match qos {
            Qos::Only(qos) => qos,
            Qos::Mixed => world.rng.u8(..=TOP),
        };
        let (topic, payload) = (ledger::topic(number), ledger::payload(number, size));
        let [retain, priority] = [0; 2].map(|_| world.rng.u8(..10) == 0);
        let message = Message { topic: topic.as_bytes(), payload: &payload, qos, retain, priority };
        let born_ms = world.now_ms() as u32;
        let offered = self.core.outbox.lock().offer(&message, tracked && qos > 0, born_ms);
        world.ledger.offered(&message, size, offered.map(|(token, _)| token));
        drop(world);
        self.core.tell_outcomes();
        if let Ok((_, true)) = offered {
            self.core.bell.driver.notify_one();
        }
    }

    fn withdraw(&mut self) {
        let mut world = self.world.lock();
        let which = world.rng.usize(..1000);
        let Some(token) = world.ledger.waiting(which) else { return };
        drop(world);
        // What is settled already may not have been fetched.
        self.fetch_events();
        let withdrawn = self.core.withdraw(token);
        let mut world = self.world.lock();
        if withdrawn && let Err(why) = world.ledger.settled(token, Fate::Withdrawn) {
            world.fail(&why);
        }
    }

    fn flush(&mut self) {
        let behind = self.world.lock().ledger.next();
        self.flushes.push((self.core.begin_flush(), behind));
    }

    fn subscribe(&mut self, slot: u8, qos: u8) {
        let config = &self.schedule.config;
        let number = self.consumers.len() as u32;
        let bell = Arc::clone(&self.core.bell);
        let inbox = Arc::new(Inbox::new(number, config.max_inbox_bytes, config.max_inbox_messages, bell));
        self.consumers.push(Consumer::new(slot, Arc::clone(&inbox), self.remote.len() as u64));
        self.core.command(Command::Subscribe { inbox, filter: consumer::filter(slot), qos });
    }

    fn unsubscribe(&mut self, which: usize) {
        if let Some(consumer) = nth(&mut self.consumers, which)
            && std::mem::take(&mut consumer.subscribed)
        {
            self.core.command(Command::Unsubscribe { subscription: consumer.inbox.subscription });
        }
    }

    fn subscribed(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().filter(|consumer| consumer.subscribed)
    }

    fn publish_remotely(&mut self, slot: u8, size: usize, qos: u8, retain: bool) {
        let number = self.remote.len() as u64;
        let delivery = Delivery { number, topic: consumer::topic(slot), qos, retain, size };
        let mut world = self.world.lock();
        if world.broker.publish(&delivery) {
            let matching = self.consumers.iter_mut().filter(|consumer| consumer.subscribed && consumer.slot == slot);
            matching.for_each(|consumer| consumer.expect(number));
        }
        world.broker_speaks();
        self.remote.push(delivery);
    }

    async fn stop(&mut self, timeout_ms: u64, polite: bool, hurried_after_ms: Option<u64>) -> Result<(), Broken> {
        let timeout = Duration::from_millis(timeout_ms);
        self.core.command(Command::Stop { timeout, goodbye: polite });
        let mut limit_ms = timeout_ms;
        if let Some(after_ms) = hurried_after_ms.filter(|after_ms| *after_ms < timeout_ms) {
            self.pass(after_ms).await?;
            self.core.command(Command::Stop { timeout: Duration::ZERO, goodbye: false });
            limit_ms = 0;
        }
        self.until(limit_ms + 2 * LOOK_MS, "the stop is over", |run| run.stopped).await?;
        let rest = {
            let outbox = self.core.outbox.lock();
            (outbox.queued_events(), outbox.in_flight_events())
        };
        self.demand(rest == (0, 0), &format!("{rest:?} are left after a stop"))
    }

    async fn pass(&mut self, ms: u64) -> Result<(), Broken> {
        let end = Instant::now() + Duration::from_millis(ms);
        loop {
            self.look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(Duration::from_millis(LOOK_MS))).await;
        }
    }

    async fn until(&mut self, limit_ms: u64, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        let limit = Instant::now() + Duration::from_millis(limit_ms);
        while !reached(self) {
            self.demand(Instant::now() <= limit, &format!("not in {limit_ms} ms: {what}"))?;
            self.pass(LOOK_MS).await?;
        }
        Ok(())
    }

    fn demand(&self, holds: bool, otherwise: &str) -> Result<(), Broken> {
        if holds {
            return Ok(());
        }
        self.world.lock().fail(otherwise);
        Err(Broken)
    }

    /// Everything that must hold at every moment.
    fn look(&mut self) -> Result<(), Broken> {
        {
            let mut world = self.world.lock();
            world.broker.tick();
            world.broker_speaks();
            let lost = world.ledger.sessions_lost;
            for consumer in &mut self.consumers {
                if let Err(why) = consumer.look(&self.remote, lost) {
                    world.fail(&why);
                }
            }
        }
        self.fetch_events();
        self.check_account()?;
        if self.world.lock().failure.is_some() { Err(Broken) } else { Ok(()) }
    }

    fn check_account(&self) -> Result<(), Broken> {
        let submitted = self.world.lock().ledger.next();
        let limits = &self.schedule.config.limits;
        let outbox = self.core.outbox.lock();
        let counters = outbox.counters();
        let rejected: u64 = counters.rejected().map(|(_, count)| count).sum();
        let dropped: u64 = counters.dropped().map(|(_, count)| count).sum();
        let kept = (outbox.queued_events() + outbox.in_flight_events()) as u64;
        let accounted = counters.written + counters.acknowledged + dropped + kept;
        let allocated = outbox.allocated();
        let holds = submitted == counters.submitted
            && counters.submitted == counters.accepted + rejected
            && counters.accepted == accounted
            && allocated <= limits.queued_bytes
            && outbox.in_flight_events() <= limits.in_flight
            && (limits.on_full == OnFull::DropOldest || counters.dropped().all(|(reason, _)| reason != "queue_full"));
        drop(outbox);
        self.demand(
            holds,
            &format!(
                "the account is wrong: {submitted} submitted, {accounted} of them accounted for, {allocated} bytes"
            ),
        )
    }

    fn fetch_events(&mut self) {
        for event in self.core.events.take() {
            let mut world = self.world.lock();
            world.note(|| format!("  {event:?}"));
            let outcome = match event {
                Event::Acknowledged { token } => world.ledger.settled(token, Fate::Acknowledged),
                Event::GivenUp { token, .. } => world.ledger.settled(token, Fate::GivenUp),
                Event::Flushed { token } => match self.flushes.iter().position(|flush| flush.0 == token) {
                    None => Err(format!("flush {token} ended twice")),
                    Some(place) => match world.ledger.waiting_before(self.flushes.swap_remove(place).1) {
                        0 => Ok(()),
                        left => Err(format!("flush {token} ended while {left} waited")),
                    },
                },
                Event::Log { level: Level::Error, line } => Err(line),
                Event::Connected { .. } => {
                    self.connected = true;
                    Ok(())
                }
                Event::Disconnected { .. } | Event::Failed { .. } => {
                    self.connected = false;
                    Ok(())
                }
                Event::Stopped => {
                    (self.connected, self.stopped) = (false, true);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(why) = outcome {
                world.fail(&why);
            }
        }
    }
}

async fn sleep_in_looks(run: &mut Run<'_>, time: Duration) -> Result<(), Broken> {
    run.pass(time.as_millis() as u64).await
}

fn nth(consumers: &mut [Consumer], which: usize) -> Option<&mut Consumer> {
    let place = which.checked_rem(consumers.len())?;
    consumers.get_mut(place)
}
