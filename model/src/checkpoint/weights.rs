//! The tensors of a checkpoint under their canonical names, whatever the layout of its files.
//! Every tensor is used exactly once, in the shape that the configuration gives it, or loading
//! fails: a half-loaded model gives vectors that look right and are not.
//!
//! Canonical names begin with `vision_tower.`, `language_model.` or the name of another part of the
//! family's model; layers are numbered below `.layers.`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use candle_core::Tensor;
use safetensors::Dtype;

use crate::blocks::matmul::Arithmetic;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::adapter::{Adapter, AdapterUse, Factors};
use crate::checkpoint::inventory::Entry;
use crate::checkpoint::layout::{Layout, Names};
use crate::checkpoint::stored::Stored;
use crate::error::ModelError;
use crate::precision::Precision;

/// The tensors, taken out one by one. Until one is taken, only headers have been read.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    layout: Layout,
    tensors: BTreeMap<String, Stored>,
    adapter: Option<Adapter>,
    adapter_use: AdapterUse,
    /// Names that the layout does not have.
    unknown: BTreeSet<String>,
    /// Whether whole numbers may take the place of bf16.
    whole_numbers: bool,
}

impl Weights {
    /// Gives the tensors of `checkpoint` their canonical names, by one of the layouts in `names`.
    ///
    /// # Errors
    /// [`ModelError::UnknownLayout`]; [`ModelError::UnknownTensor`] for an adapter that changes a
    /// weight which its base does not have, [`ModelError::MissingTensor`] for one with a factor
    /// alone, [`ModelError::Shape`] for one that does not fit.
    pub fn open(checkpoint: &Checkpoint, names: &Names) -> Result<Self, ModelError> {
        let path = checkpoint.of_weights().shown();
        let shards = &checkpoint.shards;
        let keys = shards.iter().flat_map(|shard| shard.keys());
        let layout = names.detect(keys.clone()).ok_or_else(|| ModelError::UnknownLayout {
            path: path.clone(),
            key: keys.clone().next().unwrap_or_default().into(),
        })?;
        let mut tensors = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for (shard, key) in shards.iter().flat_map(|s| s.keys().map(move |key| (s, key))) {
            if names.is_unused(key) {
                continue;
            }
            match layout.canonical(key).zip(shard.get(key)) {
                Some((name, tensor)) => drop(tensors.insert(name, tensor)),
                None => drop(unknown.insert(key.to_string())),
            }
        }
        let adapter = checkpoint.adapter.as_ref();
        let adapter = adapter.map(|(config, shard)| Adapter::new(config, shard, names));
        let mut adapter = adapter.transpose()?;
        if let Some(adapter) = &mut adapter {
            tensors.append(&mut adapter.take_whole());
        }
        if let Some(adapter) = &adapter {
            let (known, strange): (Vec<_>, Vec<_>) =
                adapter.targets().partition(|(name, _)| tensors.contains_key(*name));
            if let Some((_, key)) = strange.first() {
                let (path, key) = (adapter.path(), key.to_string());
                return Err(ModelError::UnknownTensor { path, key, count: strange.len() });
            }
            for (name, _) in known {
                adapter.check(name, &tensors[name])?;
            }
        }
        let (adapter_use, whole_numbers) = (AdapterUse::Merged, checkpoint.whole_numbers);
        Ok(Self { path, layout, tensors, adapter, adapter_use, unknown, whole_numbers })
    }

    /// Keeps whole numbers from taking the place of bf16.
    pub fn forbid_whole_numbers(&mut self) {
        self.whole_numbers = false;
    }

    /// What the CPU multiplies these weights and activations as.
    pub fn arithmetic(&self, precision: Precision) -> Arithmetic {
        precision.arithmetic(self.whole_numbers)
    }

    /// What the CPU multiplies queries, keys and values as.
    pub fn attending(&self, precision: Precision) -> Arithmetic {
        precision.attending(self.whole_numbers)
    }

    /// Says what becomes of the adapter, if there is one; by default it is merged.
    pub fn use_adapter(&mut self, adapter_use: AdapterUse) {
        self.adapter_use = adapter_use;
    }

    /// Whether there is an adapter that is kept apart.
    pub fn has_adapter_apart(&self) -> bool {
        self.adapter.is_some() && self.adapter_use == AdapterUse::Apart
    }

    /// Takes the factors of weight `name`, where an adapter that is kept apart changes it.
    pub fn take_factors(&mut self, name: &str) -> Option<Factors> {
        match self.adapter_use {
            AdapterUse::Merged => None,
            AdapterUse::Apart => self.adapter.as_mut()?.take_factors(name),
        }
    }

    /// How the files name their tensors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What has not been taken yet.
    pub fn tensors(&self) -> impl Iterator<Item = &Stored> {
        self.tensors.values()
    }

    /// Whether tensor `name` is there and was not taken yet.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names and shapes of all that is left, in order.
    pub fn left(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, tensor)| (name.clone(), tensor.shape().into())).collect()
    }

    /// Tensor `name` of the files, if it is there and was not taken yet.
    pub fn peek(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// The stored type of tensor `name`, if it is there and was not taken yet.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(Stored::dtype)
    }

    /// Type and length in bytes that tensor `name` will have when it is taken: weights into which an
    /// adapter is merged are f32.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub fn stored_as(&self, name: &str) -> Result<(Dtype, usize), ModelError> {
        let Some(tensor) = self.tensors.get(name) else {
            let (path, key) = (self.path.clone(), self.layout.key(name));
            return Err(ModelError::MissingTensor { path, key });
        };
        let adapted = self.adapter_use == AdapterUse::Merged
            && self.adapter.iter().flat_map(|a| a.targets()).any(|(target, _)| target == name);
        Ok(if adapted {
            (Dtype::F32, tensor.shape().iter().product::<usize>() * 4)
        } else {
            (tensor.dtype(), tensor.bytes().len())
        })
    }

    /// Takes tensor `name` of `shape` as f32, copied out of the map.
    ///
    /// # Errors
    /// As [`take_stored`](Self::take_stored); [`ModelError::Dtype`] for a type that is not a float.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.take_stored(name, shape)?.to_f32()
    }

    /// Takes tensor `name` of `shape` where it lies, in its stored type, without reading it. A
    /// weight that an adapter changes is merged now, and is f32.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] and [`ModelError::Shape`] with the name in the file.
    pub fn take_stored(&mut self, name: &str, shape: &[usize]) -> Result<Stored, ModelError> {
        let Some(tensor) = self.tensors.remove(name) else { return Err(self.missing(name)) };
        if tensor.shape() != shape {
            return Err(self.misshapen(&tensor, shape));
        }
        match (&self.adapter, self.adapter_use) {
            (Some(adapter), AdapterUse::Merged) => adapter.merge(name, tensor),
            _ => Ok(tensor),
        }
    }

    /// Takes table `name`, `[rows, width]`, whose rows are looked up where they lie.
    ///
    /// # Errors
    /// As [`take_stored`](Self::take_stored); [`ModelError::Dtype`] for numbers that are not floats.
    pub fn take_table(&mut self, name: &str, shape: [usize; 2]) -> Result<Stored, ModelError> {
        let table = self.take_stored(name, &shape)?;
        if !table.is_float() {
            let (key, got) = (table.key().into(), table.dtype().to_string());
            return Err(ModelError::Dtype { key, got });
        }
        Ok(table)
    }

    /// Leaves `entries` out, unread; they must be there. The scales of a quantized weight
    /// (`NAME_SUFFIX`) are left out with it.
    ///
    /// # Errors
    /// As [`take_stored`](Self::take_stored), except that only the shapes of floats are compared:
    /// packed weights have another one.
    pub fn skip(&mut self, entries: &[Entry]) -> Result<(), ModelError> {
        for Entry { name, shape } in entries {
            if !self.contains(name) {
                return Err(self.missing(name));
            }
            let tensor = &self.tensors[name];
            if tensor.is_float() && tensor.shape() != shape {
                return Err(self.misshapen(tensor, shape));
            }
        }
        let is_left_out = |name: &str| {
            let is_of = |entry: &Entry| {
                let rest = name.strip_prefix(&entry.name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            };
            entries.iter().any(is_of)
        };
        self.tensors.retain(|name, _| !is_left_out(name));
        if let Some(adapter) = &mut self.adapter {
            entries.iter().for_each(|entry| drop(adapter.take_factors(&entry.name)));
        }
        Ok(())
    }

    /// Leaves tensor `name` out, if it is there.
    pub fn forget(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::MissingTensor { path: self.path.clone(), key: self.layout.key(name) }
    }

    fn misshapen(&self, tensor: &Stored, expected: &[usize]) -> ModelError {
        ModelError::Shape {
            path: self.path.clone(),
            key: tensor.key().into(),
            expected: expected.into(),
            got: tensor.shape().into(),
        }
    }

    /// Fails when a tensor was neither taken nor skipped, or a factor of an adapter that is kept
    /// apart was not taken.
    ///
    /// # Errors
    /// [`ModelError::UnknownTensor`].
    pub fn finish(self) -> Result<(), ModelError> {
        if let (Some(adapter), AdapterUse::Apart) = (&self.adapter, self.adapter_use) {
            let left: Vec<&str> = adapter.targets().map(|(_, key)| key).collect();
            if let Some(key) = left.first() {
                let (path, key) = (adapter.path(), key.to_string());
                return Err(ModelError::UnknownTensor { path, key, count: left.len() });
            }
        }
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
