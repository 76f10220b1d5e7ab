//! What a batch holds: a JSON array, perhaps compressed, whose elements are handed over as messages of their own.

pub mod split;

use std::ops::Range;

use crate::compression;
use crate::core::InboxDrop;

/// What is kept from one batch to the next, in bytes.
const KEPT_BYTES: usize = 1024 * 1024;

/// The batch that was read last, and its buffers.
#[derive(Default)]
pub struct Batch {
    inflated: Vec<u8>,
    elements: Vec<Range<u32>>,
    compressed: bool,
}

impl Batch {
    /// Read a batch of at most `most` bytes, before which nothing of it is handed over.
    pub fn read(&mut self, payload: &[u8], most: usize) -> Result<(), InboxDrop> {
        self.compressed = payload.starts_with(&compression::MAGIC);
        if self.compressed {
            compression::inflate(payload, most, &mut self.inflated)?;
        }
        let array = if self.compressed { &self.inflated } else { payload };
        split::split(array, &mut self.elements)
    }

    fn array<'a>(&'a self, payload: &'a [u8]) -> &'a [u8] {
        if self.compressed { &self.inflated } else { payload }
    }

    /// Bytes of the array.
    pub fn len(&self, payload: &[u8]) -> usize {
        self.array(payload).len()
    }

    /// The elements of the batch that was read, which had this payload.
    pub fn elements<'a>(&'a self, payload: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let array = self.array(payload);
        self.elements.iter().map(|element| &array[element.start as usize..element.end as usize])
    }

    /// The messages are handed over. Large ones are seldom: their buffers are not kept.
    pub fn forget(&mut self) {
        if self.inflated.capacity() + self.elements.capacity() * size_of::<Range<u32>>() > KEPT_BYTES {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/batches.json")).unwrap();
        let mut batch = Batch::default();
        for vector in vectors["batches"].as_array().unwrap() {
            let payload: Vec<u8> = match vector["hex"].as_str() {
                Some(hex) => {
                    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
                }
                None => vector["text"].as_str().unwrap().into(),
            };
            let read = batch.read(&payload, 16 << 20).map_err(|reason| InboxDrop::NAMES[reason as usize]);
            assert_eq!(read.err(), vector["refused"].as_str(), "{}", vector["name"]);
            if let Some(events) = vector["events"].as_array() {
                let events: Vec<&[u8]> = events.iter().map(|event| event.as_str().unwrap().as_bytes()).collect();
                assert_eq!(batch.elements(&payload).collect::<Vec<_>>(), events, "{}", vector["name"]);
            }
        }
    }
}
