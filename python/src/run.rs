//! Computing without the interpreter's lock, so that an interrupt is seen and a panic is an error.

use crate::error::raised;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;
use wgpu_activations::{Backend, BackendKind, Result as Computed};

/// What the CPU computes of fewer elements is done before anybody could interrupt it.
const FEW: usize = 1 << 20;
/// How long an interrupt waits.
const POLL: Duration = Duration::from_millis(100);

/// Computes `work` of so many elements, and gives back what it was computed with.
pub fn compute<W: Send + 'static>(
    py: Python<'_>,
    backend: Arc<Backend>,
    mut work: W,
    elements: usize,
    of: impl FnOnce(&Backend, &mut W) -> Computed<()> + Send + 'static,
) -> PyResult<W> {
    if elements < FEW && backend.kind() == BackendKind::Cpu {
        return here(py, || of(&backend, &mut work).map_err(raised)).map(|()| work);
    }
    waiting(py, move || {
        of(&backend, &mut work).map_err(raised)?;
        Ok(work)
    })
}

/// Does what takes no longer than an interrupt may wait.
pub fn here<T: Send>(py: Python<'_>, work: impl FnOnce() -> PyResult<T> + Send) -> PyResult<T> {
    ended(py.detach(|| caught(work)))
}

/// Does what may take long on a thread of its own. Where the call is interrupted, that goes on with what it
/// holds, and nobody waits for it.
pub fn waiting<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = sync_channel(1);
    let on_thread = move || {
        let _ = sender.send(caught(work));
    };
    thread::Builder::new()
        .name("wgpu-activations call".to_owned())
        .spawn(on_thread)
        .map_err(|error| PyRuntimeError::new_err(format!("no thread starts: {error}")))?;
    loop {
        let waiting = &mut receiver;
        match py.detach(move || waiting.recv_timeout(POLL)) {
            Ok(done) => return ended(done),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the thread of the call ended without a result",
                ));
            }
        }
    }
}

type Ended<T> = Result<PyResult<T>, Box<dyn Any + Send>>;

fn caught<T>(work: impl FnOnce() -> PyResult<T>) -> Ended<T> {
    catch_unwind(AssertUnwindSafe(work))
}

fn ended<T>(done: Ended<T>) -> PyResult<T> {
    match done {
        Ok(computed) => computed,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(PyRuntimeError::new_err(format!(
                "wgpu_activations has a fault, please report it: {}",
                text.unwrap_or_default()
            )))
        }
    }
}

/// Panics where a call computes, for the test that an error is what comes of it.
#[pyfunction]
pub fn fault(py: Python<'_>, elements: usize) -> PyResult<()> {
    compute(py, Arc::new(Backend::cpu()), (), elements, |_, ()| {
        panic!("asked for")
    })
}
