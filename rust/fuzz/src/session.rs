//! The session against a broker that answers, or does not, in any order, over one connection after another.
#![no_main]

mod broker;
mod decisions;
#[allow(dead_code)]
#[path = "../../tests/outbox/dice.rs"]
mod dice;
#[allow(dead_code)]
#[path = "../../tests/session/ear.rs"]
mod ear;

use broker::Broker;
use decisions::Decisions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut broker = Broker::new(Decisions::new(data));
    while !broker.dice.is_over() {
        broker.step();
    }
    broker.finish();
});
