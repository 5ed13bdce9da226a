//! The ways out of an output pipeline: with box and caption drawn in, or as the frames are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use frames::overlay::{Parts, Shape};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::output_file::{PartialFile, numbered};
use super::{OutputSettings, png};
use crate::error::{Error, Result};
use crate::pipeline::{self, Hole, PipelineFile};

/// One place where annotated frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An MP4 file; appears when it is whole.
    Mp4(PathBuf),
    /// A Matroska file; grows while it is written.
    Mkv(PathBuf),
    /// A folder of PNG files.
    Frames(PathBuf),
    /// A window.
    Display,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mp4(path) => write!(f, "mp4:{}", path.display()),
            Self::Mkv(path) => write!(f, "mkv:{}", path.display()),
            Self::Frames(path) => write!(f, "frames:{}", path.display()),
            Self::Display => write!(f, "display:"),
        }
    }
}

impl Target {
    /// What stands before the colon of its `--out`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Mp4(_) => "mp4",
            Self::Mkv(_) => "mkv",
            Self::Frames(_) => "frames",
            Self::Display => "display",
        }
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self, Self::Mp4(_) | Self::Mkv(_))
    }
}

/// What is drawn on every frame.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    /// Which parts of it.
    pub parts: Parts,
    /// Zones and lines.
    pub shapes: Arc<[Shape]>,
}

/// Makes an element with one sink pad.
type Make = dyn Fn() -> Result<gst::Element> + Send + Sync;

/// A way out that a program brings along: frames with their metadata, nothing drawn in.
#[derive(Clone)]
pub struct Branch(Arc<Make>);

impl Branch {
    /// `make` is called for every output pipeline of a run: there is a second one where the picture changes its size.
    pub fn new(make: impl Fn() -> Result<gst::Element> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl std::fmt::Debug for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Branch")
    }
}

/// Where branches begin.
pub(super) struct BranchBuilder<'a> {
    pipeline: &'a gst::Pipeline,
    frames: &'a gst::Element,
    name: &'a str,
}

impl<'a> BranchBuilder<'a> {
    /// `frames` is in `pipeline` and not linked yet; `name` stands in errors.
    pub(super) fn new(pipeline: &'a gst::Pipeline, frames: &'a gst::Element, name: &'a str) -> Self {
        Self { pipeline, frames, name }
    }

    fn fail(&self, reason: String) -> Error {
        Error::Output { name: self.name.to_owned(), reason }
    }

    /// A new element behind `before`.
    fn append(&self, before: &gst::Element, factory: &str) -> Result<gst::Element> {
        let element = gst::ElementFactory::make(factory).build();
        let element = element.map_err(|_| self.fail(pipeline::missing(&[factory])))?;
        self.link(before, &element)?;
        Ok(element)
    }

    fn link(&self, before: &gst::Element, element: &gst::Element) -> Result<()> {
        let linked = self.pipeline.add(element).and_then(|()| before.link(element));
        linked.map_err(|e| self.fail(e.to_string()))
    }

    /// A queue for each: none waits for another.
    fn fan_out(&self, tee: &gst::Element, branches: &[gst::Element], queues: &mut Vec<gst::Element>) -> Result<()> {
        for branch in branches {
            let queue = self.append(tee, "queue")?;
            self.link(&queue, branch)?;
            queues.push(queue);
        }
        Ok(())
    }
}

/// What was built.
#[derive(Default)]
pub(super) struct Built {
    /// Files that are being written.
    pub(super) files: Vec<PartialFile>,
    /// The queue in front of every branch.
    pub(super) queues: Vec<gst::Element>,
}

/// Builds what `settings` ask for behind `builder`; `live` where it has to keep time.
///
/// # Errors
/// An element is missing, or GStreamer cannot link it.
pub(super) fn connect(
    settings: &OutputSettings,
    info: &gst_video::VideoInfo,
    part: usize,
    live: bool,
    builder: &BranchBuilder,
) -> Result<Built> {
    let (mut drawn, mut plain, mut built) = (Vec::new(), Vec::new(), Built::default());
    for target in &settings.targets {
        drawn.push(target_bin(settings, target, info, part, &mut built.files)?.upcast());
    }
    for sink in settings.sinks.iter().filter(|sink| sink.target.is_none()) {
        let bin = pipeline::build("--pipeline", &sink.launch, &pipeline::pads(info), gst::PadDirection::Sink)?;
        pipeline::ends(&bin, "--pipeline")?;
        if sink.draw { &mut drawn } else { &mut plain }.push(bin.upcast());
    }
    for branch in &settings.branches {
        plain.push((branch.0)()?);
    }
    if settings.reproducible {
        drawn.iter().chain(&plain).for_each(one_encoder_thread);
    }
    if !live {
        // A sink that waits for its first frame holds up the others, and an encoder may want more frames before it gives
        // one than can wait meanwhile.
        drawn.iter().chain(&plain).for_each(start_at_once);
    }
    let mut head = builder.frames.clone();
    if !plain.is_empty() {
        head = builder.append(&head, "tee")?;
        builder.fan_out(&head, &plain, &mut built.queues)?;
        if !drawn.is_empty() {
            head = builder.append(&head, "queue")?;
        }
    }
    if !drawn.is_empty() {
        let overlay = builder.append(&head, "overlaycomposition")?;
        draw_from_meta(&overlay, &settings.drawing);
        builder.fan_out(&builder.append(&overlay, "tee")?, &drawn, &mut built.queues)?;
    }
    Ok(built)
}

fn target_bin(
    settings: &OutputSettings,
    target: &Target,
    info: &gst_video::VideoInfo,
    part: usize,
    files: &mut Vec<PartialFile>,
) -> Result<gst::Bin> {
    let launch = |name: &'static str| {
        let own = settings.sinks.iter().find(|sink| sink.target.as_deref() == Some(name));
        own.map_or_else(|| PipelineFile::built_in(name)?.only_sink(name), |sink| Ok(sink.launch.clone()))
    };
    let mut file = |name: &'static str, path: &PathBuf| {
        let path = numbered(path, part);
        if let Some(other) = settings.in_use.iter().find(|other| part > 1 && same_file(other, &path)) {
            let reason = format!("would replace {}, which this run reads or writes", other.display());
            return Err(Error::Output { name: path.display().to_string(), reason });
        }
        let file = if name == "mkv" { PartialFile::in_place(&path) } else { PartialFile::new(&path) };
        let location = file.written.to_str().map(str::to_owned);
        let location = location.ok_or_else(|| Error::Usage(format!("--out {target}: is no UTF-8 path")))?;
        let mut holes = pipeline::pads(info);
        holes.push(Hole::new("location", location));
        let bin = pipeline::build(name, &launch(name)?, &holes, gst::PadDirection::Sink)?;
        file.watch(&bin);
        files.push(file);
        Ok(bin)
    };
    match target {
        Target::Mp4(path) => file("mp4", path),
        Target::Mkv(path) => file("mkv", path),
        Target::Frames(folder) => png::branch(folder, &launch("frames")?),
        Target::Display => pipeline::build("display", &launch("display")?, &[], gst::PadDirection::Sink),
    }
}

/// True where both paths lead to one file, also by another name.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    match (identity(a), identity(b)) {
        (Some(a), Some(b)) => a == b,
        // Not there yet: the place decides.
        _ => place(a) == place(b),
    }
}

/// Where a path leads, links and `..` resolved, also if there is nothing yet: equal places are one file.
pub(crate) fn place(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| {
        let parent = std::fs::canonicalize(blocks::files::parent(path)).unwrap_or_default();
        parent.join(path.file_name().unwrap_or_default())
    })
}

fn start_at_once(element: &gst::Element) {
    let inner = element.downcast_ref::<gst::Bin>().map(|bin| bin.iterate_recurse().into_iter().flatten().collect());
    for element in inner.unwrap_or_else(|| vec![element.clone()]) {
        if element.has_property_with_type("async", bool::static_type()) {
            element.set_property("async", false);
        }
    }
}

/// What an encoder makes of a frame may depend on how many threads share it.
fn one_encoder_thread(element: &gst::Element) {
    let Some(bin) = element.downcast_ref::<gst::Bin>() else { return };
    for element in bin.iterate_recurse().into_iter().flatten() {
        if let Some(property) = element.find_property("threads")
            && let Ok(one) = gst::glib::Value::deserialize_with_pspec("1", &property)
        {
            element.set_property_from_value("threads", &one);
        }
    }
}

/// Lets the overlay draw what stands in the metadata of the buffer at hand.
pub(super) fn draw_from_meta(overlay: &gst::Element, drawing: &Drawing) {
    let Drawing { parts, shapes } = drawing.clone();
    let size = Mutex::new((0, 0));
    // Drawn once for a size.
    let outlines = Mutex::new(((0, 0), Vec::new()));
    overlay.connect("draw", false, move |arguments| {
        let _span = tracing::trace_span!("draw").entered();
        let none = || Some(None::<gst_video::VideoOverlayComposition>.to_value());
        let Some(sample) = arguments.get(1).and_then(|value| value.get::<gst::Sample>().ok()) else { return none() };
        let mut size = size.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *size == (0, 0)
            && let Some(info) = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok())
        {
            *size = (info.width() as usize, info.height() as usize);
        }
        let Some(buffer) = sample.buffer() else { return none() };
        let mut outlines = outlines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if parts.zones && !shapes.is_empty() && outlines.0 != *size {
            let drawn = frames::shape_rectangles(&shapes, *size);
            let drawn = drawn.inspect_err(|error| tracing::warn!("zones are not drawn: {error}"));
            *outlines = (*size, drawn.unwrap_or_default());
        }
        match frames::overlay_composition(buffer, parts, *size, &outlines.1) {
            Ok(composition) => Some(composition.to_value()),
            Err(error) => {
                tracing::warn!("{}", Error::from(error));
                none()
            }
        }
    });
}
