//! Where libpdfium is.

use std::path::{Path, PathBuf};

/// File name of the library on this system.
const LIBRARY: &str = match (cfg!(windows), cfg!(target_os = "macos")) {
    (true, _) => "pdfium.dll",
    (_, true) => "libpdfium.dylib",
    _ => "libpdfium.so",
};

/// A place where libpdfium may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PdfiumPlace {
    /// What kind of place it is, e.g. `beside the program`.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Whether the file is there.
    pub found: bool,
}

/// Lists the places where libpdfium may be, in the order in which they count: `explicit` (a file or
/// its folder), beside the program, in `data` (the user's data folder), in a Python environment
/// (the pypdfium2 wheel), in the system's folders. The current folder is never one of them, because
/// whoever controls it would then control the library. Where `explicit` is given, it is the only
/// place.
pub fn find_pdfium(
    explicit: Option<&Path>,
    program: Option<&Path>,
    data: Option<&Path>,
    python: Option<&Path>,
) -> Vec<PdfiumPlace> {
    let mut places = Vec::new();
    let mut look = |what, path: PathBuf| {
        let found = path.is_file();
        places.push(PdfiumPlace { what, path, found });
    };
    if let Some(explicit) = explicit {
        let inside = explicit.join(LIBRARY);
        look("asked for", if explicit.is_dir() { inside } else { explicit.to_path_buf() });
        return places;
    }
    if let Some(folder) = program.and_then(Path::parent) {
        look("beside the program", folder.join(LIBRARY));
        look("beside the program's libraries", folder.join("../lib").join(LIBRARY));
    }
    if let Some(data) = data {
        look("user data folder", data.join(LIBRARY));
    }
    if let Some(python) = python {
        let versions = std::fs::read_dir(python.join("lib")).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
        versions.sort();
        for version in versions {
            look("Python wheel", version.join("site-packages/pypdfium2_raw").join(LIBRARY));
        }
        look("Python wheel", python.join("Lib/site-packages/pypdfium2_raw").join(LIBRARY));
    }
    for folder in ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/opt/homebrew/lib"] {
        look("system", Path::new(folder).join(LIBRARY));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_library_is_the_only_place() {
        let places = find_pdfium(Some(Path::new("/nowhere/x.so")), None, None, None);
        assert_eq!(places.len(), 1);
        assert!(!places[0].found);
        assert!(find_pdfium(None, None, None, None).iter().all(|p| p.path.is_absolute()));
    }
}
