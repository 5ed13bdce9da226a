//! Files that are put aside when they have grown large or old, and begun anew.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use blocks::files::parent;

/// When a file is put aside, and how many of those are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// Before it would be longer than this, in bytes. A line that is longer has a file of its own.
    pub bytes: Option<NonZeroU64>,
    /// Once it is so old.
    pub age: Option<Duration>,
    /// Files put aside that are kept, the newest; all without it.
    pub keep: Option<NonZeroU64>,
}

/// Digits of the number that a file gets when it is put aside, at least.
const DIGITS: usize = 5;
/// What is read at once in search of a line's end, in bytes.
const PART: u64 = 64 * 1024;

impl Rotation {
    /// Splits `FILE,rotate=1GiB,age=1d,keep=7` into the file and what follows; none where nothing does.
    ///
    /// # Errors
    /// In words: a value is none, or it is never said when the file is put aside.
    pub fn split(place: &str) -> std::result::Result<(&str, Option<Self>), String> {
        let (mut file, mut rotation) = (place, None);
        while let Some((before, (key, value))) =
            file.rsplit_once(',').and_then(|(before, last)| Some((before, last.split_once('=')?)))
        {
            if !["rotate", "age", "keep"].contains(&key) {
                break;
            }
            rotation.get_or_insert_with(Self::default).set(key, value)?;
            file = before;
        }
        match rotation {
            Some(Self { bytes: None, age: None, .. }) => {
                Err("keep= is for files with rotate= or age=, as in FILE,rotate=1GiB,keep=7".into())
            }
            rotation => Ok((file, rotation)),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        match key {
            "rotate" => self.bytes = NonZeroU64::new(bytes(value)?),
            "age" => {
                let age = humantime::parse_duration(value).ok().filter(|age| !age.is_zero());
                self.age = Some(age.ok_or_else(|| format!("age={value}: expected a time, such as 12h or 1day"))?);
            }
            _ => {
                let keep = value.parse().map_err(|_| format!("keep={value}: expected a number from 1 on"))?;
                self.keep = Some(keep);
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(bytes) = self.bytes {
            write!(f, ",rotate={bytes}")?;
        }
        if let Some(age) = self.age {
            write!(f, ",age={}", humantime::format_duration(age).to_string().replace(' ', ""))?;
        }
        self.keep.map_or(Ok(()), |keep| write!(f, ",keep={keep}"))
    }
}

/// A number of bytes, as `4096`, `500MB`, `1GiB`.
///
/// # Errors
/// In words: it is none, or zero.
pub fn bytes(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[number.len()..].to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let count = number.trim().parse::<u64>().ok().filter(|count| *count > 0);
    let bytes = count.zip(factor).and_then(|(count, factor)| count.checked_mul(factor));
    bytes.ok_or_else(|| format!("{text}: expected a number of bytes, such as 500MB or 1GiB"))
}

/// A file of lines that is put aside as `NAME.00001.ENDING`, with a number that grows, and begun anew.
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: BufWriter<File>,
    /// Bytes in it.
    length: u64,
    opened: Instant,
    /// How old it was then.
    age: Duration,
    /// The highest number that was given.
    newest: u64,
    /// Brings the file that was put aside last down to the disk: whoever writes lines does not wait for that.
    aside: Option<JoinHandle<Result<()>>>,
}

impl RotatingFile {
    /// Opens a file and goes on behind what is there. A last line that a crash cut off is taken away.
    ///
    /// # Errors
    /// The file cannot be opened, or its folder not be read.
    pub fn append(path: &Path, rotation: Rotation) -> Result<Self> {
        let newest = set_aside(path)?.into_iter().map(|(number, _)| number).max().unwrap_or(0);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let length = whole_lines(&mut file)?;
        let metadata = file.metadata()?;
        let born = metadata.created().or_else(|_| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
        // A clock that was set back says nothing.
        let age = SystemTime::now().duration_since(born).unwrap_or_default();
        let file = BufWriter::new(file);
        Ok(Self { path: path.to_path_buf(), rotation, file, length, opened: Instant::now(), age, newest, aside: None })
    }

    /// Puts aside what is there, and begins anew.
    ///
    /// # Errors
    /// As [`RotatingFile::append`].
    pub fn create(path: &Path, rotation: Rotation) -> Result<Self> {
        let mut file = Self::append(path, rotation)?;
        if file.length > 0 {
            file.put_aside()?;
        }
        Ok(file)
    }

    /// Writes a line, or several that belong together, into one file.
    ///
    /// # Errors
    /// The disk is full, or the file cannot be put aside. What was written of the line then is taken away when the file
    /// is opened again.
    pub fn add(&mut self, line: &[u8]) -> Result<()> {
        let length = self.length + line.len() as u64;
        let large = self.rotation.bytes.is_some_and(|most| length > most.get());
        let old = self.rotation.age.is_some_and(|most| self.age + self.opened.elapsed() >= most);
        if self.length > 0 && (large || old) {
            self.put_aside()?;
        }
        self.file.write_all(line)?;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The disk is full.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }

    /// Writes out what is buffered; what was put aside before is on the disk then.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn finish(&mut self) -> Result<()> {
        self.file.flush()?;
        self.wait_for_aside()
    }

    /// Writes out what is buffered, down to the disk, with what was put aside before.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn sync(&mut self) -> Result<()> {
        self.finish()?;
        self.file.get_ref().sync_data()
    }

    fn wait_for_aside(&mut self) -> Result<()> {
        let Some(thread) = self.aside.take() else { return Ok(()) };
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::other("the thread that writes files to the disk ended by an error")))
    }

    fn put_aside(&mut self) -> Result<()> {
        self.file.flush()?;
        // One at a time: a disk that is slower than files grow is waited for.
        self.wait_for_aside()?;
        let whole = self.file.get_ref().try_clone()?;
        self.aside = Some(std::thread::Builder::new().name("sync".into()).spawn(move || whole.sync_data())?);
        let number = self.newest + 1;
        match std::fs::rename(&self.path, aside(&self.path, number)) {
            Ok(()) => self.newest = number,
            // Somebody else took it away.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        (self.file, self.length, self.opened, self.age) = (BufWriter::new(file), 0, Instant::now(), Duration::ZERO);
        if let Some(keep) = self.rotation.keep {
            for (_, old) in set_aside(&self.path)?.into_iter().filter(|(number, _)| number + keep.get() <= self.newest)
            {
                std::fs::remove_file(old)?;
            }
        }
        Ok(())
    }
}

impl Drop for RotatingFile {
    /// What was put aside is on the disk then.
    fn drop(&mut self) {
        // Whoever minds has asked before.
        let _ = self.wait_for_aside();
    }
}

/// Cuts a file behind its last whole line; its length then.
fn whole_lines(file: &mut File) -> Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(PART);
        let mut part = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

/// Where file `number` is put aside.
fn aside(path: &Path, number: u64) -> PathBuf {
    let (stem, ending) = name_parts(path);
    path.with_file_name(format!("{stem}.{number:0DIGITS$}{ending}"))
}

/// What was put aside before, by number.
fn set_aside(path: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let (stem, ending) = name_parts(path);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&stem)?.strip_suffix(&ending)?.strip_prefix('.'));
        let number = number.filter(|digits| digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            found.push((number, path.with_file_name(entry.file_name())));
        }
    }
    Ok(found)
}

/// The name of a file before its ending, and the ending with its point.
fn name_parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let ending = text(path.extension()).map_or(String::new(), |ending| format!(".{ending}"));
    (text(path.file_stem()).unwrap_or_default(), ending)
}

/// What a file that rotates cannot be.
///
/// # Errors
/// It is standard output, or no file.
pub(crate) fn check(path: &Path) -> Result<()> {
    let is_file = path.metadata().map_or(true, |metadata| metadata.is_file());
    if path.as_os_str() == "-" || !is_file {
        return Err(Error::new(ErrorKind::InvalidInput, "only a file can be put aside and begun anew"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(bytes: u64, keep: Option<u64>) -> Rotation {
        Rotation { bytes: NonZeroU64::new(bytes), age: None, keep: keep.and_then(NonZeroU64::new) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("listed");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn no_line_is_split_or_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut file = RotatingFile::create(&path, rotation(30, None)).expect("opened");
        let lines: Vec<String> = (0..20).map(|number| format!("line {number} {}\n", "x".repeat(number))).collect();
        for line in &lines {
            file.add(line.as_bytes()).expect("written");
        }
        file.flush().expect("written");
        let mut all = String::new();
        let names = names(folder.path());
        assert_eq!(names.first().map(String::as_str), Some("events.00001.jsonl"));
        for name in &names {
            let text = std::fs::read_to_string(folder.path().join(name)).expect("read");
            assert!(text.ends_with('\n') && (text.len() <= 30 || text.lines().count() == 1), "{name}: {text:?}");
            all.push_str(&text);
        }
        assert_eq!(all, lines.concat());
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_old_files_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        for turn in 0..3 {
            let mut file = RotatingFile::append(&path, rotation(8, Some(2))).expect("opened");
            for number in 0..2 {
                file.add(format!("{turn}-{number}...\n").as_bytes()).expect("written");
            }
            file.flush().expect("written");
        }
        assert_eq!(names(folder.path()), ["events.00004.jsonl", "events.00005.jsonl", "events.jsonl"]);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "2-1...\n");
    }

    #[test]
    fn a_line_that_was_cut_off_goes_and_what_is_there_is_put_aside_where_it_is_begun_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, format!("whole\n{}", "x".repeat(100_000))).expect("written");
        let mut file = RotatingFile::append(&path, rotation(1 << 20, None)).expect("opened");
        file.add(b"next\n").expect("written");
        file.flush().expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "whole\nnext\n");
        RotatingFile::create(&path, rotation(1 << 20, None)).expect("opened");
        assert_eq!(names(folder.path()), ["events.00001.jsonl", "events.jsonl"]);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "");
    }

    #[test]
    fn what_is_put_aside_comes_to_the_disk_by_another_thread() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut file = RotatingFile::create(&path, rotation(8, None)).expect("opened");
        for number in 0..5 {
            file.add(format!("line {number}\n").as_bytes()).expect("written");
            assert_eq!(file.aside.is_some(), number > 0, "the file before is on its way");
        }
        file.sync().expect("written");
        assert!(file.aside.is_none(), "and there");
        file.aside = Some(std::thread::spawn(|| Err(Error::other("no room"))));
        assert_eq!(file.sync().expect_err("told").to_string(), "no room");
        file.aside = Some(std::thread::spawn(|| Err(Error::other("no room"))));
        assert!(file.add(b"the next file\n").is_err(), "told also with the next line that begins a file");
    }

    #[test]
    fn age_counts_from_the_birth_of_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let rotation = Rotation { age: Some(Duration::from_hours(1)), ..Rotation::default() };
        let mut file = RotatingFile::append(&path, rotation).expect("opened");
        file.add(b"one\n").expect("written");
        file.add(b"two\n").expect("written");
        assert_eq!(names(folder.path()).len(), 1);
        file.age = Duration::from_hours(1);
        file.add(b"three\n").expect("written");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn settings_are_read_from_behind_a_place() {
        let (file, rotation) = Rotation::split("a,b.jsonl,rotate=1GiB,age=1d,keep=7").expect("understood");
        let wanted =
            Rotation { bytes: NonZeroU64::new(1 << 30), age: Some(Duration::from_hours(24)), keep: NonZeroU64::new(7) };
        assert_eq!((file, rotation), ("a,b.jsonl", Some(wanted)));
        assert_eq!(Rotation::split("a,b=c.jsonl"), Ok(("a,b=c.jsonl", None)));
        assert_eq!(Rotation::split(&format!("x{wanted}")), Ok(("x", Some(wanted))));
        for wrong in ["x,keep=7", "x,rotate=0", "x,rotate=big", "x,rotate=1GiB,keep=0", "x,age=0s", "x,age=soon"] {
            assert!(Rotation::split(wrong).is_err(), "{wrong}");
        }
        assert_eq!((bytes("10 MB"), bytes("4096")), (Ok(10_000_000), Ok(4096)));
    }
}
