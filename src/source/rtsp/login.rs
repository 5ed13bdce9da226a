//! Logging in to RTSP servers: one answer to one challenge, whatever kind the server asks for.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http_auth::digest::Algorithm;
use http_auth::{PasswordClient, PasswordParams};

use super::messages::Message;
use crate::error::Result;
use crate::secrets::Login;

/// A login, and where it is read again: a password may change while a run goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    login: Login,
    file: Option<PathBuf>,
}

impl Credentials {
    /// Of the first line of a file, `user:password`.
    ///
    /// # Errors
    /// The file cannot be read or holds no such line.
    pub fn read(file: &Path) -> Result<Self> {
        Ok(Self { login: Login::read(file)?, file: Some(file.to_owned()) })
    }

    /// As the file says now; where it says nothing, as it said before.
    pub(crate) fn now(&self) -> Login {
        let read = |file: &PathBuf| {
            Login::read(file).inspect_err(|error| tracing::warn!("{error}; its last password is used")).ok()
        };
        self.file.as_ref().and_then(read).unwrap_or_else(|| self.login.clone())
    }

    /// When the file changed last, and how long it is.
    pub(in crate::source) fn version(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.file.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }
}

impl From<Login> for Credentials {
    fn from(login: Login) -> Self {
        Self { login, file: None }
    }
}

/// What a refused request leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenged {
    /// It is asked once more, signed.
    Again,
    /// The server does not want this login, or none is known.
    Refused,
    /// It wants one of a kind that is not known here, in words.
    Unknown(String),
}

/// How requests of one connection are signed.
pub(super) struct Signing {
    login: Option<Login>,
    client: Option<PasswordClient>,
    /// Answers since the server agreed last: an account may be locked after a few wrong ones.
    answers: usize,
}

impl Signing {
    pub(super) fn new(login: Option<Login>) -> Self {
        Self { login, client: None, answers: 0 }
    }

    /// Signs a request, once the server said how.
    pub(super) fn sign(&mut self, request: &mut Message) {
        let (Some(login), Some(client)) = (&self.login, &mut self.client) else { return };
        let Some((method, uri)) = request.asks() else { return };
        let parameters = PasswordParams { username: &login.user, password: &login.password, uri, method, body: None };
        match client.respond(&parameters) {
            Ok(mut answer) => {
                // Left out of the oldest form of answers, which knew MD5 alone.
                if let PasswordClient::Digest(digest) = client
                    && digest.rfc2069_compat()
                    && digest.algorithm() != Algorithm::Md5
                {
                    let algorithm = if digest.algorithm() == Algorithm::Sha256 { "SHA-256" } else { "SHA-512-256" };
                    answer.extend([", algorithm=", algorithm]);
                }
                request.set("Authorization", answer);
            }
            Err(reason) => tracing::debug!("a request cannot be signed: {reason}"),
        }
    }

    /// What a 401 means (RFC 7235, section 3.1). A nonce that is said to be out of date is no refusal.
    pub(super) fn challenged(&mut self, answer: &Message) -> Challenged {
        if self.login.is_none() {
            return Challenged::Refused;
        }
        let mut builder = PasswordClient::builder();
        for challenge in answer.all("WWW-Authenticate") {
            builder = builder.challenges(challenge);
        }
        let client = match builder.build() {
            Ok(client) => client,
            Err(reason) => return Challenged::Unknown(reason),
        };
        let stale = matches!(&client, PasswordClient::Digest(digest) if digest.stale());
        if self.answers > usize::from(stale) {
            return Challenged::Refused;
        }
        self.answers += 1;
        self.client = Some(client);
        Challenged::Again
    }

    /// The server agreed to a request.
    pub(super) fn agreed(&mut self) {
        self.answers = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str) -> Message {
        let mut answer = Message::request("", "");
        answer.start = "RTSP/1.0 401 Unauthorized".into();
        answer.set("WWW-Authenticate", text);
        answer
    }

    fn signing() -> Signing {
        Signing::new(Some(Login::new("admin", "right word")))
    }

    /// RFC 7616, section 3.4.1: HA1:nonce:HA2 with SHA-256, as some cameras alone accept it.
    #[test]
    fn digests_by_sha_256_and_md5() {
        let of = |algorithm: &str| {
            let mut signing = signing();
            let asked = challenge(&format!("Digest realm=\"cam\", nonce=\"4e6a45784d\"{algorithm}, stale=\"FALSE\""));
            assert_eq!(signing.challenged(&asked), Challenged::Again);
            let mut request = Message::request("DESCRIBE", "rtsp://cam/live");
            signing.sign(&mut request);
            let signed = request.header("Authorization").expect("signed").to_owned();
            assert!(signed.contains("username=\"admin\"") && signed.contains("uri=\"rtsp://cam/live\""), "{signed}");
            assert_eq!(signed.contains("algorithm=SHA-256"), !algorithm.is_empty(), "{signed}");
            let (_, rest) = signed.split_once("response=\"").expect("an answer");
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        // Both by Python's hashlib.
        assert_eq!(of(""), "e55cd02f7a968552ac444c8b63acf506");
        assert_eq!(of(", algorithm=\"SHA-256\""), "b3acf2a3c9d711f196fa047e31c411b5ccae2c828cfb873397123e218fdedc0b");
    }

    #[test]
    fn a_login_is_offered_once() {
        let mut signing = signing();
        let asked = challenge("Basic realm=\"cam\"");
        assert_eq!(signing.challenged(&asked), Challenged::Again);
        assert_eq!(signing.challenged(&asked), Challenged::Refused);
        signing.agreed();
        assert_eq!(signing.challenged(&asked), Challenged::Again, "the camera wanted it before");
        let mut signing = self::signing();
        let stale = challenge("Digest realm=\"cam\", nonce=\"a\", stale=TRUE");
        assert_eq!(signing.challenged(&challenge("Digest realm=\"cam\", nonce=\"b\"")), Challenged::Again);
        assert_eq!(signing.challenged(&stale), Challenged::Again, "the nonce was out of date");
        assert_eq!(signing.challenged(&stale), Challenged::Refused);
        assert_eq!(Signing::new(None).challenged(&asked), Challenged::Refused);
        let unknown = self::signing().challenged(&challenge("Digest realm=\"cam\", nonce=\"b\", algorithm=SHA-3"));
        assert!(matches!(&unknown, Challenged::Unknown(reason) if reason.contains("SHA-3")), "{unknown:?}");
    }

    #[test]
    fn a_password_that_changes_in_its_file_is_taken_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("login");
        std::fs::write(&file, "me:first\n").expect("written");
        let credentials = Credentials::read(&file).expect("read");
        let before = credentials.version();
        std::fs::write(&file, "me:second one\n").expect("written");
        assert_ne!(credentials.version(), before);
        assert_eq!(credentials.now(), Login::new("me", "second one"));
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(credentials.now(), Login::new("me", "first"));
    }
}
