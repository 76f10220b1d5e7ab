//! MQTT 3.1.1 packets as a client sees them: strict parsing of what comes, building of what goes.
//!
//! Framing, validation, CONNECT and PUBLISH are our own; the rare packets whose bytes rumqttc's codec gets
//! right are left to it. Nothing here does I/O or reads a clock.

mod incoming;
mod outgoing;

pub use incoming::{Incoming, Malformed, Publish, parse, parse_after};
pub use outgoing::{
    Connect, FieldTooLong, WillMessage, begin_publish, connect, disconnect, end_publish, patch, payload_of, pingreq,
    puback, pubcomp, publish, publish_size, pubrec, pubrel, qos, subscribe, topic_of, unsubscribe,
};

/// The largest remaining length that four bytes can say (MQTT 3.1.1 section 2.2.3).
pub const MAX_REMAINING: usize = 268_435_455;

/// First bytes of the fixed header: the packet's type and the flags it must have (MQTT 3.1.1 section 2.2).
mod first {
    pub const CONNECT: u8 = 0x10;
    pub const CONNACK: u8 = 0x20;
    pub const PUBLISH: u8 = 0x30;
    pub const PUBACK: u8 = 0x40;
    pub const PUBREC: u8 = 0x50;
    pub const PUBREL: u8 = 0x62;
    pub const PUBCOMP: u8 = 0x70;
    pub const SUBACK: u8 = 0x90;
    pub const UNSUBACK: u8 = 0xB0;
    pub const PINGRESP: u8 = 0xD0;
    pub const DISCONNECT: u8 = 0xE0;

    /// Flags of PUBLISH (MQTT 3.1.1 section 3.3.1).
    pub const DUP: u8 = 0b1000;
    pub const RETAIN: u8 = 0b0001;
}
