//! What the `whetstone` binary does first when tools start programs through it, for tests that have no such binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    whetstone_tools::limited().unwrap_or(ExitCode::FAILURE)
}
