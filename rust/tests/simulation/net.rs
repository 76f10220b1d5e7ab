//! A network in memory, as the driver sees it, and what it is like.

use std::io;
use std::sync::Arc;

use cascade_mqtt_core::config::Config;
use cascade_mqtt_core::error::ConnectFailure;
use cascade_mqtt_core::transport::{Network, Stream};
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use crate::link::{Hop, Way};
use crate::world::Shared;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    Accept,
    Refuse,
    /// Neither accepted nor refused.
    Hang,
    /// Accepted and closed at once.
    Close,
    /// Accepted, and CONNECT is never answered.
    Silent,
}

/// What new and present links are like.
#[derive(Clone, Debug)]
pub struct Weather {
    pub dial: Dial,
    /// The most bytes that a call or a hop moves.
    pub piece: usize,
    /// The longest that a hop takes, in milliseconds.
    pub delay_ms: u64,
    /// What each buffer of a link holds, in bytes.
    pub room: usize,
}

impl Weather {
    pub const FAIR: Self = Self { dial: Dial::Accept, piece: 64 * 1024, delay_ms: 2, room: 64 * 1024 };
}

/// What the driver dials with.
#[derive(Clone)]
pub struct Dialler(pub Shared);

impl Network for Dialler {
    type Stream = Wire;

    async fn dial(&mut self, _config: &Config) -> Result<Wire, ConnectFailure> {
        let delay = self.0.lock().dialled();
        sleep(delay).await;
        loop {
            let changed = {
                let mut world = self.0.lock();
                match world.weather.dial {
                    _ if world.broker.down_until.is_some_and(|until| Instant::now() < until) => return Err(refused()),
                    Dial::Refuse => return Err(refused()),
                    Dial::Hang => Arc::clone(&world.weather_changed),
                    accepted => {
                        let (number, readiness) = world.accept(accepted);
                        for way in [Way::ToBroker, Way::ToClient] {
                            tokio::spawn(carry(Arc::clone(&self.0), number, way));
                        }
                        return Ok(Wire { world: Arc::clone(&self.0), number, readiness });
                    }
                }
            };
            changed.notified().await;
        }
    }
}

fn refused() -> ConnectFailure {
    ConnectFailure::passing("connection refused")
}

/// The client's end of a link.
pub struct Wire {
    world: Shared,
    number: usize,
    readiness: Arc<Notify>,
}

impl Stream for Wire {
    fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.world.lock().client_reads(self.number, buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.world.lock().client_writes(self.number, bytes)
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.world.lock().called(false);
        while !self.world.lock().is_ready(self.number, interest) {
            self.readiness.notified().await;
        }
        Ok(())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.world.lock().client_ends(self.number);
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.world.lock().client_closes(self.number);
    }
}

/// Nobody waits for a carrier, so its panic would go unseen.
struct Carrying(Shared);

impl Drop for Carrying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().fail("the simulation itself panicked");
        }
    }
}

async fn carry(world: Shared, number: usize, way: Way) {
    let _carrying = Carrying(Arc::clone(&world));
    let woken = Arc::clone(&world.lock().links[number].pipe(way).carrier);
    loop {
        let hop = world.lock().hop(number, way);
        match hop {
            Hop::Now => yield_now().await,
            Hop::WhenWoken => woken.notified().await,
            Hop::Never => return,
            Hop::At(at) => tokio::select! {
                biased;
                () = woken.notified() => {}
                () = sleep_until(at) => {}
            },
        }
    }
}
