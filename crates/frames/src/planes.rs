//! Frames whose planes can be scaled as they are.

use blocks::preprocess::{Chroma, ColourMatrix, Plane, YuvView};
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

/// What the caps say of a 4:2:0 frame.
pub(crate) struct Planes {
    format: gst_video::VideoFormat,
    cosited: bool,
    matrix: ColourMatrix,
}

impl Planes {
    /// None where the frame is not such a one, or its caps say what is not known here: `GstVideoConverter` takes those.
    pub(crate) fn of(info: &gst_video::VideoInfo) -> Option<Self> {
        use gst_video::{VideoChromaSite, VideoColorMatrix, VideoColorRange, VideoFormat};
        let format = info.format();
        let known = matches!(format, VideoFormat::I420 | VideoFormat::Yv12 | VideoFormat::Nv12);
        if !known || info.interlace_mode() != gst_video::VideoInterlaceMode::Progressive {
            return None;
        }
        let cosited = match info.chroma_site() {
            site if site == VideoChromaSite::JPEG => false,
            // Where nothing is said, what most codecs mean.
            site if site == VideoChromaSite::MPEG2 || site.is_empty() => true,
            _ => return None,
        };
        let colorimetry = info.colorimetry();
        // ITU-R BT.601-7, BT.709-6, BT.2020-2; FCC 47 CFR 73.682; SMPTE 240M.
        let (kr, kb) = match colorimetry.matrix() {
            VideoColorMatrix::Bt601 => (0.299, 0.114),
            VideoColorMatrix::Bt709 => (0.2126, 0.0722),
            VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
            VideoColorMatrix::Fcc => (0.30, 0.11),
            VideoColorMatrix::Smpte240m => (0.212, 0.087),
            _ => return None,
        };
        let full_range = match colorimetry.range() {
            VideoColorRange::Range0_255 => true,
            VideoColorRange::Range16_235 => false,
            _ => return None,
        };
        Some(Self { format, cosited, matrix: ColourMatrix { kr, kb, full_range } })
    }

    /// The planes of such a frame.
    pub(crate) fn view<'a>(&self, frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>) -> blocks::Result<YuvView<'a>> {
        let plane = |index: u32| Plane {
            stride: usize::try_from(frame.plane_stride()[index as usize]).unwrap_or(0),
            data: frame.plane_data(index).unwrap_or_default(),
        };
        let chroma = match self.format {
            gst_video::VideoFormat::Nv12 => Chroma::Interleaved(plane(1)),
            gst_video::VideoFormat::Yv12 => Chroma::Planar(plane(2), plane(1)),
            _ => Chroma::Planar(plane(1), plane(2)),
        };
        let size = (frame.width() as usize, frame.height() as usize);
        YuvView::new(size, plane(0), chroma, self.cosited, self.matrix)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use blocks::Canvas;
    use blocks::preprocess::{Letterboxed, Letterboxer, RgbView, STD};

    use super::*;

    const CANVAS: Canvas = Canvas { width: 128, height: 128 };

    /// One frame of a launch line, with its format.
    fn frame(launch: &str) -> (gst_video::VideoInfo, gst::Buffer) {
        let pipeline = gst::parse::launch(launch).expect("parses").downcast::<gst::Pipeline>().expect("a pipeline");
        pipeline.set_state(gst::State::Playing).expect("plays");
        let sink = pipeline.by_name("frames").expect("there");
        let sample = sink.emit_by_name::<Option<gst::Sample>>("pull-sample", &[]).expect("a frame");
        pipeline.set_state(gst::State::Null).expect("stops");
        let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
        (info, sample.buffer_owned().expect("a buffer"))
    }

    /// The frame as RGB by ffmpeg at its most exact, then scaled.
    fn by_way_of_rgb(info: &gst_video::VideoInfo, buffer: &gst::Buffer, matrix: &str, centred: bool) -> Letterboxed {
        let (width, height) = (info.width() as usize, info.height() as usize);
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).expect("mapped");
        let mut planes = Vec::new();
        for (plane, width, height) in [(0, width, height), (1, width / 2, height / 2), (2, width / 2, height / 2)] {
            let stride = frame.plane_stride()[plane as usize] as usize;
            let rows = frame.plane_data(plane).expect("a plane").chunks(stride).take(height);
            rows.for_each(|row| planes.extend_from_slice(&row[..width]));
        }
        let range =
            if info.colorimetry().range() == gst_video::VideoColorRange::Range0_255 { "full" } else { "limited" };
        let scale = format!(
            "scale=in_color_matrix={matrix}:in_range={range}:in_h_chr_pos={}:in_v_chr_pos=128\
             :sws_flags=accurate_rnd+full_chroma_int+full_chroma_inp+bilinear,format=rgb24",
            if centred { 128 } else { 0 }
        );
        let size = format!("{width}x{height}");
        let mut ffmpeg = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size, "-i", "-", "-vf", &scale])
            .args(["-f", "rawvideo", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ffmpeg is needed for this test (scripts/setup.sh installs it)");
        let mut pipe = ffmpeg.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || pipe.write_all(&planes).expect("taken"));
        let rgb = ffmpeg.wait_with_output().expect("ends").stdout;
        writer.join().expect("written");
        let view = RgbView::new(width, height, 3 * width, &rgb).expect("a picture");
        Letterboxer::default().letterbox(&view, CANVAS).expect("fits")
    }

    #[test]
    fn planes_and_rgb_make_the_same_picture() {
        gst::init().expect("GStreamer starts");
        let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../media/bikes.mp4");
        assert!(clip.exists(), "{} is missing: run scripts/fetch-media.sh (make test does)", clip.display());
        let clip = format!("filesrc location={} ! decodebin", clip.display());
        let ball = "videotestsrc num-buffers=1 pattern=smpte ! video/x-raw,width=640,height=480";
        for (source, colour, matrix, centred) in [
            (clip.as_str(), "", "bt601", false),
            (ball, ",colorimetry=bt709,chroma-site=mpeg2", "bt709", false),
            (ball, ",colorimetry=bt601,chroma-site=jpeg", "bt601", true),
            (ball, ",colorimetry=(string)1:4:0:0,chroma-site=jpeg", "bt601", true),
        ] {
            let launch = |format: &str| {
                format!("{source} ! videoconvert ! video/x-raw,format={format}{colour} ! appsink name=frames")
            };
            let (info, buffer) = frame(&launch("I420"));
            let rgb = by_way_of_rgb(&info, &buffer, matrix, centred);
            for format in ["I420", "YV12", "NV12"] {
                let (info, buffer) = frame(&launch(format));
                let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &info).expect("mapped");
                let planes = Planes::of(&info).unwrap_or_else(|| panic!("{info:?}"));
                let view = planes.view(&frame).expect("a picture");
                let ours = Letterboxer::default().letterbox_yuv(&view, CANVAS, Vec::new()).expect("fits").pixels;
                let count = ours.len();
                let apart = ours.iter().zip(&rgb.pixels).enumerate();
                let apart: Vec<f32> = apart.map(|(i, (a, b))| (a - b).abs() * STD[3 * i / count] * 255.0).collect();
                let worst = apart.iter().copied().fold(0.0, f32::max);
                let mean = apart.iter().sum::<f32>() / count as f32;
                let beyond = apart.iter().filter(|v| **v > 2.0).count() as f32 / count as f32;
                // Where strong colours meet, RGB is clipped before it is averaged, and planes after: every column of the
                // test picture has such an edge.
                let few = if colour.is_empty() { 0.003 } else { 0.05 };
                assert!(
                    mean < 0.5 && beyond < few,
                    "{format} {colour}: {mean} of 255 in the mean, {beyond} beyond 2, {worst} at worst"
                );
            }
        }
    }
}
