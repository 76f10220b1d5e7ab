//! Thousands of random operations on an outbox.

use cascade_mqtt_core::outbox::{Batching, Limits, OnFull};
use fastrand::Rng;

use crate::dice::Dice;
use crate::model::Model;

impl Dice for Rng {
    fn below(&mut self, end: usize) -> usize {
        self.usize(..end)
    }
}

fn run(on_full: OnFull) {
    for seed in 0..16 {
        let mut rng = Rng::with_seed(seed);
        let limits = Limits {
            queued_bytes: [24_000, 100_000, 1_000_000][rng.usize(..3)],
            queued_events: rng.bool().then(|| rng.usize(1..400)),
            in_flight: [1, 7, 300][rng.usize(..3)],
            in_flight_qos2: [1, 3, 20][rng.usize(..3)],
            on_full,
            batch: rng.bool().then(|| Batching {
                events: [1, 3, 20, 300][rng.usize(..4)],
                bytes: [2, 500, 5_000, 400_000][rng.usize(..4)],
                linger_ms: [0, 5, 50][rng.usize(..3)],
                compress: rng.bool(),
            }),
        };
        let mut model = Model::new(rng, limits);
        (0..2_000).for_each(|_| model.step());
        model.finish();
    }
}

#[test]
fn drop_oldest() {
    run(OnFull::DropOldest);
}

#[test]
fn drop_newest() {
    run(OnFull::DropNewest);
}

#[test]
fn wait() {
    run(OnFull::Wait);
}
