//! Sources from the edges of what there is: open groups of pictures, small pictures behind their sound, writers that pause, cameras
//! that come late, playlists that claim too little.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};

use crate::sources::{FILM, FRAME, assert_equal, piped, probed, run, times};
use crate::support::servers::{free_port, web_server};
use crate::support::{Ran, Scratch, clip, command, model, of_schema, tool};

/// How many pictures a run says that it left out.
fn left_out(ran: &Ran) -> Option<usize> {
    let line = ran.stderr.lines().find(|line| line.contains("were not whole and are left out"))?;
    line.split(' ').rev().find_map(|word| word.parse().ok())
}

/// Seconds from the first frame on.
fn since_first(times: &[f64]) -> Vec<f64> {
    times.iter().map(|time| time - times[0]).collect()
}

/// Of open groups: pictures are shown before the key frame behind which they stand. They are whole, but behind the first one.
#[test]
fn pictures_before_a_key_frame_are_left_out_where_they_cannot_be_whole_alone() {
    let scratch = Scratch::new();
    let open = "libx265 -preset ultrafast -x265-params \
                log-level=error:keyint=10:min-keyint=10:bframes=3:b-adapt=0:open-gop=1:scenecut=0";
    let codec: Vec<&str> = ["-pix_fmt", "yuv420p", "-c:v"].into_iter().chain(open.split_whitespace()).collect();
    let whole = clip(&scratch, "whole.ts", "160x120", 50, &codec);
    let packets = |file: &str| {
        let entries = ["-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", file];
        let text = tool("ffprobe", &[&["-v", "error", "-select_streams", "v:0"], &entries[..]].concat());
        text.lines().find_map(|line| line.trim_end_matches(',').parse::<usize>().ok()).expect("a number")
    };
    let ran = run(&whole, &[]).expect_success();
    assert_eq!((times(&ran.lines()).len(), left_out(&ran)), (50, None), "{}", ran.stderr);
    for ending in ["ts", "mkv"] {
        let cut = scratch.file(&format!("cut.{ending}"));
        tool("ffmpeg", &["-v", "error", "-ss", "0.5", "-i", &whole, "-c", "copy", &cut]);
        let expected = probed(&cut);
        let ran = run(&cut, &[]).expect_success();
        assert_equal(&since_first(&times(&ran.lines())), &since_first(&expected), &cut);
        let missing = packets(&cut) - expected.len();
        assert!(missing > 0, "{cut} begins with a key frame that others are shown before");
        assert_eq!(left_out(&ran), Some(missing), "{cut}: {}", ran.stderr);
    }
}

/// As cameras make them that see nothing move: the sound is far ahead of its pictures.
#[test]
fn small_pictures_of_a_program_stream_are_all_there() {
    let scratch = Scratch::new();
    let film = scratch.file("still.vob");
    let inputs = ["-v", "error", "-f", "lavfi", "-i", "color=gray:size=64x48:rate=25", "-f", "lavfi", "-i", "sine"];
    let coded = ["-map", "0", "-map", "1", "-map", "1", "-t", "12", "-c:v", "mpeg2video", "-bf", "2", "-g", "50"];
    tool("ffmpeg", &[&inputs[..], &coded, &["-c:a", "mp2", &film]].concat());
    let ran = run(&film, &[]).expect_success();
    assert_eq!(times(&ran.lines()).len(), 300);
    assert!(!ran.stdout.contains("decode_error"), "nothing is damaged: {}", ran.stdout);
}

/// ffmpeg writes no map of what a program stream holds, so it is taken for MPEG-2, in which there is no picture.
#[test]
fn a_program_stream_that_hides_its_codec_is_refused_in_words() {
    let scratch = Scratch::new();
    let sound = ["-f", "lavfi", "-i", "sine=duration=4"];
    for (codec, name, ending, sound) in
        [("libx264", "H.264", "vob", &sound[..]), ("libx264", "H.264", "mpg", &[]), ("libx265", "H.265", "vob", &[])]
    {
        let film = scratch.file(&format!("{codec}.{ending}"));
        let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=4"];
        let coded = ["-c:v", codec, "-pix_fmt", "yuv420p", "-preset", "ultrafast", &film];
        tool("ffmpeg", &[&picture, sound, &coded[..]].concat());
        let bytes = std::fs::read(&film).expect("read");
        assert!(!bytes.windows(4).any(|window| window == [0, 0, 1, 0xbc]), "{film} has no map");
        for ran in [run(&film, &[]), piped(&bytes, "-")] {
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{film}: {}", ran.stderr);
            let reason = format!("is an MPEG program stream of {name} without a map that says so");
            assert!(ran.stderr.contains("SOURCE_FAILED") && ran.stderr.contains(&reason), "{film}: {}", ran.stderr);
        }
        // As it is told to.
        let mended = scratch.file("mended.ts");
        tool("ffmpeg", &["-v", "error", "-y", "-i", &film, "-map", "0:v", "-c", "copy", &mended]);
        let lines = run(&mended, &[]).expect_success().lines();
        assert_eq!(of_schema(&lines, FRAME).len(), 100, "{film}");
    }
}

/// Every part claims to last a second, and lasts longer.
#[test]
fn times_of_a_playlist_rise_where_its_parts_overlap() {
    let scratch = Scratch::new();
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-PLAYLIST-TYPE:VOD\n".to_owned();
    for part in ["a.ts", "b.ts", "c.ts"] {
        clip(&scratch, part, "160x120", 35, &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2"]);
        playlist.extend(["#EXT-X-DISCONTINUITY\n#EXTINF:1.0,\n", part, "\n"]);
    }
    scratch.write("all.m3u8", format!("{playlist}#EXT-X-ENDLIST\n").as_bytes());
    let (_server, address) = web_server(&scratch.file(""));
    let ran = run(&format!("{address}/all.m3u8"), &[]).expect_success();
    let times = times(&ran.lines());
    assert_eq!(times.len(), 105);
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

/// What a run says, line by line.
type Said = Lines<BufReader<ChildStdout>>;

fn said(child: &mut Child) -> Said {
    BufReader::new(child.stdout.take().expect("piped")).lines()
}

/// Reads on to the first line that holds `what`.
fn wait_for(lines: &mut Said, what: &str) -> String {
    lines.map_while(Result::ok).find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}"))
}

/// Reads on to the end; how many lines hold `what`.
fn count(lines: &mut Said, what: &str) -> usize {
    lines.map_while(Result::ok).filter(|line| line.contains(what)).count()
}

/// It may take longer than a camera may: another run gives one up while this one waits.
#[test]
fn whoever_writes_into_a_pipe_may_pause() {
    const STALL: [&str; 2] = ["--stall-timeout", "500ms"];
    let scratch = Scratch::new();
    let film = std::fs::read(clip(&scratch, "film.ts", "160x120", 200, &FILM)).expect("read");
    let model = model();
    let fixed = ["run", "--source", "-", "--query", "a", "--model", &model, "--stride", "25", "--out", "jsonl:-"];
    let mut program = command(&[&fixed[..], &STALL].concat());
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = program.spawn().expect("starts");
    let (mut stdin, mut lines) = (child.stdin.take().expect("piped"), said(&mut child));
    let (first, rest) = film.split_at(film.len() / 2);
    stdin.write_all(first).expect("taken");
    wait_for(&mut lines, FRAME);
    let silent = format!("udp://127.0.0.1:{}", free_port());
    let given_up = run(&silent, &[&STALL[..], &["--reconnect-attempts", "0"]].concat());
    assert!(given_up.code == Some(1) && given_up.stderr.contains("STREAM_TIMEOUT"), "{}", given_up.stderr);
    stdin.write_all(rest).expect("taken");
    drop(stdin);
    assert_eq!(1 + count(&mut lines, FRAME), 200);
    assert!(child.wait().expect("ends").success());
}

/// Answers every client with the same pictures.
fn be_a_camera(listener: &TcpListener, pictures: &[Vec<u8>]) {
    let answer = |mut client: TcpStream| -> std::io::Result<()> {
        if client.read(&mut [0; 4096])? == 0 {
            return Ok(());
        }
        write!(client, "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n")?;
        for picture in pictures {
            write!(client, "--x\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.len())?;
            client.write_all(picture)?;
            client.write_all(b"\r\n")?;
        }
        Ok(())
    };
    // A client may go when it likes.
    listener.incoming().flatten().for_each(|client| drop(answer(client)));
}

/// It is called as cameras are, so it is waited for.
#[test]
fn a_camera_over_http_may_come_later() {
    let scratch = Scratch::new();
    let names = scratch.file("%03d.jpg");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120", "-frames:v", "5", &names]);
    let pictures = (1..=5).map(|number| std::fs::read(scratch.file(&format!("{number:03}.jpg"))).expect("read"));
    let pictures: Vec<Vec<u8>> = pictures.collect();
    let port = free_port();
    let address = format!("http://127.0.0.1:{port}/video.mjpg");
    let model = model();
    let fixed = ["run", "--source", &address, "--query", "a", "--model", &model, "--out", "jsonl:-"];
    let mut run =
        command(&[&fixed[..], &["--reconnect-interval", "50ms", "--reconnect-max-interval", "200ms"]].concat());
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut lines = said(&mut child);
    let lost = wait_for(&mut lines, "\"gap_start\"");
    assert!(lost.contains("STREAM_CONNECTION_FAILED") && lost.contains("cannot be reached"), "{lost}");
    wait_for(&mut lines, "\"gap_retry\"");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("still free");
    std::thread::spawn(move || be_a_camera(&listener, &pictures));
    wait_for(&mut lines, FRAME);
    tool("kill", &["-TERM", &child.id().to_string()]);
    assert!(count(&mut lines, "\"end\"") > 0, "it ends in order");
    child.wait().expect("ends");
}

#[test]
fn a_film_of_windows_media_that_is_cut_short_is_told() {
    let scratch = Scratch::new();
    let film = scratch.file("film.wmv");
    let inputs = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i", "sine"];
    tool("ffmpeg", &[&inputs[..], &["-t", "4", "-c:v", "wmv2", "-c:a", "wmav2", &film]].concat());
    let ran = run(&film, &[]).expect_success();
    assert_eq!(times(&ran.lines()).len(), 100);
    let bytes = std::fs::read(&film).expect("read");
    let ran = run(&scratch.write("half.wmv", &bytes[..bytes.len() / 2]), &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("SOURCE_TRUNCATED"), "{}", ran.stderr);
    assert!((20..80).contains(&times(&ran.lines()).len()), "what is there is played");
}

#[test]
fn addresses_of_files_are_whole_ones() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "a film.mkv", "160x120", 3, &FILM);
    let ran = run(&format!("file://{}", film.replace(' ', "%20")), &[]).expect_success();
    assert_eq!(of_schema(&ran.lines(), FRAME).len(), 3);
    for not_whole in ["file:a-film.mkv", "file:/a/film.mkv"] {
        let ran = run(not_whole, &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{not_whole}: {}", ran.stderr);
        assert!(ran.stderr.contains("is no address, expected file://"), "{not_whole}: {}", ran.stderr);
    }
}

/// It needs the file to be there.
#[test]
fn a_gif_that_comes_once_is_refused_in_words() {
    let scratch = Scratch::new();
    let gif = scratch.file("moving.gif");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10", "-frames:v", "8", &gif]);
    let (_server, address) = web_server(&scratch.file(""));
    let by_pipe = piped(&std::fs::read(&gif).expect("read"), "-");
    for ran in [by_pipe, run(&format!("{address}/moving.gif"), &[])] {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("is a GIF, which is read from a file alone"), "{}", ran.stderr);
        let errors = ran.stderr.lines().filter(|line| line.contains("ERROR")).count();
        assert_eq!(errors, 1, "one clear message: {}", ran.stderr);
    }
}
