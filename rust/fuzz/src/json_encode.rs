//! Python objects to JSON, beside the json module and the fallback's encoder.
#![no_main]

mod payload;
mod reference;

use arbitrary::{Arbitrary, Result};
use cascade_mqtt_core::python::desk::Desk;
use cascade_mqtt_core::python::encode::{EncodeError, encode_json};
use libfuzzer_sys::fuzz_target;
use payload::Maker;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use reference::{afresh, fallback, json_module, outcome};

/// Deeper than payloads may be.
const MAX_NEST: usize = 140;

fuzz_target!(|data: &[u8]| afresh(|py| {
    // Where the input ends, so do the payloads.
    let _ = payloads(py, data);
}));

fn payloads(py: Python<'_>, data: &[u8]) -> Result<()> {
    let mut maker = Maker::new(py, data);
    let limit = if maker.input.ratio(1, 4)? { u16::arbitrary(&mut maker.input)?.into() } else { 1 << 20 };
    let size = maker.input.int_in_range(0..=9)?;
    let before = maker.input.bytes(size)?;
    let room = maker.input.int_in_range(0..=300)?;
    while !maker.input.is_empty() {
        let mut value = maker.object(0)?;
        for _ in 0..if maker.input.ratio(1, 16)? { maker.input.int_in_range(1..=MAX_NEST)? } else { 1 } {
            value = PyList::new(py, [value]).expect("memory").into_any();
        }
        let mut out = Vec::with_capacity(before.len() + room);
        out.extend_from_slice(before);
        compare(py, &value, limit, out);
        if maker.input.ratio(1, 8)? {
            let (lists, dicts) = maker.containers();
            let hook = json_module(py).call_method1("vandal", (lists, dicts)).expect("it is there");
            // What is made of it is of no interest, but that all memory that is touched is alive.
            let _ = encoded(&value, &hook, limit, &mut Vec::with_capacity(room));
        }
    }
    Ok(())
}

/// `out` holds what stands before the payload.
fn compare(py: Python<'_>, value: &Bound<'_, PyAny>, limit: usize, mut out: Vec<u8>) {
    let before = out.clone();
    let hook = json_module(py).getattr("hook").expect("it is there");
    let encoded = encoded(value, &hook, limit, &mut out);
    let behind = out.strip_prefix(&before[..]).expect("it is only appended to");
    let ours = match encoded {
        Ok(()) => Ok(text(behind)),
        Err(EncodeError::Unserialisable(why)) => Err(why),
        Err(EncodeError::TooLarge) => Err(format!("the payload is over {limit} bytes")),
        Err(EncodeError::Interrupt(error)) => panic!("{error}"),
    };
    assert!(ours.is_ok() || behind.is_empty(), "what is refused leaves nothing");

    let bytes = |result| {
        let bytes = outcome(py, result);
        bytes.map(|bytes| text(bytes.cast::<PyBytes>().expect("bytes").as_bytes()).to_owned())
    };
    let theirs = bytes(json_module(py).call_method1("encode", (value, limit)));
    assert_eq!(ours.as_ref().ok().copied(), theirs.as_deref().ok(), "the json module");
    let theirs = bytes(fallback(py).call_method1("encode_payload", (value, &hook, limit)));
    match (ours, theirs) {
        // Where both are true it says how large, since it measures the whole, and we stop at the first.
        (Err(ours), Err(theirs)) if theirs.contains("over") => assert!(ours == theirs || ours.contains("deeper")),
        (ours, theirs) => assert_eq!(ours, theirs.as_deref().map_err(Clone::clone), "the fallback"),
    }
}

/// With the shapes of all payloads so far.
fn encoded(
    value: &Bound<'_, PyAny>,
    hook: &Bound<'_, PyAny>,
    limit: usize,
    out: &mut Vec<u8>,
) -> std::result::Result<(), EncodeError> {
    Desk::at(value.py(), |desk| encode_json(value, Some(hook), limit, &mut desk.shapes, out)).map_err(|stop| *stop)
}

fn text(json: &[u8]) -> &str {
    str::from_utf8(json).expect("JSON is UTF-8")
}
