//! Station *problem*, helper: phrasings. In: text with `{slots}` and the words for each slot; out: a request that reads like
//! one (articles, capitals, full stops). Knows nothing of tools.

/// A stretch of a phrasing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Words as they stand.
    Text(String),
    /// The place of a parameter, by its index.
    Slot(usize),
}

/// A parsed phrasing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// In order of reading.
    pub(super) pieces: Vec<Piece>,
    /// As written in the file.
    pub(super) source: String,
}

impl Template {
    /// Parse `text`; `index` knows the slots by name.
    pub(super) fn parse(text: &str, mut index: impl FnMut(&str) -> Option<usize>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("an opening brace without a closing one")? + open;
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            let slot = &rest[open + 1..close];
            pieces.push(Piece::Slot(index(slot).ok_or_else(|| format!("unknown placeholder {{{slot}}}"))?));
            rest = &rest[close + 1..];
        }
        if rest.contains('}') {
            return Err("a closing brace without an opening one".into());
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces, source: text.to_owned() })
    }

    /// True when the phrasing asks for the parameter.
    pub(super) fn mentions(&self, index: usize) -> bool {
        self.pieces.contains(&Piece::Slot(index))
    }

    /// True when some place of the slot is followed by a word, so that the number 1 would need another form of it.
    pub(super) fn counts_something(&self, index: usize) -> bool {
        self.followers(index).any(|t| t.strip_prefix(' ').is_some_and(|t| t.starts_with(char::is_alphabetic)))
    }

    /// True when the number may be spelled out: "in {n} days", but not "{n} km" or "{n}%".
    pub(super) fn may_spell_out(&self, index: usize) -> bool {
        self.followers(index).all(|t| {
            let word: String = t.strip_prefix(' ').unwrap_or("").chars().take_while(|c| c.is_alphabetic()).collect();
            word.len() >= 4 && word.ends_with('s')
        })
    }

    fn followers(&self, index: usize) -> impl Iterator<Item = &str> {
        self.pieces.iter().enumerate().filter(move |(_, p)| **p == Piece::Slot(index)).map(|(i, _)| match self.pieces.get(i + 1) {
            Some(Piece::Text(t)) => t.as_str(),
            _ => "",
        })
    }

    /// The request with `words[slot]` in the places of the slots.
    pub(super) fn render(&self, words: &[String]) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(t) => push_text(&mut out, t),
                Piece::Slot(i) => push_value(&mut out, words.get(*i).map_or("", String::as_str)),
            }
        }
        capitalise(out.trim())
    }

    /// True when the last words are an unquoted value, to which a "thanks" would seem to belong.
    pub(super) fn ends_in_value(&self) -> bool {
        let mut last = self.pieces.iter().rev();
        match last.next() {
            Some(Piece::Slot(_)) => true,
            Some(Piece::Text(t)) => t.len() < 2 && !t.starts_with('"'),
            None => false,
        }
    }
}

/// Append literal text; a value that ends its own sentence needs no second full stop, an empty one no space.
fn push_text(out: &mut String, text: &str) {
    let mut text = text;
    if out.ends_with(['.', '!', '?']) && text.starts_with('.') {
        text = &text[1..];
    }
    if out.ends_with(' ') && text.starts_with([' ', '.', ',', '?', '!']) {
        out.pop();
    }
    out.push_str(text);
}

fn push_value(out: &mut String, words: &str) {
    let sentence_start = out.trim_end().is_empty() || out.trim_end().ends_with(['.', '!', '?']);
    let article = ["a ", "an "]
        .into_iter()
        .find(|a| out.to_lowercase().strip_suffix(a).is_some_and(|head| head.is_empty() || head.ends_with([' ', '(', '"'])));
    if let Some(article) = article {
        let right = if starts_with_vowel_sound(words) { "an " } else { "a " };
        if right != article {
            let capital = out[out.len() - article.len()..].starts_with('A');
            out.truncate(out.len() - article.len());
            out.push_str(match (capital, right) {
                (true, "an ") => "An ",
                (true, _) => "A ",
                (false, other) => other,
            });
        }
    }
    if sentence_start && !out.is_empty() {
        out.push_str(&capitalise(words));
    } else {
        out.push_str(words);
    }
}

fn starts_with_vowel_sound(words: &str) -> bool {
    let w = words.to_lowercase();
    let first = w.split([' ', '-']).next().unwrap_or("");
    if first.chars().next().is_some_and(|c| c.is_ascii_digit()) {
        return first.starts_with('8') || first == "11" || first == "18" || first.starts_with("11:");
    }
    if ["uni", "use", "usa", "usb", "uk", "eu", "one", "once", "ut"].iter().any(|p| first.starts_with(p)) {
        return false;
    }
    if ["hour", "honest", "heir", "honour", "html", "mp3", "mp4"].iter().any(|p| first.starts_with(p)) {
        return true;
    }
    first.starts_with(['a', 'e', 'i', 'o', 'u'])
}

/// Commands that terse requests begin with.
const SHELL: [&str; 3] = ["ls", "mv", "rm"];

/// First letter large, unless the first word is an identifier, an address or a file.
fn capitalise(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or("");
    let bare = word.trim_end_matches([',', '.', '?', '!', ':', ';']);
    let plain = bare.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-')
        && !bare.chars().skip(1).any(char::is_uppercase)
        && !SHELL.contains(&bare);
    let mut chars = text.chars();
    match chars.next() {
        Some(c) if plain && c.is_lowercase() => c.to_uppercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}
