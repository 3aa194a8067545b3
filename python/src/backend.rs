//! Which backend computes: one for the process, or one that a thread is using.

use crate::error::{DeviceError, raised};
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use wgpu_activations::{AdapterChoice, Backend as Library, BackendKind};

/// The process' backend.
static DEFAULT: RwLock<Option<Arc<Library>>> = RwLock::new(None);
/// Whether a backend was used in this process, and in one that it was forked from.
static USED: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The backends that this thread is using in the place of the process'.
    static USING: RefCell<Vec<Arc<Library>>> = const { RefCell::new(Vec::new()) };
}

/// A GPU or the CPU, as what computes.
#[pyclass(frozen, module = "wgpu_activations")]
pub struct Backend(Arc<Library>);

#[pymethods]
impl Backend {
    /// Opens "auto", "cpu", "gpu", or the adapter that has this in its name.
    #[new]
    #[pyo3(signature = (name="auto"))]
    fn open(py: Python<'_>, name: &str) -> PyResult<Self> {
        check_process()?;
        USED.store(true, Ordering::Relaxed);
        let opened = py.detach(|| match name.parse::<BackendKind>() {
            Ok(BackendKind::Auto) => Library::auto(),
            Ok(kind) => Library::open(kind, &AdapterChoice::from_env()),
            Err(_) => Library::open(BackendKind::Gpu, &AdapterChoice::Name(name.to_owned())),
        });
        opened.map(|opened| Self(Arc::new(opened))).map_err(raised)
    }

    /// "cpu" or "gpu".
    #[getter]
    fn kind(&self) -> String {
        self.0.kind().to_string()
    }

    /// One line: the backend, its device, and why it was taken.
    #[getter]
    fn description(&self) -> String {
        self.0.description()
    }

    fn __repr__(&self) -> String {
        format!("<wgpu_activations backend {}>", self.0.description())
    }
}

/// An error in a process that was forked from one that has computed: the threads are the parent's, and so
/// is the device, and whoever waits for them waits for ever.
fn check_process() -> PyResult<()> {
    if !FORKED.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(DeviceError::new_err(
        "this process was forked from one that had used wgpu_activations, whose threads and device are not \
         in it; start processes with multiprocessing's method 'spawn' or 'forkserver'",
    ))
}

/// Told in a process that was forked.
#[pyfunction]
pub fn forked() {
    if USED.load(Ordering::Relaxed) {
        FORKED.store(true, Ordering::Relaxed);
    }
}

/// The backend that computes a call of this thread.
pub fn of_call(py: Python<'_>) -> PyResult<Arc<Library>> {
    check_process()?;
    if let Some(using) = USING.with_borrow(|using| using.last().cloned()) {
        return Ok(using);
    }
    if let Ok(default) = DEFAULT.read()
        && let Some(backend) = &*default
    {
        return Ok(backend.clone());
    }
    USED.store(true, Ordering::Relaxed);
    let opened = Arc::new(py.detach(Library::auto).map_err(raised)?);
    if let Ok(mut default) = DEFAULT.write() {
        *default = Some(opened.clone());
    }
    Ok(opened)
}

/// The backend that computes this thread's calls.
#[pyfunction]
pub fn current(py: Python<'_>) -> PyResult<Backend> {
    of_call(py).map(Backend)
}

/// Makes a backend the process'.
#[pyfunction]
pub fn set_default(backend: &Backend) {
    if let Ok(mut default) = DEFAULT.write() {
        *default = Some(backend.0.clone());
    }
}

/// Makes a backend this thread's, until it leaves.
#[pyfunction]
pub fn enter(backend: &Backend) {
    USING.with_borrow_mut(|using| using.push(backend.0.clone()));
}

/// Ends the last [`enter`].
#[pyfunction]
pub fn leave() {
    USING.with_borrow_mut(|using| drop(using.pop()));
}
