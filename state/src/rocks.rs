//! The tables in RocksDB. No other file names it.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rocksdb::compaction_filter::Decision;
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, ErrorKind, FlushOptions, LogLevel, LruCacheOptions, PrefixRange, ReadOptions, WriteBatch,
    WriteBufferManager, WriteOptions, properties,
};

use crate::batch::{Batch, Op, each_in_order, split_expiry};
use crate::error::{OpenError, StateError};
use crate::identity::Identity;
use crate::state::{Durability, Io, MemoryUse, Options, is_expired};
use crate::table::Table;

/// The least memory budget of a state, in bytes.
pub const MEMORY_MIN: u64 = 8 << 20;
/// The least of it that memtables may take, in bytes.
pub const MEMTABLES_MIN: u64 = 4 << 20;
/// The most table files that are open at once.
pub const OPEN_FILES_MAX: i32 = 512;

/// Memory budget of a state that is opened read-only, in bytes.
const READ_ONLY_MEMORY: u64 = 64 << 20;
/// The family that RocksDB always has: it holds a second copy of the identity.
const OWN_FAMILY: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
const IDENTITY_KEY: &[u8] = b"identity";
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// An open database.
pub(crate) struct Rocks {
    db: DB,
    path: PathBuf,
    read_only: bool,
    /// Kept for its statistics.
    options: rocksdb::Options,
    memory: Memory,
    reads: ReadOptions,
    synced: WriteOptions,
    buffered: WriteOptions,
    /// Whether a power loss may still take the last write. Held while something is written or made durable.
    is_buffered: Mutex<bool>,
}

/// One budget for all tables: memtables are charged to the cache, so that what they do not use holds blocks.
struct Memory {
    cache: Cache,
    memtables: WriteBufferManager,
    memtable_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Create,
    Write,
    /// Reads all there is, and modifies nothing.
    Check,
    /// The same beside a running job.
    Read,
}

impl Rocks {
    /// Makes the database in a directory that holds none.
    pub(crate) fn create(options: &Options, now: Arc<AtomicI64>, identity: &Identity) -> Result<Rocks, OpenError> {
        let rocks = Rocks::open_as(Access::Create, options, now)?;
        let written = rocks.db.put_cf_opt(rocks.own_family(), IDENTITY_KEY, identity.encode(), &rocks.synced);
        // Flushed, or else this one entry would keep the first log for ever.
        let flushed = written.and_then(|()| rocks.db.flush_cf(rocks.own_family()));
        flushed.map_err(|e| open_error(&options.path, e))?;
        Ok(rocks)
    }

    /// Opens the database of a directory, which [`Rocks::open_to_check`] has found whole.
    pub(crate) fn open(options: &Options, now: Arc<AtomicI64>) -> Result<Rocks, OpenError> {
        Rocks::open_as(Access::Write, options, now)
    }

    /// Reads all there is of a database, which must be this identity's, and modifies nothing. Nobody else may have it open.
    pub(crate) fn open_to_check(
        options: &Options,
        now: Arc<AtomicI64>,
        identity: &Identity,
    ) -> Result<Rocks, OpenError> {
        Rocks::open_as(Access::Check, options, now)?.verify(identity)
    }

    /// Opens the database of a directory to read, without a trace.
    pub(crate) fn open_read_only(path: &Path, now: Arc<AtomicI64>, identity: &Identity) -> Result<Rocks, OpenError> {
        let options = Options { path: path.to_owned(), memory: READ_ONLY_MEMORY, memtables: 0, direct_io: false };
        Rocks::open_as(Access::Read, &options, now)?.verify(identity)
    }

    fn open_as(access: Access, settings: &Options, now: Arc<AtomicI64>) -> Result<Rocks, OpenError> {
        let memory = Memory::new(settings.memory, settings.memtables);
        let options = database_options(access, settings, &memory);
        let family = |name, options| ColumnFamilyDescriptor::new(name, options);
        let own = family(OWN_FAMILY, table_options(Table::Meta, &options, &memory, &now));
        let tables = Table::ALL.map(|table| family(table.name(), table_options(table, &options, &memory, &now)));
        let families = std::iter::once(own).chain(tables);
        let path = &settings.path;
        let db = match access {
            Access::Create | Access::Write => DB::open_cf_descriptors(&options, path, families),
            Access::Check | Access::Read => DB::open_cf_descriptors_read_only(&options, path, families, false),
        };
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Rocks {
            db: db.map_err(|e| open_error(path, e))?,
            path: path.clone(),
            read_only: matches!(access, Access::Check | Access::Read),
            options,
            memory,
            reads: ReadOptions::default(),
            synced,
            buffered: WriteOptions::default(),
            is_buffered: Mutex::new(false),
        })
    }

    /// Holds the copy of the identity, which RocksDB's checksums guard, against what `FORMAT` said.
    fn verify(self, identity: &Identity) -> Result<Rocks, OpenError> {
        let found = self.db.get_cf(self.own_family(), IDENTITY_KEY).map_err(|e| open_error(&self.path, e))?;
        if found.is_some_and(|bytes| bytes == identity.encode()) {
            return Ok(self);
        }
        let what = "its FORMAT file and its tables are not of one state".to_owned();
        Err(OpenError::Damaged { path: self.path, what })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(
        &self,
        table: Table,
        key: &[u8],
        value: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<Option<Vec<u8>>, StateError> {
        match self.db.get_pinned_cf_opt(self.family(table), key, &self.reads).map_err(state_error)? {
            Some(stored) => value(&stored),
            None => Ok(None),
        }
    }

    pub(crate) fn get_many(
        &self,
        table: Table,
        keys: &[impl AsRef<[u8]>],
        value: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        // Told that keys are sorted when they are not, RocksDB misses some.
        let sorted = keys.is_sorted_by(|a, b| a.as_ref() <= b.as_ref());
        let found = self.db.batched_multi_get_cf_opt(self.family(table), keys, sorted, &self.reads);
        found.into_iter().map(|found| found.map_err(state_error)?.map_or(Ok(None), |stored| value(&stored))).collect()
    }

    pub(crate) fn scan(
        &self,
        table: Table,
        from: &[u8],
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let mut reads = ReadOptions::default();
        reads.set_iterate_range(PrefixRange(prefix));
        let mut entries = self.db.raw_iterator_cf_opt(self.family(table), reads);
        entries.seek(from.max(prefix));
        while let Some((key, value)) = entries.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(state_error)
    }

    pub(crate) fn write(&self, batches: &[&Batch], durability: Durability) -> Result<(), StateError> {
        if self.read_only {
            return Err(StateError::ReadOnly);
        }
        let families = Table::ALL.map(|table| self.family(table));
        // RocksDB's own head, and a few bytes an operation more than ours.
        let bytes: usize = batches.iter().map(|batch| batch.bytes() + 3 * batch.len()).sum();
        let mut write = WriteBatch::with_capacity_bytes(bytes + 12);
        // A memtable finds the place of a key fast where it is near that of the one before.
        each_in_order(batches, |Op { table, key, value }| {
            #[expect(clippy::indexing_slicing, reason = "tables are numbered as Table::ALL lists them")]
            let family = families[table as usize];
            match value {
                Some(value) => write.put_cf(family, key, value),
                None if table.put_once() => write.single_delete_cf(family, key),
                None => write.delete_cf(family, key),
            }
        });
        let options = match durability {
            Durability::Synced => &self.synced,
            Durability::Buffered => &self.buffered,
        };
        let mut is_buffered = self.is_buffered.lock().unwrap_or_else(PoisonError::into_inner);
        // So that a log has no more than one record that a power loss may have torn, and `wal::tail` can tell it from damage.
        self.sync_if(&mut is_buffered)?;
        *is_buffered = durability == Durability::Buffered;
        self.db.write_opt(write, options).map_err(state_error)
    }

    /// Makes the last write durable, if it is not.
    pub(crate) fn sync(&self) -> Result<(), StateError> {
        self.sync_if(&mut self.is_buffered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn sync_if(&self, is_buffered: &mut bool) -> Result<(), StateError> {
        if *is_buffered {
            self.db.flush_wal(true).map_err(state_error)?;
            *is_buffered = false;
        }
        Ok(())
    }

    pub(crate) fn flush(&self) -> Result<(), StateError> {
        if self.read_only {
            return Ok(());
        }
        self.sync()?;
        let families = Table::ALL.map(|table| self.family(table));
        self.db.flush_cfs_opt(&families.each_ref(), &FlushOptions::default()).map_err(state_error)
    }

    pub(crate) fn health(&self) -> Result<(), StateError> {
        match self.db.property_int_value(properties::BACKGROUND_ERRORS).map_err(state_error)? {
            Some(0) | None => Ok(()),
            Some(errors) => Err(StateError::Io(format!(
                "{errors} errors in flush or compaction; {} says which",
                self.path.join("LOG").display()
            ))),
        }
    }

    pub(crate) fn memory(&self) -> MemoryUse {
        let memtables = self.memory.memtables.get_usage() as u64;
        let readers = Table::ALL.map(|table| {
            let bytes = self.db.property_int_value_cf(self.family(table), properties::ESTIMATE_TABLE_READERS_MEM);
            bytes.ok().flatten().unwrap_or(0)
        });
        MemoryUse {
            block_cache: (self.memory.cache.get_usage() as u64).saturating_sub(memtables),
            memtables,
            index_filter: readers.iter().sum(),
        }
    }

    pub(crate) fn io(&self) -> Io {
        let sum = |tickers: &[Ticker]| tickers.iter().map(|ticker| self.options.get_ticker_count(*ticker)).sum();
        Io {
            given: sum(&[Ticker::BytesWritten]),
            written: sum(&[Ticker::WalFileBytes, Ticker::FlushWriteBytes, Ticker::CompactWriteBytes]),
            read: sum(&[Ticker::LastLevelReadBytes, Ticker::NonLastLevelReadBytes]),
        }
    }

    #[expect(clippy::expect_used, reason = "a database opens with every family of Table::ALL, or not at all")]
    fn family(&self, table: Table) -> &ColumnFamily {
        self.db.cf_handle(table.name()).expect("an open family")
    }

    #[expect(clippy::expect_used, reason = "a database always has this family")]
    fn own_family(&self) -> &ColumnFamily {
        self.db.cf_handle(OWN_FAMILY).expect("an open family")
    }
}

impl fmt::Debug for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rocks").field("path", &self.path).field("read_only", &self.read_only).finish_non_exhaustive()
    }
}

impl Memory {
    fn new(budget: u64, memtables: u64) -> Memory {
        let budget = budget.max(MEMORY_MIN);
        let memtables = memtables.clamp(MEMTABLES_MIN, budget / 2);
        let [budget, memtable_bytes] = [budget, memtables].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut options = LruCacheOptions::default();
        options.set_capacity(budget / 4 * 3);
        // Shards of at least 8 MiB, so that a value of the log and what is charged for memtables fit in one.
        options.set_num_shard_bits((budget >> 23).max(1).ilog2().min(6).cast_signed());
        let cache = Cache::new_lru_cache_opts(&options);
        // Without stalls: writers that wait on this manager may wait for ever (facebook/rocksdb#11010). The number of
        // memtables of each table is the limit instead.
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(memtable_bytes, false, cache.clone());
        Memory { cache, memtables, memtable_bytes }
    }
}

fn database_options(access: Access, settings: &Options, memory: &Memory) -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(access == Access::Create);
    // Not for a state that is there: without the manifest's entry of a table, its writes in the log would be passed over.
    options.create_missing_column_families(access == Access::Create);
    options.set_paranoid_checks(true);
    // `wal::tail` has refused what is damaged: what is bad now is the last write, torn.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Finds a log that is missing, or shorter than when it was closed. Not to be switched off for readers: they would
    // crash (RocksDB 11.8 then edits a manifest that it has not opened to write).
    options.set_track_and_verify_wals_in_manifest(true);
    // Recovery reads the logs back into memtables: this bounds the time of a start, too.
    options.set_max_total_wal_size((2 * memory.memtable_bytes) as u64);
    options.set_write_buffer_manager(&memory.memtables);
    options.set_max_manifest_file_size(64 << 20);
    // A reader opens all files at once: those that the job deletes meanwhile stay readable to it.
    options.set_max_open_files(if access == Access::Read { -1 } else { OPEN_FILES_MAX });
    options.set_max_background_jobs(4);
    // Read by each compaction, of each of its files: the default of 2 MiB is for budgets that it does not matter to.
    options.set_compaction_readahead_size((memory.memtable_bytes / 16).clamp(64 << 10, 2 << 20));
    // Hands table files to the disk as they are written, so that the commit's sync does not wait behind a whole one.
    options.set_bytes_per_sync(1 << 20);
    options.set_use_direct_reads(settings.direct_io);
    options.set_use_direct_io_for_flush_and_compaction(settings.direct_io);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(4 << 20);
    options.set_keep_log_file_num(4);
    options
}

fn table_options(table: Table, database: &rocksdb::Options, memory: &Memory, now: &Arc<AtomicI64>) -> rocksdb::Options {
    let mut options = database.clone();
    options.set_block_based_table_factory(&block_options(&memory.cache));
    // What is in the upper levels is soon written again, and a value of the log is mostly deleted: to compress it would save little of the disk.
    options.set_compression_type(DBCompressionType::None);
    if table != Table::Log {
        options.set_bottommost_compression_type(DBCompressionType::Lz4);
    }
    options.set_level_compaction_dynamic_level_bytes(true);
    if table == Table::Referent {
        // Twice the default: what is merged at once is written once more for each time that the level below is, and who reads by key asks filters first.
        options.set_level_zero_file_num_compaction_trigger(8);
    }
    let share = match table {
        Table::Log => 1,
        Table::Referent | Table::Waiting => 2,
        Table::Meta | Table::Deadline | Table::Ended => 4,
    };
    // The manager flushes when all memtables together reach their budget; these sizes bound a single one.
    options.set_write_buffer_size(memory.memtable_bytes / share);
    options.set_max_write_buffer_number(4);
    let file_bytes = memory.memtable_bytes.clamp(4 << 20, 64 << 20) as u64;
    options.set_target_file_size_base(file_bytes);
    // A large state has fewer files than it would with files of one size: a reader opens all of them.
    options.set_target_file_size_multiplier(2);
    options.set_max_bytes_for_level_base(4 * file_bytes);
    if table == Table::Referent {
        let now = Arc::clone(now);
        options.set_compaction_filter(c"expiry", move |_, _, stored: &[u8]| expiry_decision(stored, &now));
        // So that what expired leaves the disk even where nothing is written near it.
        options.set_periodic_compaction_seconds(DAY_SECONDS);
    }
    // Queues: what is put is deleted. A file that is half tombstones, or has a run of them, is compacted at once, or else scans would step over them again and
    // again.
    if matches!(table, Table::Waiting | Table::Deadline | Table::Log) {
        options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
    }
    options
}

fn block_options(cache: &Cache) -> BlockBasedOptions {
    let mut options = BlockBasedOptions::default();
    options.set_block_cache(cache);
    // Index and filter in the cache, in parts: a state far larger than memory keeps only the parts in use.
    options.set_cache_index_and_filter_blocks(true);
    options.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    options.set_partition_filters(true);
    options.set_pin_top_level_index_and_filter(true);
    options.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_bloom_filter(10.0, false);
    options.set_optimize_filters_for_memory(true);
    options.set_format_version(6);
    options
}

fn expiry_decision(stored: &[u8], now: &AtomicI64) -> Decision {
    match split_expiry(stored) {
        Some((expires, _)) if is_expired(expires, now.load(Ordering::Relaxed)) => Decision::Remove,
        _ => Decision::Keep,
    }
}

fn state_error(error: rocksdb::Error) -> StateError {
    let kind = error.kind();
    let text = error.into_string();
    match kind {
        ErrorKind::Corruption => StateError::Damaged(text),
        _ if is_full(&text) => StateError::Full(text),
        _ if text.contains("No such file or directory") => StateError::Damaged(text),
        _ => StateError::Io(text),
    }
}

fn open_error(path: &Path, error: rocksdb::Error) -> OpenError {
    let kind = error.kind();
    let what = error.into_string();
    let path = path.to_owned();
    let denied = ["Permission denied", "Read-only file system"].iter().any(|denial| what.contains(denial));
    match kind {
        _ if is_full(&what) => OpenError::Io { path, what: what + ". Make room on its disk" },
        _ if what.contains("While lock file") || what.contains("lock hold by current process") => {
            OpenError::InUse { path }
        }
        _ if denied => OpenError::Unwritable { path, source: io::Error::other(what) },
        _ if what.contains("No such file or directory") => OpenError::Damaged { path, what },
        // Families or files that do not fit together: an older or a foreign CURRENT.
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotFound | ErrorKind::NotSupported => {
            OpenError::Damaged { path, what }
        }
        _ => OpenError::Io { path, what },
    }
}

/// Whether RocksDB's text, which quotes the system's, says that there is no room: disk, quota, or limit on a file's size.
fn is_full(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "File too large"].iter().any(|full| text.contains(full))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Power that goes while the second of two writes is made durable may leave that one on the disk and a hole in the first: it would be taken for damage.
    #[test]
    fn no_write_begins_before_the_one_before_it_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { path: directory.path().to_owned(), memory: MEMORY_MIN, memtables: 0, direct_io: false };
        let rocks = Rocks::create(&options, Arc::default(), &Identity::default()).unwrap();
        let mut batch = Batch::default();
        batch.put(Table::Meta, b"key", b"value");
        let synced = || rocks.options.get_ticker_count(Ticker::WalFileSynced);
        let before = synced();
        for (durability, syncs) in [
            (Durability::Buffered, 0),
            (Durability::Buffered, 1),
            (Durability::Synced, 3),
            (Durability::Synced, 4),
            (Durability::Buffered, 4),
        ] {
            rocks.write(&[&batch], durability).unwrap();
            assert_eq!(synced() - before, syncs, "{durability:?}");
        }
        for syncs in [5, 5] {
            rocks.sync().unwrap();
            assert_eq!(synced() - before, syncs);
        }
    }
}
