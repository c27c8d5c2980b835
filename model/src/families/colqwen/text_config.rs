//! The settings of the language model.

use serde::Deserialize;

use crate::blocks::decoder::sizes::{DecoderSizes, DeltaSizes, Mix, Style};
use crate::checkpoint::settings::{MOST_LAYERS, Settings, WIDEST};
use crate::error::ModelError;
use crate::families::colqwen::names::FAMILY_3_5;

/// They as the file has them.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub struct TextFile {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    hidden_act: Option<String>,
    use_sliding_window: Option<bool>,
    attention_bias: Option<bool>,
    layer_types: Option<Vec<String>>,
    full_attention_interval: Option<usize>,
    linear_conv_kernel_dim: Option<usize>,
    linear_key_head_dim: Option<usize>,
    linear_value_head_dim: Option<usize>,
    linear_num_key_heads: Option<usize>,
    linear_num_value_heads: Option<usize>,
    /// The token of a feature.
    pub image_token_id: Option<u32>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Rope {
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    mrope_section: Option<Vec<usize>>,
    mrope_interleaved: Option<bool>,
}

/// No published convolution reaches further.
const FURTHEST: usize = 64;

const DELTA: &str = "linear_attention";
const FULL: &str = "full_attention";

impl TextFile {
    /// These fields, and those of `outer` where they are left out.
    pub fn over(self, outer: Self) -> Self {
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
            // What follows came after the fields had moved into text_config.
            ..self
        }
    }

    /// The sizes of the model.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that it cannot be built with.
    pub fn sizes(&self, settings: &Settings, family: &str) -> Result<DecoderSizes, ModelError> {
        let is_hybrid = family == FAMILY_3_5;
        let or = |said: Option<usize>, older: usize, newer: usize| {
            said.unwrap_or(if is_hybrid { newer } else { older })
        };
        let heads = or(self.num_attention_heads, 64, 16);
        let hidden = or(self.hidden_size, 8192, 4096);
        let keys = or(self.num_key_value_heads, 8, 4);
        for (key, got) in
            [("hidden_size", hidden), ("num_attention_heads", heads), ("num_key_value_heads", keys)]
        {
            settings.within(key, WIDEST, got)?;
        }
        settings.divides("num_key_value_heads", keys, heads)?;
        let head_dim = or(self.head_dim, hidden / heads, 256);
        let (vocabulary, inner) =
            (or(self.vocab_size, 152_064, 248_320), or(self.intermediate_size, 29_568, 12_288));
        let layers = or(self.num_hidden_layers, 80, 32);
        for (key, most, got) in [
            ("vocab_size", WIDEST, vocabulary),
            ("intermediate_size", WIDEST, inner),
            ("num_hidden_layers", MOST_LAYERS, layers),
            ("head_dim", WIDEST, head_dim),
        ] {
            settings.within(key, most, got)?;
        }
        settings.is("hidden_act", "silu", self.hidden_act.clone())?;
        settings.is("use_sliding_window", "false", self.use_sliding_window)?;
        let eps = self.rms_norm_eps.unwrap_or(if is_hybrid { 1e-6 } else { 1e-5 });
        settings.positive("rms_norm_eps", eps)?;
        let nested = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        let theta = nested.or(self.rope_theta).unwrap_or(if is_hybrid { 1e7 } else { 1e6 });
        settings.positive("rope_theta", theta)?;
        let (style, axes, layers) = if is_hybrid {
            settings.is("attention_bias", "false", self.attention_bias)?;
            let axes = self.interleaved(settings, head_dim)?;
            (Style::Qwen3_5, axes, self.mixes(settings, layers)?)
        } else {
            (Style::Qwen2, self.blocks(settings, head_dim)?, vec![Mix::Attention; layers])
        };
        let eps = eps as f32;
        Ok(DecoderSizes {
            vocabulary,
            hidden,
            inner,
            heads,
            keys,
            head_dim,
            eps,
            style,
            axes,
            theta,
            layers,
        })
    }

    /// How many frequencies turn by time, by the row and by the column.
    fn sections(&self, settings: &Settings, own: [usize; 3]) -> Result<[usize; 3], ModelError> {
        let ropes = [&self.rope_scaling, &self.rope_parameters];
        for rope in ropes.into_iter().flatten() {
            for kind in [&rope.kind, &rope.rope_type].into_iter().flatten() {
                if kind != "mrope" && kind != "default" {
                    return settings.wrong("rope_scaling.type", "mrope", kind.clone());
                }
            }
        }
        let said = ropes.into_iter().flatten().find_map(|rope| rope.mrope_section.as_deref());
        match said.unwrap_or(&own) {
            &[time, rows, columns] => Ok([time, rows, columns]),
            other => settings.wrong("mrope_section", "three numbers", format!("{other:?}")),
        }
    }

    /// The axis of each pair of rows: first those of time, then of the row, then of the column.
    fn blocks(&self, settings: &Settings, head_dim: usize) -> Result<Vec<usize>, ModelError> {
        let sections = self.sections(settings, [16, 24, 24])?;
        add_up(settings, sections, head_dim)?;
        let axes = sections.iter().enumerate();
        Ok(axes.flat_map(|(axis, &count)| std::iter::repeat_n(axis, count)).collect())
    }

    /// The axis of each pair of the rows that turn: in turns time, row and column, for as many as
    /// rows and columns have, and time after that.
    fn interleaved(&self, settings: &Settings, head_dim: usize) -> Result<Vec<usize>, ModelError> {
        let sections = self.sections(settings, [11, 11, 10])?;
        let rope = self.rope_parameters.as_ref();
        let interleaved = rope.and_then(|rope| rope.mrope_interleaved);
        settings.is("rope_parameters.mrope_interleaved", "true", interleaved)?;
        let share = rope.and_then(|rope| rope.partial_rotary_factor);
        let share = share.or(self.partial_rotary_factor).unwrap_or(0.25);
        let turned = (head_dim as f64 * share) as usize;
        if !(0.0..=1.0).contains(&share) || turned < 2 || !turned.is_multiple_of(2) {
            let expected = "a share of head_dim that is a multiple of 2";
            return settings.wrong("partial_rotary_factor", expected, share.to_string());
        }
        add_up(settings, sections, turned)?;
        let [_, rows, columns] = sections;
        let axis = |j: usize| match j % 3 {
            1 if j < 3 * rows => 1,
            2 if j < 3 * columns => 2,
            _ => 0,
        };
        Ok((0..turned / 2).map(axis).collect())
    }

    fn mixes(&self, settings: &Settings, count: usize) -> Result<Vec<Mix>, ModelError> {
        let delta = DeltaSizes {
            keys: self.linear_num_key_heads.unwrap_or(16),
            values: self.linear_num_value_heads.unwrap_or(32),
            key_dim: self.linear_key_head_dim.unwrap_or(128),
            value_dim: self.linear_value_head_dim.unwrap_or(128),
            reach: self.linear_conv_kernel_dim.unwrap_or(4),
        };
        for (key, most, got) in [
            ("linear_num_key_heads", WIDEST, delta.keys),
            ("linear_num_value_heads", WIDEST, delta.values),
            ("linear_key_head_dim", WIDEST, delta.key_dim),
            ("linear_value_head_dim", WIDEST, delta.value_dim),
            ("linear_conv_kernel_dim", FURTHEST, delta.reach),
        ] {
            settings.within(key, most, got)?;
        }
        settings.divides("linear_num_key_heads", delta.keys, delta.values)?;
        for (key, heads, dim) in [
            ("linear_key_head_dim", delta.keys, delta.key_dim),
            ("linear_value_head_dim", delta.values, delta.value_dim),
        ] {
            settings.within(key, WIDEST / heads, dim)?;
        }
        let Some(types) = &self.layer_types else {
            let every = self.full_attention_interval.unwrap_or(4);
            settings.within("full_attention_interval", MOST_LAYERS, every)?;
            let mix = |n: usize| {
                if (n + 1).is_multiple_of(every) { Mix::Attention } else { Mix::Delta(delta) }
            };
            return Ok((0..count).map(mix).collect());
        };
        if types.len() != count {
            let expected = format!("as many as layers, {count}");
            return settings.wrong("layer_types", &expected, format!("{} of them", types.len()));
        }
        let mix = |kind: &String| match kind.as_str() {
            FULL => Ok(Mix::Attention),
            DELTA => Ok(Mix::Delta(delta)),
            other => {
                settings.wrong("layer_types", &format!("{FULL} and {DELTA}"), other.to_string())
            }
        };
        types.iter().map(mix).collect()
    }
}

/// Checks that the frequencies of all axes are those of the rows that turn.
fn add_up(settings: &Settings, sections: [usize; 3], turned: usize) -> Result<(), ModelError> {
    let sum = sections.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    if turned.is_multiple_of(2) && sum == Some(turned / 2) {
        return Ok(());
    }
    let expected = format!("three numbers that add up to half of the rows that turn, {turned}");
    settings.wrong("mrope_section", &expected, format!("{sections:?}"))
}
