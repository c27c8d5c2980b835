//! What there is to read: the PDFs below the roots, and how the ledger names them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use ignore::WalkBuilder;

use crate::error::IndexError;

/// Leaves files and folders out of the walk, in the syntax of `.gitignore`.
pub(crate) const IGNORE_FILE: &str = ".pagesightignore";

const PDF_HEAD: &[u8; 5] = b"%PDF-";

/// A file to index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it is.
    pub file: PathBuf,
    /// Its name in the ledger.
    pub path: String,
    pub bytes: u64,
    pub modified_ns: i64,
    /// `file` is what carries it, as an attached file.
    pub is_attached: bool,
}

impl Found {
    /// The file at `file`, as the ledger of an index with this `base` names it.
    pub fn at(base: &Path, file: &Path) -> std::io::Result<Self> {
        let file = file.canonicalize()?;
        let meta = file.metadata()?;
        Ok(Self::new(base, file, &meta))
    }

    fn new(base: &Path, file: PathBuf, meta: &Metadata) -> Self {
        let path = encode_path(base, &file);
        let (bytes, modified_ns) = (meta.len(), modified_ns(meta));
        Self { file, path, bytes, modified_ns, is_attached: false }
    }
}

/// The outcome of a walk.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// By ledger path.
    pub files: BTreeMap<String, Found>,
    /// What could not be read, and why; nothing below it is dropped from the index.
    pub unreadable: Vec<(PathBuf, String)>,
    /// The roots, absolute.
    pub roots: Vec<PathBuf>,
}

impl Discovery {
    /// Whether this walk would have found the ledger path `path`, had it been there.
    pub fn covers(&self, base: &Path, path: &str) -> bool {
        let file = decode_path(base, path);
        let unreadable = || self.unreadable.iter().any(|(folder, _)| file.starts_with(folder));
        self.roots.iter().any(|root| file.starts_with(root)) && !unreadable()
    }
}

/// Walks `roots` for files that are named `.pdf`, and for files without an extension that begin as
/// a PDF does. Hidden folders are passed over (the index itself is one), and links to folders are
/// not followed. Git's ignore files do not count, because documents are often kept out of git;
/// [`IGNORE_FILE`] does. A walk ends early when `stop` is set.
pub(crate) fn discover(
    base: &Path,
    roots: &[PathBuf],
    links_out: bool,
    stop: &AtomicBool,
) -> Result<Discovery, IndexError> {
    let mut discovery = Discovery::default();
    for root in roots {
        let unreadable = |source| IndexError::Root { path: root.clone(), source };
        let root = root.canonicalize().map_err(unreadable)?;
        let meta = root.metadata().map_err(unreadable)?;
        discovery.roots.push(root.clone());
        if !meta.is_dir() {
            discovery.add(base, root, &meta);
            continue;
        }
        std::fs::read_dir(&root).map_err(unreadable)?;
        for entry in walk(&root) {
            if stop.load(Ordering::Relaxed) {
                return Ok(discovery);
            }
            match entry {
                Ok(entry) => {
                    let file = entry.path();
                    let extension = file.extension();
                    let named = extension.is_some_and(|e| e.eq_ignore_ascii_case("pdf"));
                    let unnamed = extension.is_none();
                    if !(named || unnamed) || entry.file_type().is_some_and(|t| t.is_dir()) {
                        continue;
                    }
                    let is_link = entry.path_is_symlink();
                    if is_link && !links_out && !leads_below(&root, file) {
                        continue;
                    }
                    // Of a link this is the target: a link to a PDF is a PDF.
                    match file.metadata() {
                        Ok(meta) if meta.is_file() && (named || starts_as_pdf(file)) => {
                            discovery.add(base, file.to_path_buf(), &meta);
                        }
                        Err(error) if named => {
                            discovery.unreadable.push((file.to_path_buf(), error.to_string()));
                        }
                        _ => {} // no PDF, a pipe, a device, a link to a folder
                    }
                }
                Err(error) => {
                    let path = path_of(&error).unwrap_or_else(|| root.clone());
                    discovery.unreadable.push((path, error.to_string()));
                }
            }
        }
    }
    Ok(discovery)
}

/// Whether what a link leads to lies below `root`; what leads nowhere does not.
fn leads_below(root: &Path, link: &Path) -> bool {
    link.canonicalize().is_ok_and(|target| target.starts_with(root))
}

/// All that a run looks at below `root`.
pub(crate) fn walk(root: &Path) -> ignore::Walk {
    let mut walk = WalkBuilder::new(root);
    walk.standard_filters(false).hidden(true).add_custom_ignore_filename(IGNORE_FILE);
    walk.build()
}

impl Discovery {
    fn add(&mut self, base: &Path, file: PathBuf, meta: &Metadata) {
        let found = Found::new(base, file, meta);
        self.files.insert(found.path.clone(), found);
    }
}

/// Whether a file without an extension is a PDF all the same. One that cannot be read is not.
fn starts_as_pdf(file: &Path) -> bool {
    let mut head = [0; PDF_HEAD.len()];
    let read = std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && &head == PDF_HEAD
}

/// The folder that an error of the walk is about.
fn path_of(error: &ignore::Error) -> Option<PathBuf> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path.clone()),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            path_of(err)
        }
        ignore::Error::Loop { child, .. } => Some(child.clone()),
        _ => None,
    }
}

/// Nanoseconds since 1970; files from before count backwards.
pub(crate) fn modified_ns(meta: &Metadata) -> i64 {
    let Ok(modified) = meta.modified() else { return 0 };
    match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// How the ledger writes the absolute path `file`: relative to `base` when below it, `/` between
/// the parts, bytes that are not UTF-8 as `%XX`.
///
/// ```
/// use std::path::Path;
/// use pagesight_indexer::{decode_path, encode_path};
/// let path = encode_path(Path::new("/home/ann"), Path::new("/home/ann/reports/q3.pdf"));
/// assert_eq!(path, "reports/q3.pdf");
/// assert_eq!(decode_path(Path::new("/home/ann"), &path), Path::new("/home/ann/reports/q3.pdf"));
/// assert_eq!(encode_path(Path::new("/home/ann"), Path::new("/srv/a.pdf")), "/srv/a.pdf");
/// ```
pub fn encode_path(base: &Path, file: &Path) -> String {
    let Ok(relative) = file.strip_prefix(base) else {
        return text_of(file);
    };
    let parts = relative.components().filter_map(|part| match part {
        Component::Normal(part) => Some(text_of(Path::new(part))),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The file that the ledger calls `path`: the inverse of [`encode_path`].
pub fn decode_path(base: &Path, path: &str) -> PathBuf {
    // A name may hold `%41` as it stands; the file that is there decides.
    let plain = base.join(path);
    if path.contains('%') && plain.symlink_metadata().is_err() {
        base.join(unescaped(path))
    } else {
        plain
    }
}

#[cfg(unix)]
fn text_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    bytes
        .utf8_chunks()
        .map(|chunk| {
            let escaped: String = chunk.invalid().iter().map(|b| format!("%{b:02X}")).collect();
            format!("{}{escaped}", chunk.valid())
        })
        .collect()
}

#[cfg(not(unix))]
fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(unix)]
fn unescaped(path: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::with_capacity(path.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        // Only bytes that cannot stand in UTF-8 text were escaped.
        let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|b| *b >= 0x80);
        match byte.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(not(unix))]
fn unescaped(path: &str) -> PathBuf {
    path.into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn pdfs_are_found_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for folder in ["a/b", "x.pdf", ".hidden", "left-out"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        for file in ["one.pdf", "a/b/TWO.PDF", "x.pdf/in.pdf", "note.txt", ".hidden/h.pdf"] {
            fs::write(base.join(file), "x").unwrap();
        }
        fs::write(base.join("left-out/l.pdf"), "x").unwrap();
        fs::write(base.join("Makefile"), "all:\n").unwrap();
        fs::write(base.join("unnamed"), "%PDF-1.7\n").unwrap();
        fs::write(base.join(".pagesightignore"), "left-out\n").unwrap();
        fs::write(base.join(".gitignore"), "*.pdf\n").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(base.join("a"), base.join("a/b/loop")).unwrap();
        let never = AtomicBool::new(false);
        let found = discover(&base, std::slice::from_ref(&base), true, &never).unwrap();
        let paths: Vec<&str> = found.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a/b/TWO.PDF", "one.pdf", "unnamed", "x.pdf/in.pdf"]);
        assert!(found.covers(&base, "gone.pdf") && !found.covers(&base, "/elsewhere/x.pdf"));
        assert!(discover(&base, &[base.join("missing")], true, &never).is_err());
    }

    #[cfg(unix)]
    #[cfg(unix)]
    #[test]
    fn links_that_leave_their_root_are_passed_over_when_that_is_asked() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("root");
        std::fs::create_dir(&root).unwrap();
        for file in ["outside.pdf", "root/inside.pdf"] {
            std::fs::write(base.join(file), b"%PDF-1.7").unwrap();
        }
        symlink(base.join("outside.pdf"), root.join("leaves.pdf")).unwrap();
        symlink(root.join("inside.pdf"), root.join("stays.pdf")).unwrap();
        symlink(base.join("nowhere.pdf"), root.join("broken.pdf")).unwrap();
        let names = |links_out| -> Vec<String> {
            let never = AtomicBool::new(false);
            let found = discover(&base, std::slice::from_ref(&root), links_out, &never);
            found.unwrap().files.into_keys().collect()
        };
        assert_eq!(names(true), ["root/inside.pdf", "root/leaves.pdf", "root/stays.pdf"]);
        assert_eq!(names(false), ["root/inside.pdf", "root/stays.pdf"]);
    }

    #[test]
    fn names_that_are_not_utf8_go_there_and_back() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let base = Path::new("/b");
        for name in [&b"caf\xE9.pdf"[..], b"100%41.pdf", "é%C3.pdf".as_bytes(), b"%ff\xFF.pdf"] {
            let file = base.join(OsStr::from_bytes(name));
            let path = encode_path(base, &file);
            assert!(!path.contains('\u{FFFD}'));
            if !path.contains("%C3") && !path.contains("%ff") {
                assert_eq!(decode_path(base, &path), file, "{path}");
            }
        }
    }
}
