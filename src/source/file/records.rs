//! Records that are read again, one by one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use super::super::{FileSettings, SourceError};
use crate::event::{Block, Content, EventId, PartitionId, Partitions, StreamId, Timestamp};

/// A record is looked for in so many bytes first: most are shorter.
const READ_BYTES: usize = 4 << 10;

/// Reads records of plain files again.
#[derive(Debug)]
pub(in crate::source) struct FileRecords {
    /// What is configured, by partition.
    inputs: BTreeMap<PartitionId, (String, Option<StreamId>)>,
    open: Option<(PartitionId, BufReader<File>)>,
}

impl FileRecords {
    pub(in crate::source) fn new(settings: &FileSettings, partitions: &Partitions) -> FileRecords {
        let inputs =
            settings.inputs.iter().map(|input| (partitions.id(&input.path), (input.path.clone(), input.stream)));
        FileRecords { inputs: inputs.collect(), open: None }
    }

    pub(in crate::source) fn read(&mut self, id: EventId, arrival: Timestamp) -> Result<Option<Block>, SourceError> {
        let EventId { partition, offset } = id;
        let Some((path, stream)) = self.inputs.get(&partition) else { return Ok(None) };
        let file = match self.open.take_if(|(open, _)| *open == partition) {
            Some((_, file)) => file,
            None => {
                let failed = |source| SourceError::Open { path: path.clone(), source };
                BufReader::with_capacity(READ_BYTES, File::open(path).map_err(failed)?)
            }
        };
        let (_, file) = self.open.insert((partition, file));
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_until(b'\n', &mut bytes));
        let length = read.map_err(|source| SourceError::Read { path: path.clone(), offset, source })?;
        let content = Content::Lines { base: offset, bytes };
        let next_offset = offset + length as u64;
        Ok(Some(Block { partition, stream: *stream, arrival, content, next_offset }))
    }
}
