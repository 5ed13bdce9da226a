//! Settings of the process that are made before there is a second thread: the heap of the C libraries, GStreamer's and its
//! plugins', and how many threads candle keeps for itself.
//!
//! glibc keeps a heap for every few threads, eight times as many as there are cores. Threads of cameras come and go, and each
//! of those heaps keeps what once was needed: a process that runs for weeks grows for hours. One heap does not.

#![expect(unsafe_code, reason = "settings of a process have no safe form")]

/// Lets candle's element-wise operations run on the thread that asks for them, unless `CANDLE_NUM_THREADS` says otherwise. Its own
/// threads wait for each other by spinning: where all cores are busy, the one that spins takes the core that the other
/// needs. To be called before there is a second thread.
pub fn leave_candle_one_thread() {
    const NAME: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: nobody else reads the environment meanwhile: there is no other thread yet.
        unsafe { std::env::set_var(NAME, "1") };
    }
}

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
