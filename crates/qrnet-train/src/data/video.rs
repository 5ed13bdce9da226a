//! Pictures of a film: where they come from, and where they are kept for reading in any order.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use blocks::preprocess::Picture;

use crate::error::{Error, Result};

/// Every frame of a film, in order, as the decoder gives it.
pub type FrameIterator = Box<dyn Iterator<Item = Result<Picture>> + Send>;

/// Something that decodes films. This crate knows none: whoever trains on films brings one.
pub trait FrameSource: Send + Sync {
    /// Opens `clip`; its first picture is frame 1 of its labels.
    ///
    /// # Errors
    /// The file cannot be read as a film.
    fn open(&self, clip: &Path) -> Result<FrameIterator>;
}

/// For programs without films.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVideo;

impl FrameSource for NoVideo {
    fn open(&self, clip: &Path) -> Result<FrameIterator> {
        let reason = "is a film, and nothing here decodes films; expected a `FrameSource` to be given";
        Err(Error::file(clip, reason))
    }
}

/// Pictures of a film by number, for reading in any order and from several threads. They lie uncompressed in a file of
/// their own that has no name and goes with this value: memory holds what the system has room for.
#[derive(Debug)]
pub struct Frames {
    file: File,
    size: (usize, usize),
    /// Numbers in the order in which they lie there.
    numbers: Vec<u64>,
}

impl Frames {
    /// Decodes `clip` as far as the last of the `wanted` frames, counted from 1, and keeps those.
    ///
    /// # Errors
    /// The film cannot be decoded, changes its size, ends before the last wanted frame, or there is no room for its pictures.
    pub fn read(source: &dyn FrameSource, clip: &Path, wanted: &BTreeSet<u64>) -> Result<Self> {
        let fail = |reason: String| Error::file(clip, reason);
        let room = std::env::temp_dir();
        let mut file = tempfile::tempfile().map_err(Error::io("create", &room))?;
        let (mut size, mut numbers) = (None, Vec::new());
        let last = wanted.last().copied().unwrap_or(0);
        let mut pictures = source.open(clip)?;
        for number in 1..=last {
            let Some(picture) = pictures.next().transpose()? else {
                return Err(fail(format!("ends after {} frames, expected frame {last} of its labels", number - 1)));
            };
            if !wanted.contains(&number) {
                continue;
            }
            let this = (picture.width, picture.height);
            if *size.get_or_insert(this) != this {
                return Err(fail(format!("frame {number} has another size, {this:?}, expected {size:?}")));
            }
            file.write_all(&picture.rgb).map_err(Error::io("write", &room))?;
            numbers.push(number);
        }
        let size = size.ok_or_else(|| fail("none of its frames is asked for".into()))?;
        Ok(Self { file, size, numbers })
    }

    /// Width and height of all pictures.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The picture of frame `number`.
    ///
    /// # Errors
    /// It is not kept, or cannot be read any more.
    pub fn picture(&self, number: u64) -> Result<Picture> {
        let place = self.numbers.binary_search(&number);
        let place = place.map_err(|_| Error::Unsupported(format!("frame {number} was not kept")))?;
        let (width, height) = self.size;
        let mut rgb = vec![0; 3 * width * height];
        let offset = (place * rgb.len()) as u64;
        self.file.read_exact_at(&mut rgb, offset).map_err(Error::io("read", &std::env::temp_dir()))?;
        Ok(Picture { width, height, rgb })
    }
}
