//! The tensors of a checkpoint under their canonical names, whatever the layout of its files.
//! Every tensor is used exactly once, in the shape that the configuration gives it, or loading
//! fails: a half-loaded model gives vectors that look right and are not.
//!
//! Canonical names: `vision_tower.vision_model.*`, `multi_modal_projector.linear.*`,
//! `language_model.{embed_tokens,layers.N,norm}.*` and `head.*`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use candle_core::Tensor;

use crate::ModelError;
use crate::adapter::Adapter;
use crate::checkpoint::Checkpoint;
use crate::layout::Layout;
use crate::stored::Stored;

/// The tensors, taken out one by one. Until one is taken, only headers have been read.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    layout: Layout,
    tensors: BTreeMap<String, Stored>,
    adapter: Option<Adapter>,
    /// Names that the layout does not have.
    unknown: BTreeSet<String>,
}

impl Weights {
    /// Names the tensors of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError::UnknownLayout`]; [`ModelError::UnknownTensor`] for an adapter that changes a
    /// weight which its base does not have.
    pub fn open(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let path = checkpoint.weights_folder().to_path_buf();
        let shards = &checkpoint.shards;
        let keys = shards.iter().flat_map(|shard| shard.keys());
        let layout = Layout::detect(keys.clone()).ok_or_else(|| ModelError::UnknownLayout {
            path: path.clone(),
            key: keys.clone().next().unwrap_or_default().into(),
        })?;
        let mut tensors = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for (shard, key) in shards.iter().flat_map(|s| s.keys().map(move |key| (s, key))) {
            match layout.canonical(key).zip(shard.get(key)) {
                Some((name, tensor)) => drop(tensors.insert(name, tensor)),
                None if Layout::is_unused(key) => {}
                None => drop(unknown.insert(key.to_string())),
            }
        }
        let adapter = checkpoint.adapter.clone();
        if let Some(adapter) = &adapter {
            let strange: Vec<&str> = adapter
                .targets()
                .filter(|(name, _)| !tensors.contains_key(*name))
                .map(|(_, key)| key)
                .collect();
            if let Some(key) = strange.first() {
                let (path, key, count) =
                    (adapter.path().to_path_buf(), key.to_string(), strange.len());
                return Err(ModelError::UnknownTensor { path, key, count });
            }
        }
        Ok(Self { path, layout, tensors, adapter, unknown })
    }

    /// How the files name their tensors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether tensor `name` is there and was not taken yet.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes tensor `name` of `shape` as f32, copied out of the map.
    ///
    /// # Errors
    /// As [`take_stored`](Self::take_stored); [`ModelError::Compute`] for a type that is not a
    /// float.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        Ok(self.take_stored(name, shape)?.to_f32()?)
    }

    /// Takes tensor `name` of `shape` where it lies, in its stored type; nothing of it is read
    /// yet. A weight that an adapter changes is merged now and comes as f32.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] and [`ModelError::Shape`] with the name in the file.
    pub fn take_stored(&mut self, name: &str, shape: &[usize]) -> Result<Stored, ModelError> {
        let Some(tensor) = self.tensors.remove(name) else {
            let (path, key) = (self.path.clone(), self.layout.key(name));
            return Err(ModelError::MissingTensor { path, key });
        };
        if tensor.shape() != shape {
            return Err(ModelError::Shape {
                path: self.path.clone(),
                key: tensor.key().into(),
                expected: shape.into(),
                got: tensor.shape().into(),
            });
        }
        match &self.adapter {
            Some(adapter) => adapter.merge(name, tensor),
            None => Ok(tensor),
        }
    }

    /// Leaves out all tensors whose names begin with `prefix`, unread.
    pub fn skip(&mut self, prefix: &str) {
        self.tensors.retain(|name, _| !name.starts_with(prefix));
    }

    /// Fails when a tensor was neither taken nor skipped.
    ///
    /// # Errors
    /// [`ModelError::UnknownTensor`].
    pub fn finish(self) -> Result<(), ModelError> {
        let left = self.tensors.values().map(|tensor| tensor.key().to_string());
        let left: BTreeSet<String> = self.unknown.into_iter().chain(left).collect();
        match left.first() {
            None => Ok(()),
            Some(key) => Err(ModelError::UnknownTensor {
                path: self.path,
                key: key.clone(),
                count: left.len(),
            }),
        }
    }
}
