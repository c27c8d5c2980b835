//! Where the weights of the embedded reader may be.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of weights as it was published. `cargo xtask setup` fetches and pins the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightFile {
    /// Name of the file.
    pub name: &'static str,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: &'static str,
}

/// Finds lines of text in a picture: PP-OCRv6 small, ONNX.
pub const DETECTOR: WeightFile = WeightFile {
    name: "PP-OCRv6_det_small.onnx",
    sha256: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
};

/// Reads a line of text: PP-OCRv6 small, ONNX. Its characters are in its metadata.
pub const RECOGNISER: WeightFile = WeightFile {
    name: "PP-OCRv6_rec_small.onnx",
    sha256: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
};

/// Name of the folder of the weights where programs keep their data.
const FOLDER: &str = "ocr";

/// Where the weights may be looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightSearch {
    /// The folder that was asked for; where it is given, it is the only place.
    pub folder: Option<PathBuf>,
    /// The user's data folder of this program.
    pub data: Option<PathBuf>,
    /// A Python environment, where the `rapidocr` wheel may be.
    pub python: Option<PathBuf>,
}

/// A folder in which the weights may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightPlace {
    /// What kind of place it is, e.g. `beside the program`.
    pub what: &'static str,
    /// The folder.
    pub folder: PathBuf,
    /// Whether both files are there.
    pub found: bool,
}

impl WeightSearch {
    /// The places where the weights may be, in the order in which they count: the folder that was
    /// asked for, beside the program, in its shared data, in the user's data folder, in a Python
    /// environment (the `rapidocr` wheel), in the system's folders. The current folder is never one
    /// of them.
    pub fn places(&self) -> Vec<WeightPlace> {
        let program = std::env::current_exe().ok();
        self.places_of(program.as_deref())
    }

    fn places_of(&self, program: Option<&Path>) -> Vec<WeightPlace> {
        let mut places = Vec::new();
        let mut look = |what, folder: PathBuf| {
            let found = [DETECTOR, RECOGNISER].iter().all(|file| folder.join(file.name).is_file());
            places.push(WeightPlace { what, folder, found });
        };
        if let Some(folder) = &self.folder {
            look("asked for", folder.clone());
            return places;
        }
        if let Some(folder) = program.and_then(Path::parent) {
            look("beside the program", folder.join(FOLDER));
            look("the program's shared data", folder.join("../share/pagesight").join(FOLDER));
        }
        if let Some(data) = &self.data {
            look("user data folder", data.join(FOLDER));
        }
        if let Some(python) = &self.python {
            let versions = fs::read_dir(python.join("lib")).into_iter().flatten().flatten();
            let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
            versions.sort();
            versions.push(python.join("Lib"));
            for version in versions {
                look("Python wheel", version.join("site-packages/rapidocr/models"));
            }
        }
        for folder in ["/usr/local/share/pagesight", "/usr/share/pagesight"] {
            look("system", Path::new(folder).join(FOLDER));
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        for file in [DETECTOR, RECOGNISER] {
            fs::write(folder.join(file.name), "other weights").unwrap();
        }
        folder.to_path_buf()
    }

    #[test]
    fn places_count_in_order() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("bin/pagesight");
        let data = with_files(&home.path().join("data/ocr"));
        let search = WeightSearch {
            data: Some(home.path().join("data")),
            python: Some(home.path().join("venv")),
            ..WeightSearch::default()
        };
        let found = |search: &WeightSearch| {
            let places = search.places_of(Some(&program));
            let place = places.iter().find(|place| place.found && place.what != "system");
            place.map(|place| place.folder.clone())
        };
        assert_eq!(found(&search), Some(data));
        fs::create_dir_all(home.path().join("bin")).unwrap();
        let shared = with_files(&home.path().join("share/pagesight/ocr"));
        assert_eq!(found(&search).unwrap().canonicalize().unwrap(), shared.canonicalize().unwrap());
        let beside = with_files(&home.path().join("bin/ocr"));
        assert_eq!(found(&search), Some(beside));
        // What was asked for is the only place, also where nothing is there.
        let asked = WeightSearch { folder: Some("/nowhere".into()), ..search };
        assert_eq!(found(&asked), None);
        assert_eq!(asked.places().len(), 1);
    }
}
