//! The command line from outside: arguments, files, streams, signals. Everything runs on the
//! CPU backend, so no adapter is needed.

mod catalogue;
mod compute;
mod files;
mod npy;
mod streams;
mod support;
mod usage;
