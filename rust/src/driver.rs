//! What owns one connection after another: dials, waits, dials again, and obeys its handle.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::Interest;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::config::{Config, Will, generated_identifier};
use crate::connection::Connection;
use crate::core::{Command, Core};
use crate::error::{ConnectFailure, Ended};
use crate::events::{Event, Level};
use crate::outbox::DropReason;
use crate::packet::{self, Connect, Incoming, WillMessage};
use crate::reader::Inboxes;
use crate::session::{Notice, Session};
use crate::transport::{Network, Stream};

/// How often a driver looks whether a program that hung is alive again.
const HANGING: Duration = Duration::from_millis(50);

/// How the first packet from a broker begins (MQTT 3.1.1 section 3.2).
const CONNACK: u8 = 0x20;

/// A stop that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Goodbye {
    pub until: Instant,
    /// Send DISCONNECT, so that the broker discards the will.
    pub polite: bool,
}

pub struct Driver {
    pub session: Session,
    pub inboxes: Inboxes,
    stop: Option<Goodbye>,
    epoch: Instant,
}

/// Serve one start after another until there is none.
pub async fn run<N: Network>(core: Arc<Core>, mut driver: Box<Driver>, mut network: N) {
    while let Some((mut awake, will)) = core.next_start(driver) {
        let served = unwinding_caught(awake.serve(&core, &mut network, will.as_ref())).await;
        if let Err(panic) = served {
            awake.broke(&core, words(panic.as_ref()));
        }
        awake.stop = None;
        core.outbox.lock().discard(DropReason::Closed);
        core.set_disconnected(None);
        core.tell_outcomes();
        core.events.push(Event::Stopped);
        driver = awake;
    }
}

/// A mistake of ours must not leave those who wait for this connector waiting for ever.
async fn unwinding_caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

impl Driver {
    pub fn new(config: &Config) -> Self {
        Self {
            session: Session::new(config.settings.clone()),
            inboxes: Inboxes::new(),
            stop: None,
            epoch: Instant::now(),
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    pub fn instant(&self, at_ms: u64) -> Instant {
        self.epoch + Duration::from_millis(at_ms)
    }

    pub fn stopping(&self) -> Option<Goodbye> {
        self.stop
    }

    /// Do what the handle asked for since the last time.
    pub fn obey(&mut self, core: &Core) {
        for command in core.take_commands() {
            match command {
                Command::Subscribe { inbox, filter, qos } => {
                    let (subscription, batches) = (inbox.subscription, inbox.batches);
                    self.inboxes.insert(subscription, inbox);
                    self.session.subscribe(self.now_ms(), subscription, filter, qos, batches);
                }
                Command::Unsubscribe { subscription } => {
                    self.inboxes.remove(&subscription);
                    self.session.unsubscribe(self.now_ms(), subscription);
                }
                Command::Stop { timeout, goodbye } => {
                    core.outbox.lock().mark();
                    self.stop = Some(Goodbye { until: Instant::now() + timeout, polite: goodbye });
                }
            }
        }
    }

    /// Without a start there is nothing to stop.
    pub fn obey_at_rest(&mut self, core: &Core) {
        self.obey(core);
        if self.stop.take().is_some() {
            core.events.push(Event::Stopped);
        }
        self.tell(core);
    }

    /// Pass on what the session has to say.
    pub fn tell(&mut self, core: &Core) {
        for notice in self.session.take_notices() {
            core.events.push(match notice {
                Notice::Subscribed { subscription, code } => Event::Subscribed { subscription, code },
                Notice::Unsubscribed { subscription } => Event::Unsubscribed { subscription },
                Notice::Retained { subscription } => {
                    let given = self.inboxes.get(&subscription).map_or(0, |inbox| inbox.given());
                    Event::Retained { subscription, given }
                }
                Notice::BatchesRefused { filter } => Event::Log {
                    level: Level::Warning,
                    line: format!("the broker refused {filter}: events in batches do not come"),
                },
                Notice::Unanswered { filter } => Event::Log {
                    level: Level::Warning,
                    line: format!("the broker did not answer SUBSCRIBE to {filter}"),
                },
            });
        }
    }

    /// What served this start has panicked: it ends here, and the next one may do better.
    fn broke(&mut self, core: &Core, what: &str) {
        let why = format!("internal error: {what}");
        core.outbox.lock().close();
        core.events.push(Event::Log { level: Level::Error, line: format!("the connector stops: {why}") });
        core.events.push(match core.status().connected_since {
            Some(_) => Event::Disconnected { why: why.clone() },
            None => Event::Failed { permanent: true, why: why.clone() },
        });
        core.set_disconnected(Some(&why));
        self.session.disconnected();
        self.tell(core);
    }

    async fn serve<N: Network>(&mut self, core: &Core, network: &mut N, will: Option<&Will>) {
        let identifier = core.config.identifier.clone().unwrap_or_else(generated_identifier);
        let mut backoff = Backoff::new(core.config.reconnect_min_delay, core.config.reconnect_max_delay);
        let mut connections = 0u32;
        loop {
            if self.unless_stopped(core, alive(core)).await.is_none() {
                return;
            }
            let attempt = establish(network, &core.config, &identifier, will);
            let Some(established) = self.unless_stopped(core, attempt).await else {
                return;
            };
            let permanent = match established {
                Ok(established) => {
                    core.set_connected(connections > 0);
                    connections += 1;
                    let began = Instant::now();
                    let Err(ended) = self.connected(core, established).await else {
                        return;
                    };
                    let why = ended.to_string();
                    core.set_disconnected(Some(&why));
                    core.events.push(Event::Disconnected { why });
                    if backoff.connection_ended(began.elapsed()) {
                        let line = "the broker closes every connection soon after accepting it; trying less often";
                        core.events.push(Event::Log { level: Level::Warning, line: line.into() });
                    }
                    false
                }
                Err(failure) => {
                    core.set_disconnected(Some(&failure.why));
                    core.events.push(Event::Failed { permanent: failure.permanent, why: failure.why });
                    failure.permanent
                }
            };
            if self.unless_stopped(core, sleep(backoff.next(permanent))).await.is_none() {
                return;
            }
        }
    }

    async fn connected<S: Stream>(&mut self, core: &Core, established: Established<S>) -> Result<(), Ended> {
        let Established { stream, leftover, session_present } = established;
        self.session.connected(self.now_ms(), session_present);
        {
            let mut outbox = core.outbox.lock();
            outbox.connected(session_present).into_iter().for_each(|id| self.session.pubrel(id));
            if outbox.is_probing() {
                // So that what ends every connection at once is not taken for the effect of a message.
                self.session.ping(self.now_ms());
            }
        }
        core.tell_outcomes();
        core.events.push(Event::Connected { session_present });
        let began = Instant::now();
        let ended = Connection::new(stream, leftover).run(core, self).await;
        if let Err(why) = &ended {
            core.outbox.lock().ended(why.is_by_peer(), began.elapsed().as_millis() as u64);
            core.tell_outcomes();
        }
        self.session.disconnected();
        self.tell(core);
        ended
    }

    /// The broker lives, with all subscriptions: what had to wait for that may go out.
    pub fn answered(&mut self, core: &Core) {
        core.outbox.lock().answered().into_iter().for_each(|id| self.session.pubrel(id));
    }

    /// Wait for the future, obeying meanwhile; None when a stop came first. A stop leaves what is
    /// queued the rest of its time to find a connection.
    async fn unless_stopped<F: Future>(&mut self, core: &Core, future: F) -> Option<F::Output> {
        self.obeying(core, future, |core| core.outbox.lock().is_empty()).await
    }

    /// Wait for the future, obeying meanwhile; None when the time of a stop was over first.
    pub async fn within_stop<F: Future>(&mut self, core: &Core, future: F) -> Option<F::Output> {
        self.obeying(core, future, |_| false).await
    }

    async fn obeying<F: Future>(
        &mut self,
        core: &Core,
        future: F,
        no_reason_to_stay: impl Fn(&Core) -> bool,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            self.obey(core);
            self.tell(core);
            core.look_for_room();
            let until = self.stop.map(|goodbye| goodbye.until);
            if until.is_some_and(|until| Instant::now() >= until || no_reason_to_stay(core)) {
                return None;
            }
            let limit = async {
                match until.into_iter().chain(core.next_look()).min() {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                output = &mut future => return Some(output),
                () = core.bell.driver.notified() => core.tell_outcomes(),
                () = limit => {}
            }
        }
    }
}

/// A program that hangs is not reported alive by a new connection.
async fn alive(core: &Core) {
    while core.pulse.missed().is_some() {
        sleep(HANGING).await;
    }
}

struct Established<S> {
    stream: S,
    leftover: Vec<u8>,
    session_present: bool,
}

/// Dial, send CONNECT, wait for CONNACK: each with a time-out of its own.
async fn establish<N: Network>(
    network: &mut N,
    config: &Config,
    identifier: &str,
    will: Option<&Will>,
) -> Result<Established<N::Stream>, ConnectFailure> {
    let mut hello = Vec::new();
    let connect = Connect {
        client_id: identifier,
        keep_alive_s: config.keep_alive_s,
        clean_session: config.clean_session,
        username: config.username.as_deref(),
        password: config.password.as_deref().map(str::as_bytes),
        will: will.map(|will| WillMessage {
            topic: &will.topic,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
        }),
    };
    packet::connect(&mut hello, &connect)
        .map_err(|error| ConnectFailure { why: error.to_string(), permanent: true })?;
    let late = |_| ConnectFailure::passing("timed out");
    let stream = timeout(config.connect_timeout, network.dial(config)).await.map_err(late)??;
    timeout(config.connect_timeout, greet(stream, &hello, config.max_inbound_bytes)).await.map_err(late)?
}

/// Nothing goes out behind CONNECT before CONNACK: some brokers drop what was pipelined.
async fn greet<S: Stream>(stream: S, hello: &[u8], max_size: usize) -> Result<Established<S>, ConnectFailure> {
    let mut rest = hello;
    while !rest.is_empty() {
        stream.ready(Interest::WRITABLE).await.map_err(Ended::from)?;
        match stream.try_write(rest) {
            Ok(wrote) => rest = &rest[wrote..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Ended::from(error).into()),
        }
    }
    let mut input = Vec::with_capacity(1024);
    loop {
        stream.ready(Interest::READABLE).await.map_err(Ended::from)?;
        match stream.try_read_buf(&mut input) {
            Ok(0) => return Err(Ended::ByPeer.into()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(Ended::from(error).into()),
        }
        let (session_present, used) = match packet::parse(&input, max_size).map_err(Ended::from)? {
            None if input[0] == CONNACK => continue,
            Some((Incoming::ConnAck { code: 0, session_present }, used)) => (session_present, used),
            Some((Incoming::ConnAck { code, .. }, _)) => return Err(ConnectFailure::refused(code)),
            // Of whatever else begins here the end may never come.
            None | Some(_) => return Err(Ended::Unexpected("packet before CONNACK").into()),
        };
        input.drain(..used);
        return Ok(Established { stream, leftover: input, session_present });
    }
}
