//! The session's protocol state, without a socket and without a clock.

mod ear;
mod keep_alive;
mod stream;
mod subscriptions;
