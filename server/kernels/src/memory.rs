//! The allocator's manners while tensors are computed.
#![expect(unsafe_code, reason = "an option of a C allocator")]

/// mimalloc's `mi_option_purge_delay`.
const PURGE_DELAY: i32 = 15;

/// From now on hands freed memory back to the system at once: while a model is loaded, what comes next has another size. Without effect
/// where another allocator serves, like [`keep`].
pub fn hand_back() {
    set_purge_delay(0);
}

/// From now on keeps freed memory in the process: every step needs it again, and pages that come anew are cleared first, which takes a
/// tenth of a step.
pub fn keep() {
    set_purge_delay(-1);
}

/// In milliseconds; -1 = never.
fn set_purge_delay(delay: std::ffi::c_long) {
    // SAFETY: sets an integer option of an allocator that needs no initialisation. Other threads that free memory meanwhile read the old
    // number or the new one, a word that is written whole.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, delay) };
}
