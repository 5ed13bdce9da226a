//! The heap of the C libraries: GStreamer's and its plugins'.
//!
//! glibc keeps a heap for every few threads, eight times as many as there are cores. Threads of cameras come and go, and each
//! of those heaps keeps what once was needed: a process that runs for weeks grows for hours. One heap does not.

#![expect(unsafe_code, reason = "a setting of the C library has no safe form")]

/// Makes all threads share one heap. To be called before there is a second thread.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` only sets a limit of the allocator; it takes two numbers, and may be called at any time.
    let shared = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 1;
    #[cfg(not(target_env = "gnu"))]
    let shared = true;
    if !shared {
        tracing::debug!("the C library keeps its heaps");
    }
}
