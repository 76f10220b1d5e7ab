//! Deterministic simulation: the real driver, session and outbox, on virtual time, with a network and a broker in
//! memory. A seed says what happens; what happens to one seed happens to it again.
//!
//! `CASCADE_SIM_SEED=7 cargo test --test simulation` runs that one and prints what happened. `make soak` tries new ones.

mod actions;
mod broker;
mod checks;
mod consumer;
mod ledger;
mod link;
mod net;
mod panics;
mod recovery;
mod run;
mod schedule;
mod session;
mod wire;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use run::{Report, run};
use schedule::Schedule;

/// Seeds that are tried whenever the tests run.
const SEEDS: u64 = 3_000;

fn once(seed: u64, traced: bool) -> Report {
    run(seed, &Schedule::from_seed(seed), traced)
}

/// Run one seed after another on every processor; the smallest that fails, and how many were run.
fn search(seeds: std::ops::Range<u64>, until: Option<Instant>) -> (Option<u64>, u64) {
    let (next, failed, tried) = (AtomicU64::new(seeds.start), Mutex::new(None), AtomicU64::new(0));
    let work = || {
        while failed.lock().unwrap().is_none() && until.is_none_or(|until| Instant::now() < until) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if once(seed, false).failure.is_some() {
                let mut failed = failed.lock().unwrap();
                *failed = Some(failed.map_or(seed, |before: u64| before.min(seed)));
            }
            tried.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    (failed.into_inner().unwrap(), tried.into_inner())
}

/// Print what happens to a seed, and fail if it fails.
fn replay(seed: u64) {
    let report = once(seed, true);
    println!("{}", report.trace.join("\n"));
    if let Some(why) = report.failure {
        panic!("seed {seed}: {why}\nreplay it: CASCADE_SIM_SEED={seed} cargo test --test simulation -- --nocapture");
    }
}

#[test]
fn every_schedule_is_survived() {
    if let Ok(seed) = std::env::var("CASCADE_SIM_SEED") {
        return replay(seed.parse().expect("CASCADE_SIM_SEED is a number"));
    }
    if let (Some(seed), _) = search(0..SEEDS, None) {
        replay(seed);
    }
}

#[test]
fn what_happens_to_a_seed_happens_to_it_again() {
    for seed in 0..20 {
        assert_eq!(once(seed, true).trace, once(seed, true).trace);
    }
}

#[test]
#[ignore = "hours of new seeds: make soak"]
fn soak() {
    let seconds = std::env::var("CASCADE_SIM_SECONDS").map_or(60, |text| text.parse().expect("a number of seconds"));
    let first = fastrand::u64(..1 << 48);
    let (failed, tried) = search(first..u64::MAX, Some(Instant::now() + Duration::from_secs(seconds)));
    println!("{tried} schedules from seed {first} on");
    if let Some(seed) = failed {
        replay(seed);
    }
}
