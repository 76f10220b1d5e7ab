//! The slow path: subclasses, keys that are not str, types that JSON does not know, hooks.
//!
//! Types are told by their flags and ancestry alone, never by `__class__`, so that telling runs no Python code.

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyMemoryView, PyString, PyTuple, PyType,
};

use super::{EncodeError, Encoded, Encoder, Stop, deeper, exact, refuse};

impl<'py> Encoder<'_, 'py> {
    /// A key as the json module writes it: `True` is `"true"`, `1.5` is `"1.5"`.
    #[inline(always)]
    pub(super) fn key(&mut self, key: &Bound<'py, PyAny>) -> Encoded {
        match exact::<PyString>(key) {
            Some(string) => self.string(string, b':'),
            None => self.other_key(key),
        }
    }

    #[cold]
    #[inline(never)]
    fn other_key(&mut self, key: &Bound<'py, PyAny>) -> Encoded {
        if let Ok(string) = key.cast::<PyString>() {
            return self.string(string, b':');
        }
        self.out.short(b"\"")?;
        if let Ok(bool) = key.cast::<PyBool>() {
            self.out.short(if bool.is_true() { b"true" } else { b"false" })?;
        } else if key.is_none() {
            self.out.short(b"null")?;
        } else if let Ok(int) = key.cast::<PyInt>() {
            self.int(int, b'"')?;
            return self.out.plain(b"", b':');
        } else if let Ok(float) = key.cast::<PyFloat>() {
            match float.value() {
                value if value.is_nan() => self.out.short(b"NaN")?,
                f64::INFINITY => self.out.short(b"Infinity")?,
                f64::NEG_INFINITY => self.out.short(b"-Infinity")?,
                value => {
                    self.finite(value, b'"')?;
                    return self.out.plain(b"", b':');
                }
            }
        } else {
            let name = type_name(key);
            return Err(refuse(format!("a key of type {name} is not serialisable")));
        }
        self.out.plain(b"\"", b':')
    }

    /// Whatever is not exactly of a type that JSON knows.
    #[cold]
    #[inline(never)]
    pub(super) fn other(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Encoded {
        if let Ok(string) = value.cast::<PyString>() {
            self.string(string, b',')
        } else if let Ok(int) = value.cast::<PyInt>() {
            self.int(int, b',')
        } else if let Ok(float) = value.cast::<PyFloat>() {
            self.float(float.value())
        } else if let Ok(list) = value.cast::<PyList>() {
            self.list(list, depth)
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.tuple(tuple, depth)
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.dict_subclass(dict, depth)
        } else {
            match known(value).map_err(|error| raised(value, error))? {
                Some(Known::Text(string)) => self.string(&string, b','),
                Some(Known::Value(inner)) => self.any(&inner, deeper(depth)?),
                Some(Known::Fields(names)) => self.fields(value, &names, deeper(depth)?),
                None => self.hook(value, depth),
            }
        }
    }

    /// A subclass says itself what its items are, in which order: OrderedDict, for one.
    fn dict_subclass(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Encoded {
        let depth = deeper(depth)?;
        self.out.short(b"{")?;
        if !dict.is_empty() {
            let items = dict.as_any().cast::<PyMapping>().map_err(PyErr::from).and_then(|mapping| mapping.items());
            for item in items.map_err(|error| raised(dict, error))? {
                let pair = item.cast_into::<PyTuple>().ok().filter(|pair| pair.len() == 2);
                let Some((key, value)) = pair.and_then(|pair| pair.extract().ok()) else {
                    return Err(unknown(dict));
                };
                self.key(&key)?;
                self.any(&value, depth)?;
            }
        }
        self.out.close(b'}')
    }

    fn fields(&mut self, value: &Bound<'py, PyAny>, names: &[Bound<'py, PyString>], depth: usize) -> Encoded {
        self.out.short(b"{")?;
        for name in names {
            self.string(name, b':')?;
            let field = value.getattr(name).map_err(|error| raised(value, error))?;
            self.any(&field, depth)?;
        }
        self.out.close(b'}')
    }

    fn hook(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Encoded {
        let Some(default) = self.default else {
            return Err(unknown(value));
        };
        let depth = deeper(depth)?;
        let instead = default.call1((value,)).map_err(|error| raised(value, error))?;
        self.any(&instead, depth)
    }
}

/// What a type that we know beyond JSON is written as.
enum Known<'py> {
    Text(Bound<'py, PyString>),
    Value(Bound<'py, PyAny>),
    Fields(Vec<Bound<'py, PyString>>),
}

fn known<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Known<'py>>> {
    static ENUM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static DATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static TIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static PATH: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    let is = |cell: &'static PyOnceLock<Py<PyType>>, module: &str, name: &str| -> PyResult<bool> {
        Ok(inherits(value, cell.import(py, module, name)?))
    };
    Ok(Some(if is(&ENUM, "enum", "Enum")? {
        Known::Value(value.getattr(intern!(py, "value"))?)
    } else if let Some(names) = field_names(value)? {
        Known::Fields(names)
    } else if is(&DATE, "datetime", "date")? || is(&TIME, "datetime", "time")? {
        Known::Text(value.call_method0(intern!(py, "isoformat"))?.cast_into()?)
    } else if is(&UUID, "uuid", "UUID")? || is(&PATH, "pathlib", "PurePath")? {
        Known::Text(value.str()?)
    } else {
        return Ok(None);
    }))
}

fn inherits(value: &Bound<'_, PyAny>, class: &Bound<'_, PyType>) -> bool {
    // SAFETY: both are alive; walks the ancestry and calls nothing.
    unsafe { ffi::PyObject_TypeCheck(value.as_ptr(), class.as_type_ptr()) != 0 }
}

/// The fields of a dataclass instance, in order.
fn field_names<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Bound<'py, PyString>>>> {
    static FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    if !value.get_type().hasattr(intern!(py, "__dataclass_fields__"))? {
        return Ok(None);
    }
    let fields = FIELDS.import(py, "dataclasses", "fields")?.call1((value,))?;
    let names = fields.try_iter()?.map(|field| Ok(field?.getattr(intern!(py, "name"))?.cast_into()?));
    names.collect::<PyResult<_>>().map(Some)
}

/// What a bytes-like object holds, or None for what is none. A buffer without dimensions is a number of numpy's.
pub fn buffer<'py>(value: &Bound<'py, PyAny>, limit: usize) -> Result<Option<Bound<'py, PyBytes>>, Stop> {
    let py = value.py();
    // SAFETY: the object is alive; only its type is looked at.
    if unsafe { ffi::PyObject_CheckBuffer(value.as_ptr()) } == 0 {
        return Ok(None);
    }
    let Ok(view) = PyMemoryView::from(value) else {
        return Ok(None);
    };
    let size = |name| view.getattr(name).and_then(|size| size.extract::<usize>());
    let (Ok(dimensions), Ok(bytes)) = (size(intern!(py, "ndim")), size(intern!(py, "nbytes"))) else {
        return Ok(None);
    };
    if dimensions == 0 {
        return Ok(None);
    }
    if bytes > limit {
        return Err(Box::new(EncodeError::TooLarge));
    }
    let copy = view.call_method0(intern!(py, "tobytes")).map_err(|error| raised(value, error))?;
    Ok(copy.cast_into().ok())
}

fn unknown(value: &Bound<'_, PyAny>) -> Stop {
    refuse(format!("an object of type {} is not serialisable", type_name(value)))
}

/// The name of the exception is told, its text is not: it may hold what the payload holds.
fn raised(value: &Bound<'_, PyAny>, error: PyErr) -> Stop {
    let py = value.py();
    if !error.is_instance_of::<PyException>(py) {
        return Box::new(EncodeError::Interrupt(error));
    }
    let (object, exception) = (type_name(value), type_name(error.value(py)));
    refuse(format!("an object of type {object} raised {exception} while being serialised"))
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "unknown".to_owned(), |name| name.to_string())
}
