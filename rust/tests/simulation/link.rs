//! Links of two pipes, whose bytes move in hops, late, in pieces, or never.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::{Dial, Weather};
use crate::wire;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    ToClient,
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
    pub carrier: Arc<Notify>,
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
    pub cut_behind_packet: bool,
    /// What of a packet the client has written, while it is not whole.
    begun: Vec<u8>,
    client: Arc<Notify>,
}

impl Link {
    pub fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::ToBroker => &mut self.up,
            Way::ToClient => &mut self.down,
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.up.sent.extend(bytes);
        self.up.carrier.notify_one();
        self.begun.extend(bytes);
        let mut whole = 0;
        while let Ok(Some((_, size))) = wire::parse(&self.begun[whole..]) {
            whole += size;
        }
        self.begun.drain(..whole);
    }

    /// How many of these bytes end the first packet that ends in them.
    fn packet_ends(&self, bytes: &[u8]) -> Option<usize> {
        let stream = [&self.begun, bytes].concat();
        let (_, size) = wire::parse(&stream).ok().flatten()?;
        Some(size - self.begun.len())
    }

    /// Let those who wait look again.
    pub fn wake(&self) {
        self.up.carrier.notify_one();
        self.down.carrier.notify_one();
        self.client.notify_one();
    }
}

/// When a pipe's carrier has to look again.
pub enum Hop {
    Now,
    At(Instant),
    WhenWoken,
    Never,
}

impl World {
    /// The number of a new link, and what wakes its client.
    pub fn accept(&mut self, how: Dial) -> (usize, Arc<Notify>) {
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
            cut_behind_packet: false,
            begun: Vec::new(),
            client: Arc::clone(&client),
        });
        self.note(|| format!("link {number} opens: {how:?}"));
        if how == Dial::Close {
            self.broker_closes(number);
        }
        (number, client)
    }

    pub fn client_reads(&mut self, number: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
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

    pub fn client_writes(&mut self, number: usize, bytes: &[u8]) -> io::Result<usize> {
        let link = &mut self.links[number];
        let room = self.weather.room.saturating_sub(link.up.sent.len());
        let outcome = if link.reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else if room == 0 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            let mut size = bytes.len().min(room).min(self.rng.usize(1..=self.weather.piece));
            let cut = (link.cut_behind_packet && !link.up.swallows).then(|| link.packet_ends(&bytes[..size])).flatten();
            size = cut.unwrap_or(size);
            link.wrote(&bytes[..size]);
            if cut.is_some() {
                let whole: Vec<u8> = link.up.sent.drain(..).collect();
                self.arrive(number, Way::ToBroker, &whole);
                self.reset(number, true);
            }
            Ok(size)
        };
        self.called(outcome.is_ok());
        outcome
    }

    pub fn is_ready(&self, number: usize, interest: Interest) -> bool {
        let link = &self.links[number];
        let readable = !link.down.arrived.is_empty() || link.eof;
        let writable = link.up.sent.len() < self.weather.room;
        link.reset || (interest.is_readable() && readable) || (interest.is_writable() && writable)
    }

    pub fn client_ends(&mut self, number: usize) {
        let link = &mut self.links[number];
        link.up.ended = true;
        link.up.carrier.notify_one();
    }

    pub fn client_closes(&mut self, number: usize) {
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
        for packet in self.broker.heard.as_mut().map(std::mem::take).unwrap_or_default() {
            self.note(|| packet);
        }
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
    pub fn hop(&mut self, number: usize, way: Way) -> Hop {
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
