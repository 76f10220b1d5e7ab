//! The session's protocol state, without a socket and without a clock.

mod batches;
mod ear;
mod exactly_once;
mod keep_alive;
mod requests;
mod stream;
mod subscriptions;
