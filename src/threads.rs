//! How many threads compute.

use crate::error::{Error, Result};

/// Limits the threads that compute on the CPU.
///
/// # Errors
/// The pool is there already.
pub(crate) fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    // Threads beyond the cores wait for each other; hundreds of them do little else.
    let most = 4 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(16);
    if !(1..=most).contains(&threads) {
        return Err(Error::Usage(format!("--threads {threads}: expected a number from 1 to {most}")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| Error::Usage(format!("--threads {threads}: {e}")))
}
