//! Station *prompt*, second half: text to token ids, and ids back to text.
//!
//! In: a tokenizer.json, or the vocabulary of a GGUF file. Out: [`Tokenizer`]. It adds no token of
//! its own (the chat template writes them), and it never guesses how a vocabulary splits words.

use std::path::{Path, PathBuf};

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use crate::error::{ModelError, Result};

/// Byte-level BPE as the base was trained with.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Text of every added token that is recognised inside plain text.
    added: Vec<String>,
    /// Where it came from, for messages.
    path: PathBuf,
}

/// A GGUF file's vocabulary, as its metadata spell it.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// `tokenizer.ggml.model`; `gpt2` is byte-level BPE.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is split before merging.
    pub pre: String,
    /// Token texts by id.
    pub tokens: Vec<String>,
    /// Merges by rank, `left right`.
    pub merges: Vec<String>,
    /// llama.cpp's token types by id: 1 normal, 3 control, 4 user-defined, 5 unused.
    pub token_types: Vec<usize>,
}

const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;

// From the tokenizer.json of Qwen2 and of Llama 3; they differ in how many digits stay together.
const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Tokenizer {
    /// Reads a tokenizer.json.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(ModelError::io("read the tokenizer", path))?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|e| ModelError::tokenizer(path, format!("not a usable tokenizer.json: {e}")))?;
        Self::new(path, inner)
    }

    /// Builds the original tokenizer from a GGUF file's vocabulary and merges.
    ///
    /// Both candle's and transformers' own GGUF readers fall back to a default splitter for
    /// `smollm`, which changes ids (a space before markers; digits after line breaks). An unknown
    /// splitter is therefore an error here.
    pub(crate) fn from_vocabulary(path: &Path, vocabulary: Vocabulary) -> Result<Self> {
        let Vocabulary { model, pre, tokens, merges, token_types } = vocabulary;
        let fail = |reason: String| ModelError::tokenizer(path, reason);
        if model != "gpt2" {
            return Err(fail(format!("kind `{model}` is not supported, only byte-level BPE `gpt2`")));
        }
        let splitter = Splitter::from_name(&pre).ok_or_else(|| {
            let known = "smollm, qwen2, llama-bpe";
            fail(format!("unknown pre-tokenizer `{pre}` (known: {known}); guessing would change token ids, use the model's Hugging Face folder instead"))
        })?;
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in &merges {
            let Some((left, right)) = merge.split_once(' ') else {
                return Err(fail(format!("merge `{merge}` is not a pair")));
            };
            pairs.push((left.to_owned(), right.to_owned()));
        }
        let vocab: Vocab = tokens.iter().cloned().zip(0u32..).collect();
        if vocab.len() != tokens.len() {
            return Err(fail("two tokens of its vocabulary are the same".to_owned()));
        }
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, pairs)
            .ignore_merges(matches!(splitter, Splitter::Llama3))
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        if matches!(splitter, Splitter::Qwen2) {
            inner.with_normalizer(Some(NFC)).map_err(|e| fail(e.to_string()))?;
        }
        inner.with_pre_tokenizer(Some(splitter.build().map_err(|e| fail(e.to_string()))?));
        inner.with_decoder(Some(ByteLevel::default()));
        let added = tokens.iter().zip(&token_types).filter_map(|(text, &kind)| match kind {
            CONTROL => Some(AddedToken::from(text.as_str(), true).normalized(false)),
            USER_DEFINED => Some(AddedToken::from(text.as_str(), false).normalized(false)),
            _ => None,
        });
        inner.add_tokens(added.collect::<Vec<_>>()).map_err(|e| fail(e.to_string()))?;
        Self::new(path, inner)
    }

    pub(crate) fn new(path: &Path, mut inner: tokenizers::Tokenizer) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| ModelError::tokenizer(path, format!("truncation: {e}")))?;
        let mut added: Vec<_> = inner.get_added_tokens_decoder().into_iter().collect();
        added.sort_unstable_by_key(|(id, _)| *id);
        let added = added.into_iter().map(|(_, token)| token.content).collect();
        Ok(Self { inner, added, path: path.to_path_buf() })
    }

    /// Ids of `text`. Special tokens spelt out in it are recognised, as Hugging Face does; no
    /// token is added at its ends. Text from outside can thus contain turn markers: see
    /// [`Tokenizer::marker_in`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self.inner.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(e) => Err(ModelError::tokenizer(&self.path, format!("cannot encode: {e}"))),
        }
    }

    /// Text of `ids`; bytes that are not UTF-8 become U+FFFD. `skip_special` leaves out control
    /// tokens such as `<|im_end|>`.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        // Only a decoder outside byte-level BPE can fail; then the raw pieces are the best text.
        self.inner.decode(ids, skip_special).unwrap_or_else(|_| ids.iter().filter_map(|&id| self.inner.id_to_token(id)).collect())
    }

    /// Text of one token, for display; part of a character becomes U+FFFD.
    pub fn piece(&self, id: u32) -> String {
        self.decode(&[id], false)
    }

    /// The id of a token given as it is written in the vocabulary, such as `<|im_end|>`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The first added token (turn marker, control token) spelt out in `text`, if any: text from a
    /// task file or a tool that contains one would forge a turn.
    pub fn marker_in(&self, text: &str) -> Option<&str> {
        self.added.iter().map(String::as_str).find(|token| text.contains(token))
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// The tokenizer.json that describes this tokenizer.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| ModelError::tokenizer(&self.path, e))
    }
}

/// How text is cut before merges apply.
#[derive(Debug, Clone, Copy)]
enum Splitter {
    SmolLm,
    Qwen2,
    Llama3,
}

impl Splitter {
    fn from_name(pre: &str) -> Option<Self> {
        match pre {
            "smollm" => Some(Self::SmolLm),
            "qwen2" => Some(Self::Qwen2),
            "llama-bpe" => Some(Self::Llama3),
            _ => None,
        }
    }

    fn build(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let regex = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
        };
        let parts = match self {
            Self::SmolLm => {
                vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]
            }
            Self::Qwen2 => {
                vec![regex(QWEN2_SPLIT)?.into(), ByteLevel::new(false, false, false).into()]
            }
            Self::Llama3 => {
                vec![regex(LLAMA3_SPLIT)?.into(), ByteLevel::new(false, true, false).into()]
            }
        };
        Ok(Sequence::new(parts).into())
    }
}
