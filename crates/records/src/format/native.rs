//! Our own: one JSON object a line.

use std::io;

use super::{Encoding, Line};

pub(super) struct Native;

impl Encoding for Native {
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        match line {
            Line::Frame(record) => serde_json::to_writer(&mut *out, record)?,
            Line::Event(event) => serde_json::to_writer(&mut *out, event)?,
        }
        out.push(b'\n');
        Ok(())
    }
}
