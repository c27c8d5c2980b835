//! Where the model of meaning is that comes with the program.

use std::path::{Path, PathBuf};

/// The name of its folder.
const FOLDER: &str = "minilm";

/// The file without which a folder is none.
const WEIGHTS: &str = "model.safetensors";

/// A folder where the model may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderPlace {
    /// What kind of place it is, e.g. `beside the program`.
    pub what: &'static str,
    /// The folder.
    pub path: PathBuf,
    /// Whether its weights are there.
    pub found: bool,
}

/// Lists the folders where the model of meaning may be that comes with the program, in the order in
/// which they count, as for libpdfium: `explicit` (the folder itself, or the one that holds it),
/// beside the program, in `data` (the user's data folder), in the system's folders. The current
/// folder is never one of them. Where `explicit` is given, it is the only place.
///
/// ```
/// let places = pagesight_model::find_embedder(Some("/nowhere".as_ref()), None, None);
/// assert!(!places[0].found);
/// ```
pub fn find_embedder(
    explicit: Option<&Path>,
    program: Option<&Path>,
    data: Option<&Path>,
) -> Vec<EmbedderPlace> {
    let mut places = Vec::new();
    let mut look = |what, path: PathBuf| {
        let found = path.join(WEIGHTS).is_file();
        places.push(EmbedderPlace { what, path, found });
    };
    if let Some(explicit) = explicit {
        let inside = explicit.join(FOLDER);
        look("asked for", if inside.is_dir() { inside } else { explicit.to_path_buf() });
        return places;
    }
    if let Some(folder) = program.and_then(Path::parent) {
        look("beside the program", folder.join(FOLDER));
        look("beside the program's libraries", folder.join("../lib/pagesight").join(FOLDER));
    }
    if let Some(data) = data {
        look("user data folder", data.join(FOLDER));
    }
    for folder in ["/usr/local/lib/pagesight", "/usr/lib/pagesight", "/opt/homebrew/lib/pagesight"]
    {
        look("system", Path::new(folder).join(FOLDER));
    }
    places
}
