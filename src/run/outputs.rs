//! The output pipelines of a stream, one after the other: another format of pictures begins another one.

use std::sync::PoisonError;
use std::time::Duration;

use crossbeam_channel::Sender;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::{Message, OutputStopper, post};
use crate::error::{Error, Result};
use crate::sink::{Output, OutputSettings, Target};
use crate::source::Timing;
use crate::stage::Frame;

/// How long an output pipeline may take to finish its files.
const FINISH_TIMEOUT: Duration = Duration::from_mins(1);

/// Where annotated frames of one stream go. A pipeline is started with the first frame.
pub(super) struct Outputs {
    settings: OutputSettings,
    open: Option<Output>,
    /// Pipelines so far.
    parts: usize,
    timing: Timing,
    /// Of the stream, counted from 0.
    stream: usize,
    messages: Sender<Message>,
    stopper: OutputStopper,
}

impl Outputs {
    pub(super) fn new(
        settings: OutputSettings,
        timing: Timing,
        (stream, messages): (usize, Sender<Message>),
        stopper: OutputStopper,
    ) -> Self {
        Self { settings, open: None, parts: 0, timing, stream, messages, stopper }
    }

    /// Whether nobody wants any frames.
    pub(super) fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Makes the folders of pictures.
    ///
    /// # Errors
    /// One cannot be made.
    pub(super) fn make_folders(&self) -> Result<()> {
        for target in &self.settings.targets {
            if let Target::Frames(folder) = target
                && !folder.is_dir()
            {
                std::fs::create_dir(folder).map_err(Error::io("create", folder))?;
            }
        }
        Ok(())
    }

    /// The source is another one than before, as far as its latency goes.
    pub(super) fn renew_latency(&mut self) {
        if let Some(output) = &mut self.open {
            output.renew_latency(&self.timing);
        }
    }

    /// Sends a frame, annotated in `buffer`.
    ///
    /// # Errors
    /// A pipeline cannot be started, or one could not finish its files.
    pub(super) fn push(&mut self, frame: &Frame, buffer: gst::Buffer) -> Result<()> {
        if self.open.as_ref().is_some_and(|output| !output.fits(&frame.info)) {
            self.finish()?;
        }
        if self.open.is_none() {
            self.start(&frame.info)?;
        }
        let Some(output) = &mut self.open else { return Ok(()) };
        output.push(buffer, frame.running_time, frame.arrived.elapsed())
    }

    fn start(&mut self, info: &gst_video::VideoInfo) -> Result<()> {
        self.parts += 1;
        let stream = self.stream;
        let failed = post(&self.messages, move |reason| Message::Output(stream, reason));
        let output = Output::start(&self.settings, info, self.parts, Some(&self.timing), failed)?;
        *self.stopper.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(output.stopper()));
        self.open = Some(output);
        Ok(())
    }

    /// Finishes the files of the pipeline that runs.
    ///
    /// # Errors
    /// They are not whole.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |output| output.finish(FINISH_TIMEOUT))
    }
}
