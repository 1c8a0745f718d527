//! Specs: how a task set is named. In: what a user typed. Out: its parts, or what is wrong with it. Loads nothing.
//!
//! ```text
//! SPEC   = SOURCE OPTION*  |  mix:WEIGHT*SOURCE OPTION* + WEIGHT*SOURCE OPTION* + ...
//! SOURCE = starter | starter:held-out | starter:wide | starter:wide-held-out | starter:tools | starter:tools-held-out
//!        | file:PATH | bfcl:CATEGORY
//! OPTION = #split=tool:train | #split=tool:held-out:SEED | #split=domain:... | #difficulty=1-2 | #order=difficulty | #format=xlam
//! ```

use std::fmt;
use std::path::PathBuf;

use super::TaskError;

/// A generated task set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    /// `starter`
    Starter,
    /// `starter:held-out`
    HeldOut,
    /// `starter:wide`
    Wide,
    /// `starter:wide-held-out`
    WideHeldOut,
    /// `starter:tools`
    Tools,
    /// `starter:tools-held-out`
    ToolsHeldOut,
}

impl Generated {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Starter, Self::HeldOut, Self::Wide, Self::WideHeldOut, Self::Tools, Self::ToolsHeldOut];

    /// Its spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::HeldOut => "starter:held-out",
            Self::Wide => "starter:wide",
            Self::WideHeldOut => "starter:wide-held-out",
            Self::Tools => "starter:tools",
            Self::ToolsHeldOut => "starter:tools-held-out",
        }
    }

    /// The set of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|g| g.name() == name)
    }

    /// Problems it gives when nobody says how many.
    pub fn problems(self) -> usize {
        if self.is_held_out() { super::HELD_OUT_PROBLEMS } else { super::STARTER_PROBLEMS }
    }

    /// True for the sets that are never trained on.
    pub fn is_held_out(self) -> bool {
        matches!(self, Self::HeldOut | Self::WideHeldOut | Self::ToolsHeldOut)
    }
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Our own (`expected`).
    Own,
    /// OpenAI's chat format: `messages` that end with the expected answer, `tools`.
    OpenAi,
    /// xLAM's and Hammer's: `query`, `tools`, `answers`, the last two often JSON in a string.
    Xlam,
    /// Seal-Tools': `query`, `calling`; the tools are those that the file calls.
    Seal,
    /// BFCL's: `question`, `function`; the answers stand in `possible_answer/` beside the file, or under `ground_truth`.
    Bfcl,
}

impl FileFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Own, Self::OpenAi, Self::Xlam, Self::Seal, Self::Bfcl];

    /// Name in specs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::OpenAi => "openai",
            Self::Xlam => "xlam",
            Self::Seal => "seal",
            Self::Bfcl => "bfcl",
        }
    }
}

/// Where the problems of a part come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Our own generator.
    Generated(Generated),
    /// A file; its format is seen from its first good row where none is given.
    File(PathBuf, Option<FileFormat>),
    /// A category of BFCL.
    Bfcl(String),
}

/// By what problems are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitBy {
    /// The called tool; training shows no tool of the other side, not even as a distractor.
    Tool,
    /// The domain.
    Domain,
}

/// One side of a split: one tool or domain in five is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// By what.
    pub by: SplitBy,
    /// The held-out side.
    pub held_out: bool,
    /// Which fifth.
    pub seed: u64,
}

/// One source with what is done to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Share of a mix; 1 elsewhere.
    pub weight: f64,
    /// The source.
    pub source: Source,
    /// One side only.
    pub split: Option<Split>,
    /// Problems from this difficulty to that one only.
    pub difficulty: Option<(u8, u8)>,
}

/// A task set by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// More than one in a mix.
    pub parts: Vec<Part>,
    /// Easy problems are met first.
    pub curriculum: bool,
    mix: bool,
}

impl Spec {
    /// Reads a spec.
    pub fn parse(text: &str) -> Result<Self, TaskError> {
        let text = text.trim();
        let mut spec = Self { parts: Vec::new(), curriculum: false, mix: false };
        match text.strip_prefix("mix:") {
            None => {
                let (part, ordered) = part(text, 1.0)?;
                spec.parts.push(part);
                spec.curriculum = ordered;
            }
            Some(mix) => {
                spec.mix = true;
                for piece in pieces(mix) {
                    let Some((weight, source)) = weighted(piece) else {
                        return Err(bad(text, "a part of a mix is WEIGHT*SPEC, e.g. 0.7*starter"));
                    };
                    let (part, ordered) = part(source, weight)?;
                    spec.parts.push(part);
                    spec.curriculum |= ordered;
                }
            }
        }
        Ok(spec)
    }

    /// True when every part is generated, so that there are as many problems as one wants.
    pub fn is_generated(&self) -> bool {
        self.parts.iter().all(|p| matches!(p.source, Source::Generated(_)))
    }

    /// True when a part needs the BFCL wheel.
    pub fn needs_bfcl(&self) -> bool {
        self.parts.iter().any(|p| matches!(p.source, Source::Bfcl(_)))
    }

    /// The same with other paths for its files.
    pub fn map_paths<E>(mut self, mut f: impl FnMut(&std::path::Path) -> Result<PathBuf, E>) -> Result<Self, E> {
        for part in &mut self.parts {
            if let Source::File(path, _) = &mut part.source {
                *path = f(path)?;
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.mix { "mix:" } else { "" })?;
        for (i, part) in self.parts.iter().enumerate() {
            f.write_str(if i > 0 { "+" } else { "" })?;
            if self.mix {
                write!(f, "{}*", part.weight)?;
            }
            match &part.source {
                Source::Generated(set) => f.write_str(set.name())?,
                Source::Bfcl(category) => write!(f, "bfcl:{category}")?,
                Source::File(path, format) => {
                    write!(f, "file:{}", path.display())?;
                    if let Some(format) = format {
                        write!(f, "#format={}", format.name())?;
                    }
                }
            }
            if let Some(Split { by, held_out, seed }) = part.split {
                let (by, side) = (if by == SplitBy::Tool { "tool" } else { "domain" }, if held_out { "held-out" } else { "train" });
                write!(f, "#split={by}:{side}:{seed}")?;
            }
            if let Some((least, most)) = part.difficulty {
                write!(f, "#difficulty={least}-{most}")?;
            }
        }
        f.write_str(if self.curriculum { "#order=difficulty" } else { "" })
    }
}

fn bad(spec: &str, reason: impl Into<String>) -> TaskError {
    TaskError::Spec { spec: spec.to_owned(), reason: reason.into() }
}

/// The parts of a mix: a `+` begins one where a weight follows.
fn pieces(mix: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    for (at, _) in mix.match_indices('+') {
        if weighted(&mix[at + 1..]).is_some() {
            out.push(&mix[start..at]);
            start = at + 1;
        }
    }
    out.push(&mix[start..]);
    out
}

fn weighted(piece: &str) -> Option<(f64, &str)> {
    let (weight, spec) = piece.split_once('*')?;
    let weight: f64 = weight.trim().parse().ok()?;
    (weight.is_finite() && weight > 0.0).then_some((weight, spec.trim()))
}

/// A source with its options, and whether it is to be met in order.
fn part(text: &str, weight: f64) -> Result<(Part, bool), TaskError> {
    let (mut split, mut difficulty, mut format, mut ordered) = (None, None, None, false);
    let mut source = text;
    // a path may hold the sign itself: only known options are taken off its end
    while let Some((before, option)) = source.rsplit_once('#') {
        let Some((key, value)) = option.split_once('=') else { break };
        let key = key.trim();
        let given = match key {
            "split" => split.is_some(),
            "difficulty" => difficulty.is_some(),
            "order" => ordered,
            _ => key == "format" && format.is_some(),
        };
        if given {
            return Err(bad(text, format!("{key} is given twice")));
        }
        match key {
            "split" => {
                split = Some(
                    split_of(value)
                        .ok_or_else(|| bad(text, "split is tool or domain, train or held-out, and a seed, e.g. #split=tool:train:0"))?,
                )
            }
            "difficulty" => {
                difficulty = Some(range(value).ok_or_else(|| bad(text, "difficulty is a number or a range, e.g. #difficulty=1-2"))?)
            }
            "order" if value.trim() == "difficulty" => ordered = true,
            "order" => return Err(bad(text, "the only order is #order=difficulty")),
            "format" => {
                let known = FileFormat::ALL.into_iter().find(|f| f.name() == value.trim());
                let names = FileFormat::ALL.map(FileFormat::name).join(", ");
                format = Some(known.ok_or_else(|| bad(text, format!("{value:?} is no file format; known are {names}")))?);
            }
            _ => break,
        }
        source = before;
    }
    let source = source.trim();
    let found = match source.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Source::File(PathBuf::from(path), format),
        Some(("bfcl", category)) => Source::Bfcl(category.to_owned()),
        _ => match Generated::ALL.into_iter().find(|g| g.name() == source) {
            Some(set) => Source::Generated(set),
            None => return Err(TaskError::UnknownSpec { spec: text.to_owned() }),
        },
    };
    if format.is_some() && !matches!(found, Source::File(..)) {
        return Err(bad(text, "#format belongs to file: only"));
    }
    Ok((Part { weight, source: found, split, difficulty }, ordered))
}

fn split_of(value: &str) -> Option<Split> {
    let words: Vec<&str> = value.split(':').map(str::trim).collect();
    let (by, side, seed) = match words[..] {
        [by, side] => (by, side, 0),
        [by, side, seed] => (by, side, seed.parse().ok()?),
        _ => return None,
    };
    let by = match by {
        "tool" => SplitBy::Tool,
        "domain" => SplitBy::Domain,
        _ => return None,
    };
    match side {
        "train" => Some(Split { by, held_out: false, seed }),
        "held-out" => Some(Split { by, held_out: true, seed }),
        _ => None,
    }
}

fn range(value: &str) -> Option<(u8, u8)> {
    let (least, most) = value.split_once('-').unwrap_or((value, value));
    let (least, most) = (least.trim().parse().ok()?, most.trim().parse().ok()?);
    (least <= most).then_some((least, most))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
