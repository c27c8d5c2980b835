//! The files and folders of an index, by their path below its folder.

use std::path::{Path, PathBuf};

use crate::snapshot::contents::FileMark;

/// The pointer file.
pub(crate) const POINTER: &str = "snapshot.json";

/// Folder of the copies: pointers under their numbers, and small files under their hashes.
pub(crate) const COPIES: &str = "snapshots";

/// Folder of the text index.
pub(crate) const TEXT: &str = "text";

/// Folder of the codes.
pub(crate) const CODES: &str = "codes";

/// Folder of the checksums of large files.
pub(crate) const SUMS: &str = "sums";

/// Folder of where the rows of pages lie in their table.
pub(crate) const ADDRESSES: &str = "addresses";

/// Folder of the lists that say which pages the rows of the pages' table are; of an index in a bucket alone.
pub(crate) const ROWS: &str = "rows";

/// Folders whose files belong to snapshots. A new kind of derived data adds its folder here, and
/// its files in use where the writer publishes.
pub(crate) const DATA_FOLDERS: [&str; 6] =
    ["documents.lance", "pages.lance", TEXT, CODES, SUMS, ADDRESSES];

/// The copy of the pointer of snapshot `number`.
pub(crate) fn pointer_copy(index: &Path, number: u64) -> PathBuf {
    index.join(COPIES).join(format!("{number}.json"))
}

/// Where the copy of a file lies: under its hash, so that it is written once.
pub(crate) fn copy_of(index: &Path, mark: &FileMark) -> PathBuf {
    index.join(COPIES).join(&mark.blake3)
}

/// Whether what is read from the file is checked row by row.
pub(crate) fn has_row_checksums(name: &str) -> bool {
    name.starts_with("pages.lance/data/")
}

/// Whether the file has codes. They carry checksums, page by page.
pub(crate) fn is_code(name: &str) -> bool {
    name.split('/').next() == Some(CODES)
}

/// Whether the file has words.
pub(crate) fn is_text(name: &str) -> bool {
    name.split('/').next() == Some(TEXT)
}

/// Whether the file has the checksums of another one.
pub(crate) fn is_sums(name: &str) -> bool {
    name.split('/').next() == Some(SUMS)
}

/// Whether the file says where rows lie. Each block of it has a checksum, and a reader that finds one
/// wrong looks for rows in the table itself.
pub(crate) fn is_addresses(name: &str) -> bool {
    name.split('/').next() == Some(ADDRESSES)
}

/// How the names of segments of passages end: with one vector a passage, and one a token.
pub(crate) const POOLED: &str = ".passages";
pub(crate) const TOKENS: &str = ".tokens";

/// Whether the file has codes of passages.
pub(crate) fn is_passages(name: &str) -> bool {
    is_code(name) && (name.ends_with(POOLED) || name.ends_with(TOKENS))
}

/// Whether a copy is kept: of the ledger, and of what says which rows there are. Everything else is
/// far larger and can be made again, words from pages and pages from their PDFs.
pub(crate) fn has_copy(name: &str) -> bool {
    let table = name.starts_with("documents.lance/") || name.starts_with("pages.lance/");
    table && !has_row_checksums(name)
}

/// The name of the file at `path`, with `/` between folders on every system.
pub(crate) fn name_below(index: &Path, path: &Path) -> String {
    let name = path.strip_prefix(index).expect("below the index").to_string_lossy();
    name.replace('\\', "/")
}
