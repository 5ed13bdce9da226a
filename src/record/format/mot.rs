//! `MOTChallenge`: `frame,id,left,top,width,height,confidence,-1,-1,-1`. The format comes from MATLAB: frames and pixels
//! count from 1. The id is the query's revision. A model without a presence head has no confidence: 1 stands there.

use std::io::{self, Write};

use super::{Encoding, Line};
use crate::record::{PixelBox, hundredths};

pub(super) struct Mot;

impl Encoding for Mot {
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        let Some(PixelBox { x, y, w, h }) = record.boxed else { return Ok(()) };
        let frame = record.frame_index.unwrap_or(record.seq) + 1;
        let [x, y, w, h] = [x + 1.0, y + 1.0, w, h].map(hundredths);
        let confidence = record.presence.map_or(1.0, |p| (f64::from(p) * 1e4).round() / 1e4);
        writeln!(out, "{frame},{},{x},{y},{w},{h},{confidence},-1,-1,-1", record.query_rev)
    }
}
