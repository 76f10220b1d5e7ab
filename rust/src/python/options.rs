//! From the face's frozen `Options` to the core's `Config`.

use std::net::IpAddr;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::config::Config;
use crate::outbox::{Batching, Limits, OnFull};
use crate::session::Settings;

/// What of `BatchOptions` the core reads.
#[derive(FromPyObject)]
struct Batch {
    max_events: u32,
    max_bytes: usize,
    linger: f64,
    compression: Option<String>,
}

impl Batch {
    fn into_batching(self) -> Batching {
        Batching {
            events: self.max_events,
            bytes: self.max_bytes,
            linger_ms: (self.linger * 1000.0).ceil() as u64,
            compress: self.compression.is_some(),
        }
    }
}

/// The attributes of the Python object that the core reads.
#[derive(FromPyObject)]
pub struct Options {
    hostname: String,
    port: u16,
    bind_address: String,
    bind_port: u16,
    identifier: Option<String>,
    clean_session: bool,
    keepalive_s: u16,
    username: Option<String>,
    password: Option<String>,
    timeout_s: f64,
    connect_timeout_s: f64,
    reconnect_min_delay_s: f64,
    reconnect_max_delay_s: f64,
    retained_timeout_s: f64,
    max_message_bytes: usize,
    max_inbound_bytes: usize,
    max_inbox_bytes: usize,
    max_inbox_messages: Option<usize>,
    max_queued_bytes: usize,
    max_queued_events: Option<usize>,
    max_inflight_messages: usize,
    max_inflight_qos2: usize,
    on_full: String,
    batch: Option<Batch>,
    default: Option<Py<PyAny>>,
}

impl Options {
    pub fn into_config(self) -> PyResult<(Config, Option<Py<PyAny>>)> {
        let on_full = match self.on_full.as_str() {
            "drop_oldest" => OnFull::DropOldest,
            "drop_newest" => OnFull::DropNewest,
            "wait" => OnFull::Wait,
            other => return Err(PyValueError::new_err(format!("unknown on_full {other:?}"))),
        };
        let config = Config {
            bind: bind(&self.bind_address, self.bind_port)?,
            host: self.hostname,
            port: self.port,
            identifier: self.identifier.filter(|identifier| !identifier.is_empty()),
            clean_session: self.clean_session,
            keep_alive_s: self.keepalive_s,
            username: self.username,
            password: self.password,
            connect_timeout: duration(self.connect_timeout_s),
            reconnect_min_delay: duration(self.reconnect_min_delay_s),
            reconnect_max_delay: duration(self.reconnect_max_delay_s),
            max_message_bytes: self.max_message_bytes,
            max_inbound_bytes: self.max_inbound_bytes,
            max_inbox_bytes: self.max_inbox_bytes,
            max_inbox_messages: self.max_inbox_messages.unwrap_or(usize::MAX),
            limits: Limits {
                queued_bytes: self.max_queued_bytes,
                queued_events: self.max_queued_events,
                in_flight: self.max_inflight_messages,
                in_flight_qos2: self.max_inflight_qos2,
                on_full,
                batch: self.batch.map(Batch::into_batching),
            },
            settings: Settings {
                keep_alive_ms: u64::from(self.keepalive_s) * 1000,
                ack_timeout_ms: duration(self.timeout_s).as_millis() as u64,
                retained_timeout_ms: duration(self.retained_timeout_s).as_millis() as u64,
            },
        };
        Ok((config, self.default))
    }
}

fn bind(address: &str, port: u16) -> PyResult<Option<(IpAddr, u16)>> {
    if address.is_empty() {
        return Ok((port != 0).then_some((IpAddr::from([0, 0, 0, 0]), port)));
    }
    let address = address
        .parse()
        .map_err(|_| PyValueError::new_err(format!("bind_address must be an IP address, not {address:?}")))?;
    Ok(Some((address, port)))
}

/// A number of seconds from Python. 136 years are for ever: added to a clock they do not overflow it.
pub fn duration(seconds: f64) -> Duration {
    const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(FOREVER).min(FOREVER)
}
