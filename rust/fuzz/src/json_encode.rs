//! Python objects to JSON, beside the json module and the fallback's encoder.
#![no_main]

mod reference;

use arbitrary::{Arbitrary, Result, Unstructured};
use cascade_mqtt_core::python::encode::{EncodeError, encode_json};
use libfuzzer_sys::fuzz_target;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use reference::{fallback, json_module, outcome};

/// Deeper than payloads may be.
const MAX_NEST: usize = 140;

fuzz_target!(|data: &[u8]| Python::attach(|py| {
    let mut input = Unstructured::new(data);
    // Where the input ends, so does the payload.
    let _ = compare(py, &mut input);
}));

fn compare(py: Python<'_>, input: &mut Unstructured<'_>) -> Result<()> {
    let limit = if input.ratio(1, 4)? { usize::from(u16::arbitrary(input)?) } else { 1 << 20 };
    let size = input.int_in_range(0..=9)?;
    let before = input.bytes(size)?;
    let room = input.int_in_range(0..=300)?;
    let mut value = object(py, input, 0)?;
    for _ in 0..if input.ratio(1, 8)? { input.int_in_range(1..=MAX_NEST)? } else { 1 } {
        value = PyList::new(py, [value]).expect("memory").into_any();
    }
    let hook = json_module(py).getattr("hook").expect("it is there");

    let mut out = Vec::with_capacity(before.len() + room);
    out.extend_from_slice(before);
    let ours = match encode_json(&value, Some(&hook), limit, &mut out) {
        Ok(()) => Ok(&out[before.len()..]),
        Err(error) => {
            assert_eq!(out, before, "what is refused leaves nothing");
            match error {
                EncodeError::Unserialisable(why) => Err(why),
                EncodeError::TooLarge => Err(format!("the payload is over {limit} bytes")),
                EncodeError::Interrupt(error) => panic!("{error}"),
            }
        }
    };
    assert!(out.starts_with(before));

    let theirs = outcome(py, json_module(py).getattr("encode").and_then(|encode| encode.call1((&value, limit))));
    let theirs = theirs.ok().map(|bytes| bytes.cast_into::<PyBytes>().expect("bytes"));
    assert_eq!(ours.as_ref().ok().copied().map(text), theirs.as_ref().map(|bytes| text(bytes.as_bytes())), "json");

    let encode = fallback(py).getattr("encode_payload");
    let theirs = outcome(py, encode.and_then(|encode| encode.call1((&value, &hook, limit))));
    let theirs = theirs.map(|bytes| bytes.cast_into::<PyBytes>().expect("bytes"));
    assert_eq!(ours.map(text), theirs.as_ref().map(|bytes| text(bytes.as_bytes())).map_err(Clone::clone), "fallback");
    Ok(())
}

fn text(json: &[u8]) -> &str {
    str::from_utf8(json).expect("JSON is UTF-8")
}

fn object<'py>(py: Python<'py>, input: &mut Unstructured<'_>, depth: usize) -> Result<Bound<'py, PyAny>> {
    Ok(match input.int_in_range(0..=12)? {
        0..=5 => key(py, input)?,
        6 => {
            let [real, imaginary] = <[f64; 2]>::arbitrary(input)?;
            PyComplex::from_doubles(py, real, imaginary).into_any()
        }
        _ if depth > 8 => PyList::empty(py).into_any(),
        7 | 8 => PyList::new(py, objects(py, input, depth)?).expect("memory").into_any(),
        9 => PyTuple::new(py, objects(py, input, depth)?).expect("memory").into_any(),
        _ => {
            let dict = PyDict::new(py);
            for _ in 0..input.int_in_range(0..=8)? {
                dict.set_item(key(py, input)?, object(py, input, depth + 1)?).expect("keys have a hash");
            }
            dict.into_any()
        }
    })
}

fn objects<'py>(py: Python<'py>, input: &mut Unstructured<'_>, depth: usize) -> Result<Vec<Bound<'py, PyAny>>> {
    (0..input.int_in_range(0..=8)?).map(|_| object(py, input, depth + 1)).collect()
}

/// What may be a key too.
fn key<'py>(py: Python<'py>, input: &mut Unstructured<'_>) -> Result<Bound<'py, PyAny>> {
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
        // The exponents at which the form of a float changes.
        5 => PyFloat::new(py, f64::from(i32::arbitrary(input)?) * 10f64.powi(input.int_in_range(-30..=30)?)).into_any(),
        6 => {
            // Lone surrogates among others.
            let size = 2 * input.int_in_range(0..=40)?;
            let units = PyBytes::new(py, input.bytes(size)?);
            units
                .call_method1(intern!(py, "decode"), ("utf-16-le", "surrogatepass"))
                .unwrap_or_else(|_| py.None().into_bound(py))
        }
        7 => {
            // As long as the blocks that are copied at once.
            let piece = <&str>::arbitrary(input)?;
            PyString::new(py, &piece.repeat(input.int_in_range(1..=70)?)).into_any()
        }
        _ => PyString::new(py, <&str>::arbitrary(input)?).into_any(),
    })
}
