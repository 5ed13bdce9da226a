//! `spotter batch` as typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use records::Format;

use super::{ComputeArg, Decoding, Measuring, SightingArgs};

/// Ground many video files: nothing is lost, nothing is done twice.
///
/// Every input leaves its records in the folder of --out, under its own name, once it is grounded to
/// its end. What is finished is known there (ledger.sqlite): the same command goes on where it was
/// stopped, however it was stopped. Another query or format is other work: its results and its summary
/// have a suffix where the first ones have none.
///
/// Examples:
///   spotter batch films/ --query "the red car" --out found
///   spotter batch 'cam1/*.mp4' cam2/a.mkv --query "a dog" --out found --format csv --jobs 2
///   find /archive -name '*.ts' -print0 | spotter batch - --query "a truck" --out found
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct BatchArgs {
    /// Video files, folders (searched for video files, folders within them too), patterns, or `-` for a list on standard
    /// input, a path a line, or between NUL characters.
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// What to look for, in words; may be given several times.
    #[arg(long, value_name = "TEXT", required = true)]
    pub query: Vec<String>,
    /// The folder of the results; it is made where its parent is there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How records are written; may be given several times.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "native")]
    pub format: Vec<Format>,
    /// Write the video with box and caption too, as MP4.
    #[arg(long)]
    pub overlay: bool,
    /// Files that are worked on at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Try those again that failed before.
    #[arg(long)]
    pub retry_failed: bool,
    /// Only part i of n of the inputs, as in 2/5. Every part must be given the same inputs.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Shard>,
    /// The model directory, or a public model by its name (`spotter models` lists some, as owner/repo any of a hub); without
    /// it, that of `SPOTTER_MODEL`, or else the model that is built in.
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// Element type that pictures are computed in: bf16 and f16 are faster on GPUs, int8 is on CPUs, and all move boxes a
    /// little. f32 if not given.
    #[arg(long, value_enum)]
    pub precision: Option<ComputeArg>,
    /// Where to compute: cpu, cuda, cuda:N, or auto (CUDA where it is there). cpu if not given.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// What becomes of the video before anything is measured.
    #[command(flatten)]
    pub decoding: Decoding,
    /// Which frames are measured, and what is claimed over time.
    #[command(flatten)]
    pub measuring: Measuring,
    /// Which sightings are told of; `--format sightings` writes them as a table.
    #[command(flatten)]
    pub sighting: SightingArgs,
}

/// `--shard i/n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 1.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// Whether the input at `place` of the list, from 0, belongs to this part.
    pub fn takes(self, place: usize) -> bool {
        place % self.count as usize == self.index as usize - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err("expected i/n with i from 1 to n, as in 2/5".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_and_nothing_twice() {
        for wrong in ["", "0/3", "4/3", "1", "a/b", "1/0", "-1/2"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        for count in 1..5 {
            let shards: Vec<Shard> = (1..=count).map(|i| format!("{i}/{count}").parse().expect("a shard")).collect();
            assert!((0..20).all(|place| shards.iter().filter(|shard| shard.takes(place)).count() == 1));
        }
    }
}
