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
use crate::blocks::rotation::{Angles, frequency};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::pictures::place;
use crate::families::colqwen::sequence::Grid;
use crate::families::colqwen::vision_config::{MergerNames, VisionConfig, VisionKind};
use crate::precision::Precision;

/// The tower and the merger.
#[derive(Debug)]
pub struct Vision {
    config: VisionConfig,
    arithmetic: Arithmetic,
    patch_embedding: Linear,
    /// Learned positions, `[side * side, hidden]`, and how many along one edge.
    learned: Option<(Vec<f32>, usize)>,
    layers: Vec<Layer>,
    merged_norm: Norm,
    merger: [Linear; 2],
}

/// A norm of either kind.
#[derive(Debug)]
enum Norm {
    Layer(LayerNorm),
    Root(RootNorm),
}

/// What all norms of the towers add to the variance or the mean square.
const EPS: f32 = 1e-6;

/// The base of the rotations of the towers.
const THETA: f64 = 10_000.0;

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
struct Layer {
    heads: Heads,
    norms: [Norm; 2],
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    mlp: Mlp,
    /// Whether patches see those of their window alone.
    windowed: bool,
}

// One a layer, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Mlp {
    /// Of Qwen2-VL and Qwen3.5.
    Plain { up: Linear, down: Linear, activate: fn(&mut [[f32; LANES]]) },
    /// Of Qwen2.5-VL.
    Gated { gate: Linear, up: Linear, down: Linear },
}

/// What the layers share for one page: where patches stand, and the windows that they are in. Patches
/// lie window by window.
pub struct Context {
    angles: Angles,
    /// Where each window ends, in patches.
    ends: Vec<usize>,
    /// The number of each patch by its place.
    order: Vec<usize>,
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
        let mask = if self.windowed { Mask::Parts(&context.ends) } else { Mask::All };
        let seen = attend(arithmetic, self.heads, mask, &q, &k, &v);
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
            learned = Some((positions.flatten_all()?.to_vec1()?, side));
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
        let mut x = self.embed(patches, grid).keep(&[&context.order]);
        for layer in &self.layers {
            layer.forward(self.arithmetic, &mut x, &context);
        }
        self.merge(&x.keep(&[&context.back]))
    }

    /// Embeds patches and adds learned positions where the tower has them.
    pub fn embed(&self, patches: &Lanes, grid: Grid) -> Lanes {
        let operand = self.patch_embedding.operand(patches);
        let mut x = self.patch_embedding.apply(&operand, patches.lengths());
        if let Some((positions, side)) = &self.learned {
            let rows = stretched(positions, *side, x.width(), grid);
            let rows = Lanes::from_rows(x.lengths(), x.width(), &rows);
            x.each_group(|group, x| add_rows(x, rows.group(group), &[]));
        }
        x
    }

    /// What the layers share for a page.
    pub fn context(&self, grid: Grid) -> Context {
        let side = match self.config.kind {
            VisionKind::Full | VisionKind::Learned { .. } => grid.rows.max(grid.columns).max(1),
            VisionKind::Windows { side, .. } => side,
        };
        let (mut order, mut ends) = (Vec::new(), Vec::new());
        for top in (0..grid.rows).step_by(side) {
            for left in (0..grid.columns).step_by(side) {
                for row in top..(top + side).min(grid.rows) {
                    for column in left..(left + side).min(grid.columns) {
                        let first = (row * grid.columns + column) * MERGE * MERGE;
                        order.extend(first..first + MERGE * MERGE);
                    }
                }
                ends.push(order.len());
            }
        }
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &number)| back[number] = place);
        // Half of the frequencies turn by the row, the others by the column.
        let quarter = self.config.hidden / self.config.heads / 4;
        let pairs: Vec<(usize, f32)> = (0..2 * quarter)
            .map(|j| (j / quarter, frequency(THETA, j % quarter, 2 * quarter)))
            .collect();
        let places: Vec<(usize, usize)> = order.iter().map(|&n| place(n, grid)).collect();
        let axes = [
            places.iter().map(|(row, _)| *row as u32).collect(),
            places.iter().map(|(_, column)| *column as u32).collect(),
        ];
        let angles = Angles::new(&[order.len()], &axes, &pairs);
        Context { angles, ends, order, back }
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
        let mut x = x.keep(&[&context.order]);
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

/// Learned positions, `[side * side, width]`, stretched over a page: a row of `width` a patch, in the
/// order of their numbers. The first and the last position lie on the edges of the page.
fn stretched(positions: &[f32], side: usize, width: usize, grid: Grid) -> Vec<f32> {
    // The two positions that a patch lies between, and the share of the second.
    let between = |at: usize, count: usize| {
        let steps = (count - 1).max(1) as f32;
        let at = at as f32 * (side - 1) as f32 / steps;
        let low = (at as usize).min(side - 1);
        (low, (low + 1).min(side - 1), at - low as f32)
    };
    let (rows, columns) = (MERGE * grid.rows, MERGE * grid.columns);
    let mut stretched = Vec::with_capacity(rows * columns * width);
    for number in 0..rows * columns {
        let (row, column) = place(number, grid);
        let (top, bottom, down) = between(row, rows);
        let (left, right, across) = between(column, columns);
        let row = |row: usize, column: usize| &positions[(row * side + column) * width..][..width];
        let corners = [row(top, left), row(top, right), row(bottom, left), row(bottom, right)];
        let shares = [
            (1.0 - down) * (1.0 - across),
            (1.0 - down) * across,
            down * (1.0 - across),
            down * across,
        ];
        stretched.extend((0..width).map(|i| {
            corners.iter().zip(shares).map(|(corner, share)| corner[i] * share).sum::<f32>()
        }));
    }
    stretched
}
