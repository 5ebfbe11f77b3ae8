//! The handle: one interface over the tables on disk and in memory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::batch::{Batch, split_expiry};
use crate::directory::{self, Claim, Content, Destroyed};
use crate::error::{OpenError, StateError};
use crate::identity::Identity;
use crate::memory::Memory;
use crate::rocks::Rocks;
use crate::table::Table;

/// How often [`State::open_read_only`] begins anew when the running job moves files under it.
const READ_ONLY_ATTEMPTS: u32 = 20;

/// Where a state lives and what it may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory. Made where it is absent.
    pub path: PathBuf,
    /// Bytes of memory for block cache, index and filter blocks, and memtables; below [`MEMORY_MIN`](crate::MEMORY_MIN)
    /// that is taken.
    pub memory: u64,
    /// How many of them memtables may take; below [`MEMTABLES_MIN`](crate::MEMTABLES_MIN) that is taken, and half of `memory` at most.
    pub memtables: u64,
    /// Reads table files, and writes them in flush and compaction, around the page cache of the system. The write-ahead
    /// log is not affected. Not every file system can (tmpfs cannot).
    pub direct_io: bool,
}

/// What a write outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power loss. Makes all earlier writes durable as well.
    Synced,
    /// The end of the process, however sudden; a power loss only from the next write, or [`State::sync`], on.
    Buffered,
}

/// Memory in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Cached blocks: data, index and filter.
    pub block_cache: u64,
    /// Memtables, also those being flushed.
    pub memtables: u64,
    /// Index, filter and the like of open table files, outside of the cache.
    pub index_filter: u64,
}

/// Bytes moved since the state was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Given to it, as keys and values of writes: what all else is measured against.
    pub given: u64,
    /// Written to the write-ahead log and, by flush and compaction, to table files.
    pub written: u64,
    /// Read from table files, also by compaction.
    pub read: u64,
}

/// An open state. Copies are handles to the same one; the last that goes closes it.
#[derive(Clone, Debug)]
pub struct State {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Declared before the claim, and so closed before the directory is given back.
    store: Store,
    _claim: Option<Claim>,
    identity: Identity,
    /// The first write error: nobody reads or writes after it.
    poison: OnceLock<String>,
    /// The time that expiry goes by.
    now: Arc<AtomicI64>,
}

#[derive(Debug)]
enum Store {
    Rocks(Box<Rocks>),
    Memory(Memory),
}

impl State {
    /// Opens a state to read and write; makes it where the directory is absent or empty.
    ///
    /// Refuses, without a trace in the directory but for RocksDB's `LOG`, what is not this job's or is damaged: see
    /// [`OpenError`]. After a crash the logs are read three times: to look for damage in them, to check that all else is
    /// there, and to recover. They are bounded by twice what memtables may take.
    pub fn open(options: &Options, identity: &Identity) -> Result<State, OpenError> {
        Ok(State::open_checked(options, identity, |_| Ok::<_, OpenError>(()))?.0)
    }

    /// The same after a look at the state while nothing in the directory is modified: `look` is given the state as it is, to
    /// be read during the call only, or `None` where one will be made. What it refuses is not opened; what it finds is
    /// returned.
    pub fn open_checked<T, E: From<OpenError>>(
        options: &Options,
        identity: &Identity,
        look: impl FnOnce(Option<&State>) -> Result<T, E>,
    ) -> Result<(State, T), E> {
        let path = &options.path;
        let now = clock();
        if !path.exists() {
            let found = look(None)?;
            let claim = Claim::create(path)?;
            // One who was as quick has made a state meanwhile, which is not what has been checked.
            return match directory::look(path)? {
                Content::State(_) => Err(OpenError::InUse { path: path.clone() }.into()),
                Content::Empty | Content::Unfinished => Ok((State::make(claim, options, identity, now)?, found)),
            };
        }
        let claim = Claim::take(path)?;
        match directory::look(path)? {
            Content::State(owner) => {
                directory::compare(path, &owner, identity)?;
                directory::check_logs(path)?;
                // An opening that fails half-way leaves new files behind and deletes others, so what is damaged must be found
                // before. This costs a second reading of the logs, which only a crash leaves behind.
                let rocks = Rocks::open_to_check(options, Arc::clone(&now), &owner)?;
                let state = State::new(Store::Rocks(Box::new(rocks)), None, owner.clone(), Arc::clone(&now));
                let found = look(Some(&state))?;
                drop(state);
                let rocks = Rocks::open(options, Arc::clone(&now))?;
                Ok((State::new(Store::Rocks(Box::new(rocks)), Some(claim), owner, now), found))
            }
            Content::Empty | Content::Unfinished => {
                let found = look(None)?;
                Ok((State::make(claim, options, identity, now)?, found))
            }
        }
    }

    /// Makes a state in a directory that holds none.
    fn make(claim: Claim, options: &Options, identity: &Identity, now: Arc<AtomicI64>) -> Result<State, OpenError> {
        claim.begin(identity)?;
        let rocks = Rocks::create(options, Arc::clone(&now), identity)?;
        claim.finish()?;
        Ok(State::new(Store::Rocks(Box::new(rocks)), Some(claim), identity.clone(), now))
    }

    /// Opens a state to read, also one that a running job has open; nothing in the directory is modified.
    ///
    /// It shows the job's commits up to a moment during this call, and none that come later. What the job has not yet
    /// flushed is read into memory, up to twice what the job's memtables may take.
    pub fn open_read_only(path: &Path) -> Result<State, OpenError> {
        let identity = match directory::look(path)? {
            Content::State(identity) => identity,
            Content::Empty | Content::Unfinished => return Err(OpenError::Absent { path: path.to_owned() }),
        };
        let now = clock();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = directory::manifest_stamp(path);
            let opened = Rocks::open_read_only(path, Arc::clone(&now), &identity);
            // Where files came and went meanwhile, a log may have been read without the table file that replaced an
            // earlier one, and an error says nothing about the state.
            let moved = before.is_none() || before != directory::manifest_stamp(path);
            match opened {
                Ok(rocks) if !moved => return Ok(State::new(Store::Rocks(Box::new(rocks)), None, identity, now)),
                Err(error) if !moved => return Err(error),
                Ok(_) | Err(_) if attempt < READ_ONLY_ATTEMPTS => std::thread::sleep(Duration::from_millis(10)),
                Ok(_) => {
                    let what = format!("its files moved during {attempt} attempts to read it: try again");
                    return Err(OpenError::Io { path: path.to_owned(), what });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// An empty state in memory.
    pub fn in_memory() -> State {
        State::new(Store::Memory(Memory::default()), None, Identity::default(), clock())
    }

    /// Deletes the state of a job, and keeps the directory; an absent or empty one is none. Also deletes what
    /// [`State::open`] refuses as damaged or newer. Refuses the state of another job, one that is in use, and a directory
    /// in which lies anything else.
    pub fn destroy(path: &Path, job: &str) -> Result<Destroyed, OpenError> {
        if !path.exists() {
            return Ok(Destroyed::default());
        }
        let claim = Claim::take(path)?;
        match directory::look(path) {
            Ok(Content::State(found)) if found.job != job => {
                Err(OpenError::OtherJob { path: path.to_owned(), found: found.job, wanted: job.to_owned() })
            }
            Ok(_) | Err(OpenError::NewerFormat { .. } | OpenError::Damaged { .. }) => claim.destroy(),
            Err(error) => Err(error),
        }
    }

    /// Whose state it is; empty for a state in memory.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Refuses a state of another job or of other rules, as [`State::open`] does: for one that was opened to be read.
    pub fn check_identity(&self, wanted: &Identity) -> Result<(), OpenError> {
        let path = match &self.inner.store {
            Store::Rocks(rocks) => rocks.path(),
            Store::Memory(_) => Path::new("memory"),
        };
        directory::compare(path, &self.inner.identity, wanted)
    }

    /// Moves the time that expiry goes by, in microseconds since the Unix epoch; never back. Before the first call nothing
    /// is expired, so that a replay finds what it found the first time.
    pub fn advance(&self, now_micros: i64) {
        self.inner.now.fetch_max(now_micros, Ordering::Relaxed);
    }

    /// The value of a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.check_poison()?;
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.get(table, key, |stored| self.value(table, stored)),
            Store::Memory(memory) => memory.get(table, key).map_or(Ok(None), |stored| self.value(table, &stored)),
        }
    }

    /// The values of many keys, in the order of the keys; fastest where they are sorted.
    pub fn get_many(&self, table: Table, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        self.check_poison()?;
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.get_many(table, keys, |stored| self.value(table, stored)),
            Store::Memory(_) => keys.iter().map(|key| self.get(table, key.as_ref())).collect(),
        }
    }

    /// Hands over at most `limit` entries with keys that begin with `prefix`, from `from` (inclusive) on, in the order of
    /// their keys, until the visitor breaks off.
    pub fn scan(
        &self,
        table: Table,
        from: &[u8],
        prefix: &[u8],
        limit: usize,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.check_poison()?;
        let mut left = limit;
        let mut failed = Ok(());
        let step = |key: &[u8], stored: &[u8]| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            match self.present(table, stored) {
                Ok(Some(value)) => {
                    left -= 1;
                    visit(key, value)?;
                    if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
                Ok(None) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Err(error);
                    ControlFlow::Break(())
                }
            }
        };
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.scan(table, from, prefix, step)?,
            Store::Memory(memory) => memory.scan(table, from, prefix, step),
        }
        failed
    }

    /// Writes all changes of a batch or none. After an error this state is closed: see [`StateError::Poisoned`].
    pub fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StateError> {
        self.write_all(&[batch], durability)
    }

    /// Writes the changes of several batches, one after the other, as if they were one: all of them or none.
    pub fn write_all(&self, batches: &[&Batch], durability: Durability) -> Result<(), StateError> {
        self.check_poison()?;
        let written = match &self.inner.store {
            Store::Rocks(rocks) => rocks.write(batches, durability),
            Store::Memory(memory) => {
                let mut all = Batch::default();
                batches.iter().for_each(|batch| all.append(batch));
                memory.write(&all, durability)
            }
        };
        written.inspect_err(|error| match error {
            // Not a failure of the state: a reader goes on reading.
            StateError::ReadOnly => {}
            error => self.poison(error),
        })
    }

    /// Makes all writes durable: what was written [`Durability::Buffered`] is then as if it had been written [`Durability::Synced`].
    pub fn sync(&self) -> Result<(), StateError> {
        self.check_poison()?;
        let synced = match &self.inner.store {
            Store::Rocks(rocks) => rocks.sync(),
            Store::Memory(memory) => memory.write(&Batch::default(), Durability::Synced),
        };
        synced.inspect_err(|error| self.poison(error))
    }

    /// Makes all writes durable and moves them from the write-ahead log into table files, so that the next start has
    /// nothing to recover: for a clean stop.
    pub fn flush(&self) -> Result<(), StateError> {
        self.check_poison()?;
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.flush().inspect_err(|error| self.poison(error)),
            Store::Memory(_) => self.sync(),
        }
    }

    /// Whether the state still works, also where it writes in the background. After an error it is closed.
    pub fn health(&self) -> Result<(), StateError> {
        self.check_poison()?;
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.health().inspect_err(|error| self.poison(error)),
            Store::Memory(_) => Ok(()),
        }
    }

    /// Size of the directory's files in bytes; in memory, of keys and values.
    pub fn disk_bytes(&self) -> u64 {
        match &self.inner.store {
            Store::Rocks(rocks) => directory::disk_bytes(rocks.path()),
            Store::Memory(memory) => memory.bytes(),
        }
    }

    /// Memory in use.
    pub fn memory(&self) -> MemoryUse {
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.memory(),
            Store::Memory(memory) => MemoryUse { memtables: memory.bytes(), ..MemoryUse::default() },
        }
    }

    /// Bytes moved since the state was opened; none in memory.
    pub fn io(&self) -> Io {
        match &self.inner.store {
            Store::Rocks(rocks) => rocks.io(),
            Store::Memory(_) => Io::default(),
        }
    }

    /// For simulations: lets a write of a state in memory fail, 1 being the next one. Nothing of it is applied.
    pub fn fail_write(&self, nth: u64) {
        if let Store::Memory(memory) = &self.inner.store {
            memory.fail_write(nth);
        }
    }

    /// For simulations: the state that a restart finds after a power loss at this moment, that is, without the buffered
    /// writes since the last synced one. `None` for a state on disk.
    pub fn after_power_loss(&self) -> Option<State> {
        match &self.inner.store {
            Store::Memory(memory) => {
                Some(State::new(Store::Memory(memory.after_power_loss()), None, Identity::default(), clock()))
            }
            Store::Rocks(_) => None,
        }
    }

    fn new(store: Store, claim: Option<Claim>, identity: Identity, now: Arc<AtomicI64>) -> State {
        State { inner: Arc::new(Inner { store, _claim: claim, identity, poison: OnceLock::new(), now }) }
    }

    fn check_poison(&self) -> Result<(), StateError> {
        match self.inner.poison.get() {
            Some(first) => Err(StateError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&self, error: &StateError) {
        self.inner.poison.get_or_init(|| error.to_string());
    }

    /// What a reader sees of a stored value.
    fn present<'a>(&self, table: Table, stored: &'a [u8]) -> Result<Option<&'a [u8]>, StateError> {
        if table != Table::Referent {
            return Ok(Some(stored));
        }
        let (expires, value) = split_expiry(stored)
            .ok_or_else(|| StateError::Damaged(format!("a referent of {} bytes has no expiry", stored.len())))?;
        Ok((!is_expired(expires, self.inner.now.load(Ordering::Relaxed))).then_some(value))
    }

    fn value(&self, table: Table, stored: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.present(table, stored)?.map(<[u8]>::to_vec))
    }
}

/// Whether an entry with this expiry is gone at this time, both in microseconds.
pub(crate) fn is_expired(expires: i64, now: i64) -> bool {
    expires != i64::MAX && expires <= now
}

fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(i64::MIN))
}
