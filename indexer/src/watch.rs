//! Waits for folders to change. An event only says that it is worth looking again: the walk that
//! follows decides what has changed. It also comes from time to time without an event, for network
//! drives, for systems other than Linux, and for whatever else tells nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A change is acted on when nothing else has changed for this long: files come in pieces.
const QUIET: Duration = Duration::from_millis(500);

/// And at the latest after this long, however busy a folder is.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a waiting program looks for events, and whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// Watches folders and single files until it is dropped.
#[derive(Debug)]
pub struct FolderWatch {
    unwatched: Vec<(PathBuf, String)>,
    #[cfg(target_os = "linux")]
    events: Option<events::Events>,
}

impl FolderWatch {
    /// Watches `roots`, except what a walk passes over and the folder `index` of the index,
    /// wherever that is.
    pub fn new(roots: &[PathBuf], index: &Path) -> Self {
        #[cfg(target_os = "linux")]
        {
            let mut unwatched = Vec::new();
            let all = |error: std::io::Error| {
                roots.iter().map(|root| (root.clone(), error.to_string())).collect()
            };
            let events = match events::Events::new(index) {
                Ok(mut events) => {
                    for root in roots {
                        if let Err(error) = events.add_root(root) {
                            unwatched.push((root.clone(), error.to_string()));
                        }
                    }
                    Some(events)
                }
                Err(error) => {
                    unwatched = all(error);
                    None
                }
            };
            Self { unwatched, events }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = index;
            let why = || "no events on this system".to_string();
            Self { unwatched: roots.iter().map(|root| (root.clone(), why())).collect() }
        }
    }

    /// The roots that tell nothing, or not everything, and why. Their changes show only when they
    /// are looked at again.
    pub fn unwatched(&self) -> &[(PathBuf, String)] {
        &self.unwatched
    }

    /// Waits until something has changed and is quiet again, until `longest` is over, or until
    /// `stop` is set.
    pub fn wait(&mut self, longest: Duration, stop: &AtomicBool) {
        let start = Instant::now();
        let (mut first, mut last) = (None, start);
        while !stop.load(Ordering::Relaxed) {
            if self.has_news() {
                last = Instant::now();
                first = first.or(Some(last));
            }
            let due = match first {
                Some(first) => last.elapsed() >= QUIET || first.elapsed() >= PATIENCE,
                None => start.elapsed() >= longest,
            };
            if due {
                return;
            }
            std::thread::sleep(TICK);
        }
    }

    #[cfg(target_os = "linux")]
    fn has_news(&mut self) -> bool {
        self.events.as_mut().is_some_and(events::Events::any)
    }

    #[cfg(not(target_os = "linux"))]
    fn has_news(&mut self) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod events {
    use std::collections::HashMap;
    use std::ffi::OsStr;
    use std::io;
    use std::path::{Path, PathBuf};

    use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

    use crate::discover::{IGNORE_FILE, walk};

    /// inotify over whole trees: the kernel watches one folder at a time, so each new folder is
    /// added as it is told of.
    #[derive(Debug)]
    pub struct Events {
        inotify: Inotify,
        places: HashMap<WatchDescriptor, Place>,
        /// Not watched.
        index: PathBuf,
        buffer: Vec<u8>,
    }

    #[derive(Debug)]
    enum Place {
        /// A folder of a tree.
        Folder(PathBuf),
        /// The folder of a root that is a file, and its name.
        FolderOf(std::ffi::OsString),
    }

    impl Events {
        pub fn new(index: &Path) -> io::Result<Self> {
            const BUFFER: usize = 64 << 10;
            let inotify = Inotify::init()?;
            let index = index.canonicalize().unwrap_or_else(|_| index.to_path_buf());
            Ok(Self { inotify, places: HashMap::new(), index, buffer: vec![0; BUFFER] })
        }

        pub fn add_root(&mut self, root: &Path) -> io::Result<()> {
            let root = root.canonicalize()?;
            match (root.is_file(), root.parent(), root.file_name()) {
                // A file is often replaced by another one of its name: its folder knows.
                (true, Some(folder), Some(name)) => {
                    self.watch(folder, Place::FolderOf(name.to_os_string()))
                }
                _ => self.add_tree(&root),
            }
        }

        /// The first folder that cannot be watched is the error; the others are watched.
        fn add_tree(&mut self, root: &Path) -> io::Result<()> {
            let mut outcome = Ok(());
            let folders = walk(root).flatten();
            for entry in folders.filter(|e| e.file_type().is_some_and(|t| t.is_dir())) {
                let folder = entry.into_path();
                if folder.starts_with(&self.index) {
                    continue;
                }
                let added = self.watch(&folder.clone(), Place::Folder(folder));
                outcome = outcome.and(added);
            }
            outcome
        }

        fn watch(&mut self, folder: &Path, place: Place) -> io::Result<()> {
            let mask = WatchMask::CREATE
                | WatchMask::DELETE
                | WatchMask::MODIFY
                | WatchMask::CLOSE_WRITE
                | WatchMask::ATTRIB
                | WatchMask::MOVE
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
                | WatchMask::ONLYDIR;
            let watch = self.inotify.watches().add(folder, mask).map_err(|error| {
                match error.kind() {
                    // ENOSPC: the kernel watches as many folders as it may.
                    io::ErrorKind::StorageFull => io::Error::other(
                        "more folders than this system watches: raise fs.inotify.max_user_watches",
                    ),
                    _ => error,
                }
            })?;
            self.places.insert(watch, place);
            Ok(())
        }

        /// Whether something has happened since the last call that may be about a document.
        pub fn any(&mut self) -> bool {
            let mut news = false;
            let mut new_folders = Vec::new();
            loop {
                let events = match self.inotify.read_events(&mut self.buffer) {
                    Ok(events) => events,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return true,
                };
                for event in events {
                    if event.mask.contains(EventMask::IGNORED) {
                        self.places.remove(&event.wd);
                        continue;
                    }
                    let hidden = |name: &OsStr| {
                        name.as_encoded_bytes().starts_with(b".") && name != IGNORE_FILE
                    };
                    match (self.places.get(&event.wd), event.name) {
                        (Some(Place::FolderOf(file)), name) if name != Some(file) => {}
                        (Some(Place::Folder(_)), Some(name)) if hidden(name) => {}
                        (Some(Place::Folder(folder)), Some(name))
                            if folder.join(name) == self.index => {}
                        (Some(Place::Folder(folder)), Some(name)) => {
                            let appeared = EventMask::CREATE | EventMask::MOVED_TO;
                            if event.mask.contains(EventMask::ISDIR)
                                && event.mask.intersects(appeared)
                            {
                                new_folders.push(folder.join(name));
                            }
                            news = true;
                        }
                        // A root itself, or events that were lost.
                        _ => news = true,
                    }
                }
            }
            for folder in new_folders {
                // What is in it already is seen by the walk that follows.
                let _ = self.add_tree(&folder);
            }
            news
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Whether a wait ends by an event: long before it would by itself.
    fn is_told(watch: &mut FolderWatch, change: impl FnOnce()) -> bool {
        change();
        let start = Instant::now();
        watch.wait(Duration::from_secs(3), &AtomicBool::new(false));
        start.elapsed() < Duration::from_secs(2)
    }

    #[test]
    fn changes_of_documents_are_told_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        fs::create_dir_all(base.join("docs/.pagesight")).unwrap();
        fs::create_dir_all(base.join("docs/index")).unwrap();
        fs::write(base.join("docs/a.pdf"), "a").unwrap();
        fs::write(base.join("single.pdf"), "s").unwrap();
        let roots = [base.join("docs"), base.join("single.pdf")];
        let mut watch = FolderWatch::new(&roots, &base.join("docs/index"));
        assert!(watch.unwatched().is_empty(), "{:?}", watch.unwatched());
        let write = |name: &str| fs::write(base.join(name), "changed").unwrap();
        assert!(is_told(&mut watch, || write("docs/a.pdf")));
        assert!(is_told(&mut watch, || fs::create_dir(base.join("docs/new")).unwrap()));
        assert!(is_told(&mut watch, || write("docs/new/b.pdf")));
        assert!(is_told(&mut watch, || fs::remove_file(base.join("docs/a.pdf")).unwrap()));
        assert!(is_told(&mut watch, || write("docs/.pagesightignore")));
        // A file that is replaced, as editors do.
        write("other.tmp");
        let replace = || fs::rename(base.join("other.tmp"), base.join("single.pdf")).unwrap();
        assert!(is_told(&mut watch, replace));
        assert!(!is_told(&mut watch, || {
            write("docs/.pagesight/snapshot.json");
            write("docs/index/snapshot.json");
            write("beside.pdf");
            fs::read(base.join("docs/new/b.pdf")).unwrap();
        }));
    }

    #[test]
    fn a_root_that_cannot_be_watched_is_named_and_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new(&[folder.path().join("gone")], folder.path());
        assert_eq!(watch.unwatched().len(), 1);
        let start = Instant::now();
        watch.wait(Duration::from_millis(200), &AtomicBool::new(false));
        assert!(start.elapsed() >= Duration::from_millis(200));
        watch.wait(LONG, &AtomicBool::new(true));
        assert!(start.elapsed() < LONG);
    }
}
