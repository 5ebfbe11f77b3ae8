//! What hand-written Rust does with the same input: no framework, no state on disk, no metrics.
//!
//! The idea is that of `shared/bounds`. Threads own shards of the keys, and read the blocks of the file in turn; in each
//! round every thread sends every other one batch, so that they are in step. Bids visit the shard of their auction and
//! go on to that of their bidder; auctions visit that of their seller. Of each event that has all it refers to, the
//! line of DESIGN.md §5 is built in a buffer, tallied and discarded. At the end nothing is freed.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::Result;
use crate::tally::{Stream, Tally};

/// Bytes that are read at once.
const BLOCK_BYTES: u64 = 1 << 20;

/// The longest line.
const LINE_BYTES_MAX: u64 = 1 << 16;

type Raw = Arc<[u8]>;

/// The fields of any event that say what it is and what it refers to.
#[derive(Deserialize)]
struct Keys<'a> {
    r#type: &'a str,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    seller: u64,
    #[serde(default)]
    auction: u64,
    #[serde(default)]
    bidder: u64,
}

struct Bid {
    raw: Raw,
    at: u64,
    bidder: u64,
}

/// What refers to a person.
enum OnPerson {
    Bid(Bid, Raw),
    Auction(Raw, u64),
}

enum Slot<D> {
    Ready(Raw),
    Waiting(Vec<D>),
}

/// What visits the shard of a key.
enum Message {
    Person(u64, Raw),
    Auction(u64, Raw),
    Seller(u64, Raw, u64),
    Bid(u64, Bid),
    Bidder(Bid, Raw),
}

impl Message {
    fn key(&self) -> u64 {
        match self {
            Message::Person(key, _) | Message::Auction(key, _) | Message::Seller(key, ..) | Message::Bid(key, _) => {
                *key
            }
            Message::Bidder(bid, _) => bid.bidder,
        }
    }
}

/// Finds the lines of a file and takes the key fields of each; returns how many there are.
pub(crate) fn decode(path: &Path) -> Result<u64> {
    let mut blocks = Blocks::open(path)?;
    let mut events = 0;
    for block in 0..blocks.count {
        blocks.each_line(block, |_, line| {
            black_box(sonic_rs::from_slice::<Keys<'_>>(line)?);
            events += 1;
            Ok(())
        })?;
    }
    Ok(events)
}

/// Resolves all events of a file on `threads` threads; returns what was resolved.
pub(crate) fn resolve(path: &Path, threads: usize) -> Result<Tally> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel()).unzip();
    let mut running = Vec::new();
    for (me, inbox) in receivers.into_iter().enumerate() {
        // Nobody sends to himself, so that a thread ends when the others are gone.
        let others = |(other, sender): (usize, &Sender<_>)| (other != me).then(|| sender.clone());
        let outboxes = senders.iter().enumerate().map(others).collect();
        let outgoing = (0..threads).map(|_| Vec::new()).collect();
        let router = Router { me: me as u64, threads: threads as u64, local: Vec::new(), outgoing };
        let blocks = Blocks::open(path)?;
        running.push(thread::spawn(move || work(blocks, router, &inbox, outboxes)));
    }
    drop(senders);
    let mut tally = Tally::default();
    for thread in running {
        let shard = thread.join().map_err(|_| "a thread of the bound panicked")??;
        tally.add(&shard.tally);
        std::mem::forget(shard);
    }
    Ok(tally)
}

fn work(
    mut blocks: Blocks,
    mut router: Router,
    inbox: &Receiver<Vec<Message>>,
    outboxes: Vec<Option<Sender<Vec<Message>>>>,
) -> Result<Shard> {
    let mut shard = Shard::default();
    let mut onward = Vec::new();
    // Two rounds without blocks bring what is on its way to where it goes.
    for round in 0..blocks.count.div_ceil(router.threads) + 2 {
        let block = round * router.threads + router.me;
        if block < blocks.count {
            blocks.each_line(block, |at, line| decode_line(at, line, &mut router))?;
        }
        for (outbox, batch) in outboxes.iter().zip(&mut router.outgoing) {
            if let Some(outbox) = outbox {
                outbox.send(std::mem::take(batch)).map_err(|_| "a thread of the bound is gone")?;
            }
        }
        let mut local = std::mem::take(&mut router.local);
        handle_all(&mut local, &mut shard, &mut router, &mut onward);
        router.local = local;
        for _ in outboxes.iter().flatten() {
            handle_all(&mut inbox.recv()?, &mut shard, &mut router, &mut onward);
        }
    }
    Ok(shard)
}

fn handle_all(batch: &mut Vec<Message>, shard: &mut Shard, router: &mut Router, onward: &mut Vec<(Bid, Raw)>) {
    for message in batch.drain(..) {
        shard.handle(message, onward);
        for (bid, auction) in onward.drain(..) {
            match router.elsewhere(bid.bidder) {
                Some(outgoing) => outgoing.push(Message::Bidder(bid, auction)),
                None => shard.on_person(bid.bidder, OnPerson::Bid(bid, auction)),
            }
        }
    }
}

fn decode_line(at: u64, line: &[u8], router: &mut Router) -> Result<()> {
    let keys: Keys<'_> = sonic_rs::from_slice(line)?;
    let raw = Raw::from(line);
    match keys.r#type.as_bytes().first() {
        Some(b'p') => router.send(Message::Person(keys.id, raw)),
        Some(b'a') => {
            router.send(Message::Seller(keys.seller, Arc::clone(&raw), at));
            router.send(Message::Auction(keys.id, raw));
        }
        _ => router.send(Message::Bid(keys.auction, Bid { raw, at, bidder: keys.bidder })),
    }
    Ok(())
}

/// Brings messages to the thread that owns their key.
struct Router {
    me: u64,
    threads: u64,
    local: Vec<Message>,
    outgoing: Vec<Vec<Message>>,
}

impl Router {
    /// Where messages of a key go, if that is another thread.
    fn elsewhere(&mut self, key: u64) -> Option<&mut Vec<Message>> {
        if self.threads == 1 {
            return None;
        }
        let owner = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % self.threads;
        if owner == self.me { None } else { self.outgoing.get_mut(owner as usize) }
    }

    fn send(&mut self, message: Message) {
        match self.elsewhere(message.key()) {
            Some(outgoing) => outgoing.push(message),
            None => self.local.push(message),
        }
    }
}

/// The keys of one thread.
#[derive(Default)]
struct Shard {
    auctions: FxHashMap<u64, Slot<Bid>>,
    persons: FxHashMap<u64, Slot<OnPerson>>,
    line: Vec<u8>,
    tally: Tally,
}

impl Shard {
    /// Adds the bids that go on to their bidder to `onward`.
    fn handle(&mut self, message: Message, onward: &mut Vec<(Bid, Raw)>) {
        match message {
            Message::Person(key, raw) => {
                if let Some(Slot::Waiting(waiting)) = self.persons.insert(key, Slot::Ready(Arc::clone(&raw))) {
                    waiting.iter().for_each(|dependent| self.emit(dependent, &raw));
                }
            }
            Message::Auction(key, raw) => {
                if let Some(Slot::Waiting(waiting)) = self.auctions.insert(key, Slot::Ready(Arc::clone(&raw))) {
                    onward.extend(waiting.into_iter().map(|bid| (bid, Arc::clone(&raw))));
                }
            }
            Message::Seller(key, raw, at) => self.on_person(key, OnPerson::Auction(raw, at)),
            Message::Bid(key, bid) => match self.auctions.entry(key).or_insert_with(|| Slot::Waiting(Vec::new())) {
                Slot::Ready(auction) => onward.push((bid, Arc::clone(auction))),
                Slot::Waiting(waiting) => waiting.push(bid),
            },
            Message::Bidder(bid, auction) => self.on_person(bid.bidder, OnPerson::Bid(bid, auction)),
        }
    }

    fn on_person(&mut self, key: u64, dependent: OnPerson) {
        match self.persons.entry(key).or_insert_with(|| Slot::Waiting(Vec::new())) {
            Slot::Ready(person) => {
                let person = Arc::clone(person);
                self.emit(&dependent, &person);
            }
            Slot::Waiting(waiting) => waiting.push(dependent),
        }
    }

    fn emit(&mut self, dependent: &OnPerson, person: &[u8]) {
        let line = &mut self.line;
        line.clear();
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| line.extend_from_slice(part));
        let (stream, at) = match dependent {
            OnPerson::Bid(bid, auction) => {
                put(&[b"{\"outcome\":\"resolved\",\"stream\":\"bid\",\"event\":", &bid.raw]);
                put(&[b",\"dependencies\":{\"auction\":", auction, b",\"bidder\":", person, b"}"]);
                (Stream::Bid, bid.at)
            }
            OnPerson::Auction(auction, at) => {
                put(&[b"{\"outcome\":\"resolved\",\"stream\":\"auction\",\"event\":", auction]);
                put(&[b",\"dependencies\":{\"seller\":", person, b"}"]);
                (Stream::Auction, *at)
            }
        };
        self.tally.count(stream, line);
        line.extend_from_slice(b",\"position\":\"events.jsonl:");
        line.extend_from_slice(itoa::Buffer::new().format(at).as_bytes());
        line.extend_from_slice(b"\",\"waited_us\":0}\n");
        black_box(line.len());
    }
}

/// A file in blocks. A line belongs to the block in which it begins.
struct Blocks {
    file: File,
    count: u64,
    bytes: Vec<u8>,
}

impl Blocks {
    fn open(path: &Path) -> io::Result<Blocks> {
        let file = File::open(path)?;
        let count = file.metadata()?.len().div_ceil(BLOCK_BYTES);
        Ok(Blocks { file, count, bytes: Vec::new() })
    }

    /// Calls `each` with the lines of a block and where they begin in the file.
    fn each_line(&mut self, block: u64, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let start = block * BLOCK_BYTES;
        // The byte before a block tells whether a line begins at its start.
        let from = start.saturating_sub(1);
        self.file.seek(SeekFrom::Start(from))?;
        self.bytes.clear();
        (&self.file).take(start - from + BLOCK_BYTES + LINE_BYTES_MAX).read_to_end(&mut self.bytes)?;
        let first = if start == 0 { Some(0) } else { memchr::memchr(b'\n', &self.bytes).map(|end| end + 1) };
        let mut rest = first.and_then(|first| self.bytes.get(first..)).unwrap_or_default();
        let mut at = from + (self.bytes.len() - rest.len()) as u64;
        while !rest.is_empty() && at < start + BLOCK_BYTES {
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(length);
            each(at, line)?;
            rest = after.get(1..).unwrap_or_default();
            at += length as u64 + 1;
        }
        Ok(())
    }
}
