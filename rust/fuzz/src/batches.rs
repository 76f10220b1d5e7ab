//! Batches taken apart, beside the decoder: what it reads as an array has just these elements, and what they are is
//! what it reads in them.
#![no_main]

#[allow(dead_code)]
mod reference;

use cascade_mqtt_core::batch::Batch;
use cascade_mqtt_core::core::InboxDrop;
use cascade_mqtt_core::python::decode::decode_json;
use libfuzzer_sys::fuzz_target;
use pyo3::prelude::*;
use pyo3::types::PyList;
use reference::afresh;

const MOST: usize = 1 << 20;

fuzz_target!(|data: &[u8]| afresh(|py| compare(py, data)));

fn compare(py: Python<'_>, data: &[u8]) {
    let mut batch = Batch::default();
    let read = batch.read(data, MOST);
    assert!(batch.len(data) <= MOST.max(data.len()) || read == Err(InboxDrop::TooLarge));
    let whole = decode_json(py, data).ok().and_then(|whole| whole.cast_into::<PyList>().ok());
    if read.is_err() {
        assert!(whole.is_none(), "{read:?}");
        return;
    }
    let elements: Vec<_> = batch.elements(data).map(|element| decode_json(py, element).ok()).collect();
    if let Some(whole) = whole {
        let whole: Vec<_> = whole.iter().map(|element| text(&element)).collect();
        let elements: Vec<_> =
            elements.iter().map(|element| text(element.as_ref().expect("part of what is read"))).collect();
        assert_eq!(elements, whole);
    }
}

fn text(value: &Bound<'_, PyAny>) -> String {
    value.repr().expect("it is made of JSON").to_string_lossy().into_owned()
}
