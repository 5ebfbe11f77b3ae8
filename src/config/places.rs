//! Which files are a job's: two names may be of one.

use std::path::{Component, Path, PathBuf};

use super::Job;
use crate::sink::{SinkKind, Target};
use crate::source;

impl Job {
    /// What of the job, whose configuration is in a file, would be lost if something else were written to `path`. `None` for nothing.
    pub fn lost_at(&self, configuration: &Path, path: &Path) -> Option<&'static str> {
        let path = real(path);
        let state = real(&self.state.path);
        let is_sinks = |target: &Target| matches!(target, Target::File(file) if real(file) == path);
        if real(configuration) == path {
            Some("is the configuration of the job")
        } else if inputs(&self.source).contains(&path) {
            Some("is read by the source")
        } else if SinkKind::ALL.into_iter().filter_map(|kind| self.sinks.target(kind)).any(is_sinks) {
            Some("is the file of a sink")
        } else if path.starts_with(&state) {
            Some("is in the directory of the state")
        } else {
            None
        }
    }
}

/// The files that a source reads.
pub(super) fn inputs(source: &source::Settings) -> Vec<PathBuf> {
    match source {
        source::Settings::File(files) => {
            let files = files.inputs.iter().filter(|input| input.path != "-");
            files.map(|input| real(Path::new(&input.path))).collect()
        }
        source::Settings::Kafka(_) | source::Settings::Synthetic(_) => Vec::new(),
    }
}

/// A path by which two names of one file are equal: links followed as far as the path exists, `.` and `..` gone.
pub(super) fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for there in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (there.canonicalize(), absolute.strip_prefix(there)) {
            // What does not exist cannot be a link, so `..` leaves just what stands before it.
            return rest.components().fold(real, |mut path, part| {
                match part {
                    Component::ParentDir => _ = path.pop(),
                    other => path.push(other),
                }
                path
            });
        }
    }
    absolute
}
