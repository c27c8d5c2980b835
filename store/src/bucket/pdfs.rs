//! PDFs that lie in a bucket themselves: listed and hashed by who plans, fetched by who reads a shard.
//!
//! A PDF is known by its size, the time when it was put, and its ETag. The last two are one number in the
//! ledger: the seconds of the time, and a hash of the ETag in the place of its nanoseconds, which stores do
//! not tell. So an object that was put twice within a second is seen to have changed.

use std::fs;
use std::path::Path as FilePath;
use std::time::{Duration, UNIX_EPOCH};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta};
use pagesight_core::DocumentId;

use super::address::Address;
use super::objects::Objects;
use super::record::PlannedFile;
use crate::error::StoreError;
use crate::runtime::wait;

/// Objects fetched at once.
const FETCHED: usize = 8;

/// The PDFs below an address.
pub struct Pdfs {
    objects: Objects,
}

impl Pdfs {
    /// Those below `address`; nothing is asked of it yet.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`], [`StoreError::Bucket`].
    pub fn open(address: &Address) -> Result<Self, StoreError> {
        Ok(Self { objects: wait(Objects::open(address))? })
    }

    /// The address.
    pub fn address(&self) -> &Address {
        &self.objects.address
    }

    /// All that are named `.pdf`, by their paths below the address. Hidden ones, with a part of their path
    /// that begins with a dot, are passed over, as in folders.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn list(&self) -> Result<Vec<PlannedFile>, StoreError> {
        wait(async {
            let (store, prefix) = self.objects.raw();
            let list = || async {
                let mut found: Vec<ObjectMeta> = Vec::new();
                let mut listed = store.list(Some(prefix));
                while let Some(object) = listed.try_next().await? {
                    found.push(object);
                }
                Ok(found)
            };
            let found = match self.objects.patiently(list).await {
                Err(Error::NotFound { .. }) => Vec::new(),
                found => found.map_err(|error| self.objects.failed("listing", "", error))?,
            };
            let file = |object: &ObjectMeta| {
                let path = object.location.as_ref().strip_prefix(prefix.as_ref())?;
                let path = path.strip_prefix('/')?;
                is_pdf(path).then(|| PlannedFile {
                    path: path.into(),
                    bytes: object.size,
                    modified_ns: stamp(object),
                })
            };
            let mut files: Vec<PlannedFile> = found.iter().filter_map(file).collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(files)
        })
    }

    /// The hash of the PDF at `path`; `None` for one that is gone.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn hash(&self, path: &str) -> Result<Option<DocumentId>, StoreError> {
        wait(async {
            let (store, _) = self.objects.raw();
            let object = self.object(path)?;
            let read = || async {
                let mut hash = blake3::Hasher::new();
                let mut stream = store.get_opts(&object, Default::default()).await?.into_stream();
                while let Some(some) = stream.try_next().await? {
                    hash.update(&some);
                }
                Ok(DocumentId(*hash.finalize().as_bytes()))
            };
            match self.objects.patiently(read).await {
                Err(Error::NotFound { .. }) => Ok(None),
                read => read.map(Some).map_err(|error| self.failed(path, error)),
            }
        })
    }

    /// Puts the PDFs at `paths` as files into `folder`, with the times that [`list`](Self::list) gives them.
    /// What is gone is left out, and of what is larger than `most_bytes` there is a file of its size that
    /// is one hole: it is not read.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], and what cannot be written.
    pub fn fetch(
        &self,
        paths: &[String],
        folder: &FilePath,
        most_bytes: u64,
    ) -> Result<(), StoreError> {
        wait(async {
            let mut fetching = Vec::with_capacity(paths.len());
            for path in paths {
                fetching.push(self.fetch_one(path, folder, most_bytes));
            }
            futures::stream::iter(fetching).buffer_unordered(FETCHED).try_collect().await
        })
    }

    async fn fetch_one(
        &self,
        path: &str,
        folder: &FilePath,
        most_bytes: u64,
    ) -> Result<(), StoreError> {
        let (file, object) = (folder.join(path), self.object(path)?);
        if let Some(above) = file.parent() {
            fs::create_dir_all(above).map_err(StoreError::io("making", above))?;
        }
        let (store, _) = self.objects.raw();
        let read = || async {
            let got = store.get_opts(&object, Default::default()).await?;
            let meta = got.meta.clone();
            if meta.size > most_bytes {
                return Ok((meta, None));
            }
            Ok((meta, Some(got.bytes().await?)))
        };
        let (meta, bytes) = match self.objects.patiently(read).await {
            Err(Error::NotFound { .. }) => return Ok(()),
            read => read.map_err(|error| self.failed(path, error))?,
        };
        let write = || -> std::io::Result<()> {
            match &bytes {
                Some(bytes) => fs::write(&file, bytes)?,
                None => fs::File::create(&file)?.set_len(meta.size)?,
            }
            let since = u64::try_from(stamp(&meta)).unwrap_or_default();
            let time = UNIX_EPOCH + Duration::from_nanos(since);
            fs::File::options().write(true).open(&file)?.set_modified(time)
        };
        write().map_err(StoreError::io("writing", &file))
    }

    fn object(&self, path: &str) -> Result<Path, StoreError> {
        let (_, prefix) = self.objects.raw();
        let wrong = |error| self.failed(path, Error::InvalidPath { source: error });
        Path::parse(format!("{prefix}/{path}")).map_err(wrong)
    }

    fn failed(&self, path: &str, error: Error) -> StoreError {
        self.objects.failed("reading", path, error)
    }
}

/// Whether a document is meant by the name of what lies at `path`.
fn is_pdf(path: &str) -> bool {
    let named = path.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("pdf"));
    named && !path.split('/').any(|part| part.is_empty() || part.starts_with('.'))
}

/// What the ledger keeps of when an object was put, nanoseconds since 1970.
fn stamp(object: &ObjectMeta) -> i64 {
    let hash = blake3::hash(object.e_tag.as_deref().unwrap_or_default().as_bytes());
    let (four, _) = hash.as_bytes().split_at(4);
    let nanos = u32::from_le_bytes(four.try_into().expect("four bytes")) % 1_000_000_000;
    object.last_modified.timestamp().saturating_mul(1_000_000_000).saturating_add(nanos.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use object_store::{ObjectStoreExt, PutPayload};

    use super::super::faults::{Faults, objects};
    use super::*;

    fn pdfs(name: &str, files: &[(&str, &[u8])]) -> Pdfs {
        wait(async {
            let objects = objects(name, &Faults::default()).await;
            let (store, prefix) = objects.raw();
            for (path, bytes) in files {
                let at = Path::parse(format!("{prefix}/{path}")).unwrap();
                store.put(&at, PutPayload::from(bytes.to_vec())).await.unwrap();
            }
            Ok(Pdfs { objects })
        })
        .unwrap()
    }

    #[test]
    fn pdfs_are_listed_hashed_and_fetched_under_their_names() {
        let files: [(&str, &[u8]); 5] = [
            ("b/two words & more.PDF", b"two"),
            ("a.pdf", b"one"),
            ("notes.txt", b"no"),
            (".hidden/c.pdf", b"no"),
            ("b/large.pdf", b"too large"),
        ];
        let pdfs = pdfs("pdfs", &files);
        let listed = pdfs.list().unwrap();
        let paths: Vec<&str> = listed.iter().map(|file| &*file.path).collect();
        assert_eq!(paths, ["a.pdf", "b/large.pdf", "b/two words & more.PDF"]);
        assert_eq!(pdfs.hash("a.pdf").unwrap(), Some(DocumentId::of(b"one")));
        assert_eq!(pdfs.hash("gone.pdf").unwrap(), None);
        let folder = tempfile::tempdir().unwrap();
        let wanted: Vec<String> =
            paths.iter().chain(&["gone.pdf"]).map(|p| p.to_string()).collect();
        pdfs.fetch(&wanted, folder.path(), 5).unwrap();
        for file in &listed {
            let there = folder.path().join(&file.path);
            let meta = fs::metadata(&there).unwrap();
            assert_eq!(meta.len(), file.bytes);
            let since = meta.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
            assert_eq!(since.as_nanos(), file.modified_ns as u128);
            let bytes = fs::read(&there).unwrap();
            let put: BTreeMap<&str, &[u8]> = files.into_iter().collect();
            let whole = file.bytes <= 5;
            assert_eq!(bytes == put[&*file.path], whole, "{}", file.path);
        }
        assert!(!folder.path().join("gone.pdf").exists());
        // Out of the folder leads no name.
        assert!(pdfs.fetch(&["../x.pdf".into()], folder.path(), 5).is_err());
    }

    #[test]
    fn what_was_put_again_within_a_second_has_another_stamp() {
        let meta = |e_tag: &str| ObjectMeta {
            location: Path::from("a.pdf"),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: 3,
            e_tag: Some(e_tag.into()),
            version: None,
        };
        assert_ne!(stamp(&meta("a")), stamp(&meta("b")));
        assert_eq!(stamp(&meta("a")), stamp(&meta("a")));
    }
}
