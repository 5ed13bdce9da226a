//! Other engines: processes of their own, which answer line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use blocks::preprocess::Letterboxed;
use candle_core::{Device, Tensor};
use grounding_dino::{CompiledQuery, FRAMING};
use serde_json::Value;

/// What an engine says of the box that scores best.
pub(crate) struct Best {
    pub(crate) seconds: f64,
    pub(crate) score: f64,
    /// `(cx, cy, w, h)` of the picture.
    pub(crate) own: [f64; 4],
}

pub(crate) struct Peer {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one of `peer.py` on a model directory; none, with what it said, where it cannot run it.
    pub(crate) fn start(
        engine: &str,
        packages: &Path,
        (model, work): (&Path, &Path),
        (picture, query): (&Letterboxed, &CompiledQuery),
        threads: usize,
    ) -> Option<Self> {
        let (width, height) = picture.transform.resized;
        let ids: Vec<u32> = [&FRAMING[..1], query.ids(), &FRAMING[1..]].concat();
        let inputs = [
            ("pixel_values", Tensor::from_slice(&picture.pixels, (1, 3, height, width), &Device::Cpu)),
            ("input_ids", Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu)),
        ];
        let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor.expect("a tensor")));
        let input = work.join(format!("input-{width}x{height}.safetensors"));
        candle_core::safetensors::save(&inputs.into(), &input).expect("written");
        let mut child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/frame/peer.py"))
            .arg(engine)
            .args([model, &input])
            .arg(threads.to_string())
            .arg(work)
            .env("PYTHONPATH", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let asks = child.stdin.take().expect("piped");
        let mut answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("readable");
        let peer = Self { child, asks, answers };
        // What went wrong stands on standard error.
        (!line.is_empty()).then_some(peer)
    }

    pub(crate) fn call(&mut self) -> Best {
        self.asks.write_all(b"\n").and_then(|()| self.asks.flush()).expect("asked");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("answered");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        let number = |value: &Value| value.as_f64().expect("a number");
        Best {
            seconds: number(&answer["ms"]) / 1e3,
            score: 1.0 / (1.0 + (-number(&answer["logit"])).exp()),
            own: std::array::from_fn(|i| number(&answer["box"][i])),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends by itself where its input does; nothing is to be done where it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
