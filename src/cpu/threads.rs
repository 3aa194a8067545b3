//! The threads of the CPU's loops, and work that an executor's thread is spared.
//!
//! Loops take their parallel iterators and the number of threads from here and not from rayon, so
//! that there is a pool whatever the system grants: the one that the calling thread belongs to, or
//! rayon's global one, made of as many threads as are to be had, or the calling thread alone.

use rayon::{ThreadBuilder, ThreadPoolBuilder};
use std::future::poll_fn;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
#[cfg(not(target_arch = "wasm32"))]
use std::thread::Scope;
use std::thread::{self, available_parallelism};

/// Rayon's traits, with a pool for those who call them.
pub(crate) mod prelude {
    use super::ready;
    pub(crate) use rayon::iter::{IndexedParallelIterator, ParallelIterator};
    use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator};
    use rayon::slice::{self, ParallelSlice, ParallelSliceMut};

    pub(crate) trait Chunks<T: Sync> {
        fn par_chunks(&self, len: usize) -> slice::Chunks<'_, T>;
    }

    impl<T: Sync> Chunks<T> for [T] {
        fn par_chunks(&self, len: usize) -> slice::Chunks<'_, T> {
            ready();
            ParallelSlice::par_chunks(self, len)
        }
    }

    pub(crate) trait ChunksMut<T: Send> {
        fn par_chunks_mut(&mut self, len: usize) -> slice::ChunksMut<'_, T>;
    }

    impl<T: Send> ChunksMut<T> for [T] {
        fn par_chunks_mut(&mut self, len: usize) -> slice::ChunksMut<'_, T> {
            ready();
            ParallelSliceMut::par_chunks_mut(self, len)
        }
    }

    pub(crate) trait Iter<T: Sync> {
        fn par_iter(&self) -> slice::Iter<'_, T>;
    }

    impl<T: Sync> Iter<T> for [T] {
        fn par_iter(&self) -> slice::Iter<'_, T> {
            ready();
            IntoParallelRefIterator::par_iter(self)
        }
    }

    pub(crate) trait IterMut<T: Send> {
        fn par_iter_mut(&mut self) -> slice::IterMut<'_, T>;
    }

    impl<T: Send> IterMut<T> for [T] {
        fn par_iter_mut(&mut self) -> slice::IterMut<'_, T> {
            ready();
            IntoParallelRefMutIterator::par_iter_mut(self)
        }
    }

    pub(crate) trait IntoIter: IntoParallelIterator + Sized {
        fn into_par_iter(self) -> <Self as IntoParallelIterator>::Iter {
            ready();
            IntoParallelIterator::into_par_iter(self)
        }
    }

    impl<I: IntoParallelIterator> IntoIter for I {}
}

/// Whether a test has the system refuse the calling thread any other.
fn refused() -> bool {
    #[cfg(test)]
    return REFUSED.get();
    #[cfg(not(test))]
    false
}

#[cfg(test)]
thread_local! {
    pub(crate) static REFUSED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// How many threads the loops of the calling thread are spread over.
pub(crate) fn count() -> usize {
    ready();
    rayon::current_num_threads()
}

/// Sees to it that the calling thread has a pool.
fn ready() {
    if rayon::current_thread_index().is_none() && !has_global() {
        alone();
    }
}

/// Whether there is a global pool.
fn has_global() -> bool {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    !refused()
        && *GLOBAL.get_or_init(|| {
            let workers = hired(wanted());
            let some = !workers.is_empty();
            if some {
                global(workers);
            }
            some
        })
}

/// What rayon would take.
fn wanted() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok();
    let asked = asked.and_then(|n| n.parse().ok()).filter(|&n| n > 0);
    asked.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get))
}

/// As many waiting threads as are to be had, up to `wanted`. Rayon makes its global pool once and of
/// all its threads or not at all, and panics from then on; so they are there before it is made.
fn hired(wanted: usize) -> Vec<Sender<ThreadBuilder>> {
    let hire = |i| {
        let (give, take) = channel::<ThreadBuilder>();
        let spawned = spawn(&format!("activations cpu {i}"), move || {
            if let Ok(worker) = take.recv() {
                worker.run();
            }
        });
        spawned.then_some(give)
    };
    (0..wanted).map_while(hire).collect()
}

fn global(mut workers: Vec<Sender<ThreadBuilder>>) {
    let pool = ThreadPoolBuilder::new().num_threads(workers.len());
    let pool = pool.spawn_handler(move |worker| {
        // Invariant: rayon asks for as many as `num_threads` says, and each of them waits.
        if let Some(free) = workers.pop() {
            let _ = free.send(worker);
        }
        Ok(())
    });
    // An error where the program made the pool before: that one serves as well.
    let _ = pool.build_global();
}

/// Makes the calling thread a pool of its own, for the rest of its life.
fn alone() {
    let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    // Nothing is spawned, and the thread belongs to no pool: there is no error.
    std::mem::forget(pool.build());
}

/// Runs work in a thread of its own; whether there is one to be had.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    let named = thread::Builder::new().name(name.to_owned());
    !refused() && named.spawn(work).is_ok()
}

/// Runs work in a thread of the scope; whether there is one to be had.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn scoped<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> bool {
    let named = thread::Builder::new().name(name.to_owned());
    !refused() && named.spawn_scoped(scope, work).is_ok()
}

/// The thread that work of an async call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One of the pool, for what computes.
    Pool,
    /// One of its own, for what waits for a device: the pool's are to compute meanwhile.
    Own,
}

/// In a browser there are no threads, and the event loop polls.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn elsewhere<T>(_: Place, work: impl AsyncFnOnce() -> T) -> T {
    work().await
}

/// The result of work that runs on another thread, where it may block, while the caller's executor
/// runs on; on the calling thread where no other is to be had.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn elsewhere<T: Send + 'static>(
    place: Place,
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> T {
    use futures_intrusive::channel::shared::oneshot_channel;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    let (sender, receiver) = oneshot_channel();
    // Both ways out have the work, and one takes it.
    let work = std::sync::Arc::new(std::sync::Mutex::new(Some(work)));
    let theirs = std::sync::Arc::clone(&work);
    let job = move || {
        let work = crate::kernels::lock(&theirs).take();
        let done = work.map(|work| catch_unwind(AssertUnwindSafe(|| pollster::block_on(work()))));
        // The receiver may be gone: its future was dropped.
        let _ = sender.send(done);
    };
    let in_pool = rayon::current_thread_index().is_some();
    if place == Place::Pool && !in_pool && has_global() {
        rayon::spawn(job);
    } else {
        let spawned = spawn("activations", move || {
            // A pool's thread that waits for its own pool may wait for itself.
            if in_pool {
                alone();
            }
            job();
        });
        if !spawned && let Some(work) = crate::kernels::lock(&work).take() {
            return pollster::block_on(work());
        }
    }
    match receiver.receive().await.flatten() {
        Some(Ok(done)) => done,
        Some(Err(panic)) => resume_unwind(panic),
        // Invariant: the job sends what the work made, which it alone takes.
        None => unreachable!("work ends with a result or a panic"),
    }
}

/// Elements that an executor's thread copies between two pauses: some hundred microseconds.
pub(crate) const PIECE: usize = 128 * 1024;

/// Lets the executor run something else in between.
pub(crate) async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, AxisFunction, Backend, OfShape, Stream};
    use std::panic::catch_unwind;

    /// What `work` makes on a thread that gets no other.
    fn refused<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let alone = scope.spawn(|| {
                REFUSED.set(true);
                work()
            });
            alone.join().unwrap()
        })
    }

    #[test]
    fn the_calling_thread_does_without_others() {
        let (rows, len) = (300, 1000);
        let x: Vec<f32> = (0..rows * len).map(|i| (i % 977) as f32 * 0.01).collect();
        let cpu = Backend::cpu();
        let all = |alone: bool| {
            assert_eq!(count() == 1, alone || wanted() == 1);
            let softmax = cpu.apply(AxisFunction::Softmax.along(-1), x.of_shape(&[rows, len]));
            let gelu = pollster::block_on(cpu.apply_async(Activation::Gelu, &x));
            let mut streamed = vec![0.0; x.len()];
            let stream = Stream::new(&cpu);
            stream
                .apply(Activation::Gelu, &mut &x[..], &mut &mut streamed[..])
                .unwrap();
            (softmax.unwrap(), gelu.unwrap(), streamed)
        };
        let (softmax, gelu, streamed) = refused(|| all(true));
        let (want, by_all, _) = all(false);
        assert_eq!((softmax, &gelu, &streamed), (want, &by_all, &by_all));
    }

    #[test]
    fn work_elsewhere_is_done_and_its_panics_arrive() {
        let here = thread::current().id();
        for place in [Place::Pool, Place::Own] {
            let there = || pollster::block_on(elsewhere(place, async || thread::current().id()));
            assert_ne!(there(), here);
            let (inside, alone) = refused(|| (thread::current().id(), there()));
            assert_eq!(inside, alone);
            // A pool whose only thread waits gets its result from another.
            let pool = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let waiting = || pollster::block_on(elsewhere(place, async || count()));
            assert_eq!(pool.install(waiting), 1);
            let work = async || panic!("on purpose");
            let panic = catch_unwind(|| pollster::block_on(elsewhere(place, work)));
            assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
        }
        // Who waits for a device holds no thread of the pool, and has its loops there.
        let of_pool = || rayon::current_thread_index().is_some();
        let own = pollster::block_on(elsewhere(Place::Own, async move || (of_pool(), count())));
        assert_eq!(own, (false, count()));
    }
}
