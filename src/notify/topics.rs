//! How topics, subjects and entities are called.

use sha2::{Digest, Sha256};

/// Where everything of one query is told over MQTT.
pub(super) struct Topics {
    base: String,
}

/// Bytes of a digest that tell names apart whose letters a topic cannot have.
const TOLD_APART_BY: usize = 3;

impl Topics {
    pub(super) fn new(base: &str) -> Self {
        Self { base: base.to_owned() }
    }

    /// Whether the program is there.
    pub(super) fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    /// Whether frames come from a stream.
    pub(super) fn stream_availability(&self, stream: &str) -> String {
        format!("{}/{}/availability", self.base, word(stream))
    }

    /// One of a query's: `state`, `count`, `text`, `text/set`, `snapshot`, `event`.
    pub(super) fn query(&self, stream: &str, query: &str, what: &str) -> String {
        format!("{}/{}/{}/{what}", self.base, word(stream), word(query))
    }

    /// What concerns no query.
    pub(super) fn event(&self) -> String {
        format!("{}/event", self.base)
    }

    /// Sentences that others want, of all queries.
    pub(super) fn all_wishes(&self) -> String {
        format!("{}/+/+/text/set", self.base)
    }

    /// Tells different installations apart.
    pub(super) fn node(&self) -> String {
        word(&self.base)
    }
}

/// A name as a part of a topic or an id: ASCII letters, digits, `-` and `_`. Names that differ only in what is left out
/// get different endings.
pub(super) fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let word: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if !word.is_empty() && name.chars().all(|c| plain(c) || c == ' ') {
        return word;
    }
    format!("{word}_{}", blocks::files::hex(&Sha256::digest(name.as_bytes())[..TOLD_APART_BY]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words_and_stay_different() {
        assert_eq!(word("a red car"), "a_red_car");
        assert_eq!(word("gate-1"), "gate-1");
        let odd = ["rtsp://cam/1", "rtsp://cam#1", "größe", "gr+#/e", "", "/"].map(word);
        for (at, one) in odd.iter().enumerate() {
            assert!(one.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{one}");
            assert!(!odd[..at].contains(one), "{one} twice");
        }
        assert_eq!(Topics::new("home/spotter").query("gate", "a car", "state"), "home/spotter/gate/a_car/state");
    }
}
