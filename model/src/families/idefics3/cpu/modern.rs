//! ModernBERT (Warner et al., arXiv 2412.13663): layers in turn attend to everything and to what is
//! around, and the MLPs are gated. Source: transformers 5.24.0
//! `models/modernbert/modeling_modernbert.py`.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::exact_gated_rows;
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::norm::LayerNorm;
use crate::blocks::rotation::{Angles, frequency};
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::idefics3::modern_config::ModernSizes;
use crate::families::idefics3::names::LANGUAGE;
use crate::precision::Precision;

/// The encoder.
#[derive(Debug)]
pub struct Modern {
    arithmetic: Arithmetic,
    /// What queries, keys and values are multiplied as.
    attending: Arithmetic,
    pub heads: Heads,
    hidden: usize,
    pub words: Words,
    /// Of what the first layer reads.
    pub norm: LayerNorm,
    pub layers: Vec<Layer>,
    pub last_norm: LayerNorm,
    /// The frequency of each pair of rows of a head, in layers that see all, and in the others.
    pub frequencies: [Vec<(usize, f32)>; 2],
    pub reach: usize,
}

/// The token table, `[vocabulary, hidden]`. It stays in its file, where rows are looked up.
#[derive(Debug, Clone)]
pub struct Words {
    table: Stored,
    /// Rows after those of the table, in checkpoints that keep them apart.
    added: Option<Stored>,
}

#[derive(Debug)]
pub struct Layer {
    /// The first layer has none: what it reads has gone through the norm of the embeddings.
    pub attention_norm: Option<LayerNorm>,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub mlp_norm: LayerNorm,
    /// What goes through the activation.
    pub inner: Linear,
    pub gate: Linear,
    pub outer: Linear,
    /// Whether it sees all.
    pub all: bool,
}

/// What the layers share for some sequences.
struct Shared {
    all: Angles,
    around: Angles,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        sizes: &ModernSizes,
        n: usize,
    ) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (sizes.hidden, sizes.inner, sizes.eps);
        let key = format!("{LANGUAGE}.layers.{n}");
        let mut norm =
            |name: &str| LayerNorm::without_bias(weights, &format!("{key}.{name}"), hidden, eps);
        let attention_norm = if n > 0 { Some(norm("attn_norm")?) } else { None };
        let mlp_norm = norm("mlp_norm")?;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, false)
        };
        // Queries, keys and values of all heads lie one after the other, and so do the two halves
        // of the MLP.
        let (attention, halves) =
            (linear("attn.Wqkv", hidden, 3 * hidden)?, linear("mlp.Wi", hidden, 2 * inner)?);
        let third = |n: usize| attention.part(n * hidden..(n + 1) * hidden);
        Ok(Self {
            attention_norm,
            query: third(0),
            key: third(1),
            value: third(2),
            out: linear("attn.Wo", hidden, hidden)?,
            mlp_norm,
            inner: halves.part(0..inner),
            gate: halves.part(inner..2 * inner),
            outer: linear("mlp.Wo", inner, hidden)?,
            all: sizes.layers[n],
        })
    }

    fn forward(&self, model: &Modern, x: &mut Lanes, shared: &Shared) {
        let (arithmetic, heads) = (model.arithmetic, model.heads);
        let y = match &self.attention_norm {
            Some(norm) => Operand::made(arithmetic, x, |_, x, y| norm.apply(x, y)),
            None => Operand::round(arithmetic, x),
        };
        let [mut q, mut k, v] =
            [&self.query, &self.key, &self.value].map(|linear| linear.apply(&y, x.lengths()));
        let (angles, mask) = if self.all {
            (&shared.all, Mask::All)
        } else {
            (&shared.around, Mask::Window(model.reach))
        };
        for x in [&mut q, &mut k] {
            x.each_group(|group, rows| {
                rows.chunks_exact_mut(heads.dim).for_each(|head| angles.turn(group, head));
            });
        }
        let seen = attend(model.attending, heads, mask, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.mlp_norm.apply(x, y));
        let y = Linear::apply_gated_with(&self.inner, &self.gate, &y, exact_gated_rows);
        self.outer.add_to(&y, x);
    }
}

impl Words {
    /// The rows of `ids`, `[ids.len(), hidden]` f32.
    pub fn rows(&self, ids: &[u32]) -> CandleResult<Tensor> {
        let own = self.table.shape()[0] as u32;
        let Some(added) = &self.added else { return self.table.rows(ids) };
        let rows = ids.iter().map(|&id| match id.checked_sub(own) {
            Some(id) => added.rows(&[id]),
            None => self.table.rows(&[id]),
        });
        let rows = rows.collect::<CandleResult<Vec<_>>>()?;
        if rows.is_empty() { self.table.rows(&[]) } else { Tensor::cat(&rows, 0) }
    }
}

impl Modern {
    /// Takes its tensors.
    ///
    /// # Errors
    /// [`ModelError`] with the name of a tensor that is missing or misshapen.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        sizes: &ModernSizes,
    ) -> Result<Self, ModelError> {
        let (hidden, eps) = (sizes.hidden, sizes.eps);
        let table = format!("{LANGUAGE}.embeddings.tok_embeddings");
        let added = format!("{table}.additional_embedding.weight");
        let added = match sizes.added {
            0 => None,
            rows => Some(weights.take_table(&added, [rows, hidden])?),
        };
        let table = weights.take_table(&format!("{table}.weight"), [sizes.vocabulary, hidden])?;
        let mut norm = |name: &str| {
            LayerNorm::without_bias(weights, &format!("{LANGUAGE}.{name}"), hidden, eps)
        };
        let (first, last) = (norm("embeddings.norm")?, norm("final_norm")?);
        let layers = (0..sizes.layers.len()).map(|n| Layer::take(weights, precision, sizes, n));
        let layers = layers.collect::<Result<_, _>>()?;
        let heads = Heads::alike(sizes.heads, hidden / sizes.heads);
        let frequencies = sizes
            .thetas
            .map(|theta| (0..heads.dim / 2).map(|j| (0, frequency(theta, j, heads.dim))).collect());
        Ok(Self {
            arithmetic: weights.arithmetic(precision),
            attending: weights.attending(precision),
            heads,
            hidden,
            words: Words { table, added },
            norm: first,
            layers,
            last_norm: last,
            frequencies,
            reach: sizes.reach,
        })
    }

    /// Width of a position.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The rows of the token table for `ids`, one after the other.
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Vec<f32>> {
        self.words.rows(ids)?.flatten_all()?.to_vec1()
    }

    /// The norm of embeddings, which features go through as well.
    pub fn begin(&self, x: &Lanes) -> Lanes {
        self.norm.over(x)
    }

    /// Runs all layers and the last norm.
    pub fn encode(&self, mut x: Lanes) -> Lanes {
        let shared = self.shared(&x);
        for layer in &self.layers {
            layer.forward(self, &mut x, &shared);
        }
        self.finish(&x)
    }

    fn shared(&self, x: &Lanes) -> Shared {
        let positions: Vec<u32> = x.lengths().iter().flat_map(|&n| 0..n as u32).collect();
        let axes = [positions];
        let [all, around] =
            [0, 1].map(|kind| Angles::new(x.lengths(), &axes, &self.frequencies[kind]));
        Shared { all, around }
    }

    /// Runs the last norm.
    pub fn finish(&self, x: &Lanes) -> Lanes {
        self.last_norm.over(x)
    }
}

/// For the comparison with the reference, stage by stage.
#[cfg(feature = "parity")]
impl Modern {
    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// What layer `n` makes of one sequence.
    pub fn layer(&self, n: usize, x: &Lanes) -> Lanes {
        let shared = self.shared(x);
        let mut x = x.clone();
        self.layers[n].forward(self, &mut x, &shared);
        x
    }
}
