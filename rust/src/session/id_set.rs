//! A set of packet identifiers: 8 KiB while it holds any, nothing while it is empty.

const WORDS: usize = (1 << 16) / 64;

#[derive(Debug, Default)]
pub struct IdSet {
    bits: Option<Box<[u64; WORDS]>>,
    len: usize,
}

impl IdSet {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn contains(&self, id: u16) -> bool {
        let (word, bit) = place(id);
        self.bits.as_ref().is_some_and(|bits| bits[word] & bit != 0)
    }

    /// False where it is in already.
    pub fn insert(&mut self, id: u16) -> bool {
        let (word, bit) = place(id);
        let bits = self.bits.get_or_insert_with(|| Box::new([0; WORDS]));
        let new = bits[word] & bit == 0;
        bits[word] |= bit;
        self.len += usize::from(new);
        new
    }

    /// False where it is not in.
    pub fn remove(&mut self, id: u16) -> bool {
        if !self.contains(id) {
            return false;
        }
        self.len -= 1;
        if self.len == 0 {
            self.bits = None;
        } else if let Some(bits) = &mut self.bits {
            let (word, bit) = place(id);
            bits[word] &= !bit;
        }
        true
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn place(id: u16) -> (usize, u64) {
    (usize::from(id) / 64, 1 << (id % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_every_identifier_and_no_memory_when_empty() {
        let mut set = IdSet::default();
        for id in 0..=u16::MAX {
            assert!(set.insert(id) && set.contains(id) && !set.insert(id));
        }
        assert_eq!(set.len(), 1 << 16);
        for id in (0..=u16::MAX).rev() {
            assert!(set.remove(id) && !set.contains(id) && !set.remove(id));
        }
        assert!(set.is_empty() && set.bits.is_none());
    }
}
