//! What happens in one run, all of it drawn from a seed.

use std::time::Duration;

use cascade_mqtt_core::config::Config;
use cascade_mqtt_core::outbox::{Batching, Limits, OnFull};
use cascade_mqtt_core::session::Settings;
use fastrand::Rng;

use crate::broker::Answer;
use crate::consumer::Pace;
use crate::link::Way;
use crate::net::{Dial, Weather};
use crate::wire::Ack;

pub const TOP: u8 = 2;

#[derive(Clone, Debug)]
pub enum Action {
    Publish {
        messages: usize,
        size: usize,
        qos: Qos,
        tracked: bool,
    },
    Withdraw,
    Flush,
    Subscribe {
        slot: u8,
        qos: u8,
    },
    Unsubscribe {
        which: usize,
    },
    Read {
        which: usize,
        pace: Pace,
    },
    /// The program says that it is alive, and does not say so again.
    Beat {
        alive_ms: u64,
    },
    /// Somebody else publishes.
    Remote {
        slot: u8,
        messages: usize,
        size: usize,
        qos: u8,
        retain: bool,
        batched: bool,
    },
    Weather(Weather),
    Cut {
        way: Way,
        after: usize,
    },
    /// At the end of a packet of the client's, which arrives.
    CutBehindPacket,
    Reset {
        noticed: bool,
    },
    Close,
    HalfOpen,
    Stall {
        way: Way,
        for_ms: u64,
    },
    Withhold {
        answer: Answer,
        for_ms: u64,
    },
    Refuse {
        code: u8,
        for_ms: u64,
    },
    Poison {
        above: usize,
    },
    Repeat,
    Restart {
        keeps: bool,
        polite: bool,
        for_ms: u64,
    },
    Stop {
        timeout_ms: u64,
        polite: bool,
        hurried_after_ms: Option<u64>,
        for_ms: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Qos {
    Only(u8),
    Mixed,
}

pub struct Schedule {
    pub config: Config,
    /// What happens, and how many milliseconds after what was before it.
    pub steps: Vec<(u64, Action)>,
}

impl Schedule {
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let config = config(&mut rng);
        let steps = (0..rng.usize(10..80)).map(|_| (pause(&mut rng), action(&mut rng))).collect();
        Self { config, steps }
    }
}

fn config(rng: &mut Rng) -> Config {
    let keep_alive_s = *pick(rng, &[0, 1, 2, 2, 5]);
    let clean_session = rng.bool();
    let kibibyte = 1024;
    Config {
        host: "broker".into(),
        port: 1883,
        bind: None,
        identifier: (!clean_session || rng.bool()).then(|| "simulated".into()),
        clean_session,
        keep_alive_s,
        username: None,
        password: None,
        connect_timeout: Duration::from_millis(rng.u64(500..3000)),
        reconnect_min_delay: Duration::from_millis(rng.u64(50..200)),
        reconnect_max_delay: Duration::from_millis(rng.u64(300..3000)),
        max_message_bytes: 64 * kibibyte,
        max_inbound_bytes: 64 * kibibyte,
        max_inbox_bytes: rng.usize(2..40) * kibibyte,
        max_inbox_messages: rng.usize(2..100),
        limits: Limits {
            // Too little for buffers of the pool that all outboxes of a process share: each run is alone.
            queued_bytes: rng.usize(10..120) * kibibyte,
            queued_events: rng.bool().then(|| rng.usize(5..500)),
            in_flight: *pick(rng, &[1, 2, 10, 50, 10_000]),
            in_flight_qos2: *pick(rng, &[1, 2, 20]),
            on_full: *pick(rng, &[OnFull::DropOldest, OnFull::DropNewest, OnFull::Wait]),
            batch: rng.bool().then(|| Batching {
                events: *pick(rng, &[1, 2, 10, 100]),
                bytes: *pick(rng, &[300, 3_000, 64 * kibibyte]),
                linger_ms: *pick(rng, &[0, 5, 50]),
                compress: rng.bool(),
            }),
        },
        settings: Settings {
            keep_alive_ms: u64::from(keep_alive_s) * 1000,
            ack_timeout_ms: rng.u64(500..3000),
            retained_timeout_ms: rng.u64(100..1000),
        },
    }
}

fn pick<'a, T>(rng: &mut Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.usize(..choices.len())]
}

/// Things happen together more often than they do not.
fn pause(rng: &mut Rng) -> u64 {
    match rng.u8(..10) {
        0..4 => 0,
        4..8 => rng.u64(..50),
        8 => rng.u64(..500),
        _ => rng.u64(..4000),
    }
}

fn size(rng: &mut Rng) -> usize {
    match rng.u8(..10) {
        0..6 => rng.usize(..100),
        6..9 => rng.usize(..2_000),
        _ => rng.usize(..12_000),
    }
}

fn action(rng: &mut Rng) -> Action {
    match rng.u8(..100) {
        0..30 => Action::Publish {
            messages: rng.usize(1..40),
            size: size(rng),
            qos: *pick(rng, &[Qos::Mixed, Qos::Mixed, Qos::Only(0), Qos::Only(1), Qos::Only(1), Qos::Only(TOP)]),
            tracked: rng.bool(),
        },
        30..33 => Action::Withdraw,
        33..36 => Action::Flush,
        36..42 => Action::Subscribe { slot: rng.u8(..3), qos: rng.u8(..3) },
        42..44 => Action::Unsubscribe { which: rng.usize(..100) },
        44..49 => Action::Read {
            which: rng.usize(..100),
            pace: match rng.u8(..4) {
                0..2 => Pace::Stuck,
                2 => Pace::Slow(rng.usize(1..4)),
                _ => Pace::Eager,
            },
        },
        49..62 => Action::Remote {
            slot: rng.u8(..3),
            messages: rng.usize(1..20),
            size: size(rng),
            qos: rng.u8(..=TOP),
            retain: rng.u8(..5) == 0,
            batched: rng.u8(..3) == 0,
        },
        62..74 => fault_of_the_network(rng),
        74..80 => Action::Weather(weather(rng)),
        80..93 => fault_of_the_broker(rng),
        93..95 => Action::Stop {
            timeout_ms: *pick(rng, &[0, 200, 1000, 3000]),
            polite: rng.bool(),
            hurried_after_ms: rng.bool().then(|| rng.u64(..1000)),
            for_ms: rng.u64(..2000),
        },
        95 => Action::Beat { alive_ms: rng.u64(..5000) },
        _ => Action::Weather(Weather::FAIR),
    }
}

fn fault_of_the_network(rng: &mut Rng) -> Action {
    let way = *pick(rng, &[Way::ToBroker, Way::ToClient]);
    match rng.u8(..10) {
        0 => Action::CutBehindPacket,
        1..4 => Action::Cut { way, after: rng.usize(1..3000) },
        4..6 => Action::Reset { noticed: rng.bool() },
        6 => Action::HalfOpen,
        7..9 => Action::Stall { way, for_ms: rng.u64(..4000) },
        _ => Action::Close,
    }
}

fn weather(rng: &mut Rng) -> Weather {
    let dial = *pick(rng, &[Dial::Accept, Dial::Accept, Dial::Refuse, Dial::Hang, Dial::Close, Dial::Silent]);
    let (piece, delay_ms) = *pick(rng, &[(1, 0), (7, 1), (100, 5), (1460, 20), (1460, 200), (64 * 1024, 20)]);
    Weather { dial, piece, delay_ms, room: *pick(rng, &[64, 1500, 16 * 1024, 64 * 1024]) }
}

fn fault_of_the_broker(rng: &mut Rng) -> Action {
    const ANSWERS: [Answer; 7] = [
        Answer::ConnAck,
        Answer::SubAck,
        Answer::PingResp,
        Answer::Ack(Ack::Acknowledged),
        Answer::Ack(Ack::Acknowledged),
        Answer::Ack(Ack::Received),
        Answer::Ack(Ack::Complete),
    ];
    match rng.u8(..10) {
        0..4 => Action::Withhold { answer: *pick(rng, &ANSWERS), for_ms: rng.u64(..5000) },
        4 => Action::Refuse { code: rng.u8(1..=5), for_ms: rng.u64(..3000) },
        5 => Action::Poison { above: rng.usize(50..4000) },
        6..8 => Action::Repeat,
        _ => Action::Restart { keeps: rng.bool(), polite: rng.bool(), for_ms: rng.u64(..3000) },
    }
}
