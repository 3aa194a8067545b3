//! What stands in the place of `store.rs` where the feature `cache` is off: nothing is kept from run to run.

use crate::plan::Walk;
use std::io;
use std::path::PathBuf;

/// Where compiled pipelines and tuned numbers are kept from run to run: nowhere, as the feature `cache` is
/// off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cache {
    /// Nowhere.
    #[default]
    Off,
}

impl Cache {
    /// The folder, which there is none of.
    pub fn folder(&self) -> Option<PathBuf> {
        None
    }
}

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Pipelines,
}

/// The files of one adapter: none.
#[derive(Clone, Debug)]
pub(super) enum Store {}

impl Store {
    pub(super) fn new(_: &Cache, _: &wgpu::AdapterInfo) -> Option<Self> {
        None
    }

    pub(super) fn read(&self, _: Content) -> Result<Option<Vec<u8>>, String> {
        match *self {}
    }

    pub(super) fn path(&self, _: Content) -> PathBuf {
        match *self {}
    }

    pub(super) fn write(&self, _: Content, _: &[u8]) -> io::Result<PathBuf> {
        match *self {}
    }
}

/// What was tuned for a device in a run before.
pub(super) fn kept(store: &Store, _: &wgpu::Device) -> Result<Option<Walk>, String> {
    match *store {}
}
