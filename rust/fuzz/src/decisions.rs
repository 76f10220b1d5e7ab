//! A fuzzer's input as dice.

use arbitrary::Unstructured;
use fastrand::Rng;

use crate::dice::Dice;

pub struct Decisions<'a> {
    input: Unstructured<'a>,
    /// Decides when the input is used up, so that all comes to an end.
    after: Rng,
}

impl<'a> Decisions<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { input: Unstructured::new(input), after: Rng::with_seed(0) }
    }

    pub fn is_over(&self) -> bool {
        self.input.is_empty()
    }
}

impl Dice for Decisions<'_> {
    fn below(&mut self, end: usize) -> usize {
        match self.input.is_empty() {
            true => self.after.usize(..end),
            false => self.input.int_in_range(0..=end - 1).expect("the range holds 0"),
        }
    }
}
