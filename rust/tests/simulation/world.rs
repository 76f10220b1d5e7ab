//! All that the client cannot see: links, the broker, what was published, and the first promise that was broken.

use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::sync::Mutex;
use fastrand::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::net::Weather;

pub type Shared = Arc<Mutex<World>>;

/// Calls that moved nothing, in one second, beyond those that go with calls that moved something.
const IDLE_CALLS: u64 = 4_000;
/// Calls without the clock moving on.
const CALLS_AT_ONCE: u64 = 500_000;

pub struct World {
    pub rng: Rng,
    epoch: Instant,
    pub weather: Weather,
    pub weather_changed: Arc<Notify>,
    pub links: Vec<Link>,
    pub broker: Broker,
    pub ledger: Ledger,
    pub failure: Option<String>,
    /// What happened, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
    calls: Calls,
    last_dial: Option<Instant>,
    pub least_dial_gap: Duration,
}

struct Calls {
    second: u64,
    fruitful: u64,
    idle: u64,
    instant: Instant,
    at_once: u64,
}

impl World {
    pub fn new(seed: u64, least_dial_gap: Duration, traced: bool) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            epoch: Instant::now(),
            weather: Weather::FAIR,
            weather_changed: Arc::default(),
            links: Vec::new(),
            broker: Broker::new(traced),
            ledger: Ledger::default(),
            failure: None,
            trace: traced.then(Vec::new),
            calls: Calls { second: 0, fruitful: 0, idle: 0, instant: Instant::now(), at_once: 0 },
            last_dial: None,
            least_dial_gap,
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        let now = self.now_ms();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} s  {}", now as f64 / 1000.0, what()));
        }
    }

    /// The first failure is the one to look at.
    pub fn fail(&mut self, why: &str) {
        self.note(|| format!("FAILED: {why}"));
        self.failure.get_or_insert_with(|| why.into());
    }

    pub fn change_weather(&mut self, weather: Weather) {
        self.weather = weather;
        self.weather_changed.notify_waiters();
        for link in &self.links {
            link.wake();
        }
    }

    /// A dial begins: how long it takes.
    pub fn dialled(&mut self) -> Duration {
        let gap = self.last_dial.replace(Instant::now()).map(|last| last.elapsed());
        if gap.is_some_and(|gap| gap < self.least_dial_gap) {
            self.fail(&format!("dialled again after {gap:?}"));
        }
        Duration::from_millis(self.rng.u64(..=self.weather.delay_ms))
    }

    /// A start was asked for: the first dial may follow at once.
    pub fn forget_dials(&mut self) {
        self.last_dial = None;
    }

    /// The driver tried to read or to write, or asked whether it can. A driver that spins is stopped, and found broken.
    pub fn called(&mut self, fruitful: bool) {
        let (second, instant) = (self.now_ms() / 1000, Instant::now());
        let calls = &mut self.calls;
        if calls.second != second {
            (calls.second, calls.fruitful, calls.idle) = (second, 0, 0);
        }
        if calls.instant != instant {
            (calls.instant, calls.at_once) = (instant, 0);
        }
        calls.at_once += 1;
        *if fruitful { &mut calls.fruitful } else { &mut calls.idle } += 1;
        assert!(calls.at_once < CALLS_AT_ONCE, "the driver spins");
        if calls.idle > IDLE_CALLS + 4 * calls.fruitful {
            let why = format!("{} calls that moved nothing in a second, {} that did", calls.idle, calls.fruitful);
            self.fail(&why);
        }
    }
}
