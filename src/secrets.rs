//! Credentials, and how they are kept out of everything that is written: logs, errors, records and GStreamer's own debug
//! output. What was once learned here is hidden everywhere, in every form in which it travels.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(***)")
    }
}

/// Texts that must not be seen, longest first.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());
/// What stands in their place.
const HIDDEN: &str = "***";
/// Shorter passwords are no secret, and hiding them would make texts unreadable.
const LEAST: usize = 3;
/// What addresses leave as it is, besides letters and digits.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Answers of digest authentication: with one, a password can be guessed at leisure.
const DIGEST: &str = "response=\"";

impl Login {
    /// From `user:password`. It is hidden from then on.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        Some(Self::new(user, password))
    }

    /// From the part of an address before its `@`, percent-encoded. It is hidden from then on.
    pub fn of_address(userinfo: &str) -> Self {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        hide(password);
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self::new(&decoded(user), &decoded(password))
    }

    /// From the first line of a file, `user:password`. It is hidden from then on.
    ///
    /// # Errors
    /// The file cannot be read or holds no such line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_credentials(path, "--credentials")?;
        let first = text.lines().next().unwrap_or_default();
        Self::parse(first).ok_or_else(|| {
            Error::Usage(format!("{}: its first line is no user:password, expected one with a colon", path.display()))
        })
    }

    /// From all lines of a file, `user:password` each; empty ones are left out. They are hidden from then on.
    ///
    /// # Errors
    /// The file cannot be read, holds no line, or one that is no `user:password`.
    pub fn read_all(path: &Path) -> Result<Vec<Self>> {
        let text = read_credentials(path, "--out-credentials")?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parsed = lines.map(|(number, line)| {
            Self::parse(line).filter(Self::is_whole).ok_or_else(|| {
                let reason = format!("line {} is no user:password, expected a name, a colon, a password", number + 1);
                Error::Usage(format!("{}: {reason}", path.display()))
            })
        });
        let logins: Vec<Self> = parsed.collect::<Result<_>>()?;
        if logins.is_empty() {
            return Err(Error::Usage(format!("{}: is empty, expected user:password, one a line", path.display())));
        }
        Ok(logins)
    }

    /// Whether both the name and the password say something.
    pub fn is_whole(&self) -> bool {
        !self.user.is_empty() && !self.password.is_empty()
    }

    /// It is hidden from then on.
    pub fn new(user: &str, password: &str) -> Self {
        hide(password);
        hide(&base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")));
        Self { user: user.to_owned(), password: password.to_owned() }
    }
}

/// The text of a file with credentials.
fn read_credentials(path: &Path, flag: &str) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    if !path.exists() && path.to_string_lossy().contains(':') {
        // Somebody typed the credentials themselves.
        hide(&path.to_string_lossy());
        let reason = "expected the name of a file with user:password on its first line, and found no such file";
        return Err(Error::Usage(format!("{flag} {HIDDEN}: {reason}")));
    }
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    // A group may be meant to; systemd's copies for a service look like that, too.
    let others = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0);
    if others {
        tracing::warn!("{}: other users of this machine may read it (chmod 600 keeps them out)", path.display());
    }
    Ok(text)
}

/// Hides a text from now on, also as part of an address.
pub fn hide(secret: &str) {
    if secret.len() < LEAST {
        return;
    }
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let usual = utf8_percent_encode(secret, UNRESERVED).to_string();
    let escaped = escaped(secret);
    // What is written as a text within a text.
    let twice = self::escaped(&escaped);
    let json = serde_json::to_string(secret).unwrap_or_default().trim_matches('"').to_owned();
    let forms = [encoded.to_lowercase(), usual.to_lowercase(), encoded, usual, twice, escaped, json, secret.to_owned()];
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    for form in forms {
        if !form.is_empty() && !secrets.contains(&form) {
            secrets.push(form);
        }
    }
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
}

/// As GStreamer and its drawings write texts: quotes and backslashes with a backslash, letters beyond ASCII in octal.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        // Writing to a text does not fail.
        let _ = match byte {
            b'"' | b'\\' => write!(out, "\\{}", char::from(byte)),
            0x20..=0x7e => write!(out, "{}", char::from(byte)),
            _ => write!(out, "\\{byte:03o}"),
        };
        out
    })
}

/// `text` with everything hidden that is to be: what was learned, user names and passwords in addresses, and answers of
/// digest authentication.
pub fn hidden(text: &str) -> String {
    let mut clean = without_logins(text);
    for secret in SECRETS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if clean.contains(secret.as_str()) {
            clean = clean.replace(secret.as_str(), HIDDEN);
        }
    }
    without_basics(without_digests(clean))
}

/// Basic authentication is a name and a password, also of somebody whom we do not know.
fn without_basics(mut text: String) -> String {
    const BASIC: &str = "Basic ";
    let mut from = 0;
    while let Some(at) = text[from..].find(BASIC) {
        let start = from + at + BASIC.len();
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        let end = text[start..].find(|c| !is_base64(c)).map_or(text.len(), |end| start + end);
        // What a server says begins like this, and what people write has spaces.
        if end - start >= LEAST && &text[start..end] != "realm=" && !text[end..].starts_with(' ') {
            text.replace_range(start..end, HIDDEN);
            from = start + HIDDEN.len();
        } else {
            from = end;
        }
    }
    text
}

fn without_digests(mut text: String) -> String {
    let mut from = 0;
    while let Some(at) = text[from..].find(DIGEST) {
        let start = from + at + DIGEST.len();
        let end = text[start..].find('"').map_or(text.len(), |end| start + end);
        text.replace_range(start..end, HIDDEN);
        from = start + HIDDEN.len();
    }
    text
}

/// An address without user name and password, and without the values of parameters that are called like secrets.
pub fn without_login(address: &str) -> String {
    let bare = match credentials(address) {
        Some((scheme, login)) => {
            let rest = &address[scheme.len() + "://".len() + login.len() + 1..];
            format!("{scheme}://{HIDDEN}@{rest}")
        }
        None => address.to_owned(),
    };
    secret_values(address)
        .into_iter()
        .fold(bare, |text, (key, value)| text.replace(&format!("{key}={value}"), &format!("{key}={HIDDEN}")))
}

/// The scheme of an address, and what stands before its `@`. A password should be percent-encoded there; one that is not,
/// with a slash in it, is found all the same where what looks like a port is none.
fn credentials(address: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some((login, _)) = authority.rsplit_once('@') {
        return Some((scheme, login));
    }
    // The colons of an IPv6 address are none of a login.
    let (_, port) = authority.split_once(':').filter(|_| !authority.starts_with('['))?;
    let (login, _) = rest.rsplit_once('@')?;
    (port.is_empty() || port.chars().any(|c| !c.is_ascii_digit())).then_some((scheme, login))
}

/// True where the credentials of an address are not written as they must be.
pub fn is_login_unencoded(address: &str) -> bool {
    credentials(address).is_some_and(|(_, login)| login.contains(['/', '?', '#']))
}

/// The part of an address before its `@`, and the address without it.
pub fn split_login(address: &str) -> Option<(&str, String)> {
    let (scheme, login) = credentials(address)?;
    let rest = &address[scheme.len() + "://".len() + login.len() + 1..];
    Some((login, format!("{scheme}://{rest}")))
}

/// Parameters in the path or the query of an address whose names say that their values are secret, as some cameras take
/// them: `/user=admin&password=…`, `?token=…`.
pub fn secret_values(address: &str) -> Vec<(&str, &str)> {
    const NAMES: [&str; 6] = ["pass", "pwd", "token", "secret", "auth", "apikey"];
    let Some((_, rest)) = address.split_once("://") else { return Vec::new() };
    let Some(at) = rest.find(['/', '?']) else { return Vec::new() };
    let parts = rest[at..].split(['/', '?', '&', ';', '#']).flat_map(joined_by_underscores);
    let parts = parts.filter_map(|part| part.split_once('='));
    let is_secret = |key: &str| NAMES.iter().any(|name| key.to_ascii_lowercase().contains(name));
    parts.filter(|(key, value)| is_secret(key) && !value.is_empty()).collect()
}

/// `a=1_b=2` as its two parts; what has no name of its own belongs to the value before it.
fn joined_by_underscores(text: &str) -> Vec<&str> {
    let begins = |at: usize| text[at + 1..].split('_').next().is_some_and(|part| part.contains('='));
    let cuts = text.match_indices('_').map(|(at, _)| at).filter(|at| begins(*at) && text[..*at].contains('='));
    let (mut parts, mut from) = (Vec::new(), 0);
    for at in cuts {
        parts.push(&text[from..at]);
        from = at + 1;
    }
    parts.push(&text[from..]);
    parts
}

/// A text in which no address has a user name and password any more.
fn without_logins(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || ['"', '\'', '<', '>', ',', ')'].contains(&c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        // From the scheme to the end of the address; a comma or quote within a password ends it too early, so what comes
        // before the last @ of the word goes as well.
        let word = rest[at..].find(char::is_whitespace).map_or(rest.len(), |end| at + end);
        let end = rest[at..].find(ends).map_or(rest.len(), |end| at + end);
        let end = if rest[end..word].contains('@') { word } else { end };
        let start = rest[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).map_or(0, |p| p + 1);
        clean.push_str(&rest[..start]);
        clean.push_str(&without_login(&rest[start..end]));
        rest = &rest[end..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_within_a_text_go_too() {
        let text =
            "Not Found (URL: http://user:s3cret@host/a.mp4, Redirect to: (NULL)), rtsp://me:a,b@cam and http://plain/x";
        let clean = "Not Found (URL: http://***@host/a.mp4, Redirect to: (NULL)), rtsp://***@cam and http://plain/x";
        assert_eq!(without_logins(text), clean);
        assert_eq!(without_logins("no address at all"), "no address at all");
    }

    #[test]
    fn credentials_are_not_part_of_the_name() {
        assert_eq!(without_login("http://user:p@ss@host:80/clip.mp4?a=b@c"), "http://***@host:80/clip.mp4?a=b@c");
        assert_eq!(without_login("https://host/user@place"), "https://host/user@place");
        assert_eq!(without_login("a:b@c.mp4"), "a:b@c.mp4");
        assert_eq!(split_login("rtsp://me:pw@cam:554/x?y"), Some(("me:pw", "rtsp://cam:554/x?y".into())));
    }

    #[test]
    fn credentials_that_are_not_encoded_and_those_in_parameters_go_too() {
        for (address, clean) in [
            ("rtsp://me:s3cr/t@host:1/x", "rtsp://***@host:1/x"),
            ("rtsp://me:s#cr?t@host/x", "rtsp://***@host/x"),
            ("rtsp://cam:554/user=admin&password=s3&channel=1", "rtsp://cam:554/user=admin&password=***&channel=1"),
            ("rtsp://cam/live?Token=abc&x=1", "rtsp://cam/live?Token=***&x=1"),
            ("rtsp://cam/live?api_token=ab_cd&x=1", "rtsp://cam/live?api_token=***&x=1"),
            ("rtsp://cam/user=me_password=s3_cr_channel=1.sdp", "rtsp://cam/user=me_password=***_channel=1.sdp"),
            ("rtsp://cam:554/user@place", "rtsp://cam:554/user@place"),
            ("rtsp://[::1]:554/user@place", "rtsp://[::1]:554/user@place"),
        ] {
            assert_eq!(without_login(address), clean);
        }
        assert!(is_login_unencoded("rtsp://me:s/t@host/x") && !is_login_unencoded("rtsp://me:s%2Ft@host/x"));
    }

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let login = Login::of_address("me:qu%2Bx%40y%22z");
        assert_eq!((login.user.as_str(), login.password.as_str()), ("me", "qu+x@y\"z"));
        let forms = "qu+x@y\"z qu%2Bx%40y%22z qu%2bx%40y%22z bWU6cXUreEB5Ino= qu+x@y\\\"z";
        assert_eq!(hidden(forms), "*** *** *** *** ***");
        assert_eq!(format!("{login:?}"), "Login(***)");
        let header = "Digest username=\"me\", response=\"0123456789abcdef\", uri=\"/x\"";
        assert_eq!(hidden(header), "Digest username=\"me\", response=\"***\", uri=\"/x\"");
        assert_eq!(hidden("'Basic bWU6cXU=' and Basic bWU6cXU="), "'Basic ***' and Basic ***");
        assert_eq!(hidden("'Basic realm=\"x\"', Basic things are"), "'Basic realm=\"x\"', Basic things are");
    }
}
