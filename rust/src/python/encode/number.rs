//! Numbers as Python's `repr` writes them.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use super::{EncodeError, Encoder, Encoded};

/// As many digits as Python itself reads back by default (`sys.int_info.default_max_str_digits`).
const MAX_DIGITS: usize = 4_300;

impl<'py> Encoder<'_, 'py> {
    #[inline]
    pub(super) fn int(&mut self, int: &Bound<'py, PyInt>, after: u8) -> Encoded {
        let mut overflow = 0;
        // SAFETY: the int is alive; of a subclass no method is called, and nothing is raised.
        let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &raw mut overflow) };
        if overflow != 0 {
            return self.long_int(int, after);
        }
        self.out.extend_from_slice(itoa::Buffer::new().format(small).as_bytes());
        self.out.push(after);
        Ok(())
    }

    #[cold]
    fn long_int(&mut self, int: &Bound<'py, PyInt>, after: u8) -> Encoded {
        let refused = || EncodeError::Unserialisable(format!("an integer of more than {MAX_DIGITS} digits"));
        // The type's own method, as in the json module: a subclass may have another.
        let written = int.py().get_type::<PyInt>().call_method1("__repr__", (int,)).map_err(|_| refused())?;
        let written = written.cast::<PyString>().map_err(|_| refused())?;
        let digits = written.to_str().map_err(|_| refused())?;
        if digits.trim_start_matches('-').len() > MAX_DIGITS {
            return Err(refused());
        }
        self.out.extend_from_slice(digits.as_bytes());
        self.out.push(after);
        Ok(())
    }
}

/// Append a float and a comma; what is not finite has no form in JSON.
#[inline]
pub fn float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null,");
        return;
    }
    repr(out, value);
    out.push(b',');
}

/// The shortest digits that read back as `value`, laid out as Python does.
#[inline]
pub fn repr(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let written = buffer.format_finite(value);
    if value.abs() < 1e-4 && value != 0.0 {
        small(out, written);
    } else {
        out.extend_from_slice(written.as_bytes());
    }
}

/// Below 0.0001 Python writes an exponent of two digits at least; zmij begins below 0.00001, with one.
#[cold]
fn small(out: &mut Vec<u8>, written: &str) {
    if let Some((sign, digits)) = written.split_once("0.0000") {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        for part in [sign, first, point, rest, "e-05"] {
            out.extend_from_slice(part.as_bytes());
        }
    } else if let Some((digits, exponent)) = written.split_once("e-") {
        let pad = if exponent.len() < 2 { "0" } else { "" };
        for part in [digits, "e-", pad, exponent] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}
