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
        let done = py.detach(|| caught(|| of(&backend, &mut work)));
        return ended(done).map(|()| work);
    }
    let (sender, mut receiver) = sync_channel(1);
    // Where the call is interrupted, the thread computes on with what it holds, and nobody waits for it.
    let on_thread = move || {
        let done = caught(|| of(&backend, &mut work));
        let _ = sender.send((done, work));
    };
    thread::Builder::new()
        .name("wgpu-activations call".to_owned())
        .spawn(on_thread)
        .map_err(|error| PyRuntimeError::new_err(format!("no thread starts: {error}")))?;
    loop {
        let waiting = &mut receiver;
        match py.detach(move || waiting.recv_timeout(POLL)) {
            Ok((done, work)) => return ended(done).map(|()| work),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the thread of the call ended without a result",
                ));
            }
        }
    }
}

type Ended = Result<Computed<()>, Box<dyn Any + Send>>;

fn caught(work: impl FnOnce() -> Computed<()>) -> Ended {
    catch_unwind(AssertUnwindSafe(work))
}

fn ended(done: Ended) -> PyResult<()> {
    match done {
        Ok(computed) => computed.map_err(raised),
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
