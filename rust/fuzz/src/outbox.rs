//! The outbound queue against the model that its random test has: publishes, writes, acknowledgements, cuts,
//! reconnects with and without a session.
#![no_main]

mod decisions;
#[path = "../../tests/outbox/dice.rs"]
mod dice;
#[path = "../../tests/outbox/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../tests/outbox/queue.rs"]
mod queue;
#[path = "../../tests/outbox/steps.rs"]
mod steps;

use cascade_mqtt_core::outbox::{Batching, Limits, OnFull};
use decisions::Decisions;
use dice::Dice;
use libfuzzer_sys::fuzz_target;
use model::Model;

fuzz_target!(|data: &[u8]| {
    let mut dice = Decisions::new(data);
    let limits = Limits {
        queued_bytes: [8_000, 24_000, 100_000][dice.below(3)],
        queued_events: dice.coin().then(|| 1 + dice.below(100)),
        in_flight: [1, 7, 300][dice.below(3)],
        in_flight_qos2: [1, 3, 20][dice.below(3)],
        on_full: [OnFull::DropOldest, OnFull::DropNewest, OnFull::Wait][dice.below(3)],
        batch: dice.coin().then(|| Batching {
            events: [1, 3, 20][dice.below(3)],
            bytes: [2, 500, 5_000][dice.below(3)],
            linger_ms: 5,
            compress: dice.coin(),
        }),
    };
    let mut model = Model::new(dice, limits);
    while !model.dice.is_over() {
        model.step();
    }
    model.finish();
});
