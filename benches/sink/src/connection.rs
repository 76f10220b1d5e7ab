//! One client: what arrived is counted and acknowledged.

use std::{
    collections::HashSet,
    io::{self, ErrorKind, Read, Write},
    os::fd::AsRawFd,
    path::Path,
    ptr,
};

use mio::net::TcpStream;

use crate::{
    Totals,
    source::Source,
    wire::{self, Malformed, Packet},
};

const OUT_BYTES: usize = 256 * 1024;
/// A rest of a QoS 0 message that is worth a call of its own to be dropped by the kernel.
const DISCARDED_BYTES: usize = if cfg!(target_os = "linux") { 16 * 1024 } else { usize::MAX / 2 };
/// Where that was worth it: what is read of the next message.
const HEAD_BYTES: usize = 64;
const ALL_BYTES: usize = usize::MAX / 2;

pub struct Connection {
    stream: TcpStream,
    /// The start of a packet whose end has not arrived.
    carry: Vec<u8>,
    /// Of a QoS 0 message the kernel drops: the bytes to come, and its size.
    discarded: Option<(usize, usize)>,
    /// What is read next, at most.
    read_bytes: usize,
    out: Vec<u8>,
    written: usize,
    level: u8,
    /// QoS 2 packet ids seen and not released: a second PUBLISH of one is not counted.
    unreleased: HashSet<u16>,
    subscribed: Option<Vec<u8>>,
    source: Option<Source>,
}

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        io::Error::from(ErrorKind::InvalidData)
    }
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            carry: Vec::new(),
            discarded: None,
            read_bytes: ALL_BYTES,
            out: Vec::new(),
            written: 0,
            level: 4,
            unreleased: HashSet::new(),
            subscribed: None,
            source: None,
        }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Reads and answers until the socket has nothing more. `buffer` is shared by all connections.
    pub fn read(&mut self, buffer: &mut Vec<u8>, totals: &mut Totals) -> io::Result<()> {
        loop {
            match self.read_once(buffer, totals) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done?,
            }
            self.write()?;
        }
    }

    fn read_once(&mut self, buffer: &mut Vec<u8>, totals: &mut Totals) -> io::Result<()> {
        if let Some((left, size)) = self.discarded {
            let left = left - self.discard(left)?;
            self.discarded = (left > 0).then_some((left, size));
            if left == 0 {
                totals.publishes += 1;
                totals.bytes += size as u64;
                // Another one of that size: its head is all that need be read.
                self.read_bytes = HEAD_BYTES;
            }
            return Ok(());
        }
        let kept = self.carry.len();
        if kept * 2 > buffer.len() {
            buffer.resize(kept * 4, 0);
        }
        let most = buffer.len().min(kept + self.read_bytes);
        let got = match self.stream.read(&mut buffer[kept..most])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            got => got,
        };
        self.read_bytes = ALL_BYTES;
        buffer[..kept].copy_from_slice(&self.carry);
        let arrived = &buffer[..kept + got];
        let used = self.take(arrived, totals)?;
        self.carry.clear();
        let rest = &arrived[used..];
        match wire::discardable_size(rest)? {
            Some(size) if size >= rest.len() + DISCARDED_BYTES => self.discarded = Some((size - rest.len(), size)),
            _ => self.carry.extend_from_slice(rest),
        }
        Ok(())
    }

    /// Drops what has arrived, at most so much, without having it copied; returns how much it was.
    fn discard(&self, most: usize) -> io::Result<usize> {
        // SAFETY: with MSG_TRUNC nothing is written to the buffer of a TCP socket (Linux tcp(7)).
        let got = unsafe { libc::recv(self.stream.as_raw_fd(), ptr::null_mut(), most, libc::MSG_TRUNC) };
        match usize::try_from(got) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(got) => Ok(got),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    fn take(&mut self, bytes: &[u8], totals: &mut Totals) -> io::Result<usize> {
        let mut used = 0;
        while let Some((packet, size)) = wire::first_packet(&bytes[used..])? {
            used += size;
            if packet.kind() == 3 {
                if self.publish(&packet)? {
                    totals.publishes += 1;
                    totals.bytes += size as u64;
                }
            } else {
                self.control(&packet, totals)?;
            }
        }
        Ok(used)
    }

    /// Acknowledges; false for a QoS 2 message that was counted before.
    fn publish(&mut self, packet: &Packet<'_>) -> Result<bool, Malformed> {
        let qos = packet.qos();
        if qos == 0 {
            return Ok(true);
        }
        let id = packet.publish_id()?;
        self.acknowledge(if qos == 1 { 0x40 } else { 0x50 }, id);
        Ok(qos == 1 || self.unreleased.insert(id))
    }

    fn acknowledge(&mut self, first: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.out.extend_from_slice(&[first, 2, high, low]);
    }

    fn control(&mut self, packet: &Packet<'_>, totals: &mut Totals) -> io::Result<()> {
        match packet.kind() {
            1 => {
                self.level = wire::connect_level(packet.body)?;
                let connack: &[u8] = if self.level == 5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
                self.out.extend_from_slice(connack);
            }
            4 => {
                totals.acknowledged += 1;
                if let Some(source) = &mut self.source {
                    source.acknowledge();
                }
            }
            5 => self.acknowledge(0x62, wire::u16_at(packet.body, 0)?),
            6 => {
                let id = wire::u16_at(packet.body, 0)?;
                self.unreleased.remove(&id);
                self.acknowledge(0x70, id);
            }
            8 => {
                let filters = wire::filters(packet.body, self.level, 1)?;
                self.subscribed = filters.last().map(|filter| filter.to_vec());
                self.suback(0x90, packet.body, &vec![1; filters.len()]);
            }
            10 => {
                let filters = wire::filters(packet.body, self.level, 0)?;
                self.subscribed = None;
                let codes = if self.level == 5 { vec![0; filters.len()] } else { Vec::new() };
                self.suback(0xb0, packet.body, &codes);
            }
            12 => self.out.extend_from_slice(&[0xd0, 0]),
            14 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        Ok(())
    }

    fn suback(&mut self, first: u8, body: &[u8], codes: &[u8]) {
        let properties: &[u8] = if self.level == 5 { &[0] } else { &[] };
        self.out.push(first);
        wire::put_length(&mut self.out, 2 + properties.len() + codes.len());
        self.out.extend_from_slice(&body[..2]);
        self.out.extend_from_slice(properties);
        self.out.extend_from_slice(codes);
    }

    /// Begins to send recorded payloads; false where nothing is subscribed.
    pub fn send(&mut self, total: u64, qos: u8, file: &Path) -> io::Result<bool> {
        let Some(topic) = &self.subscribed else {
            return Ok(false);
        };
        let late = self.source.as_ref().map_or(0, Source::owed);
        self.source = Some(Source::open(file, topic, self.level, qos, total, late)?);
        Ok(true)
    }

    /// Sends one message of QoS 0, where something is subscribed, to the topic that the filter begins with.
    pub fn tell(&mut self, payload: &[u8]) -> io::Result<()> {
        let Some(filter) = &self.subscribed else {
            return Ok(());
        };
        let topic = filter.strip_suffix(b"/#").unwrap_or(filter);
        let properties: &[u8] = if self.level == 5 { &[0] } else { &[] };
        self.out.push(0x30);
        wire::put_length(&mut self.out, 2 + topic.len() + properties.len() + payload.len());
        self.out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        self.out.extend_from_slice(topic);
        self.out.extend_from_slice(properties);
        self.out.extend_from_slice(payload);
        self.write()
    }

    /// Writes what waits, and what the source adds, until the socket takes no more.
    pub fn write(&mut self) -> io::Result<()> {
        loop {
            if let Some(source) = &mut self.source {
                source.fill(&mut self.out, OUT_BYTES);
            }
            if self.out.is_empty() {
                return Ok(());
            }
            match self.stream.write(&self.out[self.written..]) {
                Ok(sent) => self.written += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
            }
        }
    }
}
