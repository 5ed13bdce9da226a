//! A source that goes and comes back, or changes its picture, behind players that stay.

use std::process::{Child, Command, Stdio};

use super::{PATIENCE, Service, until};
use crate::rtsp::{AS_CAMERAS, RATE};
use crate::support::counter::{counter_clip, lumas};
use crate::support::relay::{self, Harm};
use crate::support::servers::Server;
use crate::support::{Scratch, clip, probe, tool};

/// Saves what is served until the server ends it.
fn recorder(address: &str, video: &str) -> Child {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-y", "-v", "error", "-rtsp_transport", "tcp", "-i", address, "-c", "copy", video]);
    ffmpeg.stdin(Stdio::null()).spawn().expect("starts")
}

#[test]
fn the_last_frame_stays_darkened_while_the_source_is_away() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &[]);
    let (source, lever) = relay::tcp(&camera.address, Harm::None);
    let reconnect = ["--reconnect-interval", "200ms", "--reconnect-max-interval", "200ms"];
    let common = ["--source", &source, "--query", "a", "--out", "rtsp://127.0.0.1:0/x", "--out", "jsonl:-"];
    let service = Service::start(&[&common[..], &reconnect].concat());
    let address = service.address();
    service.record("frame", |line| line["seq"].is_number());
    let video = scratch.file("saved.mkv");
    let mut player = recorder(&address, &video);
    until("saved video", PATIENCE, || std::fs::metadata(&video).is_ok_and(|file| file.len() > 20_000).then_some(()));
    lever.set(Harm::Cut);
    service.record("gap", |line| line["event"] == "gap_start");
    (0..8).for_each(|_| drop(service.record("attempt", |line| line["event"] == "gap_retry")));
    lever.set(Harm::None);
    service.record("end of the gap", |line| line["event"] == "gap_end");
    for _ in 0..2 * RATE {
        service.record("frame", |line| line["seq"].is_number());
    }
    assert!(service.stop().0.success());
    assert!(player.wait().expect("ends").success(), "the player stayed until the server ended the stream");
    // The middle of the picture is grey, 128 of 255, and dark while the source was away.
    let lumas = lumas(&video, (160, 80));
    let dark = |luma: &u8| *luma < 80;
    let (first, last) = (lumas.iter().position(dark), lumas.iter().rposition(dark));
    let (first, last) = (first.expect("an old frame"), last.expect("an old frame"));
    assert!(first > 5 && last + 20 < lumas.len(), "{first}..{last} of {} are old", lumas.len());
    assert!(last - first >= 3 && lumas[first..=last].iter().all(dark), "{lumas:?}");
}

#[test]
fn a_picture_of_another_size_fits_into_the_first() {
    let scratch = Scratch::new();
    let h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25"];
    let wide = clip(&scratch, "wide.mp4", "320x180", 100, &h264);
    let tall = clip(&scratch, "tall.mp4", "240x320", 100, &h264);
    let both = scratch.file("both.ts");
    for (part, file) in [(&wide, "a.ts"), (&tall, "b.ts")] {
        tool("ffmpeg", &["-y", "-v", "error", "-i", part, "-c", "copy", "-f", "mpegts", &scratch.file(file)]);
    }
    let bytes = [std::fs::read(scratch.file("a.ts")), std::fs::read(scratch.file("b.ts"))].map(|b| b.expect("read"));
    std::fs::write(&both, bytes.concat()).expect("written");
    let service =
        Service::start(&["--source", &both, "--query", "a", "--out", "rtsp://127.0.0.1:0/x", "--out", "jsonl:-"]);
    let address = service.address();
    service.record("frame", |line| line["seq"].is_number());
    let video = scratch.file("saved.mkv");
    let mut player = recorder(&address, &video);
    service.record("change", |line| line["event"] == "resolution");
    service.record("end", |line| line["event"] == "end");
    assert!(player.wait().expect("ends").success());
    let (width, height, frames) = probe(&video);
    assert_eq!((width, height), (320, 180), "the first size, for ever");
    assert!(frames > 120, "{frames} frames");
    // Bars at both sides of the second picture: 240x320 in 320x180 is 135 wide.
    let (edge, middle) = (lumas(&video, (40, 90)), lumas(&video, (160, 90)));
    assert!(edge[edge.len() - 10..].iter().all(|luma| *luma < 30), "{edge:?}");
    assert!(edge[10] > 30 && middle[middle.len() - 10] > 30, "no bars where there is a picture");
}
