//! Text to piece ids: `tokenizer.json` or `vocab.txt`, with length and framing set by the model.

use std::collections::BTreeSet;
use std::path::Path;

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

use crate::error::{Error, Result, quoted};

const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";
const PAD: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";

/// A tokenizer bound to a model's text length.
#[derive(Clone)]
pub struct QueryTokenizer {
    inner: Tokenizer,
    max_len: usize,
    vocab_size: usize,
    cls: u32,
    sep: u32,
    pad: u32,
    unknown: Option<u32>,
}

/// How a piece begins that goes on with the word before it.
const CONTINUED: &str = "##";
/// A word of so many pieces is none that a model knows.
const FEW_PIECES: usize = 3;

/// One query as pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// `[CLS] pieces… [SEP]`, without padding.
    pub ids: Vec<u32>,
    /// The end of the text that did not fit, if any.
    pub cut: Option<String>,
    /// Words that the vocabulary lacks.
    pub unknown: Vec<String>,
    /// Words that the vocabulary has in three pieces or more, which mean little by themselves.
    pub in_pieces: Vec<String>,
}

impl QueryTokenizer {
    /// Reads `tokenizer.json`, or a WordPiece `vocab.txt` (lower-cased, as bert-base-uncased).
    ///
    /// `max_len` is the model's text length L, `vocab_size` its number of word embeddings. Padding and truncation that
    /// the file asks for are not used: both are the model's.
    ///
    /// # Errors
    /// The file cannot be read, lacks a framing piece, or has more pieces than the model.
    pub fn from_file(path: &Path, max_len: usize, vocab_size: usize) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let tokenizer = if path.extension().is_some_and(|e| e == "txt") {
            let text =
                String::from_utf8(bytes).map_err(|e| Error::file(path, format!("is no UTF-8 vocabulary: {e}")))?;
            wordpiece(text.trim_end())
        } else {
            Tokenizer::from_bytes(bytes)
        };
        let tokenizer = tokenizer.map_err(|e| Error::file(path, format!("is no tokenizer: {e}")))?;
        Self::new(tokenizer, max_len, vocab_size, path)
    }

    /// Reads the text of a `tokenizer.json`; `origin` is named in errors.
    ///
    /// # Errors
    /// As [`QueryTokenizer::from_file`].
    pub fn from_json(text: &str, max_len: usize, vocab_size: usize, origin: &Path) -> Result<Self> {
        let tokenizer =
            Tokenizer::from_bytes(text).map_err(|e| Error::file(origin, format!("is no tokenizer: {e}")))?;
        Self::new(tokenizer, max_len, vocab_size, origin)
    }

    /// A WordPiece tokenizer over single characters: reads any text in Latin letters, digits and punctuation without a
    /// fetched vocabulary. For models that start from nothing.
    ///
    /// # Errors
    /// `vocab_size` is too small for the characters.
    pub fn characters(max_len: usize, vocab_size: usize) -> Result<Self> {
        let printable = || (b'!'..=b'~').filter(|c| !c.is_ascii_uppercase()).map(char::from);
        let pieces = [PAD, UNKNOWN, CLS, SEP].map(String::from).into_iter().chain(printable().map(String::from));
        let pieces = pieces.chain(printable().filter(char::is_ascii_alphanumeric).map(|c| format!("##{c}")));
        let origin = Path::new("built-in character vocabulary");
        let tokenizer = wordpiece(&pieces.collect::<Vec<_>>().join("\n")).map_err(|e| Error::file(origin, e))?;
        Self::new(tokenizer, max_len, vocab_size, origin)
    }

    /// A tokenizer over whole words: one piece a word, anything else is unknown. For models with a small language.
    ///
    /// # Errors
    /// `vocab_size` is too small for the words.
    pub fn words<'a>(words: impl Iterator<Item = &'a str>, max_len: usize, vocab_size: usize) -> Result<Self> {
        let pieces: Vec<&str> = [PAD, UNKNOWN, CLS, SEP].into_iter().chain(words).collect();
        let origin = Path::new("built-in word vocabulary");
        let tokenizer = wordpiece(&pieces.join("\n")).map_err(|e| Error::file(origin, e))?;
        Self::new(tokenizer, max_len, vocab_size, origin)
    }

    /// The same with the words and marks of `texts` behind those that it has, in alphabetical order.
    ///
    /// # Errors
    /// It is no vocabulary of whole words, or the model has fewer embeddings than that needs.
    pub fn with_words_of<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Result<Self> {
        let origin = Path::new("tokenizer with learnt words");
        let mut words = BTreeSet::new();
        for text in texts {
            words.extend(self.words_of(text).map_err(|e| Error::file(origin, e))?);
        }
        let vocabulary = self.inner.get_vocab(true);
        if !matches!(self.inner.get_model(), tokenizers::ModelWrapper::WordPiece(_)) {
            return Err(Error::file(origin, "is no WordPiece vocabulary, expected one to add words to"));
        }
        let mut pieces: Vec<(u32, &str)> = vocabulary.iter().map(|(piece, id)| (*id, piece.as_str())).collect();
        pieces.sort_unstable();
        let known = pieces.into_iter().map(|(_, piece)| piece);
        let more = words.iter().map(String::as_str).filter(|word| !vocabulary.contains_key(*word));
        let all: Vec<&str> = known.chain(more).collect();
        if all.len() > self.vocab_size {
            let (count, most) = (all.len(), self.vocab_size);
            let reason = format!("would hold {count} words, but the model has {most} word embeddings");
            return Err(Error::file(origin, reason));
        }
        let tokenizer = wordpiece(&all.join("\n")).map_err(|e| Error::file(origin, e))?;
        Self::new(tokenizer, self.max_len, self.vocab_size, origin)
    }

    /// What a text is cut into before the vocabulary is asked.
    fn words_of(&self, text: &str) -> tokenizers::Result<Vec<String>> {
        let mut normal = NormalizedString::from(text.trim().to_lowercase());
        if let Some(normalizer) = self.inner.get_normalizer() {
            normalizer.normalize(&mut normal)?;
        }
        let mut parts = PreTokenizedString::from(normal);
        if let Some(cutter) = self.inner.get_pre_tokenizer() {
            cutter.pre_tokenize(&mut parts)?;
        }
        let parts = parts.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(parts.into_iter().map(|(word, _, _)| word.to_owned()).collect())
    }

    fn new(mut inner: Tokenizer, max_len: usize, vocab_size: usize, origin: &Path) -> Result<Self> {
        let failed = |e| Error::file(origin, format!("truncation cannot be turned off: {e}"));
        inner.with_padding(None).with_truncation(None).map_err(failed)?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= vocab_size {
            let reason = format!("has piece ids up to {largest}, but the model has {vocab_size} word embeddings");
            return Err(Error::file(origin, reason));
        }
        let framing = |piece: &str| {
            inner
                .token_to_id(piece)
                .ok_or_else(|| Error::file(origin, format!("lacks the piece {piece}, expected a BERT vocabulary")))
        };
        let (cls, sep) = (framing(CLS)?, framing(SEP)?);
        let pad = inner.token_to_id(PAD).unwrap_or(0);
        let unknown = inner.token_to_id(UNKNOWN);
        Ok(Self { inner, max_len, vocab_size, cls, sep, pad, unknown })
    }

    /// The tokenizer as `tokenizer.json`.
    ///
    /// # Errors
    /// The tokenizer cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| Error::file(Path::new("tokenizer.json"), e))
    }

    /// The ids that frame every query.
    pub fn framing(&self) -> [u32; 2] {
        [self.cls, self.sep]
    }

    /// The id that fills a query up to the model's length.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Lower-cases `text`, cuts it into pieces, keeps the first L − 2 and frames them.
    ///
    /// # Errors
    /// The text is empty, or holds nothing that the vocabulary knows.
    pub fn encode(&self, text: &str) -> Result<Encoded> {
        let fail = |reason: &str| Error::Query { query: text.to_owned(), reason: reason.to_owned() };
        let lower = text.trim().to_lowercase();
        if lower.is_empty() {
            return Err(fail("is empty, expected words that describe an object"));
        }
        let encoding =
            self.inner.encode(lower.as_str(), false).map_err(|e| fail(&format!("cannot be tokenized: {e}")))?;
        let pieces = encoding.get_ids();
        let offsets = encoding.get_offsets();
        if pieces.is_empty() {
            return Err(fail("holds nothing to tokenize, expected words that describe an object"));
        }
        let kept = pieces.len().min(self.max_len - 2);
        let unknown: Vec<String> = (0..kept)
            .filter(|&i| Some(pieces[i]) == self.unknown)
            .map(|i| lower.get(offsets[i].0..offsets[i].1).unwrap_or_default().to_owned())
            .collect();
        if unknown.len() == kept {
            return Err(fail("holds only characters or words that the model's tokenizer lacks"));
        }
        let cut = (kept < pieces.len()).then(|| lower.get(offsets[kept].0..).unwrap_or_default().to_owned());
        let ids = std::iter::once(self.cls).chain(pieces[..kept].iter().copied()).chain([self.sep]).collect();
        let tokens = &encoding.get_tokens()[..kept];
        let continues = |i: usize| tokens.get(i).is_some_and(|token| token.starts_with(CONTINUED));
        let in_pieces = (0..kept)
            .filter(|&i| !continues(i) && (1..FEW_PIECES).all(|next| continues(i + next)))
            .map(|i| {
                let last = (i + 1..kept).take_while(|&next| continues(next)).last().unwrap_or(i);
                lower.get(offsets[i].0..offsets[last].1).unwrap_or_default().to_owned()
            })
            .collect();
        Ok(Encoded { ids, cut, unknown, in_pieces })
    }

    /// As [`QueryTokenizer::encode`], of words that describe an object: warns of what does not fit the model's length, and of
    /// words that the vocabulary lacks.
    ///
    /// # Errors
    /// As [`QueryTokenizer::encode`], and where the text holds no word.
    pub fn read(&self, text: &str) -> Result<Encoded> {
        if !text.trim().is_empty() && !text.chars().any(char::is_alphanumeric) {
            let reason = "holds no word, expected words that describe an object".into();
            return Err(Error::Query { query: text.to_owned(), reason });
        }
        let encoded = self.encode(text)?;
        if let Some(cut) = &encoded.cut {
            let kept = self.max_len - 2;
            tracing::warn!("query {} is longer than the model's {kept} pieces; cut off: {}", quoted(text), quoted(cut));
        }
        if !encoded.unknown.is_empty() {
            let unknown: Vec<String> = encoded.unknown.iter().map(|word| quoted(word)).collect();
            tracing::warn!("query {}: the model's tokenizer does not know [{}]", quoted(text), unknown.join(", "));
        }
        Ok(encoded)
    }

    /// Pads `ids` to the model's length: ids and an ignore flag (1 = padding) for each.
    pub fn pad_to_length(&self, ids: &[u32]) -> (Vec<u32>, Vec<u8>) {
        let mut padded = ids.to_vec();
        padded.resize(self.max_len, self.pad);
        let ignore = (0..self.max_len).map(|i| u8::from(i >= ids.len())).collect();
        (padded, ignore)
    }
}

/// A WordPiece tokenizer from a vocabulary with one piece a line.
fn wordpiece(vocabulary: &str) -> tokenizers::Result<Tokenizer> {
    let ids: serde_json::Map<_, _> =
        vocabulary.lines().enumerate().map(|(id, piece)| (piece.trim().to_owned(), id.into())).collect();
    let model = serde_json::json!({
        "type": "WordPiece", "vocab": ids, "unk_token": UNKNOWN, "continuing_subword_prefix": CONTINUED, "max_input_chars_per_word": 100,
    });
    let model = WordPiece::from_bytes(model.to_string())?;
    let id = |piece: &str| model.token_to_id(piece).unwrap_or(0);
    let framing = BertProcessing::new((SEP.into(), id(SEP)), (CLS.into(), id(CLS)));
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(framing));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(max_len: usize) -> QueryTokenizer {
        QueryTokenizer::characters(max_len, 256).expect("characters fit")
    }

    #[test]
    fn frames_and_pads() {
        let t = tokenizer(8);
        let encoded = t.encode("  A Cat ").expect("known");
        assert_eq!(encoded.ids.len(), 2 + 4);
        assert_eq!((encoded.ids[0], encoded.ids[5]), (t.cls, t.sep));
        assert_eq!((encoded.cut, encoded.unknown), (None, vec![]));
        let (ids, ignore) = t.pad_to_length(&encoded.ids);
        assert_eq!(ids.len(), 8);
        assert_eq!(ignore, [0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn keeps_what_fits_and_quotes_the_rest() {
        let encoded = tokenizer(6).encode("abcd efg").expect("known");
        assert_eq!(encoded.ids.len(), 6);
        assert_eq!(encoded.cut.as_deref(), Some("efg"));
    }

    #[test]
    fn refuses_nothing_and_the_unreadable() {
        let t = tokenizer(8);
        for (text, reason) in
            [("", "is empty"), ("   ", "is empty"), ("猫犬", "tokenizer lacks"), ("\u{0}", "nothing to tokenize")]
        {
            let message = t.encode(text).expect_err("must fail").to_string();
            assert!(message.contains(reason), "{text:?}: {message}");
        }
        let half = t.encode("a 猫").expect("one word is known");
        assert_eq!(half.unknown, ["猫"]);
    }

    #[test]
    fn vocab_txt_and_tokenizer_json_agree_whatever_the_file_says_of_length() {
        let dir = tempfile::tempdir().expect("a directory");
        let vocabulary = dir.path().join("vocab.txt");
        std::fs::write(&vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\n##dish\ncat\n").expect("written");
        let from_txt = QueryTokenizer::from_file(&vocabulary, 10, 7).expect("a vocabulary");
        let mut file = from_txt.inner.clone();
        file.with_truncation(Some(tokenizers::TruncationParams { max_length: 3, ..Default::default() })).expect("set");
        file.with_padding(Some(tokenizers::PaddingParams {
            strategy: tokenizers::PaddingStrategy::Fixed(64),
            ..Default::default()
        }));
        let json = dir.path().join("tokenizer.json");
        file.save(&json, false).expect("saved");
        let from_json = QueryTokenizer::from_file(&json, 10, 7).expect("a tokenizer");
        for text in ["Reddish cat", "cat red cat red"] {
            assert_eq!(from_txt.encode(text).expect("known"), from_json.encode(text).expect("known"));
        }
        assert_eq!(from_txt.encode("Reddish cat").expect("known").ids, [2, 4, 5, 6, 3]);
        let message = QueryTokenizer::from_file(&vocabulary, 10, 6).err().expect("too few embeddings").to_string();
        assert!(message.contains("ids up to 6, but the model has 6"), "{message}");
    }

    #[test]
    fn learns_what_it_would_cut_texts_into() {
        let words = QueryTokenizer::words(["the", "circle"].into_iter(), 12, 20).expect("words");
        let texts = ["The café façade", "the man's t-shirt", "the 红色 circle"];
        let learnt = words.with_words_of(texts.into_iter()).expect("learns");
        for text in texts {
            assert_eq!(learnt.encode(text).expect("known").unknown, Vec::<String>::new(), "{text}");
        }
        assert_eq!(learnt.encode("the circle").expect("known"), words.encode("the circle").expect("known"));
        let message = words.with_words_of(["a b c d e f g h i j k l m n o p"].into_iter()).err().expect("too many");
        assert!(message.to_string().contains("would hold 22 words, but the model has 20"), "{message}");
        let pieces = QueryTokenizer::characters(12, 256).expect("characters");
        assert_eq!(
            pieces.with_words_of(["猫"].into_iter()).expect("learns").encode("猫").expect("known").unknown.len(),
            0
        );
    }
}
