//! Where Hugging Face's programs keep what they fetched:
//! `models--ORG--NAME/{refs/REF, snapshots/COMMIT/FILE, blobs/}`. Source: huggingface_hub's
//! "Understand caching" and `file_download.py`.

use std::fs;
use std::path::{Path, PathBuf};

/// A cache folder, e.g. `~/.cache/huggingface/hub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCache {
    root: PathBuf,
}

/// One fetched version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSnapshot {
    /// `org/name`.
    pub name: String,
    /// The commit.
    pub revision: String,
    /// With the files of the model.
    pub folder: PathBuf,
}

const MODELS: &str = "models--";
const SNAPSHOTS: &str = "snapshots";
const REFS: &str = "refs";
const MAIN: &str = "main";

impl HubCache {
    /// The cache at `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache that `folder`, a snapshot, lies in.
    pub fn around(folder: &Path) -> Option<Self> {
        let snapshots = folder.parent().filter(|up| up.file_name().is_some_and(|n| n == SNAPSHOTS));
        let model = snapshots?.parent()?;
        let named = model.file_name()?.to_str()?.starts_with(MODELS);
        Some(Self::new(model.parent()?)).filter(|_| named)
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether `name` is one that a hub could have: `org/name`.
    pub fn is_name(name: &str) -> bool {
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(allowed) && !part.starts_with('.')
        };
        name.split_once('/').is_some_and(|(org, name)| plain(org) && plain(name))
    }

    /// Where all versions of `name` are kept.
    pub fn model_folder(&self, name: &str) -> PathBuf {
        self.root.join(format!("{MODELS}{}", name.replace('/', "--")))
    }

    /// The folder of `name` at `revision`, a commit, branch or tag; the newest `main`, or the only
    /// one there, when `None`.
    pub fn snapshot(&self, name: &str, revision: Option<&str>) -> Option<PathBuf> {
        Self::is_name(name).then(|| snapshot_of(&self.model_folder(name), revision)).flatten()
    }

    /// All versions of all models, by name and revision.
    pub fn snapshots(&self) -> Vec<HubSnapshot> {
        let mut found = Vec::new();
        for model in folders(&self.root) {
            let name = model.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = name.strip_prefix(MODELS) else { continue };
            let name = name.replacen("--", "/", 1);
            for folder in folders(&model.join(SNAPSHOTS)) {
                let revision = folder.file_name().unwrap_or_default().to_string_lossy().into();
                found.push(HubSnapshot { name: name.clone(), revision, folder });
            }
        }
        found.sort_by(|a, b| (&a.name, &a.revision).cmp(&(&b.name, &b.revision)));
        found
    }
}

/// The snapshot in a `models--ORG--NAME` folder.
pub fn snapshot_of(model: &Path, revision: Option<&str>) -> Option<PathBuf> {
    let snapshots = model.join(SNAPSHOTS);
    let named = |revision: &str| {
        let plain = !revision.is_empty()
            && !revision.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        let commit = plain.then(|| fs::read_to_string(model.join(REFS).join(revision)).ok());
        let commit = commit.flatten().unwrap_or_else(|| revision.to_string());
        let commit = commit.trim();
        let folder = snapshots.join(commit);
        // Never out of the folder, whatever a ref holds.
        let plain = plain && !commit.is_empty() && !commit.starts_with('.');
        (plain && !commit.contains(['/', '\\']) && folder.is_dir()).then_some(folder)
    };
    match revision {
        Some(revision) => named(revision),
        None => named(MAIN).or_else(|| match folders(&snapshots).as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }),
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_model_is_found_by_name_and_revision() {
        let root = tempfile::tempdir().unwrap();
        let cache = HubCache::new(root.path());
        let model = cache.model_folder("vidore/colpali-v1.3");
        assert!(model.ends_with("models--vidore--colpali-v1.3"));
        for commit in ["aaaa", "bbbb"] {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        let find = |revision| {
            let found = cache.snapshot("vidore/colpali-v1.3", revision);
            found.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_string())
        };
        assert_eq!(find(None), None); // two, and nothing says which
        assert_eq!(find(Some("bbbb")).as_deref(), Some("bbbb"));
        fs::create_dir_all(model.join("refs/pr")).unwrap();
        fs::write(model.join("refs/main"), "aaaa\n").unwrap();
        fs::write(model.join("refs/pr/1"), "bbbb").unwrap();
        assert_eq!(find(None).as_deref(), Some("aaaa"));
        assert_eq!(find(Some("main")).as_deref(), Some("aaaa"));
        assert_eq!(find(Some("pr/1")).as_deref(), Some("bbbb"));
        for strange in ["", "cccc", "..", "../snapshots/aaaa", "."] {
            assert_eq!(find(Some(strange)), None, "{strange}");
        }
        assert_eq!(cache.snapshots().len(), 2);
        assert_eq!(cache.snapshots()[0].name, "vidore/colpali-v1.3");
        let around = HubCache::around(&model.join("snapshots/aaaa"));
        assert_eq!(around, Some(cache.clone()));
        assert_eq!(HubCache::around(&model), None);
        for name in ["", "colpali", "/x", "a/b/c", "../x", "a/..", "~/x"] {
            assert!(!HubCache::is_name(name), "{name}");
        }
    }
}
