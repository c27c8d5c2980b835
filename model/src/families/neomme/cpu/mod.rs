//! NeoMME on the CPU: our kernels over weights where they lie in their files. Source: transformers
//! 5.24.0 `models/neomme/modeling_neomme.py`.

pub mod layer;
pub mod stem;

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::blocks::elementwise::plain_rms_norm;
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, lanes, tensor, unit_rows};
use crate::blocks::rotation::Angles;
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::features::{places, put};
use crate::families::neomme::config::{Config, Rotation};
use crate::families::neomme::cpu::layer::{Layer, Shared};
use crate::families::neomme::cpu::stem::Stem;
use crate::families::neomme::inventory;
use crate::families::neomme::sequence::{Sequence, distinct};
use crate::precision::Precision;

/// The whole model.
#[derive(Debug)]
pub struct CpuModel {
    pub config: Config,
    /// Token table, `[vocabulary, rank]`. It stays in its file, where rows are looked up.
    pub words: Stored,
    /// Brings rows of the table to the model's width.
    pub projection: Linear,
    /// What two layers add to values, a row a token.
    pub values: Stored,
    /// `None` when loaded for queries alone.
    pub stem: Option<Stem>,
    pub layers: Vec<Layer>,
    pub head: Linear,
}

/// The least length that a vector is divided by, as in `torch.nn.functional.normalize`.
pub const LEAST_LENGTH: f32 = 1e-12;

impl CpuModel {
    /// Takes all of `weights`. With `query_only` the tensors that only pages need stay unread.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
        query_only: bool,
    ) -> Result<Self, ModelError> {
        const MODEL: &str = "language_model";
        let ends = precision.of_the_ends();
        let stem = if query_only {
            weights.skip(&inventory::patches(config))?;
            None
        } else {
            Some(Stem::take(&mut weights, ends, config)?)
        };
        let words = format!("{MODEL}.embed_tokens.word_embeddings.weight");
        let words = weights.take_table(&words, [config.vocabulary, config.rank])?;
        let key = format!("{MODEL}.embed_tokens.embedding_projection");
        let projection = Linear::take(&mut weights, ends, &key, config.rank, config.hidden, false)?;
        let kept = [config.vocabulary, config.keys * config.head_dim];
        let values = weights.take_table("value_embeddings.weight", kept)?;
        let heads = Heads::shared(config.heads, config.keys, config.head_dim);
        let mut layers = Vec::with_capacity(config.layers.len());
        for (n, kind) in config.layers.iter().enumerate() {
            let key = format!("{MODEL}.layers.{n}");
            layers.push(Layer::take(&mut weights, precision, &key, config, heads, *kind)?);
        }
        let head = Linear::take(&mut weights, ends, "head", config.hidden, config.dim, false)?;
        weights.finish()?;
        Ok(Self { config: config.clone(), words, projection, values, stem, layers, head })
    }

    /// Whether it was loaded for queries alone.
    pub fn is_query_only(&self) -> bool {
        self.stem.is_none()
    }

    /// Brings patches, `[3 * patch * patch]` each in lanes, to the width of the model.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] when what does it was not loaded.
    pub fn embed_patches(&self, patches: &Lanes) -> Result<Lanes, ModelError> {
        Ok(self.stem.as_ref().ok_or(ModelError::QueryOnly)?.embed(patches))
    }

    /// Encodes sequences to their vectors one after the other, `[sum of positions, dim]` f32.
    /// `features` are the embedded patches of all, one after the other.
    pub fn encode(&self, sequences: &[Sequence], features: &[f32]) -> CandleResult<Tensor> {
        let mut x = self.embed(sequences, features)?;
        let shared = self.shared(sequences, x.clone())?;
        for layer in &self.layers {
            layer.forward(&mut x, &shared);
        }
        self.finish(&mut x);
        self.rows(&x)
    }

    /// The input of the first layer.
    fn embed(&self, sequences: &[Sequence], features: &[f32]) -> CandleResult<Lanes> {
        let hidden = self.config.hidden;
        let words = |ids: &[u32]| -> CandleResult<Vec<f32>> {
            let x = lanes(&self.words.rows(ids)?)?;
            Ok(self.projection.apply(&self.projection.operand(&x), x.lengths()).to_rows())
        };
        let mut rows = spread(sequences, hidden, words)?;
        let places = places(sequences.iter().map(|s| (s.ids.len(), s.patches.iter().copied())));
        put(features, places, &mut rows, hidden)?;
        let mut x = Lanes::from_rows(&lengths(sequences), hidden, &rows);
        x.each_group(|_, rows| plain_rms_norm(rows, self.config.eps));
        Ok(x)
    }

    /// What the layers share: their first input, the values of tokens, and the angles of positions.
    fn shared(&self, sequences: &[Sequence], input: Lanes) -> CandleResult<Shared> {
        let width = self.config.keys * self.config.head_dim;
        let values =
            spread(sequences, width, |ids| self.values.rows(ids)?.flatten_all()?.to_vec1::<f32>())?;
        Ok(Shared {
            input,
            values: Lanes::from_rows(&lengths(sequences), width, &values),
            full: angles(self.config.rotations.full, sequences),
            sliding: angles(self.config.rotations.sliding, sequences),
        })
    }

    fn finish(&self, x: &mut Lanes) {
        x.each_group(|_, rows| plain_rms_norm(rows, self.config.eps));
    }

    /// Applies the head and scales rows to length 1.
    pub fn rows(&self, x: &Lanes) -> CandleResult<Tensor> {
        let rows = self.head.apply(&self.head.operand(x), x.lengths());
        unit_rows(&tensor(&rows)?, LEAST_LENGTH)
    }
}

/// For the comparison with the reference, stage by stage, of one sequence.
#[cfg(feature = "parity")]
impl CpuModel {
    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The input of the first layer.
    pub fn input(&self, sequence: &Sequence, features: &[f32]) -> CandleResult<Lanes> {
        self.embed(std::slice::from_ref(sequence), features)
    }

    /// What layer `n` makes of `x`, given the input of the first layer.
    pub fn layer(
        &self,
        n: usize,
        sequence: &Sequence,
        input: &Lanes,
        x: &Lanes,
    ) -> CandleResult<Lanes> {
        let shared = self.shared(std::slice::from_ref(sequence), input.clone())?;
        let mut x = x.clone();
        self.layers[n].forward(&mut x, &shared);
        Ok(x)
    }

    /// The last norm.
    pub fn output(&self, x: &Lanes) -> Lanes {
        let mut x = x.clone();
        self.finish(&mut x);
        x
    }
}

/// The angles for the positions of `sequences`.
fn angles(rotation: Rotation, sequences: &[Sequence]) -> Angles {
    let axes = [
        sequences.iter().flat_map(|sequence| sequence.rows.iter().copied()).collect(),
        sequences.iter().flat_map(|sequence| sequence.columns.iter().copied()).collect(),
    ];
    Angles::new(&lengths(sequences), &axes, &rotation.pairs())
}

fn lengths(sequences: &[Sequence]) -> Vec<usize> {
    sequences.iter().map(|sequence| sequence.ids.len()).collect()
}

/// A row of `width` for each position, by its id. `rows` is asked once for the ids that occur: most
/// positions of a page have the same.
fn spread(
    sequences: &[Sequence],
    width: usize,
    rows: impl Fn(&[u32]) -> CandleResult<Vec<f32>>,
) -> CandleResult<Vec<f32>> {
    let (ids, which) = distinct(sequences);
    let table = rows(&ids)?;
    Ok(which.iter().flat_map(|&n| &table[n as usize * width..][..width]).copied().collect())
}
