//! `WebVTT`, as a metadata track: a cue for every frame with objects, from its time to that of the next frame, whose text
//! is a JSON object that lists them. Times are whole milliseconds.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Encoding, Line};
use crate::number::{hundredths, ten_thousandths};
use crate::{Event, EventKind, FrameRecord, ObjectRecord, PixelBox};

/// How long the last cue lasts where no frame tells, in milliseconds.
const FRAME_TIME: u64 = 40;

#[derive(Default)]
pub(super) struct Vtt {
    /// A cue that waits for its end.
    open: Option<Cue>,
    /// When the last frame was shown, and for how long the one before it.
    last: Option<(u64, u64)>,
}

struct Cue {
    number: u64,
    from: u64,
    text: String,
}

impl Cue {
    fn of(record: &FrameRecord, from: u64) -> Self {
        let object = |object: &ObjectRecord| {
            let PixelBox { x, y, w, h } = object.boxed;
            let [x, y, w, h] = [x, y, w, h].map(hundredths);
            let mut value = json!({
                "query": object.query, "id": object.id, "box": {"x": x, "y": y, "w": w, "h": h},
                "measured": object.measured,
            });
            if let Some(score) = object.score {
                value["score"] = ten_thousandths(score).into();
            }
            value
        };
        let mut value = json!({ "objects": record.objects.iter().map(object).collect::<Vec<_>>() });
        if let Some(r) = record.resolution {
            value["resolution"] = json!({"width": r.width, "height": r.height});
        }
        Self { number: record.seq, from, text: harmless(&value) }
    }

    fn write(&self, to: u64, out: &mut dyn Write) -> io::Result<()> {
        let Self { number, from, text } = self;
        write!(out, "{number}\n{} --> {}\n{text}\n\n", clock(*from), clock(to.max(from + 1)))
    }
}

/// What means something in a cue's text, as JSON writes it otherwise.
fn harmless(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn clock(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    format!("{:02}:{:02}:{:02}.{rest:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl Encoding for Vtt {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.write_all(b"WEBVTT\n\n")
    }

    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let record = match line {
            Line::Frame(record) => record,
            // What is shown while the source is away is no box.
            Line::Event(Event { kind: EventKind::GapStart { .. }, .. }) => return self.finish(out),
            Line::Event(_) => return Ok(()),
        };
        // Without a time there is no place for a cue.
        let Some(from) = record.pts_ns.map(|pts| pts / 1_000_000) else { return Ok(()) };
        if let Some(cue) = self.open.take() {
            cue.write(from, out)?;
        }
        let length = self.last.map_or(FRAME_TIME, |(before, _)| from.saturating_sub(before));
        self.last = Some((from, length));
        self.open = (!record.objects.is_empty()).then(|| Cue::of(record, from));
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let (Some(cue), Some((from, length))) = (self.open.take(), self.last) else { return Ok(()) };
        cue.write(from + length, out)
    }
}

#[cfg(test)]
mod tests {
    use blocks::findings::{Finding, Findings};
    use blocks::preprocess::Rect;

    use super::*;
    use crate::track::{Outcome, StreamTracker, TrackedQuery, Tracking};
    use crate::{Counts, EVENT_SCHEMA, Query, Resolution};

    #[test]
    fn no_cue_lasts_through_a_gap() {
        let (mut vtt, mut out) = (Vtt::default(), Vec::new());
        let asked = TrackedQuery { query: Query::of("it"), tracking: Tracking::plain(None) };
        let mut track = StreamTracker::new(vec![asked]);
        let mut frame = |seq: u64, milliseconds: u64, out: &mut Vec<u8>, gap: bool| {
            let rect = Rect { x0: 1.0, y0: 2.0, x1: 4.0, y1: 6.0 };
            let found = vec![Finding { rect, on_canvas: [0.0; 4], score: None }];
            let outcome = Outcome::Measured(vec![Findings { presence: None, found }]);
            let result = track.update(&outcome, std::time::Duration::from_millis(milliseconds), 8.0);
            let resolution = Resolution { width: 8, height: 8, rotation: 0, par: 1.0 };
            let pts_ns = Some(1_000_000 * milliseconds);
            let record = FrameRecord::new(("run", "camera"), seq, track.queries(), &result, Some(resolution));
            vtt.add(Line::Frame(&FrameRecord { pts_ns, ..record }), out).expect("written");
            if gap {
                let counts = Counts::default();
                let kind = EventKind::GapStart { code: "STREAM_TIMEOUT", reason: "no frame", counts };
                let event = Event { schema: EVENT_SCHEMA, run_id: "run", source: "camera", kind: &kind };
                vtt.add(Line::Event(&event), out).expect("written");
            }
        };
        frame(0, 0, &mut out, false);
        frame(1, 100, &mut out, true);
        frame(2, 9_000, &mut out, false);
        vtt.finish(&mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        let times: Vec<&str> = text.lines().filter(|line| line.contains("-->")).collect();
        // The last one before the gap lasts as long as the one before it.
        assert_eq!(times[..2], ["00:00:00.000 --> 00:00:00.100", "00:00:00.100 --> 00:00:00.200"]);
        assert_eq!(times.len(), 3, "{text}");
    }
}
