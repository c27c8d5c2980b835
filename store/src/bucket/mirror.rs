//! The copy of an index in a bucket that a machine searches: its words, where the rows of pages lie, and of
//! its codes what every search scans, as files. The codes of pages come when they are compared, or while nobody waits
//! ([`sparse`]), as far as there is [`Room`]. Masters and the ledger stay in the bucket.
//!
//! The files of a snapshot are never written twice, so that what is here by name and hash is not
//! fetched again. A file comes under another name first and is renamed when it is sound; what was here
//! before this process is looked at once: words are compared with their hash, codes with their
//! checksums.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use pagesight_maxsim::Segment;

use super::objects::Objects;
use super::room::{Room, on_disk};
use super::share::Share;
use super::sparse::{self, Pieces};
use super::texts::Texts;
use super::words::segment_of;
use crate::codes::segments::map;
use crate::error::StoreError;
use crate::lance::table::LanceTable;
use crate::runtime::runtime;
use crate::snapshot::contents::FileMark;
use crate::snapshot::names::{CODES, ROWS, TEXT};

/// Folders of what is copied.
const COPIED: [&str; 3] = [TEXT, CODES, ROWS];

/// Files fetched at once.
const FETCHED: usize = 8;

/// A file that a snapshot does not need is left for so long: another process may be about to open it.
const LEFT: Duration = Duration::from_secs(3600);

/// How full the copy is when codes have made room, in hundredths.
const AFTER_EVICTION: u64 = 80;

/// Files that this process has looked at, with their hashes: all of them, or of codes what is here.
static SOUND: LazyLock<Mutex<HashSet<(PathBuf, String)>>> = LazyLock::new(Mutex::default);
static SCANNED: LazyLock<Mutex<HashSet<(PathBuf, String)>>> = LazyLock::new(Mutex::default);

/// Where an index in a bucket is copied to, and how much of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalCopy {
    /// The copy of each index is a folder of its own in this one.
    pub folder: PathBuf,
    /// What the copy of an index may take, bytes; `None` for most of what the disk has free.
    pub most_bytes: Option<u64>,
    /// Whether the codes of all pages are fetched in the background, as far as there is room; else only
    /// those that are compared.
    pub fill: bool,
    /// What of an index is copied: the part that is searched here.
    pub share: Share,
}

impl LocalCopy {
    /// Copies in `folder`, as large as the disk allows.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let (folder, share) = (folder.into(), Share::Whole);
        Self { folder, most_bytes: None, fill: false, share }
    }
}

/// The local copy of one index.
#[derive(Clone)]
pub(crate) struct Mirror {
    folder: PathBuf,
    objects: Objects,
    room: Arc<Room>,
    fill: bool,
    share: Share,
    pieces: Pieces,
}

/// A file of codes that is being brought here: what is known of it, and what is to be fetched.
struct Outline {
    name: String,
    path: PathBuf,
    key: (PathBuf, String),
    /// Where it lies until it is sound; `None` when it is here.
    part: Option<PathBuf>,
    /// Whether its pages are searched here: of others the lists say which pages they replace and drop.
    is_mine: bool,
    /// What it takes here whatever is searched, bytes.
    needed: u64,
    /// It is too large to be fetched whole.
    is_in_pieces: bool,
    /// What is to be fetched of its sketches.
    sketches: Vec<Range<u64>>,
}

impl Mirror {
    /// The copy of `objects` in `local`.
    pub fn new(local: &LocalCopy, objects: &Objects) -> Self {
        let name = blake3::hash(objects.address.to_string().as_bytes()).to_hex();
        let ending = local.share.ending();
        let name = format!("{}-{}{ending}", objects.address.name(), &name[..16]);
        let folder = local.folder.join(name);
        let room = Arc::new(Room::of(&folder, local.most_bytes));
        let (objects, pieces) = (objects.clone(), Pieces::default());
        Self { folder, objects, room, fill: local.fill, share: local.share, pieces }
    }

    /// Fetches other pieces, in tests.
    #[cfg(test)]
    pub fn with_pieces(self, pieces: Pieces) -> Self {
        Self { pieces, ..self }
    }

    /// Where it lies: a folder with the words and the codes where those of an index lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What of the index is searched here.
    pub fn share(&self) -> Share {
        self.share
    }

    /// Where the file that is called `name` in the bucket lies here; `None` for one that stays there.
    fn place(&self, name: &str) -> Option<PathBuf> {
        let (folder, rest) = name.split_once('/')?;
        let file = rest.rsplit('/').next()?;
        COPIED.contains(&folder).then(|| self.folder.join(folder).join(file))
    }

    /// Brings the words and codes among `files` here, whole.
    ///
    /// # Errors
    /// What cannot be fetched or written, and [`StoreError::DamagedFile`] for an object that is not
    /// what was put.
    pub async fn bring_whole(&self, files: &BTreeMap<String, FileMark>) -> Result<(), StoreError> {
        self.make_folders()?;
        self.bring_all(files.iter()).await
    }

    /// Brings the words among `files` here, and of the codes what every search scans. Codes that are
    /// damaged or gone in the bucket are left out: searches say so and go on by full-precision vectors.
    ///
    /// # Errors
    /// As [`bring_whole`](Self::bring_whole), and [`StoreError::NoRoom`].
    pub async fn bring(&self, files: &BTreeMap<String, FileMark>) -> Result<(), StoreError> {
        self.make_folders()?;
        self.room.measure();
        let (codes, words): (Vec<_>, Vec<_>) = files
            .iter()
            .filter(|(name, _)| self.place(name).is_some() && self.is_wanted(name))
            .partition(|(name, _)| name.starts_with(CODES));
        let mut outlining = Vec::with_capacity(codes.len());
        for (name, mark) in codes {
            outlining.push(self.outline(name, mark));
        }
        let outlined: Vec<Result<Outline, StoreError>> =
            futures::stream::iter(outlining).buffered(FETCHED).collect().await;
        let mut outlines = Vec::with_capacity(outlined.len());
        for outline in outlined {
            match outline {
                Ok(outline) => outlines.push(outline),
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let parts: Vec<PathBuf> = outlines.iter().filter_map(|one| one.part.clone()).collect();
        let brought = self.fill_in(files, &words, outlines).await;
        // Those that have their name by now are not there any more.
        parts.iter().for_each(|part| _ = fs::remove_file(part));
        self.room.measure();
        brought
    }

    async fn fill_in(
        &self,
        files: &BTreeMap<String, FileMark>,
        words: &[(&String, &FileMark)],
        outlines: Vec<Outline>,
    ) -> Result<(), StoreError> {
        let of_words: u64 = words.iter().map(|(_, mark)| mark.bytes).sum();
        let wanted = of_words + outlines.iter().map(|outline| outline.needed).sum::<u64>();
        if wanted > self.room.limit() {
            return Err(self.room.too_small(wanted));
        }
        let is_missing = |name: &str, mark: &FileMark| {
            self.place(name)
                .is_none_or(|path| fs::metadata(path).map_or(true, |meta| meta.len() != mark.bytes))
        };
        let of_words: u64 =
            words.iter().filter(|(name, mark)| is_missing(name, mark)).map(|(_, m)| m.bytes).sum();
        let new = outlines.iter().filter(|one| one.part.is_some()).map(|one| one.needed);
        let new = of_words + new.sum::<u64>();
        if !self.room.fits(new) {
            self.evict(files, new);
            if !self.room.fits(new) {
                return Err(self.room.too_small(wanted));
            }
        }
        let mut scanning = Vec::with_capacity(outlines.len());
        for outline in &outlines {
            scanning.push(self.bring_sketches(outline));
        }
        let scanning = futures::stream::iter(scanning).buffer_unordered(FETCHED);
        for brought in scanning.collect::<Vec<_>>().await {
            brought.or_else(|error| if is_damage(&error) { Ok(()) } else { Err(error) })?;
        }
        self.bring_all(words.iter().copied()).await
    }

    /// Whether the file `name` is needed for what is searched here: of words those of its segments, of
    /// codes the lists of all, and where rows lie.
    fn is_wanted(&self, name: &str) -> bool {
        match segment_of(name) {
            Some(segment) => self.share.has(segment),
            // Who has no pages shows those that others found.
            None if name.starts_with(ROWS) => true,
            None => self.share != Share::Nothing,
        }
    }

    fn make_folders(&self) -> Result<(), StoreError> {
        for folder in COPIED {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
        }
        Ok(())
    }

    async fn bring_all<'a>(
        &self,
        files: impl Iterator<Item = (&'a String, &'a FileMark)>,
    ) -> Result<(), StoreError> {
        let mut bringing = Vec::new();
        for (name, mark) in files {
            if let Some(path) = self.place(name) {
                bringing.push(self.bring_one(name, mark, path));
            }
        }
        futures::stream::iter(bringing).buffer_unordered(FETCHED).try_collect().await
    }

    async fn bring_one(
        &self,
        name: &str,
        mark: &FileMark,
        path: PathBuf,
    ) -> Result<(), StoreError> {
        let key = (path.clone(), mark.blake3.clone());
        let known = SOUND.lock().expect("no panic under the lock").contains(&key);
        let is_there = fs::metadata(&path).is_ok_and(|meta| meta.len() == mark.bytes);
        if is_there && (known || is_sound(&path, mark)) {
            SOUND.lock().expect("no panic under the lock").insert(key);
            return Ok(());
        }
        let part = sparse::part_of(&path);
        let fetched = self.objects.fetch(name, &part).await;
        let fetched = fetched.and_then(|hash| {
            if hash != mark.blake3 {
                return Err(self.is_not_what_was_put(name));
            }
            fs::rename(&part, &path).map_err(StoreError::io("writing", &path))
        });
        if fetched.is_err() {
            let _ = fs::remove_file(&part);
        }
        fetched?;
        SOUND.lock().expect("no panic under the lock").insert(key);
        Ok(())
    }

    fn is_not_what_was_put(&self, name: &str) -> StoreError {
        let what = "its hash is not the one that was written".into();
        StoreError::DamagedFile { path: self.objects.path_of(name), what }
    }

    /// Finds out what there is of a file of codes, and fetches its lists where it is not here.
    async fn outline(&self, name: &str, mark: &FileMark) -> Result<Outline, StoreError> {
        let path = self.place(name).expect("codes have a place");
        let key = (path.clone(), mark.blake3.clone());
        let is_mine = name.rsplit('/').next().is_some_and(|file| self.share.has(file));
        let mut outline = Outline {
            name: name.into(),
            key,
            part: None,
            is_mine,
            needed: mark.bytes,
            is_in_pieces: mark.bytes > self.pieces.small,
            sketches: Vec::new(),
            path,
        };
        let file = outline.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let known = SCANNED.lock().expect("no panic under the lock").contains(&outline.key);
        let there = if known {
            let is_whole =
                || fs::metadata(&outline.path).is_ok_and(|meta| meta.len() == mark.bytes);
            map(&self.folder, file).ok().filter(|_| is_whole())
        } else {
            sparse::sound(&self.folder, file, mark.bytes, is_mine)
        };
        if let Some(segment) = there {
            SCANNED.lock().expect("no panic under the lock").insert(outline.key.clone());
            if outline.is_in_pieces {
                outline.needed = outline.scanned_bytes(&segment);
            }
            return Ok(outline);
        }
        if !outline.is_in_pieces {
            // One request brings it whole.
            let part = sparse::part_of(&outline.path);
            let fetched = self.objects.fetch(name, &part).await;
            outline.part = Some(part);
            if fetched? != mark.blake3 {
                return Err(self.is_not_what_was_put(name));
            }
            return Ok(outline);
        }
        let part = sparse::part_of(&outline.path);
        let outlined = self.fetch_lists(name, mark, &part).await;
        if outlined.is_err() {
            let _ = fs::remove_file(&part);
        }
        let (segment, whole_from) = outlined?;
        outline.needed = outline.scanned_bytes(&segment);
        if is_mine {
            let ranges = segment.sketch_ranges().into_iter();
            let missing = ranges.map(|range| range.start..range.end.min(whole_from));
            outline.sketches = missing.filter(|range| !range.is_empty()).collect();
        }
        outline.part = Some(part);
        Ok(outline)
    }

    /// Makes `part` a hole as large as the file, with its lists, and most often its sketches, which come
    /// with them. Says where it is whole from.
    async fn fetch_lists(
        &self,
        name: &str,
        mark: &FileMark,
        part: &Path,
    ) -> Result<(Segment, u64), StoreError> {
        let damaged = |source| sparse::damaged(&self.objects.path_of(name), source);
        let range = |start: u64| [(name.to_string(), start..mark.bytes)];
        let mut start = mark.bytes - mark.bytes.min(self.pieces.first(mark.bytes));
        let mut end = self.objects.get_ranges(&range(start)).await?.remove(0);
        let lists = Segment::lists_start(&end).map_err(damaged)?;
        if lists > mark.bytes {
            return Err(self.is_not_what_was_put(name));
        }
        if lists < start {
            start = lists;
            end = self.objects.get_ranges(&range(start)).await?.remove(0);
        }
        sparse::make_hole(part, mark.bytes)?;
        sparse::write_at(part, start, &end)?;
        let file = part.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok((map(&self.folder, file)?, start))
    }

    /// Fetches the sketches of a file whose lists are here, and gives it its name.
    async fn bring_sketches(&self, outline: &Outline) -> Result<(), StoreError> {
        let Some(part) = &outline.part else { return Ok(()) };
        let wanted: Vec<_> =
            outline.sketches.iter().map(|range| (outline.name.clone(), range.clone())).collect();
        for some in wanted.chunks(FETCHED) {
            let fetched = self.objects.get_ranges(some).await?;
            for ((_, range), bytes) in some.iter().zip(fetched) {
                sparse::write_at(part, range.start, &bytes)?;
            }
        }
        let file = part.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_scanned = outline.is_mine && outline.is_in_pieces;
        if is_scanned && !map(&self.folder, file)?.are_sketches_sound() {
            return Err(self.is_not_what_was_put(&outline.name));
        }
        fs::rename(part, &outline.path).map_err(StoreError::io("writing", &outline.path))?;
        SCANNED.lock().expect("no panic under the lock").insert(outline.key.clone());
        Ok(())
    }

    /// Keeps `bytes`, which lie at `at` of the file `name`, if there is room.
    pub fn keep(&self, name: &str, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(path) = self.place(name) else { return Ok(()) };
        if !self.room.take(bytes.len() as u64) {
            return Ok(());
        }
        sparse::write_at(&path, at, bytes)
    }

    /// The texts of pages that are here.
    pub fn texts(&self) -> Texts {
        Texts::in_copy(&self.folder)
    }

    /// Fetches the texts of the table `pages`, and then the codes `names`, the oldest first, as far as
    /// there is room, the newest first, until `over` is set.
    pub fn fill(&self, pages: LanceTable, names: Vec<String>, over: Arc<AtomicBool>) {
        if !self.fill {
            return;
        }
        let Ok(runtime) = runtime() else { return };
        let mirror = self.clone();
        runtime.spawn(async move {
            let texts = mirror.texts();
            for fragment in texts.missing(&pages).await.unwrap_or_default() {
                // What cannot be had now is read when it is shown.
                let brought = texts.bring(&pages, fragment, |bytes| mirror.room.take(bytes)).await;
                if over.load(Ordering::Relaxed) || !brought.unwrap_or(false) {
                    break;
                }
            }
            for name in names.into_iter().rev().filter(|name| mirror.share.has(name)) {
                let (folder, file) = (mirror.folder.clone(), name.clone());
                let holes =
                    tokio::task::spawn_blocking(move || sparse::holes(&folder, &file)).await;
                let Ok(Ok(holes)) = holes else { continue };
                for piece in holes {
                    let bytes: u64 = piece.iter().map(|range| range.end - range.start).sum();
                    if over.load(Ordering::Relaxed) || !mirror.room.fits(bytes) {
                        return;
                    }
                    let object = format!("{CODES}/{name}");
                    let wanted: Vec<_> =
                        piece.into_iter().map(|range| (object.clone(), range)).collect();
                    // What cannot be had now is fetched when it is compared.
                    let Ok(fetched) = mirror.objects.get_ranges(&wanted).await else { return };
                    for ((name, range), bytes) in wanted.iter().zip(fetched) {
                        if mirror.keep(name, range.start, &bytes).is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }

    /// Whether codes were fetched since this was asked last that there was no room for. Then older ones
    /// make room, and what maps the files maps them anew.
    pub fn has_made_room(&self, files: &BTreeMap<String, FileMark>) -> bool {
        if !self.room.was_crowded() {
            return false;
        }
        self.room.measure();
        let before = self.room.used();
        self.evict(files, self.room.limit() / 100 * (100 - AFTER_EVICTION));
        self.room.used() < before
    }

    /// Makes room for `bytes`: files go that are not among `files`, then the codes of pages, those that
    /// were written to the longest time ago first.
    fn evict(&self, files: &BTreeMap<String, FileMark>, bytes: u64) {
        self.remove(files, Duration::ZERO);
        self.room.measure();
        let entries = fs::read_dir(self.folder.join(CODES)).into_iter().flatten().flatten();
        let mut here: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .filter(|(_, path)| path.extension().is_some_and(|ending| ending != "part"))
            .collect();
        here.sort();
        if !self.room.fits(bytes) {
            // They are read in the bucket then.
            self.texts().tidy(|_| false);
            self.room.measure();
        }
        for (_, path) in here {
            if self.room.fits(bytes) {
                return;
            }
            let before = fs::metadata(&path).map_or(0, |meta| on_disk(&meta));
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if before > self.pieces.small && sparse::thin(&self.folder, file).is_ok() {
                self.room.measure();
            }
        }
    }

    /// Forgets that the codes here were looked at: a search found them damaged.
    pub fn doubt(&self) {
        let codes = self.folder.join(CODES);
        for known in [&SOUND, &SCANNED] {
            let mut known = known.lock().expect("no panic under the lock");
            known.retain(|(path, _)| !path.starts_with(&codes));
        }
    }

    /// Removes what is not among `files` and was not written lately.
    pub fn tidy(&self, files: &BTreeMap<String, FileMark>) {
        self.remove(files, LEFT);
    }

    fn remove(&self, files: &BTreeMap<String, FileMark>, younger: Duration) {
        let of_table = files.keys().filter_map(|name| name.strip_prefix("pages.lance/data/"));
        let texts = self.texts().paths(of_table);
        let is_old = |path: &Path| {
            let modified = fs::metadata(path).and_then(|meta| meta.modified());
            modified.is_ok_and(|at| {
                SystemTime::now().duration_since(at).is_ok_and(|age| age >= younger.max(LEFT / 60))
            })
        };
        let texts: HashSet<&PathBuf> = texts.iter().collect();
        self.texts().tidy(|path| texts.contains(&path.to_path_buf()) || !is_old(path));
        let wanted: HashSet<PathBuf> = files.keys().filter_map(|name| self.place(name)).collect();
        for folder in COPIED {
            for entry in fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten() {
                // What is just being fetched stays, however little room there is.
                let least = if entry.path().extension().is_some_and(|ending| ending == "part") {
                    LEFT
                } else {
                    younger
                };
                let old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|modified| {
                    SystemTime::now().duration_since(modified).is_ok_and(|age| age >= least)
                });
                let path = entry.path();
                if old && !wanted.contains(&path) && fs::remove_file(&path).is_ok() {
                    for known in [&SOUND, &SCANNED] {
                        let mut known = known.lock().expect("no panic under the lock");
                        known.retain(|(known, _)| *known != path);
                    }
                }
            }
        }
    }
}

impl Outline {
    /// What a search scans of a file: its lists, and where its pages are searched here its sketches,
    /// bytes.
    fn scanned_bytes(&self, segment: &Segment) -> u64 {
        let sketches = if self.is_mine { segment.sketch_ranges() } else { Vec::new() };
        let ranges = sketches.into_iter().chain([segment.lists()]);
        ranges.map(|range| range.end - range.start).sum()
    }
}

/// Whether an error of the codes says that they are damaged or gone, and not that they cannot be had
/// now.
fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::DamagedFile { .. } | StoreError::Codes { .. } => true,
        StoreError::Bucket { source, .. } => {
            let source = source.downcast_ref::<object_store::Error>();
            source.is_some_and(|error| matches!(error, object_store::Error::NotFound { .. }))
        }
        _ => false,
    }
}

fn is_sound(path: &Path, mark: &FileMark) -> bool {
    let mut hash = blake3::Hasher::new();
    let read = fs::File::open(path).and_then(|file| hash.update_reader(file).map(drop));
    read.is_ok() && hash.finalize().to_hex().as_str() == mark.blake3
}

/// Forgets what was looked at, as a new process has.
#[cfg(test)]
pub(super) fn forget() {
    for known in [&SOUND, &SCANNED] {
        known.lock().expect("no panic under the lock").clear();
    }
}
