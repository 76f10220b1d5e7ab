//! What a connector was told, in the core's own terms.

use std::net::IpAddr;
use std::time::Duration;

use crate::outbox::Limits;
use crate::session::Settings;

#[derive(Clone)]
pub struct Config {
    pub host: String,
    pub port: u16,
    pub bind: Option<(IpAddr, u16)>,
    pub identifier: Option<String>,
    pub clean_session: bool,
    pub keep_alive_s: u16,
    pub username: Option<String>,
    pub password: Option<String>,
    /// For dialling, and again for CONNACK.
    pub connect_timeout: Duration,
    pub reconnect_min_delay: Duration,
    pub reconnect_max_delay: Duration,
    pub max_message_bytes: usize,
    pub max_inbound_bytes: usize,
    pub max_inbox_bytes: usize,
    pub max_inbox_messages: usize,
    pub limits: Limits,
    pub settings: Settings,
}

/// The message that the broker publishes when we vanish (MQTT 3.1.1 section 3.1.2.5).
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

/// An identifier that fits every broker: `c-` and 20 characters of base32 (MQTT 3.1.1 section 3.1.3.1).
pub fn generated_identifier() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random = (0..20).map(|_| char::from(ALPHABET[fastrand::usize(..32)]));
    "c-".chars().chain(random).collect()
}

#[cfg(test)]
impl Config {
    /// To a port of this machine, with room for one message in an inbox.
    pub fn for_tests(port: u16) -> Self {
        use crate::outbox::OnFull;
        let second = Duration::from_secs(1);
        Self {
            host: "127.0.0.1".into(),
            port,
            bind: None,
            identifier: None,
            clean_session: true,
            keep_alive_s: 0,
            username: None,
            password: None,
            connect_timeout: second,
            reconnect_min_delay: second,
            reconnect_max_delay: second,
            max_message_bytes: 1 << 20,
            max_inbound_bytes: 1 << 20,
            max_inbox_bytes: 1 << 20,
            max_inbox_messages: 1,
            limits: Limits {
                queued_bytes: 1 << 20,
                queued_events: None,
                in_flight: 10,
                in_flight_qos2: 10,
                on_full: OnFull::DropOldest,
                batch: None,
            },
            settings: Settings { keep_alive_ms: 0, ack_timeout_ms: 1000, retained_timeout_ms: 1000 },
        }
    }
}
