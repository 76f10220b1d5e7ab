//! One run: the real core on virtual time, the schedule done to it, and everything checked all along.

use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::core::Core;
use cascade_mqtt_core::sync::Mutex;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use crate::consumer::Consumer;
use crate::schedule::Schedule;
use crate::session::Delivery;
use crate::world::{Shared, World};

/// How often the run looks at everything, in milliseconds.
pub const LOOK_MS: u64 = 20;

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
pub struct Broken;

pub struct Run<'a> {
    pub schedule: &'a Schedule,
    pub core: Arc<Core>,
    pub world: Shared,
    pub consumers: Vec<Consumer>,
    pub remote: Vec<Delivery>,
    /// Flushes under way: token, and the number of the first message behind it.
    pub flushes: Vec<(u32, u64)>,
    /// A message was refused, and room has not been told of since.
    pub waits_for_room: bool,
    pub connected: bool,
    pub stopped: bool,
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
            waits_for_room: false,
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

    pub async fn pass(&mut self, ms: u64) -> Result<(), Broken> {
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

    pub async fn until(&mut self, limit_ms: u64, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        let limit = Instant::now() + Duration::from_millis(limit_ms);
        while !reached(self) {
            self.demand(Instant::now() <= limit, &format!("not in {limit_ms} ms: {what}"))?;
            self.pass(LOOK_MS).await?;
        }
        Ok(())
    }

    pub fn demand(&self, holds: bool, otherwise: &str) -> Result<(), Broken> {
        if holds {
            return Ok(());
        }
        self.world.lock().fail(otherwise);
        Err(Broken)
    }
}
