//! What is wrong with a configuration, told with file, line and key.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// One thing that is wrong: the key, what was found there, and what would be right.
#[derive(Clone)]
pub struct Problem {
    key: String,
    found: String,
    right: String,
    span: Option<Range<usize>>,
    source: Arc<NamedSource<String>>,
}

impl Problem {
    /// The key it is about, such as `job.workers`; empty where it is about the file as a whole.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Line and column, both from 1 and the column in characters; `None` for what is not in the file, such as an
    /// argument.
    pub fn location(&self) -> Option<(usize, usize)> {
        let before = self.source.inner().get(..self.span.as_ref()?.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        Some((line, column))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.found),
            key => write!(f, "{key}: {}", self.found),
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.location().unwrap_or_default();
        write!(f, "{}:{line}:{column}: {self} ({})", self.source.name(), self.right)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.right))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref().map(|_| &*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

/// Everything that is wrong with one configuration. Shown in full by `miette`; [`ConfigError::problems`] gives the
/// parts.
pub struct ConfigError {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// All problems, in the order of the file. Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The same, to be shown one by one.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the configuration {} cannot be used", self.file),
            n => write!(f, "the configuration {} cannot be used: {n} problems", self.file),
        }
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem:?}"))
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// Collects the problems of one file.
pub(super) struct Problems {
    source: Arc<NamedSource<String>>,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let source = NamedSource::new(file.display().to_string(), text.to_owned()).with_language("toml");
        Problems { source: Arc::new(source), found: Vec::new() }
    }

    /// Notes a problem: of `key`, at `span` of the file, with what was found and what would be right.
    pub(super) fn add(
        &mut self,
        key: impl Into<String>,
        span: Option<Range<usize>>,
        found: impl Into<String>,
        right: impl Into<String>,
    ) {
        let source = Arc::clone(&self.source);
        self.found.push(Problem { key: key.into(), found: found.into(), right: right.into(), span, source });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The error to return: for a caller that knows that there are problems.
    pub(super) fn into_error(mut self) -> ConfigError {
        self.found.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        ConfigError { file: self.source.name().to_owned(), problems: self.found }
    }
}
