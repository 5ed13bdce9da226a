//! RTSP out: what a stream shows, encoded once for all who watch.
//!
//! A [`Mount`] is the picture behind one address. Frames are put up there as they come, whether somebody watches or not;
//! nobody waits for anybody. With the first client a media pipeline is built (`factory.rs`), in which box and caption
//! are drawn and the picture is encoded; further clients share it, and it goes with the last one. Servers run in threads
//! of their own (`server.rs`).

mod access;
mod address;
mod factory;
mod mount;
mod server;

pub use access::Access;
pub use address::RtspOut;
pub(crate) use mount::payloader;
pub use mount::{Mount, Verdict};
pub use server::{RtspServers, launch};
