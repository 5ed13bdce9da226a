//! RTSP out: what a stream shows, encoded once for all who watch.
//!
//! A [`MountPoint`] is the picture behind one address. Frames are put up there as they come, whether somebody watches or not;
//! nobody waits for anybody. With the first client a media pipeline is built (`factory.rs`), in which box and caption
//! are drawn and the picture is encoded; further clients share it, and it goes with the last one. Servers run in threads
//! of their own (`server.rs`).

mod access;
mod address;
mod factory;
mod mount_point;
mod server;

pub use access::Access;
pub use address::RtspOut;
pub(crate) use mount_point::payloader;
pub use mount_point::{LatestResult, MountPoint};
pub use server::{RtspServers, launch};
