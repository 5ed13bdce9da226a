//! What a run leaves behind, read by others: `TensorBoard`'s own reader, a decoder of our own, an image decoder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use qrnet_train::log::{Kind, RunLog, curves};

fn write(folder: &Path) {
    let mut log = RunLog::open(folder, None).expect("opens");
    for step in 1..=6u64 {
        log.scalars(step, 16 * step, Kind::Train, &[("loss", 2.0 / step as f64), ("lr", 0.0)]).expect("appends");
    }
    log.scalars(6, 96, Kind::Eval, &[("loss", 0.75), ("acc50", 0.25)]).expect("appends");
    drop(log);
    // As after a stop: the checkpoint was taken before step 5.
    let mut log = RunLog::open(folder, Some(5)).expect("opens again");
    for step in 5..=8u64 {
        log.scalars(step, 16 * step, Kind::Train, &[("loss", 4.0 / step as f64), ("lr", 0.0)]).expect("appends");
    }
}

fn event_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("events.out.tfevents.")))
        .collect();
    files.sort();
    files
}

#[test]
fn tensorboards_reader_finds_every_scalar_and_drops_what_was_done_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packages = root.join("target/tensorboard");
    if !packages.is_dir() {
        writeln!(std::io::stderr(), "SKIPPED: {} is not there (make peers)", packages.display()).expect("written");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path());
    let python = |folder: &Path| {
        Command::new("python3")
            .env("PYTHONPATH", &packages)
            .arg(root.join("scripts/check-tensorboard.py"))
            .arg(folder)
            .output()
    };
    let output = match python(dir.path()) {
        Err(error) => {
            writeln!(std::io::stderr(), "SKIPPED: python3 does not start: {error}").expect("written");
            return;
        }
        Ok(output) => output,
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let loss: Vec<(u64, f32)> = serde_json::from_value(found["train/loss"].clone()).expect("steps and values");
    let expected: Vec<(u64, f32)> =
        (1..=8u64).map(|step| (step, if step < 5 { 2.0 } else { 4.0 } / step as f32)).collect();
    assert_eq!(loss, expected);
    assert_eq!(found["train/lr"].as_array().map(Vec::len), Some(8), "zeros are values");
    let dropped = found["eval/loss"].as_array().is_none_or(Vec::is_empty);
    assert!(dropped, "step 6 was done again, its evaluation not: {found}");

    let first = event_files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&first).expect("bytes");
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    std::fs::write(&first, bytes).expect("written");
    assert!(!python(dir.path()).expect("starts").status.success(), "the reader checks what it reads");
}

/// CRC-32C bit by bit, as RFC 3720 defines it.
fn crc(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk::<N>().expect("enough bytes");
    *bytes = rest;
    *head
}

fn checked(bytes: &mut &[u8], data: &[u8]) {
    let masked = ((crc(data) >> 15) | (crc(data) << 17)).wrapping_add(0xa282_ead8);
    assert_eq!(u32::from_le_bytes(take(bytes)), masked);
}

fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length: [u8; 8] = take(&mut bytes);
        checked(&mut bytes, &length);
        let (data, rest) = bytes.split_at(u64::from_le_bytes(length) as usize);
        bytes = rest;
        checked(&mut bytes, data);
        all.push(data.to_vec());
    }
    all
}

#[derive(Debug, PartialEq)]
enum Field {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

/// The fields of a protobuf message, by number.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let [byte] = take(bytes);
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return value;
            }
            shift += 7;
        }
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Eight(take(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (data, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(data.to_vec())
            }
            5 => Field::Four(take(&mut bytes)),
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, field));
    }
    all
}

#[test]
fn event_files_decode_by_the_letter() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path());
    let files = event_files(dir.path());
    assert_eq!(files.len(), 2, "one a session, also within one second: {files:?}");
    let events: Vec<Vec<(u64, Field)>> =
        records(&std::fs::read(&files[0]).expect("bytes")).iter().map(|data| fields(data)).collect();
    assert_eq!(events.len(), 1 + 6 + 1);
    let seconds = match events[0][0] {
        (1, Field::Eight(bytes)) => f64::from_le_bytes(bytes),
        ref other => panic!("{other:?}"),
    };
    assert!(seconds > 1.7e9, "a time of today: {seconds}");
    assert_eq!(events[0][1], (3, Field::Bytes(b"brain.Event:2".to_vec())));
    assert_eq!(events[2][1], (2, Field::Varint(2)), "the step");
    let value = |tag: &str, value: f32| {
        let tag = (1, Field::Bytes(tag.as_bytes().to_vec()));
        vec![tag, (2, Field::Four(value.to_le_bytes()))]
    };
    let (number, Field::Bytes(summary)) = &events[2][2] else { panic!("{:?}", events[2]) };
    assert_eq!(*number, 5);
    let values: Vec<_> = fields(summary)
        .into_iter()
        .map(|field| match field {
            (1, Field::Bytes(value)) => fields(&value),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, [value("train/loss", 1.0), value("train/lr", 0.0)]);
    let resumed = records(&std::fs::read(&files[1]).expect("bytes"));
    assert_eq!(fields(&resumed[1])[1..], [(2, Field::Varint(5)), (7, Field::Bytes(vec![8, 1]))], "START at step 5");
}

#[test]
fn names_of_every_line_are_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = RunLog::open(dir.path(), None).expect("opens");
    let message = log.scalars(1, 1, Kind::Train, &[("step", 1.0)]).expect_err("taken").to_string();
    assert!(message.contains("`step`"), "{message}");
    assert!(curves(dir.path()).expect_err("nothing to draw").to_string().contains("holds no line"));
}

/// Pixels of exactly this colour.
fn count(picture: &image::RgbImage, colour: [u8; 3], rows: std::ops::Range<u32>) -> usize {
    picture.enumerate_pixels().filter(|(_, y, pixel)| rows.contains(y) && pixel.0 == colour).count()
}

const BLUE: [u8; 3] = [31, 119, 180];
const ORANGE: [u8; 3] = [255, 127, 14];

fn draw(folder: &Path) -> image::RgbImage {
    let path = curves(folder).expect("draws");
    let picture = image::open(&path).expect("decodes").to_rgb8();
    assert_eq!(picture.dimensions(), (1200, 900));
    picture
}

#[test]
fn curves_show_losses_above_and_metrics_below() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = RunLog::open(dir.path(), None).expect("opens");
    for step in 0..200u64 {
        let (at, samples) = (step as f64, 512 * step);
        let wobble = 0.1 * (at * 1.7).sin();
        let loss = if step == 50 { f64::NAN } else { 3.0 * (-at / 60.0).exp() + 0.4 + wobble };
        log.scalars(step, samples, Kind::Train, &[("loss", loss), ("loss_giou", 0.4 * loss), ("lr", 1e-4)])
            .expect("appends");
        if step % 20 == 19 {
            let metrics = [
                ("loss", 3.0 * (-at / 55.0).exp() + 0.6),
                ("acc50", 0.8 * (1.0 - (-at / 70.0).exp())),
                ("auroc", 0.95 - 0.45 * (-at / 40.0).exp()),
                ("seconds", 1234.0),
            ];
            log.scalars(step, samples, Kind::Eval, &metrics).expect("appends");
        }
    }
    let picture = draw(dir.path());
    for (rows, panel) in [(0..540, "losses"), (540..900, "metrics")] {
        for colour in [BLUE, ORANGE] {
            let found = count(&picture, colour, rows.clone());
            assert!(found > 500, "{found} pixels of {colour:?} among the {panel}");
        }
    }
    if let Some(folder) = std::env::var_os("CURVES_OUT") {
        picture.save(Path::new(&folder).join("curves.png")).expect("saved");
    }
}

#[test]
fn one_point_and_no_finite_value_still_draw() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = RunLog::open(dir.path(), None).expect("opens");
    log.scalars(0, 0, Kind::Train, &[("loss", f64::INFINITY)]).expect("appends");
    let picture = draw(dir.path());
    assert_eq!(count(&picture, BLUE, 0..900), 0);
    assert!(count(&picture, [0; 3], 0..900) > 500, "axes");
    log.scalars(1, 8, Kind::Train, &[("loss", 2.5)]).expect("appends");
    assert!(count(&draw(dir.path()), BLUE, 0..540) > 30, "a dot and its legend");
}
