//! The allocator's manners while tensors are computed.
#![expect(unsafe_code, reason = "an option of a C allocator")]

/// mimalloc's `mi_option_purge_delay`.
const PURGE_DELAY: i32 = 15;

/// Keeps freed memory in the process instead of handing it back to the system after milliseconds: every step needs it again,
/// and pages that come anew are cleared first, which takes a tenth of a step. Without effect where another allocator serves.
pub fn keep() {
    // SAFETY: sets an integer option of an allocator that needs no initialisation; it may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
