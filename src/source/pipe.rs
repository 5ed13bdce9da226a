//! Standard input and named pipes.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How standard input is called.
pub(super) const STDIN: &str = "-";
/// How often it is looked whether anybody still waits for a writer.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Opens a pipe, as soon as somebody writes into it.
///
/// # Errors
/// It cannot be opened, or nobody waits for it any more.
pub(super) fn open(path: &Path, stopped: &Receiver<()>) -> Result<OwnedFd> {
    if path.as_os_str() == STDIN {
        return std::io::stdin().as_fd().try_clone_to_owned();
    }
    // Else it could not be given up while nobody writes.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    loop {
        let mut polled = [PollFd::new(&file, PollFlags::IN)];
        poll(&mut polled, Some(&TICK))?;
        if polled[0].revents().contains(PollFlags::IN) {
            break;
        }
        if stopped.try_recv() == Err(TryRecvError::Disconnected) {
            return Err(Error::new(ErrorKind::Interrupted, "nobody wrote into it"));
        }
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file.into())
}
