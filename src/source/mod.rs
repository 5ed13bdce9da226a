//! The source pipeline: an address in, decoded frames out.
//!
//! Formats: whatever GStreamer decodes and `GstVideoConverter` reads; a format that the overlay cannot draw on is
//! converted before the stage. Frames to which their container gives no time are forwarded without one.

mod address;
mod appsink;
mod bus;
mod clock_skew;
mod connection;
mod container;
mod decoder_errors;
mod deinterlace;
mod edits;
mod extent;
mod fault;
mod heif;
mod key_frame;
mod mjpeg;
mod mp4;
mod packet_encoder;
mod packet_queue;
mod packet_tap;
mod packets;
mod pictures;
mod pipe;
mod playlist;
mod program_stream;
mod raw;
mod reconnect;
mod recovery;
mod rgb_frames;
mod rtsp;
mod seams;
mod stop;
mod test_pattern;
mod time_origin;
mod timing;
mod tracks;
mod tune;
mod web;

use std::num::NonZeroU32;
use std::sync::Arc;

use gstreamer as gst;

use crate::pipeline::PipelineFile;

pub(crate) use address::is_picture;
pub use address::{Address, Kind};
pub use bus::Report;
pub(crate) use bus::forward as forward_bus;
pub(crate) use connection::{SourceHandles, build};
pub use deinterlace::Deinterlace;
pub use fault::Fault;
pub(crate) use heif::{LOADER as HEIF_LOADER, can_read as reads_heif, open_picture};
pub(crate) use packet_encoder::KEPT_FOR_VIEWERS;
pub use packets::{Held, Medium, Next, Packet, PacketLimits, PacketReader, PacketRing};
pub(crate) use pictures::rgb_frame;
pub use reconnect::{Counters, Ended, Reconnect, SourceLoop};
pub(crate) use rgb_frames::{Films, RgbFrames};
pub(crate) use rtsp::trust;
pub use rtsp::{Credentials, KeepAlive, RtspSettings, Transport};
pub use test_pattern::TestPattern;
pub use timing::Timing;

/// How a source is played.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Whether frames of a file come at their time instead of as fast as they are taken.
    pub realtime: bool,
    /// Whether decoders use one thread, so that damaged input decodes the same way every time.
    pub reproducible: bool,
    /// Pictures a second, for pictures.
    pub picture_rate: gst::Fraction,
    /// What happens to interlaced frames.
    pub deinterlace: Deinterlace,
    /// Which of several video tracks is played, from 1.
    pub video_track: NonZeroU32,
    /// Pipeline description in place of the built-in one.
    pub pipeline: Option<PipelineFile>,
    /// For RTSP sources.
    pub rtsp: RtspSettings,
    /// For sources that come back.
    pub reconnect: Reconnect,
    /// Where its packets are kept for clips; each source has one of its own.
    pub packets: Option<Arc<PacketRing>>,
    /// Where those of whoever watches are, while somebody does.
    pub(crate) watched: Option<Arc<PacketRing>>,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            realtime: false,
            reproducible: false,
            picture_rate: gst::Fraction::new(1, 1),
            deinterlace: Deinterlace::Auto,
            video_track: NonZeroU32::MIN,
            pipeline: None,
            rtsp: RtspSettings::default(),
            reconnect: Reconnect::default(),
            packets: None,
            watched: None,
        }
    }
}

impl SourceSettings {
    /// All rings that want its packets.
    fn rings(&self) -> impl Iterator<Item = &Arc<PacketRing>> {
        self.packets.iter().chain(&self.watched)
    }

    /// Whether the source part of its pipeline is the user's own.
    fn is_own(&self) -> bool {
        self.pipeline.as_ref().is_some_and(|file| file.source.is_some())
    }
}
