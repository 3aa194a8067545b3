//! What a browser has against work. It says so later, so that every submission has its verdict: whoever waits
//! for the work, or reads what it wrote, waits for that, too.

use super::refused;
use crate::error::{Error, Result};
use futures_intrusive::sync::ManualResetEvent;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// An error scope that is closed, and the bytes that were asked for in it.
pub(super) struct Scope {
    pub bytes: u64,
    pub found: Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({} bytes)", self.bytes)
    }
}

/// What the device has against a submission and what was made for it.
#[derive(Debug)]
pub(super) struct Later {
    begun: AtomicBool,
    found: OnceLock<Option<Error>>,
    settled: ManualResetEvent,
}

impl Later {
    /// Of work that is not submitted yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: AtomicBool::new(false),
            found: OnceLock::new(),
            settled: ManualResetEvent::new(false),
        })
    }

    /// Listens to the scopes of the work, whoever waits.
    pub fn begin(self: &Arc<Self>, scopes: Vec<Scope>) {
        self.begun.store(true, Ordering::Release);
        let this = Arc::clone(self);
        wasm_bindgen_futures::spawn_local(async move {
            let mut first = None;
            for scope in scopes {
                if let Some(error) = scope.found.await {
                    first.get_or_insert_with(|| refused(scope.bytes, &error));
                }
            }
            let _ = this.found.set(first);
            this.settled.set();
        });
    }

    /// Waits for the verdict. Work that is never submitted has none.
    pub async fn verdict(&self) -> Result<()> {
        if !self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        self.settled.wait().await;
        match self.found.get() {
            Some(Some(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Whether there was something against it.
    pub fn is_wrong(&self) -> bool {
        matches!(self.found.get(), Some(Some(_)))
    }

    /// Whether there was nothing against it.
    pub fn is_right(&self) -> bool {
        matches!(self.found.get(), Some(None))
    }
}

/// A submission, as something to wait for.
#[derive(Clone, Debug)]
#[must_use = "an error of a browser's is in it"]
pub(super) struct Submission(pub Arc<Later>);
