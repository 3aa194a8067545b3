//! The command line from outside: arguments, files, streams, signals. Nothing here needs an
//! adapter; `backend` and `golden` take one where it is there.

mod backend;
mod batch;
mod catalogue;
mod chain;
mod compute;
mod dtypes;
mod exhaustive;
mod files;
mod golden;
mod large;
mod npy;
mod streams;
mod support;
#[cfg(unix)]
mod threads;
#[cfg(unix)]
mod torture;
mod usage;
