//! Topics as the place of the records.

use std::cell::RefCell;
use std::collections::BTreeMap;

use resolvent::kafka::ClientSettings;
use resolvent::kafka::load::Loader;
use resolvent::source::workload::{Made, Stream};

use crate::say::say;
use crate::{Arguments, Failure, Kind};

/// Stands for the stream in the name of a topic.
const STREAM: &str = "{stream}";

/// Loads one topic, or one for each stream.
pub(crate) struct Topics {
    loader: Loader,
    /// The topic of each stream.
    names: BTreeMap<Stream, String>,
    has_header: bool,
}

impl Topics {
    /// Waits for the brokers, and says so.
    pub(crate) fn open(brokers: &str, topic: &str, arguments: &Arguments) -> Result<Topics, Failure> {
        let name = |stream: &Stream| (*stream, topic.replace(STREAM, stream.as_str()));
        let names: BTreeMap<Stream, String> = arguments.workload.streams().iter().map(name).collect();
        let mut topics: Vec<String> = names.values().cloned().collect();
        topics.dedup();
        let properties = arguments.property.iter().cloned().collect();
        let settings = ClientSettings { brokers: brokers.to_owned(), properties };
        let said = RefCell::new(String::new());
        let say = |what: &str| {
            if said.replace(what.to_owned()) != what {
                say(format_args!("{what}\n"));
            }
        };
        let loader = Loader::open(&settings, &topics, arguments.partitions, &say).map_err(Failure::Topic)?;
        Ok(Topics { loader, names, has_header: arguments.header })
    }

    pub(crate) fn write(&mut self, made: &Made, line: &[u8]) -> Result<(), Failure> {
        let topic = self.names.get(&made.stream).map_or("", String::as_str);
        let key = made.provides.map(|referent| referent.id.to_string());
        let header = [("type", made.stream.as_str())];
        let headers = if self.has_header { &header[..] } else { &[] };
        let value = line.strip_suffix(b"\n").unwrap_or(line);
        self.loader.send(topic, key.as_ref().map(String::as_bytes), value, headers).map_err(Failure::Topic)
    }

    pub(crate) fn serve(&self) -> Result<(), Failure> {
        self.loader.serve().map_err(Failure::Topic)
    }

    /// Waits until all is delivered.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.loader.finish().map(drop).map_err(Failure::Topic)
    }
}

impl Kind {
    /// All its streams.
    fn streams(self) -> &'static [Stream] {
        match self {
            Kind::Nexmark => &[Stream::Person, Stream::Auction, Stream::Bid],
            Kind::Social => &[Stream::Person, Stream::Post, Stream::Comment, Stream::Like, Stream::Follow],
            Kind::Items => &[Stream::Item, Stream::Use],
        }
    }
}
