//! `spotter bench` as typed.

use std::path::PathBuf;

use clap::Args;

use super::ComputeArg;

/// Measure how long a frame takes a model on this machine.
///
/// Pictures are letterboxed and the query is compiled before the clock starts, as in a run under way. Prints a table:
///   spotter bench
///   spotter bench --model models/mine --device cuda --precision bf16 --batch 1 --batch 8
///
/// Another engine measures the same model (--model) in turns with this one, if it speaks as benches/peer/serve.py does:
///   spotter bench --model models/mine --peer "python3 benches/peer/serve.py torch"
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct BenchArgs {
    /// The model directory, or a public model by its name (`spotter models` lists some, as owner/repo any of a hub); without
    /// it, that of `SPOTTER_MODEL`, or else the model that is built in.
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// What to look for; it decides how long the query is, and nothing else.
    #[arg(long, value_name = "TEXT", default_value = "the red circle")]
    pub query: String,
    /// Pictures at a time; may be given several times, or as 1,8. 1, 2 and 4 if not given.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub batch: Vec<usize>,
    /// Queries that are asked of one picture at once, beside a call with one; may be given several times, or as 2,3. A model
    /// whose gates come late looks once for all of them.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub queries: Vec<usize>,
    /// Calls of each kind that are measured.
    #[arg(long, value_name = "N", default_value_t = 15)]
    pub rounds: usize,
    /// Where to compute: cpu, cuda, cuda:N, or auto (CUDA where it is there).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Element type that pictures are computed in: bf16 and f16 are faster on GPUs, int8 is on CPUs, and all move boxes a
    /// little.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: ComputeArg,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// The command of another engine, to which the model's folder, a file with inputs, the number of threads, a folder
    /// for what it makes, and the device are added; may be given several times. It takes one picture at a time.
    #[arg(long, value_name = "COMMAND", requires = "model")]
    pub peer: Vec<String>,
}
