//! The real model for tests that need one.
//!
//! In: the environment. Out: SmolLM2 135M Instruct (4-bit GGUF) as a [`Base`]. Production code
//! takes its model from the configuration and never from here.

use std::path::PathBuf;

use crate::error::{ModelError, Result};
use crate::fetch;
use crate::weights::Base;

/// Path of the GGUF: `WHETSTONE_TEST_MODEL`, else fetched once into `whetstone-test-models` beside
/// the test binaries' build profile. Test processes that ask at once wait for one download.
pub fn smollm2_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WHETSTONE_TEST_MODEL").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    // TARGET/PROFILE/deps/TEST -> TARGET/PROFILE
    let binary = std::env::current_exe().map_err(ModelError::io("find", "this binary".as_ref()))?;
    let profile = binary.ancestors().nth(2).unwrap_or(&binary);
    fetch::fetch(fetch::SMOLLM2_Q4_1, &profile.join("whetstone-test-models"), &mut |_| {})
}

/// SmolLM2 135M Instruct, dequantised; see [`smollm2_path`].
pub fn smollm2() -> Result<Base> {
    Base::load(&smollm2_path()?)
}
