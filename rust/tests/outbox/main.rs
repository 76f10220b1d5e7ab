//! The outbound queue, without a socket: what goes out, in which order, and what is given up.

mod batching;
mod delivery;
mod dice;
mod exactly_once;
mod losses;
mod model;
mod poison;
mod policy;
mod queue;
mod random;
mod steps;
