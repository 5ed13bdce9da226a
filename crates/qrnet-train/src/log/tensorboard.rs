//! `TensorBoard` event files: protobuf `Event`s in `TFRecord` framing.
//!
//! Tags and types are those of `tensorboard/compat/proto/{event,summary}.proto`, of which the four fields that scalars
//! need are spelt out here.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::jsonl::Kind;
use crate::error::{Error, Result};

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// In the first event of a file.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// Written also where it is 0: an absent value is no scalar to `TensorBoard`.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Since this version `SessionLog::status == START` drops the steps from the event's on.
const FILE_VERSION: &str = "brain.Event:2";
const START: i32 = 1;

/// One event file, open for appending.
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Creates a new event file in `folder`.
    pub(super) fn create(folder: &Path, resume_step: Option<u64>) -> Result<Self> {
        let (path, file) = create_file(folder)?;
        let mut events = Self { path, file };
        events.write(&Event { file_version: Some(FILE_VERSION.into()), ..Event::now(0) })?;
        if let Some(step) = resume_step {
            events.write(&Event { session_log: Some(SessionLog { status: START }), ..Event::now(step) })?;
        }
        Ok(events)
    }

    pub(super) fn append(&mut self, step: u64, kind: Kind, scalars: &[(&str, f64)]) -> Result<()> {
        let value = scalars
            .iter()
            .map(|(name, value)| Value { tag: format!("{}/{name}", kind.name()), simple_value: Some(*value as f32) })
            .collect();
        self.write(&Event { summary: Some(Summary { value }), ..Event::now(step) })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io("write", &self.path))
    }
}

impl Event {
    fn now(step: u64) -> Self {
        Self { wall_time: since_1970().as_secs_f64(), step: step as i64, ..Self::default() }
    }
}

fn since_1970() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Creates `events.out.tfevents.SECONDS.HOST`; a second one within the same second gets a number behind it, which
/// keeps the order that `TensorBoard` reads files in.
fn create_file(folder: &Path) -> Result<(PathBuf, File)> {
    let stem = format!("events.out.tfevents.{:010}.{}", since_1970().as_secs(), host());
    let mut path = folder.join(&stem);
    for number in 1.. {
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                path = folder.join(format!("{stem}.{number:04}"));
            }
            Err(error) => return Err(Error::io("create", &path)(error)),
        }
    }
    Err(Error::file(folder, "holds too many event files"))
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { "spotter".into() }
}

/// `TFRecord` framing: length, its checksum, the data, its checksum; little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + 16);
    bytes.extend(length);
    bytes.extend(masked(crc32c::crc32c(&length)).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked(crc32c::crc32c(data)).to_le_bytes());
    bytes
}

/// `TFRecord` stores checksums rotated and shifted, so that the checksum of data with checksums in it means something.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
