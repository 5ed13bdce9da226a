//! Another engine, as a process that grounds a frame for every line that it is sent (see `benches/peer/serve.py`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use blocks::preprocess::Letterboxed;
use candle_core::{DType, Device, Tensor};
use qrnet::ModelDir;
use serde_json::Value;

use crate::error::{Error, Result};

/// What the other engine is given.
pub struct Inputs<'a> {
    /// A model directory: it reads the same weights.
    pub model: &'a Path,
    /// The sentence.
    pub query: &'a str,
    /// The pictures of one call, on the model's canvas.
    pub pictures: &'a [&'a Letterboxed],
    /// Threads that it may compute on.
    pub threads: usize,
    /// Where it computes: `cpu` or `cuda`.
    pub device: &'a str,
    /// A folder for what it makes of the model.
    pub cache: &'a Path,
}

/// A running engine. Dropped, it ends.
pub struct Peer {
    name: String,
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn failed(command: &str, reason: String) -> Error {
    Error::Peer { command: command.to_owned(), reason }
}

impl Inputs<'_> {
    /// Picture, padding, pieces and which of them are real, as the reference's model takes them.
    ///
    /// # Errors
    /// The model is unusable, or the query cannot be read.
    pub fn tensors(&self) -> Result<HashMap<&'static str, Tensor>> {
        let tokenizer = ModelDir::open(self.model)?.load_tokenizer()?;
        let (ids, ignore) = tokenizer.pad_to_length(&tokenizer.encode(self.query)?.ids);
        let (length, batch, device) = (ids.len(), self.pictures.len(), &Device::Cpu);
        let rows = |row: Vec<i64>| -> Result<Tensor> {
            let row = Tensor::from_vec(row, (1, length), device).and_then(|row| row.repeat((batch, 1)));
            Ok(row.map_err(qrnet::Error::from)?)
        };
        let masks = Letterboxed::ignore_batch(self.pictures, device)?;
        Ok(HashMap::from([
            ("image", Letterboxed::batch(self.pictures, device)?),
            ("image_mask", masks.to_dtype(DType::U8).map_err(qrnet::Error::from)?),
            ("ids", rows(ids.into_iter().map(i64::from).collect())?),
            ("token_mask", rows(ignore.into_iter().map(|ignore| i64::from(ignore == 0)).collect())?),
        ]))
    }
}

impl Peer {
    /// Starts `command`, whose words are set apart by spaces, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, or ends before it is ready.
    pub fn start(command: &str, inputs: &Inputs) -> Result<Self> {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| Error::Usage("--peer: says nothing, expected a command".into()))?;
        let name: String = command.chars().filter(char::is_ascii_alphanumeric).collect();
        std::fs::create_dir_all(inputs.cache).map_err(Error::io("create", inputs.cache))?;
        let file = inputs.cache.join(format!("{name}-{}.safetensors", inputs.pictures.len()));
        candle_core::safetensors::save(&inputs.tensors()?, &file).map_err(qrnet::Error::from)?;
        let mut child = Command::new(program)
            .args(words)
            .args([inputs.model, &file])
            .arg(inputs.threads.to_string())
            .arg(inputs.cache)
            .arg(inputs.device)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(command, format!("cannot be started: {e}")))?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(command, "has no standard input and output".into()));
        };
        let mut peer = Self { name: command.to_owned(), child, asks, answers: BufReader::new(answers) };
        let ready = peer.answer()?;
        if ready["ready"].is_number() { Ok(peer) } else { Err(peer.fail(&ready.to_string())) }
    }

    fn fail(&self, said: &str) -> Error {
        failed(&self.name, format!("said {said:?}, expected an answer as of benches/peer/serve.py"))
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self.answers.read_line(&mut line).map_err(|e| self.fail(&e.to_string()))?;
        if count == 0 {
            return Err(failed(&self.name, "ended before it answered; what it said is above".into()));
        }
        serde_json::from_str(&line).map_err(|_| self.fail(line.trim_end()))
    }

    /// Grounds the pictures once: how long it took by the engine's own clock, and the boxes, `(cx, cy, w, h)` in 0..1 of
    /// the canvas.
    ///
    /// # Errors
    /// The engine ended, or answers in another way.
    pub fn call(&mut self) -> Result<(Duration, Vec<[f64; 4]>)> {
        writeln!(self.asks, "frame").and_then(|()| self.asks.flush()).map_err(|e| self.fail(&e.to_string()))?;
        let answer = self.answer()?;
        let time = answer["ms"].as_f64().filter(|ms| ms.is_finite() && *ms >= 0.0);
        let boxes = serde_json::from_value(answer["box"].clone()).ok();
        match (time, boxes) {
            (Some(ms), Some(boxes)) => Ok((Duration::from_secs_f64(ms / 1e3), boxes)),
            _ => Err(self.fail(&answer.to_string())),
        }
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
