//! `spotter password`: the hash of a password.

use std::io::{BufRead, IsTerminal, Write};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, SaltString};

use crate::cli::PasswordArgs;
use crate::error::{Error, Result};

/// The shortest password, in letters: whoever reaches the page may try.
const SHORTEST: usize = 8;

/// Reads a password and writes its hash.
///
/// # Errors
/// It is too short or cannot be read, or the file cannot be written.
pub(super) fn run(args: &PasswordArgs) -> Result<()> {
    let standard = std::io::stdin();
    if standard.is_terminal() {
        // What is typed is seen: terminals that do not show it are a shell's business (`read -rs`).
        tracing::info!("type the password, and Enter; it is seen here");
    }
    let mut line = String::new();
    standard.lock().read_line(&mut line).map_err(Error::io("read", "-".as_ref()))?;
    let password = line.trim_end_matches(['\r', '\n']);
    let length = password.chars().count();
    if length < SHORTEST {
        return Err(Error::Usage(format!("the password has {length} letters, expected {SHORTEST} or more")));
    }
    let fail = |error: argon2::password_hash::Error| Error::Usage(format!("the password cannot be hashed: {error}"));
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(fail)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(fail)?;
    let text = format!("{hash}\n");
    let Some(path) = &args.file else {
        return std::io::stdout().write_all(text.as_bytes()).map_err(Error::io("write", "-".as_ref()));
    };
    // Others may not read what is written in this way.
    let staged = tempfile::NamedTempFile::new_in(blocks::files::parent(path)).and_then(|mut staged| {
        staged.write_all(text.as_bytes())?;
        staged.persist(path).map(drop).map_err(std::io::Error::from)
    });
    staged.map_err(Error::io("write", path))
}
