//! Numbers as Python's `repr` writes them.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use super::{Encoded, Encoder, refuse};

/// As many digits as Python itself reads back by default (`sys.int_info.default_max_str_digits`).
const MAX_DIGITS: usize = 4_300;

/// The value where it fits.
///
/// # Safety
/// It is an int, alive; of a subclass no method is called, and nothing is raised.
#[inline(always)]
pub unsafe fn small_int(int: *mut ffi::PyObject) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: as the caller promises.
    let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(int, &raw mut overflow) };
    (overflow == 0).then_some(small)
}

/// Whether Python writes a float with the digits that zmij writes.
#[inline(always)]
pub fn is_common(value: f64) -> bool {
    value.is_finite() && (value.abs() >= 1e-4 || value == 0.0)
}

impl<'py> Encoder<'_, 'py> {
    #[inline]
    pub(super) fn int(&mut self, int: &Bound<'py, PyInt>, after: u8) -> Encoded {
        // SAFETY: it is alive.
        match unsafe { small_int(int.as_ptr()) } {
            Some(small) => self.out.plain(itoa::Buffer::new().format(small).as_bytes(), after),
            None => self.long_int(int, after),
        }
    }

    #[cold]
    fn long_int(&mut self, int: &Bound<'py, PyInt>, after: u8) -> Encoded {
        let refused = || refuse(format!("an integer of more than {MAX_DIGITS} digits"));
        // The type's own method, as in the json module: a subclass may have another.
        let written = int.py().get_type::<PyInt>().call_method1("__repr__", (int,)).map_err(|_| refused())?;
        let written = written.cast::<PyString>().map_err(|_| refused())?;
        let digits = written.to_str().map_err(|_| refused())?;
        if digits.trim_start_matches('-').len() > MAX_DIGITS {
            return Err(refused());
        }
        self.out.plain(digits.as_bytes(), after)
    }

    /// A float and a comma; what is not finite has no form in JSON.
    #[inline]
    pub(super) fn float(&mut self, value: f64) -> Encoded {
        if value.is_finite() { self.finite(value, b',') } else { self.out.plain(b"null", b',') }
    }

    /// The shortest digits that read back as `value`, laid out as Python does.
    #[inline]
    pub(super) fn finite(&mut self, value: f64, after: u8) -> Encoded {
        let mut buffer = zmij::Buffer::new();
        let written = buffer.format_finite(value);
        if value.abs() < 1e-4 && value != 0.0 {
            self.out.plain(small(written).as_bytes(), after)
        } else {
            self.out.plain(written.as_bytes(), after)
        }
    }
}

/// Below 0.0001 Python writes an exponent, of two digits at least; zmij begins below 0.00001, with one digit.
#[cold]
fn small(written: &str) -> String {
    if let Some((sign, digits)) = written.split_once("0.0000") {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{point}{rest}e-05")
    } else if let Some((digits, exponent)) = written.split_once("e-") {
        format!("{digits}e-{exponent:0>2}")
    } else {
        written.to_owned()
    }
}
