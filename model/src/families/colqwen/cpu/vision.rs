//! The vision towers of Qwen2-VL, Qwen2.5-VL and Qwen3.5, and the merger behind them. Source:
//! transformers 4.57.6 `models/{qwen2_vl,qwen2_5_vl}`, 5.24.0 `models/qwen3_5`.

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::{
    add_rows, exact_gelu_rows, gelu_rows, quick_gelu_rows, silu_gated_rows,
};
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Format, Matrix, Operand};
use crate::blocks::norm::{LayerNorm, RootNorm};
use crate::blocks::rotation::Angles;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::learned::Learned;
use crate::families::colqwen::sequence::Grid;
use crate::families::colqwen::vision_config::{MergerNames, VisionConfig, VisionKind};
use crate::families::colqwen::windows::Windows;
use crate::precision::Precision;

/// The tower and the merger.
#[derive(Debug)]
pub struct Vision {
    pub config: VisionConfig,
    arithmetic: Arithmetic,
    pub patch_embedding: Linear,
    pub learned: Option<Learned>,
    pub layers: Vec<Layer>,
    pub merged_norm: Norm,
    pub merger: [Linear; 2],
}

/// A norm of either kind.
#[derive(Debug)]
pub enum Norm {
    Layer(LayerNorm),
    Root(RootNorm),
}

/// What all norms of the towers add to the variance or the mean square.
const EPS: f32 = 1e-6;

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &VisionConfig) -> Result<Self, ModelError> {
        Ok(match config.kind {
            VisionKind::Windows { .. } => {
                Self::Root(RootNorm::take(weights, key, config.hidden, EPS)?)
            }
            VisionKind::Full | VisionKind::Learned { .. } => {
                Self::Layer(LayerNorm::take(weights, key, config.hidden, EPS.into())?)
            }
        })
    }

    fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        match self {
            Self::Layer(norm) => norm.apply(x, y),
            Self::Root(norm) => norm.apply(x, y),
        }
    }
}

#[derive(Debug)]
pub struct Layer {
    pub heads: Heads,
    /// What queries, keys and values are multiplied as.
    attending: Arithmetic,
    pub norms: [Norm; 2],
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub mlp: Mlp,
    /// Whether patches see those of their window alone.
    pub windowed: bool,
}

// One a layer, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Mlp {
    /// Of Qwen2-VL and Qwen3.5.
    Plain { up: Linear, down: Linear, activate: fn(&mut [[f32; LANES]]) },
    /// Of Qwen2.5-VL.
    Gated { gate: Linear, up: Linear, down: Linear },
}

/// What the layers share for one page: where patches stand, and the windows that they are in. Patches
/// lie window by window.
pub struct Context {
    angles: Angles,
    windows: Windows,
    /// The place of each patch by its number.
    back: Vec<usize>,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        config: &VisionConfig,
        n: usize,
    ) -> Result<Self, ModelError> {
        let key = format!("visual.blocks.{n}");
        let (hidden, inner) = (config.hidden, config.inner);
        let dim = hidden / config.heads;
        let norms = [
            Norm::take(weights, &format!("{key}.norm1"), config)?,
            Norm::take(weights, &format!("{key}.norm2"), config)?,
        ];
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, true)
        };
        // Queries, keys and values of all heads lie one after the other.
        let joined = linear("attn.qkv", hidden, 3 * hidden)?;
        let part = |n: usize| joined.part(n * hidden..(n + 1) * hidden);
        let out = linear("attn.proj", hidden, hidden)?;
        let (mlp, windowed) = match &config.kind {
            VisionKind::Full => {
                let (up, down) =
                    (linear("mlp.fc1", hidden, inner)?, linear("mlp.fc2", inner, hidden)?);
                (Mlp::Plain { up, down, activate: quick_gelu_rows }, false)
            }
            VisionKind::Learned { .. } => {
                let up = linear("mlp.linear_fc1", hidden, inner)?;
                let down = linear("mlp.linear_fc2", inner, hidden)?;
                (Mlp::Plain { up, down, activate: gelu_rows }, false)
            }
            VisionKind::Windows { full, .. } => {
                let gate = linear("mlp.gate_proj", hidden, inner)?;
                let up = linear("mlp.up_proj", hidden, inner)?;
                let down = linear("mlp.down_proj", inner, hidden)?;
                (Mlp::Gated { gate, up, down }, !full.contains(&n))
            }
        };
        Ok(Self {
            heads: Heads::alike(config.heads, dim),
            attending: weights.attending(precision),
            norms,
            query: part(0),
            key: part(1),
            value: part(2),
            out,
            mlp,
            windowed,
        })
    }

    fn forward(&self, arithmetic: Arithmetic, x: &mut Lanes, context: &Context) {
        let y = Operand::made(arithmetic, x, |_, x, y| self.norms[0].apply(x, y));
        let read = [&self.query, &self.key, &self.value];
        let [mut q, mut k, v] = Linear::apply_each(read, &y, x.lengths());
        for x in [&mut q, &mut k] {
            x.each_group(|group, rows| {
                for head in rows.chunks_exact_mut(self.heads.dim) {
                    context.angles.turn(group, head);
                }
            });
        }
        let mask = if self.windowed { Mask::Parts(&context.windows.ends) } else { Mask::All };
        let seen = attend(self.attending, self.heads, mask, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.norms[1].apply(x, y));
        match &self.mlp {
            Mlp::Plain { up, down, activate } => {
                down.add_to(&up.apply_activated(&y, activate), x);
            }
            Mlp::Gated { gate, up, down } => {
                down.add_to(&Linear::apply_gated_with(gate, up, &y, silu_gated_rows), x);
            }
        }
    }
}

impl Vision {
    /// Takes the tensors of the tower and the merger.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let (seen, ends) = (&config.vision, precision.of_the_ends());
        let (hidden, patch) = (seen.hidden, seen.patch);
        let kernel = "visual.patch_embed.proj.weight";
        let kernel = weights.take(kernel, &[hidden, 3, 2, patch, patch])?;
        let kernel: Vec<f32> = kernel.flatten_all()?.to_vec1()?;
        let (mut bias, mut learned) = (Vec::new(), None);
        if let VisionKind::Learned { side } = seen.kind {
            bias = weights.take("visual.patch_embed.proj.bias", &[hidden])?.to_vec1()?;
            let positions = weights.take("visual.pos_embed.weight", &[side * side, hidden])?;
            learned = Some(Learned { positions: positions.flatten_all()?.to_vec1()?, side });
        }
        let layers = (0..seen.layers).map(|n| Layer::take(weights, precision, seen, n));
        let layers = layers.collect::<Result<_, _>>()?;
        let joined = MERGE * MERGE * hidden;
        let names = MergerNames::of(&seen.kind);
        let mut linear = |name: &str, output| {
            let key = format!("visual.merger.{name}");
            Linear::take(weights, ends, &key, joined, output, true)
        };
        let merger =
            [linear(names.linear[0], joined)?, linear(names.linear[1], config.text.hidden)?];
        let norm = format!("visual.merger.{}", names.norm);
        Ok(Self {
            arithmetic: weights.arithmetic(precision),
            patch_embedding: still(&kernel, bias, hidden, patch, ends),
            learned,
            layers,
            merged_norm: Norm::take(weights, &norm, seen)?,
            merger,
            config: seen.clone(),
        })
    }

    /// Encodes the patches of a page to its features, row by row.
    pub fn encode(&self, patches: &Lanes, grid: Grid) -> Lanes {
        let context = self.context(grid);
        let mut x = self.embed(patches, grid).keep(&[&context.windows.order]);
        for layer in &self.layers {
            layer.forward(self.arithmetic, &mut x, &context);
        }
        self.merge(&x.keep(&[&context.back]))
    }

    /// Embeds patches and adds learned positions where the tower has them.
    pub fn embed(&self, patches: &Lanes, grid: Grid) -> Lanes {
        let operand = self.patch_embedding.operand(patches);
        let mut x = self.patch_embedding.apply(&operand, patches.lengths());
        if let Some(learned) = &self.learned {
            let rows = learned.stretched(x.width(), grid);
            let rows = Lanes::from_rows(x.lengths(), x.width(), &rows);
            x.each_group(|group, x| add_rows(x, rows.group(group), &[]));
        }
        x
    }

    /// What the layers share for a page.
    pub fn context(&self, grid: Grid) -> Context {
        let windows = Windows::of(&self.config.kind, grid);
        let angles = Angles::new(&[windows.order.len()], &windows.axes(), &self.config.pairs());
        Context { angles, back: windows.back(), windows }
    }

    /// Merges what the layers made of patches, in the order of their numbers, to features.
    pub fn merge(&self, x: &Lanes) -> Lanes {
        let normed = x.map_groups(x.width(), |x, y| self.merged_norm.apply(x, y));
        let features = x.lengths()[0] / (MERGE * MERGE);
        let joined = Lanes::from_rows(&[features], MERGE * MERGE * x.width(), &normed.to_rows());
        let [first, second] = &self.merger;
        let y = first.apply_activated(&first.operand(&joined), exact_gelu_rows);
        second.apply(&y, joined.lengths())
    }
}

/// For the comparison with the reference, stage by stage.
#[cfg(feature = "parity")]
impl Vision {
    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// What layer `n` makes of patches in the order of their numbers.
    pub fn layer(&self, n: usize, x: &Lanes, grid: Grid) -> Lanes {
        let context = self.context(grid);
        let mut x = x.keep(&[&context.windows.order]);
        self.layers[n].forward(self.arithmetic, &mut x, &context);
        x.keep(&[&context.back])
    }
}

/// The patch embedding of a picture that stands still: the kernel of the reference, `[hidden, 3, 2,
/// patch, patch]`, takes two moments of a film, which are the same here, so that they are added up.
fn still(
    kernel: &[f32],
    bias: Vec<f32>,
    hidden: usize,
    patch: usize,
    precision: Precision,
) -> Linear {
    let area = patch * patch;
    let moments = kernel.chunks_exact(2 * area);
    let values = moments.flat_map(|two| (0..area).map(|i| two[i] + two[area + i]));
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let matrix = Matrix::owned(Format::F32, [hidden, 3 * area], bytes, Vec::new());
    Linear::of(precision, matrix, bias)
}
