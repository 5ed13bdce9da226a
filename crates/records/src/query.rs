//! What a stream is asked.

/// One question to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// How records, metrics and commands call it; one of a kind in its stream.
    pub name: String,
    /// The sentence.
    pub text: String,
    /// Counts up when its sentence changes while the stream runs, from 1.
    pub rev: u32,
}

/// The longest name, in letters.
pub const LONGEST_NAME: usize = 64;
/// Queries that a stream is asked at once, at most.
pub const MOST_QUERIES: usize = 64;

impl Query {
    /// The first revision of a question that goes by its sentence.
    pub fn of(text: &str) -> Self {
        Self { name: Self::name_of(text), text: text.to_owned(), rev: 1 }
    }

    /// What a sentence is called where it has no name: as it is, cut where it is too long.
    pub fn name_of(text: &str) -> String {
        text.trim().chars().take(LONGEST_NAME).collect()
    }

    /// Refuses a name that would break a metric's label or a line of a table.
    ///
    /// # Errors
    /// In words: it is empty, too long, or holds control characters.
    pub fn check_name(name: &str) -> Result<(), String> {
        let length = name.chars().count();
        if name.trim().is_empty() {
            return Err("is empty, expected a name".into());
        }
        if length > LONGEST_NAME {
            return Err(format!("has {length} letters, expected at most {LONGEST_NAME}"));
        }
        match name.chars().find(|c| c.is_control()) {
            Some(c) => Err(format!("holds {c:?}, expected no control characters")),
            None => Ok(()),
        }
    }
}
