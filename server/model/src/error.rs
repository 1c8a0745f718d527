//! Every way in which a base model, its tokenizer or its files can fail.
//!
//! In: failures of this crate's stations. Out: one sentence that says what, where and what to do.
//! It does not log and does not decide what a page may show.

use std::path::{Path, PathBuf};

/// The result of this crate's operations.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// What went wrong with a model, and where.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file or folder that should be there is not.
    #[error("{}: not found ({what}); check the path, or get a model with `whetstone model fetch`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What it would have been.
        what: String,
    },
    /// Reading or writing failed.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file's content cannot be what its name says.
    #[error("{}: damaged or not a model file: {reason}; fetch or copy it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A single tensor is absent or has the wrong shape or type.
    #[error("{}: tensor `{tensor}`: {reason}; the file does not fit its configuration, fetch it again or check config.json", path.display())]
    Tensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration (config.json, GGUF metadata) that cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which key, and what is wrong with it.
        reason: String,
    },
    /// A sound model of a kind that this program does not run.
    #[error("{}: {what} is not supported; supported are Llama, Qwen2 and Qwen3 text models with plain or Llama 3's rotary positions", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The architecture, option or format found.
        what: String,
    },
    /// The tokenizer cannot be built or used.
    #[error("tokenizer of {}: {reason}", path.display())]
    Tokenizer {
        /// The file it came from.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The chat template does not parse or does not render.
    #[error("chat template: {0}")]
    Template(String),
    /// One source of a download failed.
    #[error("cannot fetch `{name}` from {source_name}: {reason}")]
    Fetch {
        /// The model asked for.
        name: String,
        /// Where it was asked for: a URL or the package index.
        source_name: String,
        /// Why it failed.
        reason: String,
    },
    /// Every source of the default model failed.
    #[error(
        "no model is present in {} and none could be fetched. Tried:{tried}\nName a model file or folder with --model, or connect to one of these sources",
        models_dir.display()
    )]
    NoSource {
        /// Where a model would have been found.
        models_dir: PathBuf,
        /// One line per source, each starting with a line break.
        tried: String,
    },
    /// A name that is neither a path nor a model.
    #[error("no model `{name}`: there is no such file or folder, nothing of that name in {}, and it is not one of {known}; see `whetstone model list`", models_dir.display())]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// Where models are kept.
        models_dir: PathBuf,
        /// The names that can be fetched.
        known: String,
    },
    /// A known model that has not been fetched.
    #[error("the model `{name}` is not here yet; run `whetstone model fetch {name}`")]
    NotFetched {
        /// Its name.
        name: String,
    },
    /// An adapter cannot be read, written or used on this base.
    #[error("adapter {0}")]
    Adapter(String),
    /// Tokens cannot be generated as asked.
    #[error("generation: {0}")]
    Generation(String),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Candle(#[from] candle_core::Error),
}

impl ModelError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                Self::Missing { path, what: format!("needed to {action}") }
            } else {
                Self::Io { action, path, source }
            }
        }
    }

    pub(crate) fn corrupt(path: &Path, reason: impl ToString) -> Self {
        Self::Corrupt { path: path.to_path_buf(), reason: reason.to_string() }
    }

    pub(crate) fn config(path: &Path, reason: impl Into<String>) -> Self {
        Self::Config { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_path_buf(), what: what.into() }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, reason: impl ToString) -> Self {
        Self::Tensor { path: path.to_path_buf(), tensor: tensor.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn tokenizer(path: &Path, reason: impl ToString) -> Self {
        Self::Tokenizer { path: path.to_path_buf(), reason: reason.to_string() }
    }
}
