//! The settings of the vision tower.

use serde::Deserialize;

use crate::blocks::rotation::frequency;
use crate::checkpoint::settings::{LARGEST_PATCH, MOST_LAYERS, Settings, WIDEST};
use crate::error::ModelError;
use crate::families::colqwen::names::{FAMILY_2, FAMILY_2_5};

/// The vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub inner: usize,
    /// Edge of a patch, px.
    pub patch: usize,
    /// What differs between the families.
    pub kind: VisionKind,
}

/// The kinds of towers.
#[derive(Debug, Clone, PartialEq)]
pub enum VisionKind {
    /// Of Qwen2-VL: layer norms, an MLP with quick GELU; every patch sees all.
    Full,
    /// Of Qwen2.5-VL: root mean square norms, a gated MLP; patches see those of their window but
    /// in the layers `full`.
    Windows {
        /// Edge of a window, in features (2 x 2 patches).
        side: usize,
        /// Layers in which every patch sees all.
        full: Vec<usize>,
    },
    /// Of Qwen3.5: layer norms, an MLP with GELU; every patch sees all, and learned positions are
    /// added, which are stretched over the page.
    Learned {
        /// Learned positions along one edge.
        side: usize,
    },
}

/// The base of the rotations of the towers.
const THETA: f64 = 10_000.0;

impl VisionConfig {
    /// The axis and the frequency of each pair of rows of a head: half of the frequencies turn by the
    /// row, the others by the column.
    pub fn pairs(&self) -> Vec<(usize, f32)> {
        let quarter = self.hidden / self.heads / 4;
        let pairs = 0..2 * quarter;
        pairs.map(|j| (j / quarter, frequency(THETA, j % quarter, 2 * quarter))).collect()
    }
}

/// The tower as the file has it.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub struct VisionFile {
    depth: Option<usize>,
    hidden_size: Option<usize>,
    embed_dim: Option<usize>,
    mlp_ratio: Option<f64>,
    intermediate_size: Option<usize>,
    num_heads: Option<usize>,
    patch_size: Option<usize>,
    spatial_merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    in_chans: Option<usize>,
    in_channels: Option<usize>,
    hidden_act: Option<String>,
    window_size: Option<usize>,
    fullatt_block_indexes: Option<Vec<usize>>,
    num_position_embeddings: Option<usize>,
    deepstack_visual_indexes: Option<Vec<usize>>,
}

impl VisionFile {
    /// The tower of `family`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that it cannot be built with.
    pub fn config(self, settings: &Settings, family: &str) -> Result<VisionConfig, ModelError> {
        let is = |key: &str, expected: &str, got: Option<usize>| {
            settings.is(&format!("vision_config.{key}"), expected, got)
        };
        is("spatial_merge_size", "2", self.spatial_merge_size)?;
        is("temporal_patch_size", "2", self.temporal_patch_size)?;
        is("in_chans", "3", self.in_chans)?;
        is("in_channels", "3", self.in_channels)?;
        let patch = self.patch_size.unwrap_or(match family {
            FAMILY_2 | FAMILY_2_5 => 14,
            _ => 16,
        });
        settings.within("vision_config.patch_size", LARGEST_PATCH, patch)?;
        let feature = 2 * patch;
        let hidden = match family {
            FAMILY_2 => self.embed_dim.unwrap_or(1280),
            FAMILY_2_5 => self.hidden_size.unwrap_or(3584),
            _ => self.hidden_size.unwrap_or(1152),
        };
        settings.within("vision_config.hidden_size", WIDEST, hidden)?;
        let (depth, inner, act, kind) = match family {
            FAMILY_2 => {
                let inner = (hidden as f64 * self.mlp_ratio.unwrap_or(4.0)) as usize;
                (32, inner, "quick_gelu", VisionKind::Full)
            }
            FAMILY_2_5 => {
                let window = self.window_size.unwrap_or(112);
                if window < feature || !window.is_multiple_of(feature) {
                    let (key, expected) =
                        ("vision_config.window_size", format!("a multiple of {feature}"));
                    return settings.wrong(key, &expected, window.to_string());
                }
                let full = self.fullatt_block_indexes.unwrap_or_else(|| vec![7, 15, 23, 31]);
                let kind = VisionKind::Windows { side: window / feature, full };
                (32, self.intermediate_size.unwrap_or(3420), "silu", kind)
            }
            _ => {
                let count = self.num_position_embeddings.unwrap_or(2304);
                settings.within("vision_config.num_position_embeddings", WIDEST, count)?;
                let side = count.isqrt();
                if side * side != count {
                    let key = "vision_config.num_position_embeddings";
                    return settings.wrong(key, "a square number", count.to_string());
                }
                let added = self.deepstack_visual_indexes.filter(|layers| !layers.is_empty());
                let added = added.map(|layers| format!("{layers:?}"));
                settings.is("vision_config.deepstack_visual_indexes", "[]", added)?;
                let inner = self.intermediate_size.unwrap_or(4304);
                (27, inner, "gelu_pytorch_tanh", VisionKind::Learned { side })
            }
        };
        settings.is("vision_config.hidden_act", act, self.hidden_act)?;
        let config = VisionConfig {
            hidden,
            layers: self.depth.unwrap_or(depth),
            heads: self.num_heads.unwrap_or(16),
            inner,
            patch,
            kind,
        };
        settings.within("vision_config.intermediate_size", WIDEST, config.inner)?;
        settings.within("vision_config.depth", MOST_LAYERS, config.layers)?;
        settings.within("vision_config.num_heads", WIDEST, config.heads)?;
        // Half of a head turns by the row, half by the column, each in pairs.
        if !hidden.is_multiple_of(4 * config.heads) {
            let got = format!("{hidden} for {} heads", config.heads);
            let expected = "a multiple of 4 times the heads";
            return settings.wrong("vision_config.hidden_size", expected, got);
        }
        Ok(config)
    }
}

/// What the parts of a merger are called, below `visual.merger`.
pub struct MergerNames {
    /// The norm before it.
    pub norm: &'static str,
    /// Its two linear layers.
    pub linear: [&'static str; 2],
}

impl MergerNames {
    /// Those of the merger behind a tower of this kind.
    pub fn of(kind: &VisionKind) -> Self {
        match kind {
            VisionKind::Full | VisionKind::Windows { .. } => {
                Self { norm: "ln_q", linear: ["mlp.0", "mlp.2"] }
            }
            VisionKind::Learned { .. } => {
                Self { norm: "norm", linear: ["linear_fc1", "linear_fc2"] }
            }
        }
    }
}
