//! What can be wrong with a checkpoint or with what a model is given.

use std::path::PathBuf;

use crate::device::Device;

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A configuration file does not parse.
    #[error("{path} does not have the form that such a file of a checkpoint has")]
    Config {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A value in a configuration file that this model cannot be built with.
    #[error("{path}: {key} is {got}, expected {expected}")]
    Setting {
        /// The file.
        path: PathBuf,
        /// The field.
        key: String,
        /// What would do.
        expected: String,
        /// What is there.
        got: String,
    },
    /// Weights are there only as a pickle, which could run code.
    #[error("{path} is a pickle, which may run code when read: convert the weights to safetensors")]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// The header of a weights file is damaged.
    #[error("the weights in {path} cannot be read")]
    Weights {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A weights file has another length than its header says: a download that was cut off.
    #[error("{path} has {got} bytes, its header says {expected}: fetch it again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// By the header.
        expected: u64,
        /// By the file system.
        got: u64,
    },
    /// A tensor is not in the shard that the index names.
    #[error("{path}: {key} is in {got}, the index says {expected}")]
    ShardIndex {
        /// The index.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// The shard by the index.
        expected: String,
        /// The shard that has it.
        got: String,
    },
    /// The checkpoint is of no family that pagesight has.
    #[error(
        "{path} says {got}, which is no model that pagesight has; it has {}", known.join(", ")
    )]
    UnknownFamily {
        /// The configuration.
        path: PathBuf,
        /// The `model_type` there.
        got: String,
        /// The families.
        known: Vec<&'static str>,
    },
    /// No recipe that comes with pagesight has this name.
    #[error("there is no recipe {name}; there are {}", known.join(", "))]
    UnknownRecipe {
        /// As asked.
        name: String,
        /// The names of all.
        known: Vec<&'static str>,
    },
    /// The tensors are called by none of the names that checkpoints of the family use.
    #[error("{path} has its tensors in a layout that pagesight does not know; one is {key:?}")]
    UnknownLayout {
        /// The checkpoint.
        path: PathBuf,
        /// The first tensor.
        key: String,
    },
    /// The base of an adapter is nowhere.
    #[error("{path} adapts {name}, which is not found; looked at {}", paths(looked))]
    NoBase {
        /// The adapter's configuration.
        path: PathBuf,
        /// The base as it says.
        name: String,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The base of an adapter is an adapter itself.
    #[error("{path} is an adapter; an adapter is merged into whole weights")]
    AdapterOfAdapter {
        /// The file.
        path: PathBuf,
    },
    /// No model has this name.
    #[error("there is no model {name}; looked at {}", paths(looked))]
    NotFound {
        /// As asked.
        name: String,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A file is not what was imported or fetched.
    #[error("{path} has hash {got}, expected {expected}: it was changed or is damaged")]
    Hash {
        /// The file.
        path: PathBuf,
        /// When it was imported, or by the hub.
        expected: String,
        /// Now.
        got: String,
    },
    /// A weight is infinite or not a number.
    #[error("{path}: tensor {key} has numbers that are not finite")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// The model was loaded for queries alone.
    #[error("the model was loaded for queries, without its vision tower")]
    QueryOnly,
    /// A tensor that the model needs is not there.
    #[error("{path} lacks the tensor {key}")]
    MissingTensor {
        /// The folder, or the adapter.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// Tensors that the model has no place for; using the rest would give wrong vectors.
    #[error("{path} has {count} tensors that the model does not know, the first is {key}")]
    UnknownTensor {
        /// The folder.
        path: PathBuf,
        /// The first of them.
        key: String,
        /// How many.
        count: usize,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{path}: tensor {key} is {got:?}, config.json asks for {expected:?}")]
    Shape {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// In the file.
        got: Vec<usize>,
    },
    /// A weight is stored in a type that is not computed with.
    #[error("tensor {key} is stored as {got}, expected F32, BF16, F16 or quantized weights")]
    Dtype {
        /// The tensor.
        key: String,
        /// Its type.
        got: String,
    },
    /// The output of a conversion is there already.
    #[error("{path} is there already: name a folder that is not")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The weights were quantized before, and what is lost stays lost.
    #[error("{path} is quantized already: quantize the checkpoint that it was made from")]
    Quantized {
        /// The folder.
        path: PathBuf,
    },
    /// The tokenizer cannot be read or is not this model's.
    #[error("{path}: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// One line.
        reason: String,
    },
    /// A picture of another size than the model's input.
    #[error("the model takes pictures of {expected:?} px, got {got:?}")]
    ImageSize {
        /// Width and height, px.
        expected: (u32, u32),
        /// Width and height, px.
        got: (u32, u32),
    },
    /// A GPU that this program was not built for.
    #[error("this program was built without {device} (the feature of that name)")]
    DeviceNotBuilt {
        /// The GPU asked for.
        device: Device,
    },
    /// A GPU that does not answer.
    #[error("{device} cannot be used: is there such a GPU, and its driver?")]
    Device {
        /// The GPU asked for.
        device: Device,
        /// The cause.
        #[source]
        source: Box<candle_core::Error>,
    },
    /// The arithmetic failed, e.g. for lack of memory.
    #[error("the model cannot run")]
    Compute(#[from] candle_core::Error),
    /// The model gave numbers that are not vectors.
    #[error("the model gave numbers that are not vectors")]
    Vectors(#[from] pagesight_core::VectorError),
}

fn paths(looked: &[PathBuf]) -> String {
    let paths: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
