//! Sends recorded payloads to a subscriber, as fast as it reads.

use std::{fs, io, path::Path};

use crate::wire::put_length;

/// QoS 1: unacknowledged at most. Ids are reused in order, which MQTT 3.1.1 section 4.6 permits.
const WINDOW: u64 = 10_000;

pub struct Source {
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`, and where its packet id stands.
    frames: Vec<(usize, usize)>,
    qos: u8,
    total: u64,
    sent: u64,
    acknowledged: u64,
    /// Acknowledgements that are owed for what an earlier source has sent.
    late: u64,
}

impl Source {
    /// `total` messages to `topic`, over and over the payloads in `file`, one a line; `late` as `owed` of the last one.
    pub fn open(file: &Path, topic: &[u8], level: u8, qos: u8, total: u64, late: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        for payload in fs::read(file)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let id = if qos > 0 { 2 } else { 0 };
            let properties = usize::from(level == 5);
            bytes.push(0x30 | qos << 1);
            put_length(&mut bytes, 2 + topic.len() + id + properties + payload.len());
            bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
            bytes.extend_from_slice(topic);
            let id_at = bytes.len();
            bytes.resize(id_at + id + properties, 0);
            bytes.extend_from_slice(payload);
            frames.push((bytes.len(), id_at));
        }
        if frames.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no payloads in the file"));
        }
        Ok(Self { bytes, frames, qos, total, sent: 0, acknowledged: 0, late })
    }

    /// Appends frames to `out` until it holds `enough` bytes or nothing may be sent now.
    pub fn fill(&mut self, out: &mut Vec<u8>, enough: usize) {
        while out.len() < enough && self.sent < self.total && (self.qos == 0 || self.sent - self.acknowledged < WINDOW)
        {
            let index = (self.sent % self.frames.len() as u64) as usize;
            let start = if index == 0 { 0 } else { self.frames[index - 1].0 };
            let (end, id_at) = self.frames[index];
            let copy_at = out.len();
            out.extend_from_slice(&self.bytes[start..end]);
            if self.qos > 0 {
                let id = (self.sent % WINDOW) as u16 + 1;
                let at = copy_at + id_at - start;
                out[at..at + 2].copy_from_slice(&id.to_be_bytes());
            }
            self.sent += 1;
        }
    }

    /// A client may acknowledge a round's last messages when the next one has begun.
    pub fn acknowledge(&mut self) {
        if self.late > 0 {
            self.late -= 1;
        } else {
            self.acknowledged += 1;
        }
    }

    /// Acknowledgements that have not come.
    pub fn owed(&self) -> u64 {
        if self.qos == 0 { 0 } else { self.late + self.sent - self.acknowledged }
    }
}
