//! A network in memory: links of two pipes, whose bytes move in hops, late, in pieces, or never.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::config::Config;
use cascade_mqtt_core::error::ConnectFailure;
use cascade_mqtt_core::transport::{Network, Stream};
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{Shared, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    ToClient,
}

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

/// One direction of a link.
pub struct Pipe {
    sent: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// Its sender has ended it.
    ended: bool,
    pub stalled_until: Instant,
    /// What is sent vanishes.
    pub swallows: bool,
    /// So many bytes more, then the link is reset.
    pub cut_in: Option<usize>,
    hop_at: Option<Instant>,
    carrier: Arc<Notify>,
}

impl Pipe {
    fn new() -> Self {
        Self {
            sent: VecDeque::new(),
            arrived: VecDeque::new(),
            ended: false,
            stalled_until: Instant::now(),
            swallows: false,
            cut_in: None,
            hop_at: None,
            carrier: Arc::default(),
        }
    }
}

pub struct Link {
    pub up: Pipe,
    pub down: Pipe,
    /// The client holds its end.
    pub held: bool,
    pub reset: bool,
    broker_closed: bool,
    /// The client has been told of the end by the broker.
    eof: bool,
    pub silent: bool,
    client: Arc<Notify>,
}

impl Link {
    pub fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::ToBroker => &mut self.up,
            Way::ToClient => &mut self.down,
        }
    }

    /// Let those who wait look again.
    pub fn wake(&self) {
        self.up.carrier.notify_one();
        self.down.carrier.notify_one();
        self.client.notify_one();
    }
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

/// When a pipe's carrier has to look again.
enum Hop {
    Now,
    At(Instant),
    WhenWoken,
    Never,
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

impl World {
    /// The number of a new link, and what wakes its client.
    fn accept(&mut self, how: Dial) -> (usize, Arc<Notify>) {
        let number = self.links.len();
        if self.links.iter().any(|link| link.held) {
            self.fail("a second connection while the first is held");
        }
        let client: Arc<Notify> = Arc::default();
        self.links.push(Link {
            up: Pipe::new(),
            down: Pipe::new(),
            held: true,
            reset: false,
            broker_closed: false,
            eof: false,
            silent: how == Dial::Silent,
            client: Arc::clone(&client),
        });
        self.note(|| format!("link {number} opens: {how:?}"));
        if how == Dial::Close {
            self.broker_closes(number);
        }
        (number, client)
    }

    fn client_reads(&mut self, number: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let most = (buffer.capacity() - buffer.len()).max(64).min(self.weather.piece);
        let link = &mut self.links[number];
        let outcome = if link.reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else if link.down.arrived.is_empty() {
            if link.eof { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) }
        } else {
            let size = link.down.arrived.len().min(self.rng.usize(1..=most));
            buffer.extend(link.down.arrived.drain(..size));
            link.down.carrier.notify_one();
            Ok(size)
        };
        self.called(outcome.as_ref().is_ok_and(|size| *size > 0));
        outcome
    }

    fn client_writes(&mut self, number: usize, bytes: &[u8]) -> io::Result<usize> {
        let link = &mut self.links[number];
        let room = self.weather.room.saturating_sub(link.up.sent.len());
        let outcome = if link.reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else if room == 0 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            let size = bytes.len().min(room).min(self.rng.usize(1..=self.weather.piece));
            link.up.sent.extend(&bytes[..size]);
            link.up.carrier.notify_one();
            Ok(size)
        };
        self.called(outcome.is_ok());
        outcome
    }

    fn is_ready(&self, number: usize, interest: Interest) -> bool {
        let link = &self.links[number];
        let readable = !link.down.arrived.is_empty() || link.eof;
        let writable = link.up.sent.len() < self.weather.room;
        link.reset || (interest.is_readable() && readable) || (interest.is_writable() && writable)
    }

    fn client_ends(&mut self, number: usize) {
        let link = &mut self.links[number];
        link.up.ended = true;
        link.up.carrier.notify_one();
    }

    fn client_closes(&mut self, number: usize) {
        let link = &mut self.links[number];
        link.held = false;
        if link.down.arrived.is_empty() {
            self.client_ends(number);
        } else {
            // Closing with unread input resets, and what was on its way is lost.
            self.reset(number, true);
        }
    }

    /// The end of what the broker sends; what the client sends from now on is refused.
    pub fn broker_closes(&mut self, number: usize) {
        if self.links[number].broker_closed || self.links[number].reset {
            return;
        }
        self.note(|| format!("link {number}: the broker closes"));
        self.broker.gone(number);
        let link = &mut self.links[number];
        link.broker_closed = true;
        link.down.ended = true;
        link.down.carrier.notify_one();
    }

    /// Bytes in flight are lost; the broker may be told much later, by the next connection.
    pub fn reset(&mut self, number: usize, broker_notices: bool) {
        let link = &mut self.links[number];
        if link.reset {
            return;
        }
        link.reset = true;
        for pipe in [&mut link.up, &mut link.down] {
            pipe.sent.clear();
            pipe.arrived.clear();
        }
        link.wake();
        self.note(|| format!("link {number} is reset"));
        if broker_notices {
            self.broker.gone(number);
        }
    }

    /// What the broker has to say goes on its way.
    pub fn broker_speaks(&mut self) {
        let (said, ended) = self.broker.take_said();
        for (number, bytes) in said {
            let link = &mut self.links[number];
            if !link.reset && !link.down.ended {
                link.down.sent.extend(bytes);
                link.down.carrier.notify_one();
            }
        }
        for number in ended {
            self.broker_closes(number);
        }
        if let Some(why) = self.broker.violation.take() {
            self.fail(&why);
        }
    }

    /// Move some bytes of a pipe, if it is time.
    fn hop(&mut self, number: usize, way: Way) -> Hop {
        let now = Instant::now();
        let Weather { piece, delay_ms, room, .. } = self.weather;
        let link = &mut self.links[number];
        if link.reset {
            return Hop::Never;
        }
        let full = way == Way::ToClient && link.held && link.down.arrived.len() >= room;
        let pipe = link.pipe(way);
        if pipe.stalled_until > now {
            return Hop::At(pipe.stalled_until);
        }
        if pipe.sent.is_empty() && pipe.ended {
            self.end_arrives(number, way);
            return Hop::Never;
        }
        if pipe.sent.is_empty() || full {
            return Hop::WhenWoken;
        }
        let at = *pipe.hop_at.get_or_insert_with(|| now + Duration::from_millis(self.rng.u64(..=delay_ms)));
        if at > now {
            return Hop::At(at);
        }
        pipe.hop_at = None;
        let mut size = pipe.sent.len().min(self.rng.usize(1..=piece));
        if let Some(left) = &mut pipe.cut_in {
            size = size.min(*left);
            *left -= size;
        }
        let cut = pipe.cut_in == Some(0);
        let bytes: Vec<u8> = pipe.sent.drain(..size).collect();
        let swallowed = pipe.swallows;
        if way == Way::ToBroker {
            link.client.notify_one();
        }
        if !swallowed {
            self.arrive(number, way, &bytes);
        }
        if cut && !self.links[number].reset {
            let noticed = self.rng.bool();
            self.reset(number, noticed);
        }
        Hop::Now
    }

    fn arrive(&mut self, number: usize, way: Way, bytes: &[u8]) {
        let link = &mut self.links[number];
        match way {
            Way::ToClient if link.held => {
                link.down.arrived.extend(bytes);
                link.client.notify_one();
            }
            Way::ToClient => {}
            Way::ToBroker if link.broker_closed => self.reset(number, true),
            Way::ToBroker if link.silent => {}
            Way::ToBroker => {
                self.broker.receive(number, bytes, &mut self.ledger);
                self.broker_speaks();
            }
        }
    }

    fn end_arrives(&mut self, number: usize, way: Way) {
        let link = &mut self.links[number];
        if link.pipe(way).swallows {
            return;
        }
        match way {
            Way::ToClient => {
                link.eof = true;
                link.client.notify_one();
            }
            Way::ToBroker if !link.broker_closed => self.broker_closes(number),
            Way::ToBroker => {}
        }
    }
}
