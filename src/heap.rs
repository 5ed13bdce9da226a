//! The memory of the process, and settings that are made before there is a second thread: the heap of the C libraries,
//! GStreamer's and its plugins', and how many threads candle keeps for itself.
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

/// Gives back to the system what loading a model took and needs no longer: half of a model's memory is its text and copies on
/// the way, of which a run of weeks needs nothing. To be called once a model is ready.
pub fn settle() {
    // SAFETY: gives back free pages of the allocator; may be called at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
    #[cfg(target_env = "gnu")]
    // SAFETY: gives back free pages of the C library's heap; may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of pages that hold constants of the program: the system has them in the program's file, and reads them from there
/// if they are wanted again.
pub(crate) fn release(constants: &'static [u8]) {
    // SAFETY: only asks for the size of a page.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let range = constants.as_ptr_range();
    let start = (range.start as usize).next_multiple_of(page);
    let end = range.end as usize / page * page;
    if start >= end {
        return;
    }
    let skipped = start - range.start as usize;
    // SAFETY: whole pages inside of one constant that lives as long as the process. The advice moves them out of memory and
    // changes no byte of them: what is not in the program's file goes where the system swaps to, or stays. A system that
    // does not know it refuses.
    unsafe { libc::madvise(constants[skipped..].as_ptr().cast_mut().cast(), end - start, libc::MADV_PAGEOUT) };
}
