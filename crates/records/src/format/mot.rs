//! `MOTChallenge`: `frame,id,left,top,width,height,confidence,-1,-1,-1`, a line for every object. The format comes from
//! MATLAB: frames and pixels count from 1. A carried box has the confidence of the one that it repeats; a model without scores
//! has none: 1 stands there.

use std::io::{self, Write};

use super::{Encoding, Line};
use crate::PixelBox;
use crate::number::{hundredths, ten_thousandths};

pub(super) struct Mot;

impl Encoding for Mot {
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        let frame = record.frame_index.unwrap_or(record.seq) + 1;
        for object in &record.objects {
            let PixelBox { x, y, w, h } = object.boxed;
            let [x, y, w, h] = [x + 1.0, y + 1.0, w, h].map(hundredths);
            let confidence = object.score.map_or(1.0, ten_thousandths);
            writeln!(out, "{frame},{},{x},{y},{w},{h},{confidence},-1,-1,-1", object.id)?;
        }
        Ok(())
    }
}
