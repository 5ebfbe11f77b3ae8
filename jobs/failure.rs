//! Why a program ends with an error, and with which exit status.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};

use miette::Report;
use resolvent::config::ConfigError;

/// What goes to standard error, and the exit status.
pub(crate) struct Failure {
    /// Each with its place, where it has one.
    pub(crate) reports: Vec<Report>,
    /// What they come to, where there are several.
    pub(crate) conclusion: Option<String>,
    pub(crate) status: u8,
}

impl Failure {
    /// All that is wrong with a configuration.
    pub(crate) fn unusable(error: ConfigError) -> Failure {
        let conclusion = (error.problems().len() > 1).then(|| error.to_string());
        let reports = error.into_problems().into_iter().map(Report::new).collect();
        Failure { reports, conclusion, status: 2 }
    }

    /// What was asked for cannot be meant.
    pub(crate) fn usage(problem: impl Into<Report>) -> Failure {
        Failure { reports: vec![problem.into()], conclusion: None, status: 2 }
    }

    /// What was asked for cannot be done.
    pub(crate) fn at_run_time(error: impl Error + Send + Sync + 'static) -> Failure {
        Failure { reports: vec![Report::from_err(error)], conclusion: None, status: 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reports.iter().try_for_each(|report| writeln!(f, "{report:?}"))?;
        self.conclusion.iter().try_for_each(|conclusion| writeln!(f, "  {conclusion}"))
    }
}

/// Writes an answer to standard output; one who reads no further, as `head` does, is no error.
pub(crate) fn answered(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::at_run_time(error)),
        _ => Ok(()),
    }
}
