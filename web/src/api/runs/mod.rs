//! Runs: list, launch, show, label, stop, resume, delete.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod view;
