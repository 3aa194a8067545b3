//! What a browser has against work. It says so later, so that every submission has its verdict: whoever waits
//! for the work, or reads what it wrote, waits for that, too.

use crate::error::{Error, Result};
#[cfg(target_arch = "wasm32")]
pub(super) use browser::{Scope, Submission};
use futures_intrusive::sync::ManualResetEvent;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What the device has against a submission and what was made for it.
#[derive(Debug)]
pub(super) struct Later {
    begun: AtomicBool,
    /// Whether it is never submitted.
    dropped: AtomicBool,
    found: OnceLock<Option<Error>>,
    settled: ManualResetEvent,
}

impl Later {
    /// Of work that is not submitted yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            found: OnceLock::new(),
            settled: ManualResetEvent::new(false),
        })
    }

    /// Notes that the work is submitted.
    fn submitted(&self) {
        self.begun.store(true, Ordering::Release);
    }

    /// Notes what there is against it.
    fn settle(&self, found: Option<Error>) {
        let _ = self.found.set(found);
        self.settled.set();
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

/// The verdict of a batch that is being recorded, which ends with the batch.
#[derive(Debug)]
pub(super) struct Recorded(pub Arc<Later>);

impl Recorded {
    pub fn new() -> Self {
        Self(Later::new())
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let is_submitted = self.0.begun.load(Ordering::Acquire);
        self.0.dropped.store(!is_submitted, Ordering::Release);
    }
}

/// The batches that a tensor's values come of. A batch that replaces them makes them independent of all before,
/// once it is submitted.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Origin>);

#[derive(Debug)]
struct Origin {
    by: Arc<Later>,
    /// What the batch computed them from.
    given: Vec<Arc<Later>>,
}

impl Origins {
    /// Those of the values that `reader` finds, a batch that is being recorded, as far as there may be something
    /// against them. Another batch that replaces them may still be dropped: until it is submitted, those before
    /// count, too.
    pub fn found_by(&mut self, reader: &Arc<Later>) -> Vec<Arc<Later>> {
        self.forget();
        let is_own = |origin: &Origin| Arc::ptr_eq(&origin.by, reader);
        let first = self.0.iter().rposition(is_own).unwrap_or(0);
        self.0[first..].iter_mut().flat_map(Origin::open).collect()
    }

    /// The same of those that a read finds, before which everything is submitted.
    pub fn all(&mut self) -> Vec<Arc<Later>> {
        self.forget();
        self.0.iter_mut().flat_map(Origin::open).collect()
    }

    /// Notes that a batch replaces the values by what it computes from those of `given`.
    pub fn replaced(&mut self, by: &Arc<Later>, given: impl IntoIterator<Item = Arc<Later>>) {
        self.forget();
        self.0.retain(|origin| !Arc::ptr_eq(&origin.by, by));
        let by = Arc::clone(by);
        let mut origin = Origin {
            by,
            given: Vec::new(),
        };
        origin.add(given);
        self.0.push(origin);
    }

    /// Notes that the last values were computed from those of `given`, too.
    pub fn add(&mut self, given: impl IntoIterator<Item = Arc<Later>>) {
        if let Some(last) = self.0.last_mut() {
            last.add(given);
        }
    }

    /// Leaves out batches that were dropped, and those whose values are replaced.
    fn forget(&mut self) {
        self.0
            .retain(|origin| !origin.by.dropped.load(Ordering::Acquire));
        let is_submitted = |origin: &Origin| origin.by.begun.load(Ordering::Acquire);
        if let Some(last) = self.0.iter().rposition(is_submitted) {
            self.0.drain(..last);
        }
    }
}

impl Origin {
    /// Those that are not known to be right.
    fn open(&mut self) -> Vec<Arc<Later>> {
        self.given.retain(|later| !later.is_right());
        let by = (!self.by.is_right()).then(|| Arc::clone(&self.by));
        self.given.iter().cloned().chain(by).collect()
    }

    fn add(&mut self, given: impl IntoIterator<Item = Arc<Later>>) {
        for one in given {
            let is_known = |other: &Arc<Later>| Arc::ptr_eq(other, &one);
            if !is_known(&self.by) && !self.given.iter().any(is_known) {
                self.given.push(one);
            }
        }
    }
}

/// What only a browser has.
#[cfg(target_arch = "wasm32")]
mod browser {
    use super::super::refused;
    use super::Later;
    use std::fmt;
    use std::pin::Pin;
    use std::sync::Arc;

    /// An error scope that is closed, and the bytes that were asked for in it.
    pub(in super::super) struct Scope {
        pub bytes: u64,
        pub found: Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>,
    }

    impl fmt::Debug for Scope {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Scope({} bytes)", self.bytes)
        }
    }

    /// A submission, as something to wait for.
    #[derive(Clone, Debug)]
    #[must_use = "an error of a browser's is in it"]
    pub(in super::super) struct Submission(pub Arc<Later>);

    impl Later {
        /// Listens to the scopes of the work, whoever waits.
        pub fn begin(self: &Arc<Self>, scopes: Vec<Scope>) {
            self.submitted();
            let this = Arc::clone(self);
            wasm_bindgen_futures::spawn_local(async move {
                let mut first = None;
                for scope in scopes {
                    if let Some(error) = scope.found.await {
                        first.get_or_insert_with(|| refused(scope.bytes, &error));
                    }
                }
                this.settle(first);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> Error {
        Error::Device {
            message: "refused".to_owned(),
        }
    }

    /// What a read of the values would say.
    fn verdict(origins: &mut Origins) -> Result<()> {
        let all = origins.all();
        pollster::block_on(async {
            for later in all {
                later.verdict().await?;
            }
            Ok(())
        })
    }

    fn submitted(batch: &Recorded, found: Option<Error>) {
        batch.0.submitted();
        batch.0.settle(found);
    }

    #[test]
    fn values_stand_and_fall_with_what_made_them_last() {
        let (mut x, mut y) = (Origins::default(), Origins::default());
        let bad = Recorded::new();
        x.replaced(&bad.0, []);
        y.replaced(&bad.0, x.found_by(&bad.0));
        submitted(&bad, Some(error()));
        assert!(bad.0.is_wrong());
        assert!(verdict(&mut x).is_err() && verdict(&mut y).is_err());

        // What is computed of them is as wrong, and so is what is computed in their place.
        let good = Recorded::new();
        y.replaced(&good.0, x.found_by(&good.0));
        let before = x.found_by(&good.0);
        x.replaced(&good.0, []);
        x.add(before);
        submitted(&good, None);
        assert!(verdict(&mut x).is_err() && verdict(&mut y).is_err());

        // Not what replaces them.
        let new = Recorded::new();
        x.replaced(&new.0, []);
        y.replaced(&new.0, x.found_by(&new.0));
        submitted(&new, None);
        verdict(&mut x).unwrap();
        verdict(&mut y).unwrap();
        assert_eq!((x.0.len(), y.0.len()), (1, 1));
    }

    #[test]
    fn batches_that_are_dropped_replace_nothing() {
        let mut x = Origins::default();
        let bad = Recorded::new();
        x.replaced(&bad.0, []);
        submitted(&bad, Some(error()));
        for _ in 0..3 {
            let dropped = Recorded::new();
            x.replaced(&dropped.0, []);
            drop(dropped);
        }
        assert!(verdict(&mut x).is_err());
        assert_eq!(x.0.len(), 1);
    }
    #[test]
    fn a_batch_that_may_still_be_dropped_hides_nothing() {
        let (mut x, mut y) = (Origins::default(), Origins::default());
        let bad = Recorded::new();
        x.replaced(&bad.0, []);
        submitted(&bad, Some(error()));
        let open = Recorded::new();
        x.replaced(&open.0, []);
        let reader = Recorded::new();
        y.replaced(&reader.0, x.found_by(&reader.0));
        drop(open);
        submitted(&reader, None);
        assert!(verdict(&mut y).is_err());
    }
}
