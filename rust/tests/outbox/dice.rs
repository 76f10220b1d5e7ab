//! Who decides what happens: a random generator, or a fuzzer.

pub trait Dice {
    /// A number from 0 up to, but not with, `end`.
    fn below(&mut self, end: usize) -> usize;

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place + 1));
        }
    }
}
