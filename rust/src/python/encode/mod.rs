//! Python objects to JSON, as the json module writes them with `separators=(",", ":")` and
//! `ensure_ascii=False`, except that NaN and infinities are `null` and lone surrogates U+FFFD.
//!
//! Every value and every key is followed by its separator; closing a container overwrites the last.

mod buffer;
mod dict;
mod items;
mod number;
mod shape;
mod special;
mod text;

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::desk::Desk;
use crate::json::MAX_DEPTH;
use buffer::Buffer;
pub use shape::Shapes;

/// Why a payload cannot be encoded.
#[derive(Debug)]
pub enum EncodeError {
    /// In words, without anything of the payload but the names of types.
    Unserialisable(String),
    TooLarge,
    /// KeyboardInterrupt, SystemExit or the like, raised while Python code of the payload ran: for
    /// the caller of `publish`, since it is not about the payload.
    Interrupt(PyErr),
}

/// Boxed, so that the many results on the way of an event fit into a register.
pub type Stop = Box<EncodeError>;
type Encoded = Result<(), Stop>;

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    AsItIs,
}

/// Append a payload: str as UTF-8 and bytes-like objects as they are, None as nothing, all else as JSON. `shapes`:
/// those of the payloads before it.
///
/// # Errors
/// As [`encode_json`].
pub fn encode_payload(
    value: &Bound<'_, PyAny>,
    default: Option<&Bound<'_, PyAny>>,
    limit: usize,
    shapes: &mut Shapes,
    out: &mut Vec<u8>,
) -> Result<Form, Stop> {
    if value.is_exact_instance_of::<PyDict>() {
        encode_json(value, default, limit, shapes, out).map(|()| Form::Json)
    } else if let Ok(string) = value.cast::<PyString>() {
        match text::utf8(string) {
            Some(utf8) => append(utf8, limit, out),
            None => append(&text::replaced(string)?, limit, out),
        }
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        append(bytes.as_bytes(), limit, out)
    } else if value.is_none() {
        Ok(Form::AsItIs)
    } else if let Some(bytes) = special::buffer(value, limit)? {
        append(bytes.as_bytes(), limit, out)
    } else {
        encode_json(value, default, limit, shapes, out).map(|()| Form::Json)
    }
}

fn append(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<Form, Stop> {
    if bytes.len() > limit {
        return Err(Box::new(EncodeError::TooLarge));
    }
    out.extend_from_slice(bytes);
    Ok(Form::AsItIs)
}

/// Append `value` as JSON. `default` is called with what is not known; its result is encoded instead.
///
/// # Errors
/// See [`EncodeError`]; too large is said as soon as more than `limit` bytes are needed. Nothing is appended then.
pub fn encode_json(
    value: &Bound<'_, PyAny>,
    default: Option<&Bound<'_, PyAny>>,
    limit: usize,
    shapes: &mut Shapes,
    out: &mut Vec<u8>,
) -> Encoded {
    let start = out.len();
    let mut encoder = Encoder { out: Buffer::new(std::mem::take(out), limit), default, shapes };
    let encoded = match exact::<PyDict>(value) {
        Some(dict) => encoder.dict(dict, 0),
        None => encoder.any(value, 0),
    };
    let encoded = encoded.and_then(|()| encoder.out.finish());
    *out = encoder.out.into_inner();
    encoded.inspect_err(|_| out.truncate(start))
}

struct Encoder<'a, 'py> {
    out: Buffer,
    default: Option<&'a Bound<'py, PyAny>>,
    shapes: &'a mut Shapes,
}

impl<'py> Encoder<'_, 'py> {
    /// `value` for where it matters less than the size of the code.
    #[inline(never)]
    fn any(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Encoded {
        self.value(value, depth)
    }

    /// `depth` is how many containers, hooks and enums stand around the value.
    #[inline(always)]
    fn value(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Encoded {
        if let Some(string) = exact::<PyString>(value) {
            self.string(string, b',')
        } else if let Some(int) = exact::<PyInt>(value) {
            self.int(int, b',')
        } else if let Some(float) = exact::<PyFloat>(value) {
            self.float(float.value())
        } else if value.is_none() {
            self.out.plain(b"null", b',')
        } else if let Some(bool) = exact::<PyBool>(value) {
            if bool.is_true() { self.out.plain(b"true", b',') } else { self.out.plain(b"false", b',') }
        } else if let Some(dict) = exact::<PyDict>(value) {
            self.dict(dict, depth)
        } else if let Some(list) = exact::<PyList>(value) {
            self.list(list, depth)
        } else if let Some(tuple) = exact::<PyTuple>(value) {
            self.tuple(tuple, depth)
        } else {
            self.other(value, depth)
        }
    }

    #[inline(always)]
    fn string(&mut self, string: &Bound<'py, PyString>, after: u8) -> Encoded {
        match text::utf8(string) {
            Some(utf8) => self.out.quoted(utf8, after),
            None => self.surrogates(string, after),
        }
    }

    #[cold]
    #[inline(never)]
    fn surrogates(&mut self, string: &Bound<'py, PyString>, after: u8) -> Encoded {
        self.out.quoted(&text::replaced(string)?, after)
    }

    #[inline(never)]
    fn list(&mut self, list: &Bound<'py, PyList>, depth: usize) -> Encoded {
        let depth = deeper(depth)?;
        self.out.short(b"[")?;
        let mut index = 0;
        // The length is asked anew each time: a hook may change the list.
        while index < list.len() {
            // SAFETY: the index is within the list, and nothing has run since that was seen.
            let item = unsafe { list.get_item_unchecked(index) };
            self.value(&item, depth)?;
            index += 1;
        }
        self.out.close(b']')
    }

    #[inline(never)]
    fn tuple(&mut self, tuple: &Bound<'py, PyTuple>, depth: usize) -> Encoded {
        let depth = deeper(depth)?;
        self.out.short(b"[")?;
        for item in tuple.iter_borrowed() {
            self.value(&item, depth)?;
        }
        self.out.close(b']')
    }
}

/// As `cast_exact`, without the error that names the type.
#[inline(always)]
fn exact<'a, 'py, T: PyTypeInfo>(value: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, T>> {
    // SAFETY: the cast is to the very type of the value.
    value.is_exact_instance_of::<T>().then(|| unsafe { value.cast_unchecked() })
}

#[inline]
fn deeper(depth: usize) -> Result<usize, Stop> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(refuse(format!("nested deeper than {MAX_DEPTH} levels"))) }
}

#[cold]
fn refuse(why: impl Into<String>) -> Stop {
    Box::new(EncodeError::Unserialisable(why.into()))
}

/// `encode_payload` for tests and benchmarks.
///
/// Raises ValueError for what cannot be serialised, OverflowError above `limit` bytes.
#[pyfunction]
#[pyo3(signature = (value, default=None, limit=usize::MAX))]
pub fn encode<'py>(
    value: &Bound<'py, PyAny>,
    default: Option<&Bound<'py, PyAny>>,
    limit: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(512);
    match Desk::at(value.py(), |desk| encode_payload(value, default, limit, &mut desk.shapes, &mut out)) {
        Ok(_) => Ok(PyBytes::new(value.py(), &out)),
        Err(stop) => Err(match *stop {
            EncodeError::Unserialisable(why) => PyValueError::new_err(why),
            EncodeError::TooLarge => PyOverflowError::new_err(format!("the payload is over {limit} bytes")),
            EncodeError::Interrupt(error) => error,
        }),
    }
}
