//! The weights of the embedded reader: found, and compared with the published ones.

use std::path::PathBuf;
#[cfg(feature = "embedded")]
use std::{fs, path::Path};

#[cfg(feature = "embedded")]
use sha2::{Digest, Sha256};

use crate::error::OcrError;
#[cfg(feature = "embedded")]
use crate::places::WeightFile;
use crate::places::WeightSearch;

impl WeightSearch {
    /// The folder that is used.
    ///
    /// # Errors
    /// [`OcrError::NoWeights`] names every folder that was looked at.
    pub fn found(&self) -> Result<PathBuf, OcrError> {
        let looked = self.places();
        match looked.iter().find(|place| place.found) {
            Some(place) => Ok(place.folder.clone()),
            None => Err(OcrError::NoWeights { looked }),
        }
    }
}

#[cfg(feature = "embedded")]
impl WeightFile {
    /// The bytes of the file in `folder`, when they are the published ones.
    ///
    /// # Errors
    /// [`OcrError::ReadWeights`] and [`OcrError::WrongWeights`].
    pub(crate) fn read(&self, folder: &Path) -> Result<Vec<u8>, OcrError> {
        let path = folder.join(self.name);
        let bytes = fs::read(&path)
            .map_err(|source| OcrError::ReadWeights { path: path.clone(), source })?;
        let got: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        if got != self.sha256 {
            return Err(OcrError::WrongWeights { path, expected: self.sha256, got });
        }
        Ok(bytes)
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use crate::places::{DETECTOR, RECOGNISER};

    use super::*;

    #[test]
    fn other_weights_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DETECTOR.name), "other weights").unwrap();
        let error = DETECTOR.read(folder.path()).unwrap_err().to_string();
        let path = folder.path().join(DETECTOR.name).display().to_string();
        assert!(error.contains(&path) && error.contains(DETECTOR.sha256), "{error}");
        // The hash of "other weights".
        let got = Sha256::digest("other weights");
        let got: String = got.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(error.contains(&got), "{error}");
        let missing = RECOGNISER.read(Path::new("/nowhere"));
        assert!(matches!(missing, Err(OcrError::ReadWeights { .. })), "{missing:?}");
    }
}
