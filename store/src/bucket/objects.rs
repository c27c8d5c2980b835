//! The objects of an index in a bucket: read, put, listed and removed by their names below its
//! prefix, and tried again where a store is slow or throttles.
//!
//! All that is asked of a store is that it keeps what it acknowledged, that a list is complete, and
//! that a put "if there is nothing of this name" is refused where there is something. The last is
//! tried before anything depends on it: see [`Objects::try_conditions`].

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt, TryStreamExt};
use lance::io::{ObjectStore as LanceStore, ObjectStoreParams, StorageOptionsAccessor};
use lancedb::ObjectStoreRegistry;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::io::AsyncReadExt;

use super::address::Address;
use super::kept::Kept;
use crate::error::StoreError;
use crate::lance::detached::TablePlace;
use crate::snapshot::contents::FileMark;

/// How long a request is tried again before it counts as failed, by those who write and those who open
/// an index; and by searches, which somebody waits for.
const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const PATIENCE_OF_SEARCHES: Duration = Duration::from_secs(10);

/// What a single try may take of it: the client tries again by itself, for so long.
const TRY: Duration = Duration::from_secs(5);

/// A store that answers nothing for so long is out of reach for those who are waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// The first wait between two tries, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long the store may take to say how it takes conditions.
const TRIAL: Duration = Duration::from_secs(25);

/// Larger files are put in parts of this size, bytes: large ones, since each is a request that is paid
/// for. S3 takes 10,000 of them.
const PART: usize = 32 << 20;

/// Parts of one file under way at once.
const PARTS: usize = 2;

/// Ranges of objects read at once.
const RANGES: usize = 32;

/// Objects removed at once.
const REMOVED: usize = 16;

/// The hint which snapshot is the newest: an object of every index.
pub(crate) const LATEST: &str = "latest.json";

/// The object of [`Objects::try_conditions`].
pub(crate) const TRIAL_NAME: &str = "conditional-put";

/// What became of a put of something that must not be there yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there now, by us.
    Done,
    /// Something else has the name: its bytes.
    Taken(Vec<u8>),
}

/// An object of a list.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Below the prefix of the index.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// By the store's clock.
    pub modified: SystemTime,
}

/// The objects of one index.
#[derive(Clone)]
pub(crate) struct Objects {
    pub address: Address,
    /// What Lance opens its tables with, so that they are read with the same credentials.
    pub registry: Arc<ObjectStoreRegistry>,
    pub params: ObjectStoreParams,
    store: Arc<LanceStore>,
    prefix: Path,
    patience: Duration,
    /// What never changes and was read lately, for those who read it again.
    kept: Option<Arc<Kept>>,
    /// Whether the store did not answer the last time it was asked for something.
    silent: Arc<AtomicBool>,
}

impl Objects {
    /// Opens the bucket of `address`, without a request to it, for those who write.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`], and [`StoreError::Bucket`] where credentials or region cannot be
    /// found.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        Self::open_for(address, PATIENCE).await
    }

    /// As [`open`](Self::open), for searches: what these read of tables they do not wait a minute for.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_for_searches(address: &Address) -> Result<Self, StoreError> {
        Ok(Self::open_for(address, PATIENCE_OF_SEARCHES).await?.remembering())
    }

    async fn open_for(address: &Address, of_tables: Duration) -> Result<Self, StoreError> {
        address.check_built()?;
        // The client's own tries are few where this one tries again, and all that there is for tables.
        let params = |tries: u32, time: Duration| {
            let mut options = HashMap::from([
                ("client_max_retries".to_string(), tries.to_string()),
                ("client_retry_timeout".to_string(), time.as_secs().to_string()),
            ]);
            if address.allows_clear_http() {
                options.insert("allow_http".to_string(), "true".to_string());
            }
            let accessor = Arc::new(StorageOptionsAccessor::with_static_options(options));
            ObjectStoreParams {
                storage_options_accessor: Some(accessor),
                ..ObjectStoreParams::default()
            }
        };
        Self::open_with(address, params(2, TRY), params(20, of_tables - TRY)).await
    }

    /// As [`open`](Self::open), with what opens the store, and what opens tables.
    pub async fn open_with(
        address: &Address,
        own: ObjectStoreParams,
        params: ObjectStoreParams,
    ) -> Result<Self, StoreError> {
        let registry = Arc::new(ObjectStoreRegistry::default());
        let url = address.lance_url();
        let opened = LanceStore::from_uri_and_params(Arc::clone(&registry), &url, &own).await;
        let (store, prefix) = opened.map_err(|source| StoreError::Bucket {
            action: "opening",
            place: address.to_string(),
            source: source.into(),
        })?;
        let address = address.clone();
        let (patience, kept, silent) = (PATIENCE, None, Arc::default());
        Ok(Self { address, registry, params, store, prefix, patience, kept, silent })
    }

    /// Whether the store was out of reach when it was asked last. Others go on asking it; who is waited
    /// for does without.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Finds out, by one small request, whether the store is out of reach.
    pub async fn ask_whether_silent(&self) -> bool {
        let path = self.at(LATEST);
        let asked = tokio::time::timeout(TRY, self.store().head(&path)).await;
        let is_silent = asked.map_or(true, |answer| answer.is_err_and(|error| is_passing(&error)));
        self.silent.store(is_silent, Ordering::Relaxed);
        is_silent
    }

    /// Keeps in memory what never changes and is read again with each snapshot. Who looks for damage does
    /// not ask for that.
    pub fn remembering(mut self) -> Self {
        self.kept.get_or_insert_default();
        self
    }

    /// Asks for so long where a store is out of reach.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What it is read with, and where it begins: for objects whose names are not our own.
    pub(super) fn raw(&self) -> (&dyn ObjectStore, &Path) {
        (self.store(), &self.prefix)
    }

    fn store(&self) -> &dyn ObjectStore {
        &*self.store.inner
    }

    fn at(&self, name: &str) -> Path {
        // Names are our own: plain ASCII without anything that a path would escape.
        Path::from(format!("{}/{name}", self.prefix))
    }

    /// The place of the index, for errors.
    pub fn shown(&self) -> PathBuf {
        PathBuf::from(self.address.to_string())
    }

    /// Its tables, read with the same credentials.
    pub fn tables(&self) -> TablePlace {
        let (url, registry) = (self.address.lance_url(), Arc::clone(&self.registry));
        TablePlace::new(url, self.shown(), self.params.clone(), registry)
    }

    /// The place of `name`, for errors.
    pub fn path_of(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}/{name}", self.address))
    }

    pub(super) fn failed(&self, action: &'static str, name: &str, source: Error) -> StoreError {
        let place = format!("{}/{name}", self.address);
        StoreError::Bucket { action, place, source: Box::new(source) }
    }

    /// Whether there is time for another try after `wait`: for a whole one, so that all of it together
    /// takes no longer than it may.
    fn has_time(&self, start: Instant, wait: Duration) -> bool {
        start.elapsed() + wait + TRY.min(self.patience / 4) < self.patience
    }

    /// Does `work` until it succeeds, fails for good, or patience ends.
    pub(super) async fn patiently<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let outcome = work().await;
            let is_silent = outcome.as_ref().is_err_and(is_passing);
            // A store that throttles for a moment is not out of reach.
            if !is_silent || start.elapsed() > SILENCE {
                self.silent.store(is_silent, Ordering::Relaxed);
            }
            if !is_silent || !self.has_time(start, wait) {
                return outcome;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// The bytes of `name`; `None` when there is no such object. Where this machine may not list the
    /// bucket, S3 says of what is not there that it is forbidden.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.at(name);
        let read = || async { self.store().get(&path).await?.bytes().await };
        match self.patiently(read).await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(None),
            Err(error) => Err(self.failed("reading", name, error)),
        }
    }

    /// As [`get`](Self::get), of an object that must be there.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn get_required(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.at(name);
        let read = || async { self.store().get(&path).await?.bytes().await };
        let bytes = self.patiently(read).await;
        bytes.map(|bytes| bytes.to_vec()).map_err(|error| self.failed("reading", name, error))
    }

    /// The bytes of `name`, which are named together with their number and hash.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], and [`StoreError::DamagedFile`] for what is not there or is something else.
    pub async fn get_marked(
        &self,
        name: &str,
        bytes: u64,
        blake3: &str,
    ) -> Result<Arc<[u8]>, StoreError> {
        if let Some(known) = self.kept.as_ref().and_then(|kept| kept.get(name, blake3)) {
            return Ok(known);
        }
        let path = self.path_of(name);
        let damaged = |what: &str| StoreError::DamagedFile { path, what: what.into() };
        let Some(found) = self.get(name).await? else { return Err(damaged("it is missing")) };
        if found.len() as u64 != bytes || blake3::hash(&found).to_hex().as_str() != blake3 {
            return Err(damaged("its hash is not the one that was written"));
        }
        let found: Arc<[u8]> = found.into();
        if let Some(kept) = &self.kept {
            kept.keep(name, blake3, &found);
        }
        Ok(found)
    }

    /// The bytes of each of `wanted`, an object and a range of it, in their order.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], also for an object that is shorter.
    pub async fn get_ranges(
        &self,
        wanted: &[(String, Range<u64>)],
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut reading = Vec::with_capacity(wanted.len());
        for (name, range) in wanted {
            reading.push(self.get_range(name, range.clone()));
        }
        futures::stream::iter(reading).buffered(RANGES).try_collect().await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let path = self.at(name);
        let length = range.end - range.start;
        let read = || async {
            let bytes = self.store().get_range(&path, range.clone()).await?;
            let is_short = bytes.len() as u64 != length;
            let source = || format!("{} bytes came, {length} were asked for", bytes.len()).into();
            if is_short {
                return Err(Error::Generic { store: "range", source: source() });
            }
            Ok(bytes)
        };
        let bytes = self.patiently(read).await;
        bytes.map(|bytes| bytes.to_vec()).map_err(|error| self.failed("reading", name, error))
    }

    /// Writes `name` into `file` and returns the BLAKE3 of what came.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], and what cannot be written.
    pub async fn fetch(&self, name: &str, file: &FilePath) -> Result<String, StoreError> {
        let path = self.at(name);
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            match self.fetch_once(&path, file).await {
                Ok(hash) => return hash,
                Err(error) if is_passing(&error) && self.has_time(start, wait) => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(self.failed("reading", name, error)),
            }
        }
    }

    async fn fetch_once(
        &self,
        path: &Path,
        file: &FilePath,
    ) -> Result<Result<String, StoreError>, Error> {
        use std::io::Write;
        let mut out = match std::fs::File::create(file) {
            Ok(out) => out,
            Err(error) => return Ok(Err(StoreError::io("writing", file)(error))),
        };
        let mut hash = blake3::Hasher::new();
        let mut stream = self.store().get(path).await?.into_stream();
        while let Some(bytes) = stream.try_next().await? {
            hash.update(&bytes);
            if let Err(error) = out.write_all(&bytes) {
                return Ok(Err(StoreError::io("writing", file)(error)));
            }
        }
        Ok(Ok(hash.finalize().to_hex().to_string()))
    }

    /// How `name` differs from what was put, by its size and hash; `None` when it does not.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn difference(
        &self,
        name: &str,
        mark: &FileMark,
    ) -> Result<Option<String>, StoreError> {
        let path = self.at(name);
        let read = || async {
            let (mut hash, mut bytes) = (blake3::Hasher::new(), 0);
            let mut stream = self.store().get(&path).await?.into_stream();
            while let Some(some) = stream.try_next().await? {
                bytes += some.len() as u64;
                hash.update(&some);
            }
            Ok((bytes, hash.finalize().to_hex().to_string()))
        };
        Ok(match self.patiently(read).await {
            Err(Error::NotFound { .. }) => Some("it is missing".into()),
            Err(error) => return Err(self.failed("reading", name, error)),
            Ok((bytes, _)) if bytes != mark.bytes => {
                Some(format!("it has {bytes} bytes, {} were written", mark.bytes))
            }
            Ok((_, hash)) if hash != mark.blake3 => {
                Some("its hash is not the one that was written".into())
            }
            Ok(_) => None,
        })
    }

    /// Puts `bytes` under `name`, over what is there.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let (path, payload) = (self.at(name), PutPayload::from(bytes));
        let put = || async { self.store().put(&path, payload.clone()).await };
        let put = self.patiently(put).await;
        put.map(drop).map_err(|error| self.failed("writing", name, error))
    }

    /// As [`put`](Self::put), without a copy of `bytes`.
    #[cfg(test)]
    pub async fn put_shared(&self, name: &str, bytes: bytes::Bytes) -> Result<(), StoreError> {
        let put = self.store().put(&self.at(name), PutPayload::from_bytes(bytes)).await;
        put.map(drop).map_err(|error| self.failed("writing", name, error))
    }

    /// Puts `bytes` under `name` where nothing has that name. The bytes must be of this caller alone
    /// (they hold a nonce): an object with the same bytes is our own, whose answer was lost.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put, StoreError> {
        let (path, payload) = (self.at(name), PutPayload::from(bytes.to_vec()));
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let put = self.store().put_opts(&path, payload.clone(), PutMode::Create.into()).await;
            let error = match put {
                Ok(_) => return Ok(Put::Done),
                // A store that has answered for good, and neither that it is done nor that there is
                // something: nothing was put.
                Err(error) if !is_passing(&error) && !is_taken(&error) => {
                    return Err(self.failed("writing", name, error));
                }
                Err(error) => error,
            };
            // "Exists" may be our own, put by a request whose answer was lost, or a conflict of two
            // requests of which none won; an error may hide a success.
            if let Some(there) = self.get(name).await? {
                return Ok(if there == bytes { Put::Done } else { Put::Taken(there) });
            }
            if !self.has_time(start, wait) {
                return Err(self.failed("writing", name, error));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Puts the file at `file` under `name`, a name that nobody else gives.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], and what cannot be read.
    pub async fn upload(&self, name: &str, file: &FilePath) -> Result<(), StoreError> {
        let reading = || StoreError::io("reading", file);
        let bytes = std::fs::metadata(file).map_err(reading())?.len() as usize;
        if bytes <= PART {
            return self.put(name, std::fs::read(file).map_err(reading())?).await;
        }
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            match self.upload_parts(name, file).await? {
                Ok(()) => return Ok(()),
                Err(error) if is_passing(&error) && self.has_time(start, wait) => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(self.failed("writing", name, error)),
            }
        }
    }

    async fn upload_parts(
        &self,
        name: &str,
        file: &FilePath,
    ) -> Result<Result<(), Error>, StoreError> {
        let mut input =
            tokio::fs::File::open(file).await.map_err(StoreError::io("reading", file))?;
        let mut upload = match self.store().put_multipart(&self.at(name)).await {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(error)),
        };
        let mut outcome = Ok(());
        let mut under_way = futures::stream::FuturesUnordered::new();
        loop {
            let mut part = Vec::with_capacity(PART);
            let read = (&mut input).take(PART as u64).read_to_end(&mut part).await;
            if read.map_err(StoreError::io("reading", file))? == 0 {
                break;
            }
            under_way.push(upload.put_part(PutPayload::from(part)));
            if under_way.len() >= PARTS
                && let Some(Err(error)) = under_way.next().await
            {
                outcome = Err(error);
                break;
            }
        }
        while let Some(done) = under_way.next().await {
            outcome = outcome.and(done);
        }
        drop(under_way);
        if outcome.is_ok() {
            outcome = upload.complete().await.map(drop);
        }
        if outcome.is_err() {
            let _ = upload.abort().await;
        }
        Ok(outcome)
    }

    /// The objects whose names begin with `start`, which names a folder up to its last slash; `""`
    /// for all of the index.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn list(&self, start: &str) -> Result<Vec<Listed>, StoreError> {
        let folder = start.rfind('/').map(|at| &start[..at]);
        let below = folder.map_or_else(|| self.prefix.clone(), |folder| self.at(folder));
        let list = || async {
            let mut found = Vec::new();
            // Names in order can be begun at one of them, and left when they are others.
            let in_order = self.address.lists_in_order() && !start.is_empty();
            let mut objects = if in_order && !start.ends_with('/') {
                self.store().list_with_offset(Some(&below), &self.at(start))
            } else {
                self.store().list(Some(&below))
            };
            while let Some(object) = objects.try_next().await? {
                let Some(listed) = self.listed(object) else { continue };
                if listed.name.starts_with(start) {
                    found.push(listed);
                } else if in_order && listed.name.as_str() > start {
                    break;
                }
            }
            Ok(found)
        };
        let mut found = match self.patiently(list).await {
            Err(Error::NotFound { .. }) => Vec::new(),
            listed => listed.map_err(|error| self.failed("listing", start, error))?,
        };
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn listed(&self, object: ObjectMeta) -> Option<Listed> {
        let rest = object.location.as_ref().strip_prefix(self.prefix.as_ref())?;
        let name = rest.strip_prefix('/')?.to_string();
        Some(Listed { name, bytes: object.size, modified: object.last_modified.into() })
    }

    /// When `name` was last written, by the store's clock; `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn modified(&self, name: &str) -> Result<Option<SystemTime>, StoreError> {
        let path = self.at(name);
        match self.patiently(|| async { self.store().head(&path).await }).await {
            Ok(meta) => Ok(Some(meta.last_modified.into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("reading", name, error)),
        }
    }

    /// Removes `names`; one that is gone already is no error.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn remove(&self, names: &[String]) -> Result<(), StoreError> {
        let mut removing = Vec::with_capacity(names.len());
        for name in names {
            removing.push(self.remove_one(name));
        }
        futures::stream::iter(removing).buffer_unordered(REMOVED).try_collect().await
    }

    async fn remove_one(&self, name: &str) -> Result<(), StoreError> {
        let path = self.at(name);
        match self.patiently(|| async { self.store().delete(&path).await }).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("removing", name, error)),
        }
    }

    /// Makes sure that the store refuses to put what is there already: all depends on it. One object
    /// is put twice under the condition that there is none; the second put must be refused. It stays,
    /// so that no right to remove objects is needed.
    ///
    /// # Errors
    /// [`StoreError::Conditions`] for a store that takes both, or does not know the condition.
    pub async fn try_conditions(&self) -> Result<(), StoreError> {
        let refused = |what: String, source: Option<Error>| {
            let source = source.map(|error| Box::new(error) as Box<_>);
            StoreError::Conditions { place: self.address.to_string(), what, source }
        };
        let path = self.at(TRIAL_NAME);
        let put = || async {
            let payload = PutPayload::from_static(b"pagesight tries conditional puts here\n");
            self.store().put_opts(&path, payload, PutMode::Create.into()).await
        };
        let trial = async {
            match put().await {
                Ok(_) => {}
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(self.not_tried(error)),
            }
            match put().await {
                Err(error) if is_taken(&error) => Ok(()),
                Ok(_) => Err(refused("it ignores the condition".into(), None)),
                Err(error) => Err(self.not_tried(error)),
            }
        };
        let outcome = tokio::time::timeout(TRIAL, trial).await;
        outcome.unwrap_or_else(|_| {
            Err(refused(format!("it does not answer within {} s", TRIAL.as_secs()), None))
        })
    }

    fn not_tried(&self, error: Error) -> StoreError {
        let what = "it does not take the condition".to_string();
        let place = self.address.to_string();
        StoreError::Conditions { place, what, source: Some(Box::new(error)) }
    }
}

/// Whether the store says that something has the name.
fn is_taken(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
}

/// Whether the same request may succeed later: a store that is throttled, restarted or out of reach.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}
