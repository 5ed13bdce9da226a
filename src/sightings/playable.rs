//! Clips as any browser plays them: H.264 in MP4, encoded anew where they are something else.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::container::{aac_encoder, codec, lacking, make};
use crate::error::{Error, Result};
use crate::mp4_boxes::{TopBox, top_boxes};
use crate::pipeline::{self, Hole, PipelineFile};

/// The longest index that is read, bytes.
const LONGEST_INDEX: u64 = 64 << 20;
/// Sound may be so far ahead of pictures that are being encoded, bytes.
const SOUND_AHEAD: u32 = 64 << 20;
/// How often it is looked whether the clip is still wanted.
const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Whether a file is H.264 in MP4.
///
/// # Errors
/// It cannot be read.
pub(crate) fn plays_in_browsers(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let mut index = None;
    for found in top_boxes(&mut file) {
        let found = found?;
        if &found.kind == b"moov" && found.size <= LONGEST_INDEX {
            index = Some(found);
            break;
        }
    }
    let Some(TopBox { at, size, .. }) = index else { return Ok(false) };
    file.seek(SeekFrom::Start(at))?;
    let mut index = Vec::new();
    file.take(size).read_to_end(&mut index)?;
    Ok(holds_h264(&index))
}

/// Whether a sample description of an index is one of H.264 (ISO/IEC 14496-12, section 8.5.2).
fn holds_h264(index: &[u8]) -> bool {
    // Kind of the box, version and flags, number of entries, size of the first one, and its kind.
    let kinds = index.windows(20).filter(|window| window.starts_with(b"stsd")).map(|window| &window[16..]);
    kinds.into_iter().any(|kind| matches!(kind, b"avc1" | b"avc3"))
}

/// Writes the clip `from` as H.264 into `to`, with its sound, until `stopped`.
///
/// # Blocking
/// While it is encoded.
///
/// # Errors
/// It cannot be decoded or written, an element is missing, or it was stopped.
pub(crate) fn encode_for_browsers(from: &Path, to: &Path, stopped: &AtomicBool) -> Result<()> {
    let name = from.display().to_string();
    let fail = |reason: String| Error::Output { name: name.clone(), reason };
    pipeline::init()?;
    let pipeline = gst::Pipeline::new();
    let source = gst::ElementFactory::make("filesrc").property("location", from).build();
    let source = source.map_err(|_| lacking("filesrc"))?;
    let decoder = make("decodebin")?;
    let linked = pipeline.add_many([&source, &decoder]).and_then(|()| source.link(&decoder));
    linked.map_err(|e| fail(e.to_string()))?;
    let trouble: Arc<Mutex<Option<Error>>> = Arc::default();
    let (said, to) = (Arc::clone(&trouble), to.to_owned());
    let weak = pipeline.downgrade();
    // Sound may be told of first, and its muxer comes with the picture.
    let waiting: Mutex<(Option<gst::Element>, Vec<gst::Pad>)> = Mutex::default();
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let (muxer, sounds) = &mut *waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let outcome = if codec(&caps) == "video/x-raw" && muxer.is_none() {
            picture(&pipeline, pad, &caps, &to).map(|made| *muxer = Some(made))
        } else {
            sounds.extend((codec(&caps) == "audio/x-raw").then(|| pad.clone()));
            Ok(())
        };
        let linked = outcome.and_then(|()| match muxer {
            Some(muxer) => sounds.drain(..).try_for_each(|pad| sound(muxer, &pad)),
            None => Ok(()),
        });
        if let Err(error) = linked {
            said.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    let outcome = run(&pipeline, stopped, &trouble).map_err(fail);
    if pipeline.set_state(gst::State::Null).is_err() {
        tracing::debug!("the pipeline of a clip did not stop cleanly");
    }
    let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
    trouble.map_or(outcome, Err)
}

/// Plays until the end.
fn run(
    pipeline: &gst::Pipeline,
    stopped: &AtomicBool,
    trouble: &Mutex<Option<Error>>,
) -> std::result::Result<(), String> {
    let bus = pipeline.bus().ok_or("has no bus")?;
    // The reason of a refusal stands on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    loop {
        let told = bus.timed_pop_filtered(LOOK, &[gst::MessageType::Eos, gst::MessageType::Error]);
        match told.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => return Ok(()),
            Some(gst::MessageView::Error(error)) => return Err(error.error().to_string()),
            _ if stopped.load(Ordering::Acquire) => return Err("is not wanted any more".into()),
            _ if trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some() => return Ok(()),
            _ => {}
        }
    }
}

/// Encoder and file behind decoded pictures; the muxer.
fn picture(pipeline: &gst::Pipeline, pad: &gst::Pad, caps: &gst::Caps, to: &Path) -> Result<gst::Element> {
    let fail = |reason: String| Error::Output { name: to.display().to_string(), reason };
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|e| fail(e.to_string()))?;
    let location = to.to_str().ok_or_else(|| fail("is no UTF-8 path".into()))?;
    let mut holes = pipeline::pads(&info);
    holes.push(Hole::new("location", location));
    let launch = PipelineFile::built_in("mp4")?.only_sink("mp4")?;
    let bin = pipeline::build("mp4", &launch, &holes, gst::PadDirection::Sink)?;
    let muxer = bin.iterate_elements().into_iter().flatten();
    let mut muxer = muxer.filter(|element| element.factory().is_some_and(|factory| factory.name() == "mp4mux"));
    let muxer = muxer.next().ok_or_else(|| fail("has no mp4mux".into()))?;
    pipeline.add(&bin).map_err(|e| fail(e.to_string()))?;
    let entrance = bin.sink_pads().into_iter().next().ok_or_else(|| fail("has no way in".into()))?;
    pad.link(&entrance).map_err(|e| fail(e.to_string()))?;
    bin.sync_state_with_parent().map_err(|e| fail(e.to_string()))?;
    Ok(muxer)
}

/// Encoder behind decoded sound, in front of the muxer.
fn sound(muxer: &gst::Element, pad: &gst::Pad) -> Result<()> {
    let fail = |reason: String| Error::Pipeline { name: "clip".into(), reason };
    let bin = muxer.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
    let bin = bin.ok_or_else(|| fail("its muxer is nowhere".into()))?;
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-time", 0u64);
    queue.set_property("max-size-bytes", SOUND_AHEAD);
    let others = ["audioconvert", "audioresample", aac_encoder(), "aacparse"].into_iter().map(make);
    let chain = std::iter::once(Ok(queue)).chain(others).collect::<Result<Vec<_>>>()?;
    let linked = bin.add_many(&chain).and_then(|()| gst::Element::link_many(&chain));
    linked.map_err(|e| fail(e.to_string()))?;
    let ends = chain.first().and_then(|first| first.static_pad("sink"));
    let ends = ends.zip(chain.last().and_then(|last| last.static_pad("src")));
    let ((first, last), entrance) =
        ends.zip(muxer.request_pad_simple("audio_%u")).ok_or_else(|| fail("takes no sound".into()))?;
    last.link(&entrance).map_err(|e| fail(e.to_string()))?;
    // By its target's name it would be called as the way in of pictures is.
    let ghost = gst::GhostPad::builder_with_target(&first).map_err(|e| fail(e.to_string()))?.generated_name().build();
    ghost.set_active(true).and_then(|()| bin.add_pad(&ghost)).map_err(|e| fail(e.to_string()))?;
    for element in &chain {
        element.sync_state_with_parent().map_err(|e| fail(e.to_string()))?;
    }
    pad.link(&ghost).map_err(|e| fail(e.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], &kind, content].concat()
    }

    #[test]
    fn a_codec_is_found_in_the_index() {
        let folder = tempfile::tempdir().expect("a folder");
        let is_h264 = |bytes: &[u8]| {
            let path = folder.path().join("clip.mp4");
            std::fs::write(&path, bytes).expect("written");
            plays_in_browsers(&path).expect("read")
        };
        let of = |codec: &[u8; 4]| {
            let stsd = sized(*b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &sized(*codec, &[0; 20])].concat());
            let large = [&1u32.to_be_bytes()[..], b"mdat", &24u64.to_be_bytes(), &[7; 8]].concat();
            [sized(*b"ftyp", b"isom"), large, sized(*b"moov", &stsd)].concat()
        };
        assert!(is_h264(&of(b"avc1")) && is_h264(&of(b"avc3")));
        assert!(!is_h264(&of(b"hvc1")) && !is_h264(&of(b"mp4a")));
        assert!(!is_h264(b"") && !is_h264(b"avc1") && !is_h264(&[0; 100]), "no MP4");
    }
}
