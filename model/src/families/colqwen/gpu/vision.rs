//! The vision towers of ColQwen on a GPU, and the merger behind them.

use candle_core::{DType, Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::families::colqwen::config::MERGE;
use crate::families::colqwen::cpu::vision;
use crate::families::colqwen::learned::Learned;
use crate::families::colqwen::sequence::Grid;
use crate::families::colqwen::vision_config::{VisionConfig, VisionKind};
use crate::families::colqwen::windows::Windows;
use crate::gpu::attention::{Attended, angles};
use crate::gpu::fused::{self, Activation};
use crate::gpu::norm::{LayerNorm, RootNorm};
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;

/// The tower and the merger.
#[derive(Debug)]
pub struct Vision {
    pub config: VisionConfig,
    dtype: DType,
    patch_embedding: Product,
    /// Learned positions, `[side * side, hidden]` f32, and how many along one edge.
    learned: Option<(Tensor, usize)>,
    layers: Vec<Layer>,
    merged_norm: Norm,
    merger: [Product; 2],
}

/// A norm of either kind.
#[derive(Debug)]
enum Norm {
    Layer(LayerNorm),
    Root(RootNorm),
}

#[derive(Debug)]
struct Layer {
    heads: Heads,
    norms: [Norm; 2],
    /// Queries, keys and values.
    read: Product,
    out: Product,
    mlp: Mlp,
    /// Whether patches see those of their window alone.
    windowed: bool,
}

// One a layer, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Mlp {
    /// Of Qwen2-VL and Qwen3.5.
    Plain { up: Product, down: Product, activation: Activation },
    /// Of Qwen2.5-VL: gates and what they are for in one product.
    Gated { gated: Product, down: Product },
}

/// What the layers share for some pages.
struct Shared {
    dtype: DType,
    angles: Tensor,
    pages: Attended,
    windows: Attended,
}

/// Widths inside MLPs are made multiples of this, in numbers: rows of matrices then begin where the
/// GPU reads fastest.
const WHOLE: usize = 32;

impl Norm {
    fn place(place: Place<'_>, norm: &vision::Norm) -> CandleResult<Self> {
        Ok(match norm {
            vision::Norm::Layer(norm) => Self::Layer(LayerNorm::place(place, norm)?),
            vision::Norm::Root(norm) => Self::Root(RootNorm::of(place, norm)?),
        })
    }

    fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        match self {
            Self::Layer(norm) => norm.apply(x, dtype),
            Self::Root(norm) => norm.apply(x, dtype),
        }
    }
}

impl Layer {
    fn place(place: Place<'_>, layer: &vision::Layer, kind: &VisionKind) -> CandleResult<Self> {
        let mlp = match &layer.mlp {
            vision::Mlp::Plain { up, down, .. } => Mlp::Plain {
                up: place.product(up)?,
                down: place.product(down)?,
                activation: match kind {
                    VisionKind::Full => Activation::QuickGelu,
                    _ => Activation::Gelu,
                },
            },
            vision::Mlp::Gated { gate, up, down } => {
                let inner = up.weight().rows().next_multiple_of(WHOLE);
                let both = [place.product(gate)?, place.product(up)?];
                let [gate, up] = both.map(|product| product.with_outputs(inner));
                Mlp::Gated {
                    gated: Product::joined(&[gate?, up?])?,
                    down: place.product(down)?.with_inputs(inner)?,
                }
            }
        };
        Ok(Self {
            heads: layer.heads,
            norms: [Norm::place(place, &layer.norms[0])?, Norm::place(place, &layer.norms[1])?],
            read: place.products(&[&layer.query, &layer.key, &layer.value])?,
            out: place.product(&layer.out)?,
            mlp,
            windowed: layer.windowed,
        })
    }

    fn forward(&self, x: &Tensor, shared: &Shared) -> CandleResult<Tensor> {
        let (Heads { queries, dim, .. }, hidden) =
            (self.heads, self.heads.queries * self.heads.dim);
        let read = self.read.multiply(&self.norms[0].apply(x, shared.dtype)?)?;
        let read = read.reshape((x.dim(0)?, 3 * queries, dim))?;
        let turning = read.narrow(1, 0, 2 * queries)?;
        let bias = self.read.bias_of(0, 2 * hidden)?;
        let turned = fused::turned(&turning, bias.as_ref(), None, Some(&shared.angles))?;
        let bias = self.read.bias_of(2 * hidden, hidden)?;
        let v = fused::turned(&read.narrow(1, 2 * queries, queries)?, bias.as_ref(), None, None)?;
        let (q, k) = (turned.narrow(1, 0, hidden)?, turned.narrow(1, hidden, hidden)?);
        let attended = if self.windowed { &shared.windows } else { &shared.pages };
        let x = self.out.add_to(x, &attended.attend(self.heads, [&q, &k, &v])?)?;
        let y = self.norms[1].apply(&x, shared.dtype)?;
        match &self.mlp {
            Mlp::Plain { up, down, activation } => {
                let y = fused::activated(&up.multiply(&y)?, up.bias.as_ref(), *activation)?;
                down.add_to(&x, &y)
            }
            Mlp::Gated { gated, down } => {
                let both = gated.multiply(&y)?;
                let y = fused::gated(&both, gated.bias.as_ref(), Activation::Silu)?;
                down.add_to(&x, &y)
            }
        }
    }
}

impl Vision {
    /// Brings the weights of a tower and its merger to a GPU.
    pub fn place(place: Place<'_>, vision: &vision::Vision) -> CandleResult<Self> {
        let (config, hidden) = (&vision.config, vision.config.hidden);
        let learned = vision.learned.as_ref().map(|Learned { positions, side }| {
            Ok::<_, candle_core::Error>((place.numbers(positions)?.reshape(((), hidden))?, *side))
        });
        let layers = vision.layers.iter().map(|layer| Layer::place(place, layer, &config.kind));
        Ok(Self {
            dtype: place.dtype,
            patch_embedding: place.product(&vision.patch_embedding)?,
            learned: learned.transpose()?,
            layers: layers.collect::<CandleResult<_>>()?,
            merged_norm: Norm::place(place, &vision.merged_norm)?,
            merger: [place.product(&vision.merger[0])?, place.product(&vision.merger[1])?],
            config: config.clone(),
        })
    }

    /// Encodes the patches of pages, `[patches, 3 * patch * patch]`, window by window, to features
    /// in that order, `[features, hidden of the language model]` f32.
    pub fn encode(
        &self,
        patches: &Tensor,
        grids: &[Grid],
        windows: &[Windows],
    ) -> CandleResult<Tensor> {
        let mut x = self.patch_embedding.apply(patches)?;
        if let Some(positions) = self.stretched(grids)? {
            x = (x + positions)?;
        }
        let shared = self.shared(&x, windows)?;
        for layer in &self.layers {
            x = layer.forward(&x, &shared)?;
        }
        let x = self.merged_norm.apply(&x, self.dtype)?;
        let (patches, hidden) = x.dims2()?;
        let joined = x.reshape((patches / (MERGE * MERGE), MERGE * MERGE * hidden))?;
        let [first, second] = &self.merger;
        let y = first.multiply(&joined)?;
        second.apply(&fused::activated(&y, first.bias.as_ref(), Activation::ExactGelu)?)
    }

    fn shared(&self, x: &Tensor, windows: &[Windows]) -> CandleResult<Shared> {
        let (mut axes, mut start) = ([Vec::new(), Vec::new()], 0);
        let (mut pages, mut parts) = (Vec::new(), Vec::new());
        for of_page in windows {
            let of_axes = axes.iter_mut().zip(of_page.axes());
            of_axes.for_each(|(axis, of_page)| axis.extend(of_page));
            parts.extend(of_page.ends.iter().map(|end| start + end));
            start += of_page.order.len();
            pages.push(start);
        }
        Ok(Shared {
            dtype: self.dtype,
            angles: angles(x.device(), &axes, &self.config.pairs())?,
            pages: Attended::new(x.device(), &pages, Reach::All)?,
            windows: Attended::new(x.device(), &parts, Reach::All)?,
        })
    }

    /// Learned positions of the patches of pages, `[patches, hidden]` f32, where the tower has them.
    /// Such a tower has no windows, so patches lie in the order of their numbers.
    fn stretched(&self, grids: &[Grid]) -> CandleResult<Option<Tensor>> {
        let Some((positions, side)) = &self.learned else { return Ok(None) };
        let between: Vec<([usize; 4], [f32; 4])> =
            grids.iter().flat_map(|grid| Learned::between(*side, *grid)).collect();
        let mut sum: Option<Tensor> = None;
        for corner in 0..4 {
            let rows: Vec<u32> = between.iter().map(|(rows, _)| rows[corner] as u32).collect();
            let shares: Vec<f32> = between.iter().map(|(_, shares)| shares[corner]).collect();
            let rows = Tensor::from_vec(rows, between.len(), positions.device())?;
            let shares = Tensor::from_vec(shares, (between.len(), 1), positions.device())?;
            let part = positions.index_select(&rows, 0)?.broadcast_mul(&shares)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        Ok(sum)
    }
}
