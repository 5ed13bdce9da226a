//! Frames as JPEG, encoded once for all who watch, on a thread that is there while somebody does. The newest frame takes the place
//! of one that waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use frames::overlay::{Parts, blend_rgb, tiles};
use frames::{Portraits, Rescaler, meta};
use gstreamer as gst;
use gstreamer_video as gst_video;
use hyper::body::Bytes;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use tokio::sync::watch;

use super::live::{Drawn, NewestPicture, Picture};
use crate::error::Result;

/// Wider frames are made so wide: JPEG of a larger one takes longer than a frame lasts.
const WIDEST: u32 = 1280;
/// Of the JPEG, 1..=100.
const QUALITY: u8 = 80;
/// How often is looked whether anybody watches still.
const LOOK: Duration = Duration::from_secs(1);

/// A frame as it left the stage, with what is claimed of it as its metadata.
pub(super) struct RawPicture {
    pub(super) seq: u64,
    pub(super) buffer: gst::Buffer,
    pub(super) info: Arc<gst_video::VideoInfo>,
}

/// Makes pictures of a stream for whoever watches.
pub(super) struct Encoder {
    plain: watch::Sender<NewestPicture>,
    drawn: watch::Sender<NewestPicture>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: Option<RawPicture>,
    thread: Option<JoinHandle<()>>,
    runs: bool,
    ended: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        let [plain, drawn] = [(), ()].map(|()| watch::Sender::new(None));
        Self { plain, drawn, state: Mutex::default(), changed: Condvar::new() }
    }
}

impl Encoder {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self, drawn: Drawn) -> &watch::Sender<NewestPicture> {
        match drawn {
            Drawn::Plain => &self.plain,
            Drawn::Boxes => &self.drawn,
        }
    }

    /// Whether anybody watches.
    pub(super) fn is_wanted(&self) -> bool {
        self.plain.receiver_count() + self.drawn.receiver_count() > 0
    }

    /// Pictures from now on, and the thread that makes them.
    pub(super) fn watch(self: &Arc<Self>, drawn: Drawn) -> std::io::Result<watch::Receiver<NewestPicture>> {
        let state = &mut *self.state();
        // While the thread cannot be about to end: what it says then is for nobody.
        let receiver = self.sender(drawn).subscribe();
        if !state.runs && !state.ended {
            let encoder = Arc::clone(self);
            let thread = std::thread::Builder::new().name("pictures".into()).spawn(move || encoder.run())?;
            // The one before has ended, or is about to without looking back.
            (state.runs, state.thread) = (true, Some(thread));
        }
        Ok(receiver)
    }

    /// Takes the next frame.
    pub(super) fn put(&self, picture: RawPicture) {
        let mut state = self.state();
        // Whoever wanted it may have left: the frame is not to be kept for the next one.
        if state.runs {
            state.next = Some(picture);
            self.changed.notify_one();
        }
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        let thread = {
            let state = &mut *self.state();
            (state.ended, state.next) = (true, None);
            state.thread.take()
        };
        self.changed.notify_one();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }

    /// The next frame; none where nobody watches any more, or nothing comes.
    fn next(&self) -> Option<RawPicture> {
        let mut state = self.state();
        loop {
            if state.ended || !self.is_wanted() {
                (state.runs, state.next) = (false, None);
                // What was seen last is no picture for who comes later.
                self.plain.send_replace(None);
                self.drawn.send_replace(None);
                return None;
            }
            if let Some(picture) = state.next.take() {
                return Some(picture);
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(&self) {
        let mut studio = Studio::default();
        let mut said = false;
        while let Some(picture) = self.next() {
            let made = self.make(&mut studio, &picture);
            if let Err(error) = made
                && !std::mem::replace(&mut said, true)
            {
                tracing::warn!("page: frame {} is no picture: {error}", picture.seq);
            }
        }
    }

    fn make(&self, studio: &mut Studio, picture: &RawPicture) -> Result<()> {
        let canvas = studio.canvas(picture)?;
        for (sender, drawn) in [(&self.plain, false), (&self.drawn, true)] {
            if sender.receiver_count() > 0 {
                let jpeg = canvas.jpeg(drawn)?;
                sender.send_replace(Some(Arc::new(Picture { seq: picture.seq, jpeg })));
            }
        }
        Ok(())
    }
}

/// Frames that are alike are converted alike.
#[derive(Default)]
struct Studio {
    portraits: Portraits,
    smaller: Option<(Rescaler, gst_video::VideoInfo)>,
}

/// A frame as packed RGB, with what is claimed of it.
struct Canvas {
    rgb: Vec<u8>,
    buffer: gst::Buffer,
    width: usize,
    height: usize,
}

impl Studio {
    fn canvas(&mut self, RawPicture { buffer, info, .. }: &RawPicture) -> Result<Canvas> {
        if info.width() <= WIDEST {
            let rgb = self.portraits.rgb(buffer, info)?;
            let (width, height) = (info.width() as usize, info.height() as usize);
            return Ok(Canvas { rgb, buffer: buffer.clone(), width, height });
        }
        let (rescaler, small) = match self.smaller.take().filter(|(rescaler, _)| rescaler.is_for(info)) {
            Some(known) => known,
            None => smaller(info)?,
        };
        let buffer = rescaler.rescale(buffer)?;
        let rgb = self.portraits.rgb(&buffer, &small)?;
        let (width, height) = (small.width() as usize, small.height() as usize);
        self.smaller = Some((rescaler, small));
        Ok(Canvas { rgb, buffer, width, height })
    }
}

/// What makes frames like these smaller, and what they are then.
fn smaller(info: &gst_video::VideoInfo) -> frames::Result<(Rescaler, gst_video::VideoInfo)> {
    let height = (u64::from(info.height()) * u64::from(WIDEST) / u64::from(info.width())).max(2);
    let height = u32::try_from(height / 2 * 2).unwrap_or(u32::MAX);
    let small = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, WIDEST, height).par(info.par());
    let small = small.build()?;
    Ok((Rescaler::new(info, &small)?, small))
}

impl Canvas {
    fn jpeg(&self, drawn: bool) -> Result<Bytes> {
        let (width, height) = (self.width, self.height);
        let with_boxes = if drawn {
            let mut rgb = self.rgb.clone();
            blend_rgb(&mut rgb, width, &tiles(&meta::annotations(&self.buffer), Parts::default(), width, height)?);
            Some(rgb)
        } else {
            None
        };
        let mut jpeg = Vec::new();
        let encoded = JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode(
            with_boxes.as_ref().unwrap_or(&self.rgb),
            width as u32,
            height as u32,
            ExtendedColorType::Rgb8,
        );
        encoded.map_err(|error| crate::Error::Output { name: "page".into(), reason: error.to_string() })?;
        Ok(jpeg.into())
    }
}
