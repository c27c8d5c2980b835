//! `config.json` and `preprocessor_config.json` as published. Fields that are left out have the
//! defaults of `Qwen2VLConfig` and `Qwen2_5_VLConfig` in transformers 4.57.6.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::families::colqwen2::names::{FAMILY_2, FAMILY_2_5};

/// The sizes of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which of the two families it is.
    pub family: &'static str,
    /// The tower that sees patches.
    pub vision: VisionConfig,
    /// The language model.
    pub text: TextConfig,
    /// The token of a feature.
    pub image_token: u32,
    /// Length of a vector.
    pub dim: usize,
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub inner: usize,
    /// Edge of a patch, px.
    pub patch: usize,
    /// What differs between ColQwen2 and ColQwen2.5.
    pub kind: VisionKind,
}

/// The two kinds of towers.
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
}

/// The language model.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    pub vocabulary: usize,
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub keys: usize,
    pub head_dim: usize,
    pub eps: f32,
    pub theta: f64,
    /// Frequencies that turn by time, by the row, and by the column.
    pub sections: [usize; 3],
}

/// Patches along each side of a feature.
pub const MERGE: usize = 2;

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigFile {
    model_type: Option<String>,
    /// transformers writes the configuration of the whole model inside.
    vlm_config: Option<Box<ConfigFile>>,
    embedding_dim: Option<usize>,
    dim: Option<usize>,
    vision_config: Option<VisionFile>,
    text_config: Option<TextFile>,
    image_token_id: Option<u32>,
    /// Before 4.52 the language model's fields were at the top.
    #[serde(flatten)]
    text: TextFile,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct VisionFile {
    depth: Option<usize>,
    hidden_size: Option<usize>,
    embed_dim: Option<usize>,
    mlp_ratio: Option<f64>,
    intermediate_size: Option<usize>,
    num_heads: Option<usize>,
    patch_size: Option<usize>,
    spatial_merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    #[serde(alias = "in_channels")]
    in_chans: Option<usize>,
    hidden_act: Option<String>,
    window_size: Option<usize>,
    fullatt_block_indexes: Option<Vec<usize>>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct TextFile {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    hidden_act: Option<String>,
    use_sliding_window: Option<bool>,
    image_token_id: Option<u32>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Rope {
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    mrope_section: Option<Vec<usize>>,
}

/// No width or number of rows of a published model is larger; products of two stay in 64 bits.
const WIDEST: usize = 1 << 24;

/// No published model has more layers.
const MOST_LAYERS: usize = 512;

/// Edge of the largest patch, px.
const LARGEST_PATCH: usize = 256;

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that this model cannot be built with;
    /// [`ModelError::Io`] and [`ModelError::Config`] when the file cannot be read.
    pub fn read(file: &CheckpointFile) -> Result<Self, ModelError> {
        let outer: ConfigFile = read_json(file)?;
        let wrong = Wrong(file.shown());
        let dim = outer.embedding_dim.or(outer.dim).unwrap_or(128);
        let whole = match outer.vlm_config {
            Some(inner) => *inner,
            None => outer,
        };
        let family = match whole.model_type.as_deref() {
            Some("qwen2_vl" | "colqwen2") => FAMILY_2,
            Some("qwen2_5_vl" | "colqwen2_5") => FAMILY_2_5,
            other => {
                let got = other.unwrap_or("missing").to_string();
                return wrong.setting("model_type", "qwen2_vl or qwen2_5_vl", got);
            }
        };
        let nested = whole.text_config.unwrap_or_default();
        let image_token = whole.image_token_id.or(nested.image_token_id);
        let text = text(&wrong, &nested.over(whole.text))?;
        wrong.within("embedding_dim", WIDEST, dim)?;
        Ok(Self {
            family,
            vision: vision(&wrong, family, whole.vision_config.unwrap_or_default())?,
            text,
            image_token: image_token.unwrap_or(151_655),
            dim,
        })
    }
}

/// Makes errors about one file.
struct Wrong(PathBuf);

impl Wrong {
    fn setting<T>(&self, key: &str, expected: &str, got: String) -> Result<T, ModelError> {
        let (path, key, expected) = (self.0.clone(), key.into(), expected.into());
        Err(ModelError::Setting { path, key, expected, got })
    }

    fn within(&self, key: &str, most: usize, got: usize) -> Result<(), ModelError> {
        if (1..=most).contains(&got) {
            return Ok(());
        }
        self.setting(key, &format!("1 to {most}"), got.to_string())
    }

    /// Checks a field that may be left out.
    fn is(&self, key: &str, expected: &str, got: Option<String>) -> Result<(), ModelError> {
        match got.filter(|got| got != expected) {
            Some(got) => self.setting(key, expected, got),
            None => Ok(()),
        }
    }
}

impl TextFile {
    /// These fields, and those of `outer` where they are left out.
    fn over(self, outer: Self) -> Self {
        Self {
            vocab_size: self.vocab_size.or(outer.vocab_size),
            hidden_size: self.hidden_size.or(outer.hidden_size),
            intermediate_size: self.intermediate_size.or(outer.intermediate_size),
            num_hidden_layers: self.num_hidden_layers.or(outer.num_hidden_layers),
            num_attention_heads: self.num_attention_heads.or(outer.num_attention_heads),
            num_key_value_heads: self.num_key_value_heads.or(outer.num_key_value_heads),
            head_dim: self.head_dim.or(outer.head_dim),
            rms_norm_eps: self.rms_norm_eps.or(outer.rms_norm_eps),
            rope_theta: self.rope_theta.or(outer.rope_theta),
            rope_scaling: self.rope_scaling.or(outer.rope_scaling),
            rope_parameters: self.rope_parameters.or(outer.rope_parameters),
            hidden_act: self.hidden_act.or(outer.hidden_act),
            use_sliding_window: self.use_sliding_window.or(outer.use_sliding_window),
            image_token_id: self.image_token_id.or(outer.image_token_id),
        }
    }
}

fn text(wrong: &Wrong, file: &TextFile) -> Result<TextConfig, ModelError> {
    let heads = file.num_attention_heads.unwrap_or(64);
    let hidden = file.hidden_size.unwrap_or(8192);
    let keys = file.num_key_value_heads.unwrap_or(8);
    for (key, got) in
        [("hidden_size", hidden), ("num_attention_heads", heads), ("num_key_value_heads", keys)]
    {
        wrong.within(key, WIDEST, got)?;
    }
    let config = TextConfig {
        vocabulary: file.vocab_size.unwrap_or(152_064),
        hidden,
        inner: file.intermediate_size.unwrap_or(29_568),
        layers: file.num_hidden_layers.unwrap_or(80),
        heads,
        keys,
        head_dim: file.head_dim.unwrap_or(hidden / heads),
        eps: file.rms_norm_eps.unwrap_or(1e-5) as f32,
        theta: {
            let nested = file.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
            nested.or(file.rope_theta).unwrap_or(1e6)
        },
        sections: sections(wrong, file)?,
    };
    wrong.within("vocab_size", WIDEST, config.vocabulary)?;
    wrong.within("intermediate_size", WIDEST, config.inner)?;
    wrong.within("num_hidden_layers", MOST_LAYERS, config.layers)?;
    wrong.within("head_dim", WIDEST, config.head_dim)?;
    wrong.is("hidden_act", "silu", file.hidden_act.clone())?;
    wrong.is("use_sliding_window", "false", file.use_sliding_window.map(|x| x.to_string()))?;
    if !heads.is_multiple_of(keys) {
        return wrong.setting("num_key_value_heads", "a divisor of the heads", keys.to_string());
    }
    for (key, got) in [("rms_norm_eps", f64::from(config.eps)), ("rope_theta", config.theta)] {
        if !(got > 0.0 && got.is_finite()) {
            return wrong.setting(key, "a positive number", got.to_string());
        }
    }
    let turned = config.sections.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    if !config.head_dim.is_multiple_of(2) || turned != Some(config.head_dim / 2) {
        let expected =
            format!("three numbers that add up to half of head_dim, {}", config.head_dim);
        return wrong.setting("mrope_section", &expected, format!("{:?}", config.sections));
    }
    Ok(config)
}

fn sections(wrong: &Wrong, file: &TextFile) -> Result<[usize; 3], ModelError> {
    let ropes = [&file.rope_scaling, &file.rope_parameters];
    for rope in ropes.into_iter().flatten() {
        for kind in [&rope.kind, &rope.rope_type].into_iter().flatten() {
            if kind != "mrope" && kind != "default" {
                return wrong.setting("rope_scaling.type", "mrope", kind.clone());
            }
        }
    }
    let said = ropes.into_iter().flatten().find_map(|rope| rope.mrope_section.clone());
    let said = said.unwrap_or_else(|| vec![16, 24, 24]);
    match said.as_slice() {
        &[time, rows, columns] => Ok([time, rows, columns]),
        other => wrong.setting("mrope_section", "three numbers", format!("{other:?}")),
    }
}

fn vision(
    wrong: &Wrong,
    family: &'static str,
    file: VisionFile,
) -> Result<VisionConfig, ModelError> {
    let windows = family == FAMILY_2_5;
    let patch = file.patch_size.unwrap_or(14);
    wrong.within("vision_config.patch_size", LARGEST_PATCH, patch)?;
    let hidden =
        if windows { file.hidden_size.unwrap_or(3584) } else { file.embed_dim.unwrap_or(1280) };
    wrong.within("vision_config.hidden_size", WIDEST, hidden)?;
    let inner = if windows {
        file.intermediate_size.unwrap_or(3420)
    } else {
        (hidden as f64 * file.mlp_ratio.unwrap_or(4.0)) as usize
    };
    let number = |field: Option<usize>| field.map(|n| n.to_string());
    wrong.is("vision_config.spatial_merge_size", "2", number(file.spatial_merge_size))?;
    wrong.is("vision_config.temporal_patch_size", "2", number(file.temporal_patch_size))?;
    wrong.is("vision_config.in_chans", "3", number(file.in_chans))?;
    let act = if windows { "silu" } else { "quick_gelu" };
    wrong.is("vision_config.hidden_act", act, file.hidden_act)?;
    let kind = if windows {
        let window = file.window_size.unwrap_or(112);
        let feature = patch * MERGE;
        if window < feature || !window.is_multiple_of(feature) {
            let expected = format!("a multiple of {feature}");
            return wrong.setting("vision_config.window_size", &expected, window.to_string());
        }
        let full = file.fullatt_block_indexes.unwrap_or_else(|| vec![7, 15, 23, 31]);
        VisionKind::Windows { side: window / feature, full }
    } else {
        VisionKind::Full
    };
    let config = VisionConfig {
        hidden,
        layers: file.depth.unwrap_or(32),
        heads: file.num_heads.unwrap_or(16),
        inner,
        patch,
        kind,
    };
    wrong.within("vision_config.intermediate_size", WIDEST, config.inner)?;
    wrong.within("vision_config.depth", MOST_LAYERS, config.layers)?;
    wrong.within("vision_config.num_heads", WIDEST, config.heads)?;
    // Half of a head turns by the row, half by the column, each in pairs.
    if !hidden.is_multiple_of(4 * config.heads) {
        let got = format!("{hidden} for {} heads", config.heads);
        return wrong.setting("vision_config.hidden_size", "a multiple of 4 times the heads", got);
    }
    Ok(config)
}

/// How pictures become numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// What a byte is multiplied with.
    pub factor: f64,
    /// What is subtracted then, by channel.
    pub mean: [f32; 3],
    /// What that is divided by.
    pub deviation: [f32; 3],
    /// Fewest and most pixels of a picture.
    pub budget: Budget,
}

/// Fewest and most pixels of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Fewest pixels.
    pub least: u64,
    /// Most pixels.
    pub most: u64,
}

#[derive(Deserialize)]
#[serde(default)]
struct ProcessorFile {
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    rescale_factor: f64,
    resample: u32,
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    size: Option<Size>,
    /// transformers 5 writes the picture processor inside another file.
    image_processor: Option<Value>,
}

#[derive(Deserialize)]
struct Size {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

/// PIL's number for bicubic.
const BICUBIC: u32 = 3;

/// The default of `Qwen2VLImageProcessor`: what OpenAI's CLIP was trained with.
impl Default for ProcessorFile {
    fn default() -> Self {
        Self {
            do_resize: None,
            do_rescale: None,
            do_normalize: None,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            rescale_factor: 1.0 / 255.0,
            resample: BICUBIC,
            patch_size: None,
            merge_size: None,
            temporal_patch_size: None,
            min_pixels: None,
            max_pixels: None,
            size: None,
            image_processor: None,
        }
    }
}

/// Pages are never larger: 16,384 features of 28 px, which is the default of the processor.
pub const MOST_PIXELS: u64 = 16_384 * 28 * 28;

/// What ColQwen2 and ColQwen2.5 were trained with: 4 to 768 features.
pub const TRAINED: Budget = Budget { least: 4 * 28 * 28, most: 768 * 28 * 28 };

impl Processor {
    /// The two files that may have the settings; the first that is there counts.
    pub const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

    /// Reads the first of [`FILES`](Self::FILES) that is there, and checks it against `config`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that gives other numbers; [`ModelError::Io`] and
    /// [`ModelError::Config`] when the file cannot be read.
    pub fn read([old, new]: [CheckpointFile; 2], config: &Config) -> Result<Self, ModelError> {
        let from = if !old.exists() && new.exists() { new } else { old };
        let mut file: ProcessorFile = read_json(&from)?;
        let wrong = Wrong(from.shown());
        if let Some(inner) = file.image_processor.take() {
            file = serde_json::from_value(inner)
                .map_err(|source| ModelError::Config { path: from.shown(), source })?;
        }
        let said = |field: Option<bool>| field.map(|yes| yes.to_string());
        wrong.is("do_resize", "true", said(file.do_resize))?;
        wrong.is("do_rescale", "true", said(file.do_rescale))?;
        wrong.is("do_normalize", "true", said(file.do_normalize))?;
        let number = |field: Option<usize>| field.map(|n| n.to_string());
        let patch = config.vision.patch.to_string();
        wrong.is("patch_size", &patch, number(file.patch_size))?;
        wrong.is("merge_size", "2", number(file.merge_size))?;
        wrong.is("temporal_patch_size", "2", number(file.temporal_patch_size))?;
        if file.resample != BICUBIC {
            return wrong.setting("resample", "3 (bicubic)", file.resample.to_string());
        }
        if file.image_std.contains(&0.0) {
            return wrong.setting("image_std", "no zero", format!("{:?}", file.image_std));
        }
        // Where both are there, these win, as in the reference.
        let size = file.size.as_ref();
        let least = file.min_pixels.or(size.and_then(|size| size.shortest_edge));
        let most = file.max_pixels.or(size.and_then(|size| size.longest_edge));
        let budget =
            Budget { least: least.unwrap_or(TRAINED.least), most: most.unwrap_or(TRAINED.most) };
        let feature = ((config.vision.patch * MERGE) as u64).pow(2);
        if !(budget.least <= budget.most && (feature..=MOST_PIXELS).contains(&budget.most)) {
            let got = format!("{} to {}", budget.least, budget.most);
            let expected = format!("a range within {feature} to {MOST_PIXELS}");
            return wrong.setting("min_pixels to max_pixels", &expected, got);
        }
        Ok(Self {
            factor: file.rescale_factor,
            mean: file.image_mean,
            deviation: file.image_std,
            budget,
        })
    }
}
