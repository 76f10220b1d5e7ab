//! Payloads made as the fuzzer's input says.

use arbitrary::{Arbitrary, Result, Unstructured};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Keys and dicts come again, as those of a program do: what the encoder remembers of them must not show.
pub struct Maker<'a, 'py> {
    py: Python<'py>,
    pub input: Unstructured<'a>,
    keys: Vec<Bound<'py, PyAny>>,
    dicts: Vec<Bound<'py, PyDict>>,
    lists: Vec<Bound<'py, PyList>>,
}

impl<'a, 'py> Maker<'a, 'py> {
    pub fn new(py: Python<'py>, input: &'a [u8]) -> Self {
        Self { py, input: Unstructured::new(input), keys: Vec::new(), dicts: Vec::new(), lists: Vec::new() }
    }

    /// `depth` is how many containers of ours stand around it.
    pub fn object(&mut self, depth: usize) -> Result<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match self.input.int_in_range(0..=14)? {
            0..=5 => self.scalar()?,
            6 => {
                let [real, imaginary] = <[f64; 2]>::arbitrary(&mut self.input)?;
                PyComplex::from_doubles(py, real, imaginary).into_any()
            }
            _ if depth > 8 => PyList::empty(py).into_any(),
            7 | 8 => {
                let list = PyList::new(py, self.objects(depth)?).expect("memory");
                self.lists.push(list.clone());
                list.into_any()
            }
            9 => PyTuple::new(py, self.objects(depth)?).expect("memory").into_any(),
            10 | 11 if !self.dicts.is_empty() => {
                let dict = self.input.choose(&self.dicts)?.copy().expect("memory");
                if !dict.is_empty() && self.input.ratio(2, 3)? {
                    let place = self.input.choose_index(dict.len())?;
                    let key = dict.keys().get_item(place).expect("one of them");
                    dict.set_item(key, self.object(depth + 1)?).expect("it has a hash");
                }
                self.dicts.push(dict.clone());
                dict.into_any()
            }
            _ => {
                let dict = PyDict::new(py);
                for _ in 0..self.input.int_in_range(0..=8)? {
                    dict.set_item(self.key()?, self.object(depth + 1)?).expect("keys have a hash");
                }
                self.dicts.push(dict.clone());
                dict.into_any()
            }
        })
    }

    /// All containers that can be changed: the lists, then the dicts.
    pub fn containers(&self) -> (&[Bound<'py, PyList>], &[Bound<'py, PyDict>]) {
        (&self.lists, &self.dicts)
    }

    fn objects(&mut self, depth: usize) -> Result<Vec<Bound<'py, PyAny>>> {
        (0..self.input.int_in_range(0..=8)?).map(|_| self.object(depth + 1)).collect()
    }

    fn key(&mut self) -> Result<Bound<'py, PyAny>> {
        if !self.keys.is_empty() && self.input.ratio(1, 2)? {
            return Ok(self.input.choose(&self.keys)?.clone());
        }
        let key = self.scalar()?;
        self.keys.push(key.clone());
        Ok(key)
    }

    fn scalar(&mut self) -> Result<Bound<'py, PyAny>> {
        let (py, input) = (self.py, &mut self.input);
        Ok(match input.int_in_range(0..=9)? {
            0 => py.None().into_bound(py),
            1 => bool::arbitrary(input)?.into_pyobject(py).expect("infallible").to_owned().into_any(),
            2 => i64::arbitrary(input)?.into_pyobject(py).expect("infallible").into_any(),
            3 => {
                // Up to 2,040 bits.
                let size = input.arbitrary::<u8>()?.into();
                let digits = PyBytes::new(py, input.bytes(size)?);
                let from_bytes = py.get_type::<PyInt>().getattr(intern!(py, "from_bytes"));
                from_bytes.and_then(|from_bytes| from_bytes.call1((digits, "big"))).expect("bytes are an int")
            }
            4 => PyFloat::new(py, f64::arbitrary(input)?).into_any(),
            5 => {
                // The exponents at which the form of a float changes.
                let [digits, exponent] = [i32::arbitrary(input)?, input.int_in_range(-30..=30)?];
                PyFloat::new(py, f64::from(digits) * 10f64.powi(exponent)).into_any()
            }
            6 => {
                // Lone surrogates among others.
                let size = 2 * input.int_in_range(0..=40)?;
                let units = PyBytes::new(py, input.bytes(size)?);
                let text = units.call_method1(intern!(py, "decode"), ("utf-16-le", "surrogatepass"));
                text.expect("any units are a str")
            }
            7 => {
                // As long as the blocks that are copied at once.
                let piece = <&str>::arbitrary(input)?;
                PyString::new(py, &piece.repeat(input.int_in_range(1..=70)?)).into_any()
            }
            _ => PyString::new(py, <&str>::arbitrary(input)?).into_any(),
        })
    }
}
