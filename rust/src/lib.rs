//! The compiled core of cascade-connector-mqtt.
//!
//! `core` is what a handle and its driver share; `driver` owns connections; `session`, `packet`,
//! `topic` and `outbox` are protocol and queue without I/O; `python` is the only part that knows the
//! interpreter.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod backoff;
pub mod batch;
pub mod clock;
pub mod compression;
pub mod config;
mod connection;
pub mod core;
pub mod driver;
pub mod error;
pub mod events;
pub mod fork;
pub mod inbox;
pub mod json;
pub mod outbox;
pub mod packet;
mod prefetch;
pub mod pulse;
#[cfg(feature = "python")]
pub mod python;
mod reader;
mod runtime;
pub mod session;
pub mod sync;
pub mod topic;
pub mod transport;
pub mod wake;
mod writer;
