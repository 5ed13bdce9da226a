//! Records in the formats that other people's tools read.

mod coco;
mod csv;
mod dls;
mod mot;
mod native;
mod sightings;
mod vtt;

use std::io::{self, Write};

use clap::ValueEnum;

use crate::{Event, FrameRecord};

/// How records are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Format {
    /// `spotter.frame/2` and `spotter.event/1`, as JSON Lines.
    #[default]
    #[value(alias = "jsonl")]
    Native,
    /// `MOTChallenge`: a line for every object. Frames and pixels count from 1.
    Mot,
    /// COCO: one JSON object, with an image for every frame.
    Coco,
    /// `WebVTT`: a cue for every frame with objects, as a metadata track.
    Vtt,
    /// The JSON Lines of Intel's DL Streamer, a line for every frame.
    Dls,
    /// A table with a row for every object, and for every query of a frame that has none.
    Csv,
    /// A table with a row for every sighting, its cells separated by tabs.
    Sightings,
}

impl Format {
    /// What `--out` calls it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Native => "jsonl",
            Self::Mot => "mot",
            Self::Coco => "coco",
            Self::Vtt => "vtt",
            Self::Dls => "dls",
            Self::Csv => "csv",
            Self::Sightings => "sightings",
        }
    }

    /// The one that `--out` calls `kind`.
    pub fn of_kind(kind: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|format| format.kind() == kind)
    }

    /// How the name of such a file ends. None is the end of another: `a.dls` as native records is no `a` as another format.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Native => "jsonl",
            Self::Mot => "mot.txt",
            Self::Coco => "coco.json",
            Self::Vtt => "vtt",
            Self::Dls => "dls.json",
            Self::Csv => "csv",
            Self::Sightings => "sightings.tsv",
        }
    }

    /// Whether one file can hold the records of several streams.
    pub fn is_shareable(self) -> bool {
        !matches!(self, Self::Mot | Self::Vtt)
    }

    pub(super) fn encoding(self) -> Box<dyn Encoding> {
        match self {
            Self::Native => Box::new(native::Native),
            Self::Mot => Box::new(mot::Mot),
            Self::Coco => Box::new(coco::Coco::default()),
            Self::Vtt => Box::new(vtt::Vtt::default()),
            Self::Dls => Box::new(dls::Dls),
            Self::Csv => Box::new(csv::Csv),
            Self::Sightings => Box::new(sightings::Sightings),
        }
    }
}

/// What becomes a line of a record file, or several, or none.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// A frame.
    Frame(&'a FrameRecord<'a>),
    /// Something that happened between frames.
    Event(&'a Event<'a>),
}

/// Turns records into the bytes of one file.
pub(super) trait Encoding: Send {
    /// What stands before everything else.
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let _ = out;
        Ok(())
    }

    /// Adds what a record comes to.
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()>;

    /// What stands behind everything else.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let _ = out;
        Ok(())
    }
}
