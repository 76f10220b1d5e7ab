//! The compiled core of cascade-connector-mqtt.

pub mod json;
#[cfg(feature = "python")]
pub mod python;
