//! From bytes to packets. Whatever breaks a rule ends the connection, so each error says which rule it was.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

use rumqttc::mqttbytes::v4::SubscribeReasonCode;

use super::first;
use crate::topic::{self, TopicError};

/// A packet that a broker may send, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// `code` other than 0 is a refusal (MQTT 3.1.1 section 3.2.2.3); reserved ones pass, so that they can be told.
    ConnAck {
        session_present: bool,
        code: u8,
    },
    Publish(Publish<'a>),
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    /// One code a filter: the QoS granted, or 0x80 (MQTT 3.1.1 section 3.9.3).
    SubAck {
        packet_id: u16,
        codes: &'a [u8],
    },
    UnsubAck(u16),
    PingResp,
    /// Only a client may send it in 3.1.1, but brokers do when another client takes the identifier over.
    Disconnect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// 0 at QoS 0, never 0 above.
    pub packet_id: u16,
}

/// Why bytes from a broker cannot be a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A limit of ours, not a rule of MQTT.
    TooLarge {
        size: usize,
        limit: usize,
    },
    Topic(TopicError),
    Rule {
        broken: &'static str,
        section: &'static str,
    },
}

impl Display for Malformed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, limit } => {
                write!(f, "a packet of {size} bytes is over the limit of {limit}")
            }
            Self::Topic(error) => write!(f, "PUBLISH: {error}"),
            Self::Rule { broken, section } => write!(f, "{broken} (MQTT 3.1.1 section {section})"),
        }
    }
}

impl Error for Malformed {}

impl From<TopicError> for Malformed {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

#[cold]
fn broken<T>(broken: &'static str, section: &'static str) -> Result<T, Malformed> {
    Err(Malformed::Rule { broken, section })
}

/// The first packet in `buffer` and its size in bytes, or `None` while it is incomplete.
///
/// `max_size` bounds the remaining length in bytes; a longer packet is refused by its header alone.
#[inline]
pub fn parse(buffer: &[u8], max_size: usize) -> Result<Option<(Incoming<'_>, usize)>, Malformed> {
    parse_after("", buffer, max_size)
}

/// The same behind a message to `topic`, a valid one or empty: it is not examined again where the next is to it too.
#[inline]
pub fn parse_after<'a>(
    topic: &'a str,
    buffer: &'a [u8],
    max_size: usize,
) -> Result<Option<(Incoming<'a>, usize)>, Malformed> {
    // Acknowledgements of our own publishes are most of what arrives.
    if let [first::PUBACK, 2, high, low, ..] = *buffer
        && (high | low) != 0
    {
        let packet_id = u16::from_be_bytes([high, low]);
        return Ok(Some((Incoming::PubAck(packet_id), 4)));
    }
    let [first, ref rest @ ..] = *buffer else {
        return Ok(None);
    };
    check_first(first)?;
    let Some((size, digits)) = remaining_length(rest)? else {
        return Ok(None);
    };
    if size > max_size {
        return Err(Malformed::TooLarge { size, limit: max_size });
    }
    let Some(body) = rest.get(digits..digits + size) else {
        return Ok(None);
    };
    let packet = if first & 0xF0 == first::PUBLISH {
        Incoming::Publish(publish(topic, first, body)?)
    } else {
        other(first, body)?
    };
    Ok(Some((packet, 1 + digits + size)))
}

/// Type and flags (MQTT 3.1.1 sections 2.2.1 and 2.2.2), before the rest has arrived.
#[inline]
fn check_first(first: u8) -> Result<(), Malformed> {
    match first {
        0x36 | 0x37 | 0x3E | 0x3F => broken("PUBLISH of QoS 3", "3.3.1.2"),
        0x38 | 0x39 => broken("PUBLISH of QoS 0 marked as a duplicate", "3.3.1.1"),
        0x30..0x40
        | first::CONNACK
        | first::PUBACK
        | first::PUBREC
        | first::PUBREL
        | first::PUBCOMP
        | first::SUBACK
        | first::UNSUBACK
        | first::PINGRESP
        | first::DISCONNECT => Ok(()),
        0x00..0x10 | 0xF0.. => broken("a reserved packet type", "2.2.1"),
        0x10..0x20 | 0x80..0x90 | 0xA0..0xB0 | 0xC0..0xD0 => broken("a packet that only a client sends", "2.2.1"),
        _ => broken("wrong flags in the fixed header", "2.2.2"),
    }
}

/// The remaining length and how many bytes tell it (MQTT 3.1.1 section 2.2.3); `None` while it is incomplete.
#[inline]
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut size = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        size |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            if byte == 0 && place > 0 {
                return broken("a remaining length longer than it needs to be", "2.2.3");
            }
            return Ok(Some((size, place + 1)));
        }
    }
    if bytes.len() >= 4 {
        return broken("a remaining length of more than four bytes", "2.2.3");
    }
    Ok(None)
}

#[inline]
fn publish<'a>(known: &'a str, first: u8, body: &'a [u8]) -> Result<Publish<'a>, Malformed> {
    let Some((topic, rest)) =
        body.split_first_chunk().and_then(|(&size, rest)| rest.split_at_checked(u16::from_be_bytes(size).into()))
    else {
        return broken("PUBLISH shorter than its topic", "3.3.2.1");
    };
    let topic = if topic == known.as_bytes() && !known.is_empty() { known } else { examined(topic)? };
    let qos = (first >> 1) & 3;
    let (packet_id, payload) = match qos {
        0 => (0, rest),
        _ => match rest.split_first_chunk() {
            Some((&id, payload)) => (nonzero(id)?, payload),
            None => return broken("PUBLISH without its packet identifier", "3.3.2.2"),
        },
    };
    Ok(Publish { topic, payload, qos, retain: first & first::RETAIN != 0, dup: first & first::DUP != 0, packet_id })
}

fn examined(topic: &[u8]) -> Result<&str, Malformed> {
    let Ok(topic) = str::from_utf8(topic) else {
        return broken("PUBLISH to a topic that is not UTF-8", "1.5.3");
    };
    topic::check_name(topic)?;
    Ok(topic)
}

fn other(first: u8, body: &[u8]) -> Result<Incoming<'_>, Malformed> {
    Ok(match first {
        first::CONNACK => connack(body)?,
        first::PUBACK => Incoming::PubAck(only_id(body, "3.4.1")?),
        first::PUBREC => Incoming::PubRec(only_id(body, "3.5.1")?),
        first::PUBREL => Incoming::PubRel(only_id(body, "3.6.1")?),
        first::PUBCOMP => Incoming::PubComp(only_id(body, "3.7.1")?),
        first::SUBACK => suback(body)?,
        first::UNSUBACK => Incoming::UnsubAck(only_id(body, "3.11.1")?),
        first::PINGRESP if !body.is_empty() => return broken("PINGRESP with a body", "3.13.1"),
        first::PINGRESP => Incoming::PingResp,
        // It ends the connection whatever it says: some brokers add the reason code of MQTT 5.
        _ => Incoming::Disconnect,
    })
}

fn connack(body: &[u8]) -> Result<Incoming<'static>, Malformed> {
    let &[flags, code] = body else {
        return broken("CONNACK of other than 2 bytes", "3.2.1");
    };
    match (flags, code) {
        (0, _) | (1, 0) => Ok(Incoming::ConnAck { session_present: flags == 1, code }),
        (1, _) => broken("CONNACK that refuses, with a session present", "3.2.2.2"),
        _ => broken("CONNACK with reserved flags", "3.2.2.1"),
    }
}

fn suback(body: &[u8]) -> Result<Incoming<'_>, Malformed> {
    let Some((&id, codes)) = body.split_first_chunk().filter(|(_, codes)| !codes.is_empty()) else {
        return broken("SUBACK without a return code", "3.9.3");
    };
    if codes.iter().any(|&code| SubscribeReasonCode::try_from(code).is_err()) {
        return broken("SUBACK with a reserved return code", "3.9.3");
    }
    Ok(Incoming::SubAck { packet_id: nonzero(id)?, codes })
}

fn only_id(body: &[u8], section: &'static str) -> Result<u16, Malformed> {
    match body.try_into() {
        Ok(id) => nonzero(id),
        Err(_) => broken("an acknowledgement that is not 2 bytes, its packet identifier", section),
    }
}

#[inline]
fn nonzero(id: [u8; 2]) -> Result<u16, Malformed> {
    match u16::from_be_bytes(id) {
        0 => broken("the packet identifier 0", "2.3.1"),
        id => Ok(id),
    }
}
