//! `publish_nowait` and `publish` without a Python frame or a coroutine of their own, each of which costs a quarter of
//! the call.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyDict, PyString, PyTuple};
use pyo3::{Borrowed, PyTypeInfo, ffi, intern};

use super::completed::Completed;
use super::intake::Intake;

/// The parameters of both methods, in their order.
const PARAMETERS: [&str; 4] = ["topic", "payload", "qos", "retain"];

// What a connector has in place of one of its methods; it keeps the connector alive, as a bound method does, and
// looks like one. Not its docstring, which is the method's.
#[pyclass(frozen, weakref, module = "cascade.connectors.mqtt._native")]
pub struct Publisher {
    /// Where the interpreter finds what to call (PEP 590).
    vectorcall: ffi::vectorcallfunc,
    parameters: [Py<PyString>; PARAMETERS.len()],
    intake: Py<Intake>,
    answer: Answer,
    /// The method: it is called in a forked child, and says what is wrong with arguments.
    method: Py<PyAny>,
}

/// How a call ends.
pub enum Answer {
    /// True, or what `refused` returns for the code.
    Now {
        refused: Py<PyAny>,
        /// By code: 1 where `refused` has said it already. Python that runs under a frame of this file could be
        /// ended there with its daemon thread, and the process with it.
        said: Py<PyByteArray>,
    },
    /// An awaitable: one that is complete, or what `not_queued` returns for the code and the arguments.
    Awaitable { completed: Py<Completed>, not_queued: Py<PyAny> },
}

#[pymethods]
impl Publisher {
    /// For who asks for this attribute: the interpreter calls by `vectorcall`.
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.method.bind(args.py()).call(args, kwargs)
    }

    /// For `inspect.signature`.
    #[getter]
    fn __wrapped__(&self, py: Python<'_>) -> Py<PyAny> {
        self.method.clone_ref(py)
    }

    #[getter]
    fn __doc__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.method.bind(py).getattr(intern!(py, "__doc__"))
    }

    /// Its name, and its code, by which `inspect.iscoroutinefunction` knows a coroutine function.
    fn __getattr__<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.method.bind(name.py()).getattr(name)
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.method.bind(py).repr()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.intake)?;
        visit.call(&self.method)?;
        match &self.answer {
            Answer::Now { refused, .. } => visit.call(refused),
            Answer::Awaitable { not_queued, .. } => visit.call(not_queued),
        }
    }
}

/// What a call was given; null where nothing was. Borrowed from the caller.
type Arguments = [*mut ffi::PyObject; PARAMETERS.len()];

impl Publisher {
    pub fn make(py: Python<'_>, intake: Py<Intake>, answer: Answer, method: Py<PyAny>) -> PyResult<Bound<'_, Self>> {
        let parameters = PARAMETERS.map(|name| PyString::intern(py, name).unbind());
        let made = Bound::new(py, Self { vectorcall, parameters, intake, answer, method })?;
        let offset = (&raw const made.get().vectorcall).addr() - made.as_ptr().addr();
        let class = Self::type_object_raw(py);
        // SAFETY: objects of this class have the field at this place, all of them, and before they are seen. The class is
        // ours, has no subclasses, and nobody else writes to it.
        unsafe {
            (*class).tp_vectorcall_offset = offset as ffi::Py_ssize_t;
            (*class).tp_flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
        }
        Ok(made)
    }

    /// None where the method has to say what is wrong, or takes more trouble to understand it.
    ///
    /// # Safety
    /// `args` and `names` are those of a vectorcall with `count` positional arguments.
    #[inline(always)]
    unsafe fn arguments(
        &self,
        args: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> Option<Arguments> {
        let mut arguments = Arguments::default();
        // SAFETY: there are so many.
        arguments.get_mut(..count)?.copy_from_slice(unsafe { std::slice::from_raw_parts(args, count) });
        if !names.is_null() {
            // SAFETY: a tuple of names, and as many arguments behind the others.
            for index in 0..unsafe { ffi::PyTuple_GET_SIZE(names) } {
                let (name, argument) =
                    unsafe { (ffi::PyTuple_GET_ITEM(names, index), *args.add(count + index as usize)) };
                let place = self.parameters.iter().position(|parameter| parameter.as_ptr() == name)?;
                if !arguments[place].is_null() {
                    return None;
                }
                arguments[place] = argument;
            }
        }
        (!arguments[0].is_null() && !arguments[1].is_null()).then_some(arguments)
    }

    /// # Safety
    /// The arguments are objects that the caller holds, the first two not null.
    #[inline(always)]
    unsafe fn publish<'py>(&self, py: Python<'py>, arguments: Arguments) -> PyResult<Bound<'py, PyAny>> {
        let [topic, payload, qos, retain] = arguments;
        // SAFETY: as the caller says.
        let (topic, payload) = unsafe { (Borrowed::from_ptr(py, topic), Borrowed::from_ptr(py, payload)) };
        let (qos, retain) = unsafe { (Borrowed::from_ptr_or_opt(py, qos), Borrowed::from_ptr_or_opt(py, retain)) };
        let offered = self.intake.get().offer(&topic, &payload, qos.as_deref(), retain.as_deref(), false, false)?;
        match (&self.answer, offered) {
            (Answer::Now { .. }, Ok(_)) => Ok(PyBool::new(py, true).to_owned().into_any()),
            (Answer::Awaitable { completed, .. }, Ok(_)) => Ok(completed.bind(py).clone().into_any()),
            (Answer::Now { said, .. }, Err(code)) if is_said(said.bind(py), code as usize) => {
                Ok(PyBool::new(py, false).to_owned().into_any())
            }
            (Answer::Now { refused, .. }, Err(code)) => refused.bind(py).call1((code as u8,)),
            (Answer::Awaitable { not_queued, .. }, Err(code)) => {
                let qos = qos.map_or_else(|| 0u8.into_pyobject(py).map(Bound::into_any), |qos| Ok(qos.to_owned()))?;
                let retain = retain.is_some_and(|retain| retain.is_truthy().unwrap_or(false));
                not_queued.bind(py).call1((code as u8, topic, payload, qos, retain))
            }
        }
    }
}

fn is_said(said: &Bound<'_, PyByteArray>, code: usize) -> bool {
    // SAFETY: the interpreter is attached, and no Python runs while the bytes are borrowed.
    unsafe { said.as_bytes() }.get(code) == Some(&1)
}

/// What the interpreter calls, as PEP 590 describes. Around it is what `#[pymethods]` puts around a method: a panic
/// becomes an exception, and objects that are let go of are let go of at once.
unsafe extern "C" fn vectorcall(
    publisher: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let guarded = pyo3::impl_::trampoline::get_trampoline_function!(fastcall_cfunction_with_keywords, called);
    // SAFETY: the interpreter calls, so it is attached; the arguments are passed on.
    unsafe { guarded(publisher, args, count as ffi::Py_ssize_t, names) }
}

unsafe fn called(
    py: Python<'_>,
    publisher: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: only objects of this class have this function; the rest is as the interpreter passed it.
    unsafe {
        let borrowed = Borrowed::from_ptr(py, publisher);
        let publisher = borrowed.cast_unchecked::<Publisher>().get();
        let positional = ffi::PyVectorcall_NARGS(count as usize) as usize;
        let answered = match publisher.arguments(args, positional, names) {
            Some(arguments) if !publisher.intake.get().is_left() => publisher.publish(py, arguments)?,
            _ => {
                let method = publisher.method.as_ptr();
                Bound::from_owned_ptr_or_err(py, ffi::PyObject_Vectorcall(method, args, count as usize, names))?
            }
        };
        Ok(answered.into_ptr())
    }
}
