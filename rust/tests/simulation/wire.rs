//! Packets as a broker sees them: strict on what a client sends, written apart from the code under test.

use std::fmt;

use crate::ledger::number_of;

#[derive(Debug)]
pub enum Packet<'a> {
    Connect { identifier: &'a str, clean: bool, keep_alive_s: u16 },
    Publish(Publish<'a>),
    Ack(Ack, u16),
    Subscribe { id: u16, filter: &'a str, qos: u8 },
    Unsubscribe { id: u16, filter: &'a str },
    PingReq,
    Disconnect,
}

#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub id: u16,
    pub topic: &'a str,
    pub payload: &'a [u8],
}

impl fmt::Display for Packet<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(Publish { dup, qos, retain, id, payload, .. }) => {
                let number = number_of(payload);
                write!(out, "Publish {{ number: {number:?}, id: {id}, qos: {qos}, dup: {dup}, retain: {retain} }}")
            }
            other => write!(out, "{other:?}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    Acknowledged,
    Received,
    Release,
    Complete,
}

/// The first packet and its size in bytes; None while it is not whole.
pub fn parse(input: &[u8]) -> Result<Option<(Packet<'_>, usize)>, &'static str> {
    let (mut size, mut head) = (0, 1);
    loop {
        let Some(&byte) = input.get(head) else { return Ok(None) };
        size |= usize::from(byte & 0x7F) << (7 * (head - 1));
        head += 1;
        match byte & 0x80 {
            0 => break,
            _ if head > 4 => return Err("a remaining length of five bytes"),
            _ => {}
        }
    }
    let Some(body) = input.get(head..head + size) else { return Ok(None) };
    let mut body = Body(body);
    let packet = match input[0] {
        0x10 => {
            if body.take(7)? != b"\0\x04MQTT\x04" {
                return Err("CONNECT of another protocol");
            }
            let clean = body.take(1)?[0] & 0b10 != 0;
            let keep_alive_s = body.word()?;
            Packet::Connect { identifier: body.text()?, clean, keep_alive_s }
        }
        first @ 0x30..=0x3F => {
            let qos = first >> 1 & 0b11;
            let topic = body.text()?;
            let id = if qos > 0 { body.id()? } else { 0 };
            let payload = std::mem::take(&mut body.0);
            Packet::Publish(Publish { dup: first & 0b1000 != 0, qos, retain: first & 1 != 0, id, topic, payload })
        }
        0x40 => Packet::Ack(Ack::Acknowledged, body.id()?),
        0x50 => Packet::Ack(Ack::Received, body.id()?),
        0x62 => Packet::Ack(Ack::Release, body.id()?),
        0x70 => Packet::Ack(Ack::Complete, body.id()?),
        0x82 => Packet::Subscribe { id: body.id()?, filter: body.text()?, qos: body.take(1)?[0] },
        0xA2 => Packet::Unsubscribe { id: body.id()?, filter: body.text()? },
        0xC0 => Packet::PingReq,
        0xE0 => Packet::Disconnect,
        _ => return Err("a packet that no client sends"),
    };
    match body.0 {
        [] => Ok(Some((packet, head + size))),
        _ => Err("bytes behind the end of a packet"),
    }
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or("a packet that ends too soon")?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u16, &'static str> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn id(&mut self) -> Result<u16, &'static str> {
        self.word().and_then(|id| if id == 0 { Err("identifier 0") } else { Ok(id) })
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        let size = self.word()?;
        std::str::from_utf8(self.take(usize::from(size))?).map_err(|_| "text that is not UTF-8")
    }
}

pub fn connack(code: u8, session_present: bool) -> Vec<u8> {
    vec![0x20, 2, u8::from(session_present), code]
}

pub fn ack(kind: Ack, id: u16) -> Vec<u8> {
    let first = match kind {
        Ack::Acknowledged => 0x40,
        Ack::Received => 0x50,
        Ack::Release => 0x62,
        Ack::Complete => 0x70,
    };
    let [high, low] = id.to_be_bytes();
    vec![first, 2, high, low]
}

pub fn suback(id: u16, code: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x90, 3, high, low, code]
}

pub fn unsuback(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0xB0, 2, high, low]
}

pub fn pingresp() -> Vec<u8> {
    vec![0xD0, 0]
}

pub fn publish(packet: &Publish<'_>) -> Vec<u8> {
    let flags = u8::from(packet.dup) << 3 | packet.qos << 1 | u8::from(packet.retain);
    let id = if packet.qos > 0 { 2 } else { 0 };
    let mut left = 2 + packet.topic.len() + id + packet.payload.len();
    let mut out = vec![0x30 | flags];
    loop {
        let more = left > 0x7F;
        out.push((left & 0x7F) as u8 | if more { 0x80 } else { 0 });
        left >>= 7;
        if !more {
            break;
        }
    }
    out.extend((packet.topic.len() as u16).to_be_bytes());
    out.extend(packet.topic.as_bytes());
    if packet.qos > 0 {
        out.extend(packet.id.to_be_bytes());
    }
    out.extend(packet.payload);
    out
}
