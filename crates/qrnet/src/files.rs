//! Files that appear in full or not at all.

use std::path::Path;

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

/// The folder that holds `path`.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
