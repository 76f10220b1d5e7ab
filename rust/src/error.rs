//! Why a connection failed or ended, in the words that reach a log line.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::outbox::Mismatch;
use crate::packet::Malformed;
use crate::session::Violation;

/// An attempt to connect that came to nothing.
#[derive(Debug)]
pub struct ConnectFailure {
    pub why: String,
    /// Trying again with the same options cannot help.
    pub permanent: bool,
}

impl ConnectFailure {
    pub fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), permanent: false }
    }

    /// A CONNACK return code other than 0 (MQTT 3.1.1 section 3.2.2.3).
    pub fn refused(code: u8) -> Self {
        let (why, permanent) = match code {
            1 => ("unacceptable protocol version", true),
            2 => ("identifier rejected", true),
            3 => ("server unavailable", false),
            4 => ("bad user name or password", true),
            5 => ("not authorised", true),
            _ => return Self::passing(format!("refused with the reserved code {code}")),
        };
        Self { why: why.into(), permanent }
    }
}

impl From<Ended> for ConnectFailure {
    fn from(ended: Ended) -> Self {
        Self::passing(ended.to_string())
    }
}

/// The end of an established connection.
#[derive(Debug)]
pub enum Ended {
    ByPeer,
    Takeover,
    KeepAlive,
    Hung(Duration),
    Unexpected(&'static str),
    Malformed(String),
    TooLarge,
    InboxFull,
    Io(io::Error),
}

impl Ended {
    /// Whether the broker closed or reset the connection, rather than we, or a silent network.
    pub fn is_by_peer(&self) -> bool {
        match self {
            Self::ByPeer => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer => write!(out, "connection closed by the broker"),
            Self::Takeover => write!(out, "the broker sent DISCONNECT: another client uses this identifier"),
            Self::KeepAlive => write!(out, "no answer to PINGREQ within half a keep-alive"),
            Self::Hung(silent) => write!(out, "the event loop has not run for {} s", silent.as_secs_f64()),
            Self::Unexpected(what) => write!(out, "the broker sent an unexpected {what}"),
            Self::Malformed(why) => write!(out, "malformed packet from the broker: {why}"),
            Self::TooLarge => write!(out, "the broker sent a packet above max_inbound_bytes"),
            Self::InboxFull => write!(out, "a subscription is stuck and its queue is full"),
            Self::Io(error) => write!(out, "{}", io_words(error)),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::ByPeer,
            _ => Self::Io(error),
        }
    }
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::KeepAlive => Self::KeepAlive,
            Violation::Unexpected(what) => Self::Unexpected(what),
        }
    }
}

impl From<Mismatch> for Ended {
    fn from(mismatch: Mismatch) -> Self {
        Self::Unexpected(mismatch.0)
    }
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooLarge { .. } => Self::TooLarge,
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// The operating system's errors in words that are the same everywhere.
pub fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset by the broker".into(),
        io::ErrorKind::TimedOut => "timed out".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        _ => error.to_string(),
    }
}
