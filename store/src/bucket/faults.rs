//! A store that fails where a test says so: around the objects of the memory of this process.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use lance::io::{ObjectStoreParams, WrappingObjectStore};
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::address::Address;
use super::objects::Objects;

/// What goes wrong, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Puts seen so far.
    puts: usize,
    /// The put, from 1 on counted from when it was set, and what happens at it.
    fault: Option<(usize, &'static str)>,
    /// All is refused from a put on.
    dead: bool,
    /// Nothing is answered, as by a store that is out of reach.
    silent: bool,
    /// Conditions of puts are passed over.
    careless: bool,
    /// What was asked, each kind of request with the folder of its object.
    asked: Vec<(&'static str, String)>,
}

impl Faults {
    /// At the `nth` put from now on: `before` it and `after` it an error that passes, `instead` one
    /// that does not, `conflict` the answer that there is something although there is not, `die` and
    /// `die-after`: an error, and nothing goes through from then on, as if the program was killed.
    pub fn at_put(&self, nth: usize, what: &'static str) {
        let mut state = self.0.lock().unwrap();
        state.fault = Some((state.puts + nth, what));
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        (state.fault, state.dead, state.silent) = (None, false, false);
    }

    /// From now on each request fails as it does where the store cannot be reached.
    pub fn fall_silent(&self) {
        self.0.lock().unwrap().silent = true;
    }

    /// Whether the fault that was set has come to its turn.
    pub fn is_over(&self) -> bool {
        self.0.lock().unwrap().fault.is_none()
    }

    /// A store that ignores conditions.
    pub fn ignore_conditions(&self) {
        self.0.lock().unwrap().careless = true;
    }

    /// Puts so far.
    pub fn puts(&self) -> usize {
        self.0.lock().unwrap().puts
    }

    /// What was asked since this was called last.
    pub fn asked(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn request(&self, kind: &'static str, path: &Path) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        let name = path.as_ref().strip_prefix("some/index/").unwrap_or_default();
        state.asked.push((kind, name.into()));
        match (state.dead, state.silent) {
            (true, _) => Err(permanent()),
            (_, true) => Err(passing()),
            _ => Ok(()),
        }
    }

    /// What happens at this put.
    fn next_put(&self, path: &Path) -> Result<Option<&'static str>> {
        self.request("put", path)?;
        let mut state = self.0.lock().unwrap();
        state.puts += 1;
        let Some((_, what)) = state.fault.filter(|(at, _)| *at == state.puts) else {
            return Ok(None);
        };
        state.fault = None;
        if what == "die" {
            state.dead = true;
            return Err(permanent());
        }
        Ok(Some(what))
    }
}

impl WrappingObjectStore for Faults {
    fn wrap(&self, _prefix: &str, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Faulty { store, faults: self.clone() })
    }

    /// Listing a page at a time goes through the wrapped store too.
    fn wrap_paginated(
        &self,
        _prefix: &str,
        _store: Arc<dyn PaginatedListStore>,
    ) -> Option<Arc<dyn PaginatedListStore>> {
        None
    }
}

/// Objects of a bucket in memory that is called `name`, with `faults`.
pub(super) async fn objects(name: &str, faults: &Faults) -> Objects {
    let address = address(name);
    let params = ObjectStoreParams {
        object_store_wrapper: Some(Arc::new(faults.clone())),
        ..ObjectStoreParams::default()
    };
    let objects = Objects::open_with(&address, params.clone(), params).await.unwrap();
    objects.with_patience(Duration::from_secs(2))
}

pub(super) fn address(name: &str) -> Address {
    Address::parse(&format!("shared-memory://{name}/some/index")).unwrap().unwrap()
}

fn passing() -> Error {
    Error::Generic { store: "faulty", source: "503 SlowDown".into() }
}

fn permanent() -> Error {
    let source = "the program was killed here".into();
    Error::NotSupported { source }
}

#[derive(Debug)]
struct Faulty {
    store: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.store)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.faults.next_put(path)?;
        if self.faults.0.lock().unwrap().careless {
            options.mode = PutMode::Overwrite;
        }
        match fault {
            Some("before") => Err(passing()),
            Some("instead") => Err(permanent()),
            Some("conflict") => Err(Error::AlreadyExists {
                path: path.to_string(),
                source: "409 ConditionalRequestConflict".into(),
            }),
            Some("after") => {
                self.store.put_opts(path, payload, options).await?;
                Err(passing())
            }
            Some("die-after") => {
                self.store.put_opts(path, payload, options).await?;
                self.faults.0.lock().unwrap().dead = true;
                Err(permanent())
            }
            _ => self.store.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.faults.next_put(path)? {
            Some("before" | "conflict" | "after") => Err(passing()),
            Some(_) => Err(permanent()),
            None => self.store.put_multipart_opts(path, options).await,
        }
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.request("get", path)?;
        self.store.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.faults.request("get", path)?;
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if let Err(error) = self.faults.request("delete", &Path::default()) {
            return Box::pin(futures::stream::iter([Err(error)]));
        }
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.faults.request("list", prefix.unwrap_or(&Path::default())) {
            return Box::pin(futures::stream::iter([Err(error)]));
        }
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.faults.request("list", prefix.unwrap_or(&Path::default()))?;
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.request("copy", from)?;
        self.store.copy_opts(from, to, options).await
    }
}
