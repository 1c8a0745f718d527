//! Promises made to the user, one module each, kept by the real binary on a tiny random model.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod architecture;
mod bad_input;
mod bench;
mod bfcl;
mod browser;
mod conversations;
mod disk_full;
mod journey;
mod killed;
mod openapi;
mod rewards;
mod served;
mod serving;
mod support;
mod templates;
