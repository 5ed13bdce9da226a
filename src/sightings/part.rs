//! One part of a clip: what goes into one file, from a key frame on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::container::{Container, is_same_format};
use super::types::FileRef;
use super::writer::{SILENCE, Writer};
use crate::error::{Error, Result};
use crate::source::{Medium, Packet};

/// What became of a part.
pub(super) struct Written {
    /// Its file, where something of it can be played.
    pub(super) file: Option<FileRef>,
    /// Why it is not whole.
    pub(super) error: Option<Error>,
}

/// A part that is being written.
pub(super) struct Part {
    path: PathBuf,
    container: Container,
    first: Packet,
    /// Whether its stretch has sound that is to be in it.
    has_sound: bool,
    /// What comes until it is known whether there is sound, which is the same as long as there is no `writer`.
    early: Vec<Packet>,
    writer: Option<Writer>,
    /// Of the newest picture, ns.
    newest: i64,
    /// Stream time of the last picture, ns.
    last: i64,
}

impl Part {
    /// A part that begins with the key frame `first`. Its file is begun when it is known whether it has sound; `before` is the
    /// packet of sound that came last.
    pub(super) fn new(
        path: &Path,
        container: Container,
        first: &Packet,
        has_sound: bool,
        before: Option<&Packet>,
    ) -> Self {
        let before = before.filter(|sound| has_sound && sound.stretch == first.stretch && lasts_into(sound, first));
        Self {
            path: path.to_owned(),
            container,
            first: first.clone(),
            has_sound,
            early: before.into_iter().cloned().collect(),
            writer: None,
            newest: first.running_ns,
            last: first.stream_ns.unwrap_or_default(),
        }
    }

    /// Whether a picture can go on in this part.
    pub(super) fn fits(&self, packet: &Packet) -> bool {
        packet.stretch == self.first.stretch && is_same_format(&self.first.caps, &packet.caps)
    }

    /// How long it is so far, ns.
    pub(super) fn length(&self) -> i64 {
        self.newest - self.first.running_ns
    }

    /// Stream time of its first picture and of its last one so far, ns.
    pub(super) fn span(&self) -> (i64, i64) {
        (self.first.stream_ns.unwrap_or_default(), self.last)
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a packet. Pictures that are presented before the first one need what is not there, and are left out.
    ///
    /// # Blocking
    /// While the disk is behind.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn push(&mut self, packet: &Packet) -> Result<()> {
        let is_sound = packet.medium == Medium::Sound;
        let is_early = packet.running_ns < self.first.running_ns && !(is_sound && lasts_into(packet, &self.first));
        if is_early || packet.stretch != self.first.stretch {
            return Ok(());
        }
        if !is_sound {
            self.newest = self.newest.max(packet.running_ns);
            self.last = self.last.max(packet.stream_ns.unwrap_or(self.last));
        }
        if let Some(writer) = &mut self.writer {
            return if is_sound { writer.add_sound(packet) } else { writer.add_picture(packet) };
        }
        self.early.push(packet.clone());
        let came = self.early.iter().any(|packet| packet.medium == Medium::Sound);
        let known = came || !self.has_sound || self.length() > SILENCE;
        if known { self.open() } else { Ok(()) }
    }

    /// Begins the file with what came so far.
    fn open(&mut self) -> Result<()> {
        let early = std::mem::take(&mut self.early);
        let sound = early.iter().find(|packet| self.has_sound && packet.medium == Medium::Sound);
        let writer = Writer::start(&self.path, self.container, &self.first, sound.map(|packet| &packet.caps))?;
        let writer = self.writer.insert(writer);
        early.iter().try_for_each(|packet| match packet.medium {
            Medium::Sound => writer.add_sound(packet),
            Medium::Video => writer.add_picture(packet),
        })
    }

    /// Closes the file, waiting for the disk for so long at most.
    pub(super) fn finish(mut self, limit: Duration) -> Written {
        let opened = if self.writer.is_none() { self.open() } else { Ok(()) };
        let closed = opened.and_then(|()| self.writer.as_mut().map_or(Ok(()), |writer| writer.close(limit)));
        match closed {
            Ok(()) => Written { file: Some(self.reference()), error: None },
            Err(error) => self.abandon(error),
        }
    }

    /// Keeps what can be played of a part that failed.
    pub(super) fn abandon(mut self, error: Error) -> Written {
        let kept = self.writer.as_mut().is_some_and(Writer::abandon);
        Written { file: kept.then(|| self.reference()), error: Some(error) }
    }

    fn reference(&self) -> FileRef {
        let (first, last) = self.span();
        let time = |ns: i64| u64::try_from(ns.max(0)).ok();
        FileRef { kind: "clip".into(), path: self.path.clone(), start_pts_ns: time(first), end_pts_ns: time(last) }
    }
}

/// Whether a packet of sound may go on when the picture `first` is shown: several frames of it may come in one packet. What of
/// them is over by then, the writer leaves out.
fn lasts_into(sound: &Packet, first: &Packet) -> bool {
    sound.running_ns > first.running_ns - SILENCE
}
