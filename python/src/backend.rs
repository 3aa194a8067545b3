//! Which backend computes: one for the process, or one that a thread is using.

use crate::error::{DeviceError, raised};
use pyo3::prelude::*;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use wgpu_activations::{AdapterChoice, Backend as Library, BackendKind, Gpu};

/// The process' backend.
static DEFAULT: RwLock<Option<Owned<Arc<Library>>>> = RwLock::new(None);
/// Whether a backend was used in this process, and in one that it was forked from.
static USED: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The backends that this thread is using in the place of the process'.
    static USING: RefCell<Vec<Owned<Arc<Library>>>> = const { RefCell::new(Vec::new()) };
}

/// A GPU or the CPU, as what computes.
#[pyclass(frozen, module = "wgpu_activations")]
pub struct Backend(Owned<Arc<Library>>);

#[pymethods]
impl Backend {
    /// Opens "auto", "cpu", "gpu", or the adapter that has this in its name.
    #[new]
    #[pyo3(signature = (name="auto"))]
    fn open(py: Python<'_>, name: &str) -> PyResult<Self> {
        check_process()?;
        used();
        let opened = py.detach(|| match name.parse::<BackendKind>() {
            Ok(BackendKind::Auto) => Library::auto(),
            Ok(kind) => Library::open(kind, &AdapterChoice::from_env()),
            Err(_) => Library::open(BackendKind::Gpu, &AdapterChoice::Name(name.to_owned())),
        });
        let opened = opened.map_err(raised)?;
        Ok(Self(Arc::new(opened).into()))
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

impl Backend {
    /// The device, where it is none of the CPU.
    pub fn gpu(&self) -> Option<Gpu> {
        match &**self.0 {
            Library::Gpu(gpu) => Some(gpu.clone()),
            _ => None,
        }
    }
}

/// An error in a process that was forked from one that has computed: the threads are the parent's, and so
/// is the device, and whoever waits for them waits for ever.
pub fn check_process() -> PyResult<()> {
    if !is_forked() {
        return Ok(());
    }
    Err(DeviceError::new_err(
        "this process was forked from one that had used wgpu_activations, whose threads and device are not \
         in it; start processes with multiprocessing's method 'spawn' or 'forkserver'",
    ))
}

/// Whether the process was forked from one that has computed.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Notes that the process has threads or a device from here on.
pub fn used() {
    USED.store(true, Ordering::Relaxed);
}

/// What is a device's, and is left as it is in a forked process, where whoever ends it waits for threads that
/// are not there.
pub struct Owned<T>(ManuallyDrop<T>);

impl<T> From<T> for Owned<T> {
    fn from(of: T) -> Self {
        Self(ManuallyDrop::new(of))
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !is_forked() {
            // SAFETY: it is not touched behind this.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
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
    if let Some(using) = USING.with_borrow(|using| using.last().map(|last| Arc::clone(last))) {
        return Ok(using);
    }
    if let Ok(default) = DEFAULT.read()
        && let Some(backend) = &*default
    {
        return Ok(Arc::clone(backend));
    }
    used();
    let opened = Arc::new(py.detach(Library::auto).map_err(raised)?);
    if let Ok(mut default) = DEFAULT.write() {
        *default = Some(opened.clone().into());
    }
    Ok(opened)
}

/// The backend that computes this thread's calls.
#[pyfunction]
pub fn current(py: Python<'_>) -> PyResult<Backend> {
    of_call(py).map(|backend| Backend(backend.into()))
}

/// Makes a backend the process'.
#[pyfunction]
pub fn set_default(backend: &Backend) {
    if let Ok(mut default) = DEFAULT.write() {
        *default = Some(Arc::clone(&backend.0).into());
    }
}

/// Makes a backend this thread's, until it leaves.
#[pyfunction]
pub fn enter(backend: &Backend) {
    USING.with_borrow_mut(|using| using.push(Arc::clone(&backend.0).into()));
}

/// Ends the last [`enter`].
#[pyfunction]
pub fn leave() {
    USING.with_borrow_mut(|using| drop(using.pop()));
}
