//! Files that appear in full or not at all, and what they are known by.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Renames a finished temporary file to `path`, readable by all.
///
/// # Errors
/// The operating system refuses.
pub fn publish(staged: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private; results are not.
        std::fs::set_permissions(staged.path(), std::fs::Permissions::from_mode(0o644))?;
    }
    // A name must not appear before its content: a power cut would leave an empty file under it.
    staged.as_file().sync_all()?;
    staged.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Writes a file, in full or not at all: into a neighbour first, then renamed. Readable by all.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut staged = tempfile::NamedTempFile::new_in(parent(path)).map_err(Error::io("create", path))?;
    staged.write_all(bytes.as_ref()).and_then(|()| publish(staged, path)).map_err(Error::io("write", path))
}

/// The folder that holds `path`.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Adds all bytes of a file to a digest.
///
/// # Errors
/// It cannot be read.
pub fn digest_into(hasher: &mut Sha256, path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(()),
            count => hasher.update(&part[..count]),
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Whether a model directory may be written at `path`: nothing is there, or with `replace` a folder that `is_ours`.
///
/// # Errors
/// `path` exists and may not be replaced.
pub fn check_free(path: &Path, replace: bool, is_ours: impl FnOnce(&Path) -> bool) -> Result<()> {
    if !path.exists() || (replace && is_ours(path)) {
        return Ok(());
    }
    let reason = if replace {
        "exists and is no model directory that was written here; name a new folder or remove it"
    } else {
        "exists already; name a new folder, or replace it with --force"
    };
    Err(Error::Unsupported(format!("{}: {reason}", path.display())))
}

/// Writes a folder, in full or not at all: `fill` is given a neighbour of `path` that takes its name once it is whole. What
/// stood there gives way.
///
/// # Errors
/// Those of `fill`, or the operating system refuses.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let exists = path.exists();
    let parent = parent(path);
    std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    // One name per target: what a killed run left is swept by the next.
    let staged = beside(path, "staged");
    remove_folder(&staged)?;
    std::fs::create_dir(&staged).map_err(Error::io("create", &staged))?;
    let staged = Staged(staged);
    fill(&staged.0)?;
    let old = beside(path, "replaced");
    remove_folder(&old)?;
    if exists {
        std::fs::rename(path, &old).map_err(Error::io("replace", path))?;
    }
    std::fs::rename(&staged.0, path).map_err(Error::io("write", path))?;
    remove_folder(&old)
}

/// A folder on its way to its name; gone with its guard if it does not get there.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.0) {
            tracing::warn!("{error}");
        }
    }
}

/// A hidden neighbour of `path`, named after it.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
