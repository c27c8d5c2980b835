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
    /// A setting has a value that the model cannot be built with.
    #[error("{path}: {key} is {got}, expected {expected}")]
    Setting {
        /// The file.
        path: PathBuf,
        /// The field.
        key: String,
        /// The values that are possible.
        expected: String,
        /// The value that was found.
        got: String,
    },
    /// The weights are stored only as a pickle, which may run code when it is read.
    #[error("{path} is a pickle, which may run code when read: convert the weights to safetensors")]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// The weights are stored only in a format of another framework.
    #[error(
        "{path} holds weights for JAX or Keras: take the same model without -jax or -keras in its \
         name"
    )]
    OtherFramework {
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
    /// A weights file has another length than its header says, e.g. after a download that was cut
    /// off.
    #[error("{path} has {got} bytes, its header says {expected}: fetch it again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length by the header.
        expected: u64,
        /// Its length by the file system.
        got: u64,
    },
    /// A tensor is not in the shard that the index names.
    #[error("{path}: {key} is in {got}, the index says {expected}")]
    ShardIndex {
        /// The index.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// The shard that the index names.
        expected: String,
        /// The shard that has it.
        got: String,
    },
    /// The checkpoint belongs to no family of models that pagesight has.
    #[error(
        "{path} says {got}, which is no model that pagesight has; it has {}", known.join(", ")
    )]
    UnknownFamily {
        /// The configuration.
        path: PathBuf,
        /// The `model_type` that it has.
        got: String,
        /// The families that pagesight has.
        known: Vec<&'static str>,
    },
    /// No recipe that comes with pagesight has this name.
    #[error("there is no recipe {name}; there are {}", known.join(", "))]
    UnknownRecipe {
        /// The name that was asked for.
        name: String,
        /// The names of all recipes.
        known: Vec<&'static str>,
    },
    /// The tensors have none of the names that checkpoints of the family use.
    #[error("{path} has its tensors in a layout that pagesight does not know; one is {key:?}")]
    UnknownLayout {
        /// The checkpoint.
        path: PathBuf,
        /// The first of its tensors.
        key: String,
    },
    /// The base of an adapter is not found.
    #[error("{path} adapts {name}, which is not found; looked at {}", paths(looked))]
    NoBase {
        /// The adapter's configuration.
        path: PathBuf,
        /// The name that it has for its base.
        name: String,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// An adapter was made for other weights than those that its base has now.
    #[error("{path} adapts a {name} with weights of SHA-256 {got}, and this one's are {expected}")]
    OtherBase {
        /// The adapter's configuration.
        path: PathBuf,
        /// The name that it has for its base.
        name: String,
        /// The SHA-256 of the weights that are here.
        expected: String,
        /// That of the weights that it was made for; `none` where it does not say.
        got: String,
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
        /// The name that was asked for.
        name: String,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A file has changed since it was imported or fetched.
    #[error("{path} has hash {got}, expected {expected}: it was changed or is damaged")]
    Hash {
        /// The file.
        path: PathBuf,
        /// Its hash when it was imported, or the one that the hub gives.
        expected: String,
        /// Its hash now.
        got: String,
    },
    /// A tensor has numbers that are infinite or NaN.
    #[error("{path}: tensor {key} has numbers that are not finite")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// The model was loaded for queries alone.
    #[error("the model was loaded for queries, without what pages need")]
    QueryOnly,
    /// A tensor that the model needs is missing.
    #[error("{path} lacks the tensor {key}")]
    MissingTensor {
        /// The folder, or the adapter.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// There are tensors that the model does not have. Without them its vectors would be wrong.
    #[error("{path} has {count} tensors that the model does not know, the first is {key}")]
    UnknownTensor {
        /// The folder.
        path: PathBuf,
        /// The first of these tensors.
        key: String,
        /// How many there are.
        count: usize,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{path}: tensor {key} is {got:?}, config.json asks for {expected:?}")]
    Shape {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// The shape by the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor is stored in a type that there is no arithmetic for.
    #[error("tensor {key} is stored as {got}, expected F32, BF16, F16 or quantized weights")]
    Dtype {
        /// The tensor.
        key: String,
        /// Its type.
        got: String,
    },
    /// The folder to write to exists already.
    #[error("{path} is there already: name a folder that is not")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The weights are quantized already; quantizing them again would lose more.
    #[error("{path} is quantized already: quantize the checkpoint that it was made from")]
    Quantized {
        /// The folder.
        path: PathBuf,
    },
    /// The tokenizer cannot be read, or belongs to another model.
    #[error("{path}: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong, in one line.
        reason: String,
    },
    /// A picture has another size than the model asked for.
    #[error("the model takes pictures of {expected:?} px, got {got:?}")]
    ImageSize {
        /// Width and height that the model asks for, px.
        expected: (u32, u32),
        /// Width and height of the picture, px.
        got: (u32, u32),
    },
    /// This program was not built for the GPU that was asked for.
    #[error("this program was built without {device} (the feature of that name)")]
    DeviceNotBuilt {
        /// The GPU asked for.
        device: Device,
    },
    /// The GPU does not answer.
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
    /// The model gave numbers that are no multi-vector.
    #[error("the model gave numbers that are not vectors")]
    Vectors(#[from] pagesight_core::VectorError),
}

fn paths(looked: &[PathBuf]) -> String {
    let paths: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
