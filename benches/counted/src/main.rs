//! Runs one part of the core so many times: `cascade-counted PART TIMES`. What counts the instructions runs it with
//! TIMES and with twice as many; the difference is the part's alone.

mod outbox;
mod packets;
mod session;

use std::{env, process::ExitCode};

/// As many bytes as an event of a recorded workflow has, and its topic.
const PAYLOAD: [u8; 331] = [b'x'; 331];
const TOPIC: &str = "cascade/telemetry/local/demo/demo-96d504ac/events";
/// Messages between two turns of the writer, or in one read.
const TURN: usize = 100;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(part), Some(Ok(times))) = (arguments.next(), arguments.next().map(|times| times.parse())) else {
        return ExitCode::FAILURE;
    };
    match part.as_str() {
        "framing" => packets::frame(times),
        "parsing" => packets::parse(times),
        "outbox, QoS 0" => outbox::telemetry(times),
        "outbox, QoS 1" => outbox::acknowledged(times),
        "session" => session::deliver(times),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}
