//! Lines of a file that anybody may have written: bounded in length, checked for encoding, never all in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::TaskError;
use super::row_id::RowId;

/// Longer lines are refused. Bytes.
pub const LONGEST_LINE: usize = 1 << 20;

/// A line that is no text.
#[derive(Debug)]
pub struct Unreadable {
    /// What is wrong with it.
    pub reason: String,
    /// The id that it gives, where so much can be read.
    pub id: Option<String>,
}

/// Calls `each` with the 1-based number of every line that is not blank, and its text or why it has none.
pub fn for_each(path: &Path, mut each: impl FnMut(usize, Result<&str, Unreadable>)) -> Result<(), TaskError> {
    let unreadable = |reason| TaskError::Read { path: path.to_owned(), reason };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut line, mut length, mut overlong) = (Vec::new(), 0usize, RowId::default());
    let mut number = 1;
    loop {
        let chunk = file.fill_buf().map_err(unreadable)?;
        let at_end = chunk.is_empty();
        let newline = chunk.iter().position(|&b| b == b'\n');
        let part = &chunk[..newline.unwrap_or(chunk.len())];
        length += part.len();
        if length <= LONGEST_LINE {
            line.extend_from_slice(part);
        } else {
            // of an overlong line only the length and the id are kept
            overlong.read(&line);
            overlong.read(part);
            line.clear();
        }
        let used = part.len() + usize::from(newline.is_some());
        if newline.is_some() || (at_end && length > 0) {
            let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            let id = std::mem::take(&mut overlong).id;
            if length > LONGEST_LINE {
                let reason = format!("the line is {length} bytes long; at most {LONGEST_LINE} are read");
                each(number, Err(Unreadable { reason, id }));
            } else if !bytes.trim_ascii().is_empty() {
                each(number, text(bytes).map_err(|reason| Unreadable { reason, id: RowId::of(bytes) }));
            }
            number += 1;
            line.clear();
            length = 0;
        }
        if at_end {
            return Ok(());
        }
        file.consume(used);
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    if let Some(at) = bytes.iter().position(|&b| b == 0) {
        return Err(format!("byte {at} of the line is NUL; the file must be UTF-8 text"));
    }
    std::str::from_utf8(bytes).map_err(|e| format!("byte {} of the line is not UTF-8", e.valid_up_to()))
}
