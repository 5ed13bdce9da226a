//! `MOTChallenge`: `frame,id,left,top,width,height,confidence,-1,-1,-1`. The format comes from MATLAB: frames and pixels
//! count from 1. The id is the query's revision. A carried box has the confidence of the one that it repeats; a model without a
//! presence head has none: 1 stands there.

use std::io::{self, Write};

use super::{Encoding, Line};
use crate::{PixelBox, hundredths};

#[derive(Default)]
pub(super) struct Mot {
    /// Of the last frame that was measured.
    presence: Option<f32>,
}

impl Encoding for Mot {
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        if record.measured {
            self.presence = record.presence;
        }
        let Some(PixelBox { x, y, w, h }) = record.boxed else { return Ok(()) };
        let frame = record.frame_index.unwrap_or(record.seq) + 1;
        let [x, y, w, h] = [x + 1.0, y + 1.0, w, h].map(hundredths);
        let confidence = self.presence.map_or(1.0, |p| (f64::from(p) * 1e4).round() / 1e4);
        writeln!(out, "{frame},{},{x},{y},{w},{h},{confidence},-1,-1,-1", record.query_rev)
    }
}
