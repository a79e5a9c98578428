//! The config texts of one load, and where in them a value stands.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Origin;

/// The texts a config came from: the main file first, then its includes. Diagnostics are rendered from them.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Debug, Clone)]
struct Source {
    name: Arc<str>,
    text: String,
    /// Where relative paths of this file start.
    base: PathBuf,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
}

/// A stretch of one source: eight bytes instead of an [`Origin`], so that every value of a big config can carry one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Mark {
    pub file: u16,
    pub start: u32,
    pub end: u32,
}

impl Mark {
    pub fn new(file: u16, span: Range<usize>) -> Mark {
        let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Mark { file, start: bound(span.start), end: bound(span.end) }
    }

    pub fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Sources {
    /// Adds a text and gives its number.
    pub(super) fn add(&mut self, name: &str, text: String, base: &Path) -> u16 {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.files.push(Source { name: name.into(), text, base: base.to_path_buf(), lines });
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    /// Name and text of every file, in the order of loading.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (&*file.name, &*file.text))
    }

    /// The text of the file with this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|file| &*file.name == name).map(|file| &*file.text)
    }

    pub(super) fn position(&self, name: &str) -> usize {
        self.files.iter().position(|file| &*file.name == name).unwrap_or(usize::MAX)
    }

    pub(super) fn text_of(&self, file: u16) -> &str {
        self.files.get(usize::from(file)).map_or("", |file| &file.text)
    }

    pub(super) fn base_of(&self, file: u16) -> &Path {
        self.files.get(usize::from(file)).map_or(Path::new(""), |file| &file.base)
    }

    /// The 1-based line of a byte offset.
    pub(super) fn line(&self, file: u16, at: usize) -> usize {
        self.files.get(usize::from(file)).map_or(0, |file| file.lines.partition_point(|start| *start <= at))
    }

    /// The bytes of a range of 1-based lines, without the last line break.
    pub(super) fn line_range(&self, name: &str, first: usize, last: usize) -> Option<(Range<usize>, &str)> {
        let file = self.files.iter().find(|file| &*file.name == name)?;
        let start = *file.lines.get(first.checked_sub(1)?)?;
        let end = file.lines.get(last).map_or(file.text.len(), |next| next.saturating_sub(1));
        Some((start..end, file.text.get(start..end)?))
    }

    /// File, line and column of a mark.
    pub(super) fn origin(&self, mark: Mark) -> Origin {
        let Some(file) = self.files.get(usize::from(mark.file)) else { return Origin::default() };
        let floor = |at: usize| file.text.floor_char_boundary(at.min(file.text.len()));
        let (start, end) = (floor(mark.start as usize), floor(mark.end as usize));
        let line = file.lines.partition_point(|first| *first <= start);
        let line_start = file.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = file.text.get(line_start..start).map_or(1, |before| before.chars().count() + 1);
        Origin { file: file.name.clone(), line, column, span: start..end.max(start) }
    }
}
