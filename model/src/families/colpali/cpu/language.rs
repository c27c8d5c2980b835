//! Gemma 1 and 2. As an encoder it has no cache, and every position attends to every other (queries
//! may be causal); as a generator it keeps the keys and values of a prefix and adds positions to it
//! one by one. The last norm is applied in both. Source: transformers 4.57.6
//! `models/gemma/modeling_gemma.py`, `models/gemma2/modeling_gemma2.py` and
//! `models/paligemma/modeling_paligemma.py`.
//!
//! Gemma 2 has no sliding window here, whatever its configuration says: PaliGemma 2 was trained
//! without one.

use std::sync::{Arc, Mutex};

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::cache::{Cache, attend_cached};
use crate::blocks::elementwise::{add_rows, rms_norm, rotate};
use crate::blocks::lanes::{LANES, Lanes, groups_of};
use crate::blocks::linear::{Linear, lanes, tensor};
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colpali::config::TextConfig;
use crate::precision::Precision;

/// The language model without its output layer.
#[derive(Debug)]
pub struct Language {
    arithmetic: Arithmetic,
    embedding: Embedding,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    rotations: Rotations,
    /// Of the longest sequence so far.
    angles: Mutex<Arc<Angles>>,
}

/// The token table, `[vocabulary, hidden]`. It stays in its file, where rows are looked up.
#[derive(Debug, Clone)]
pub struct Embedding {
    table: Stored,
    hidden: usize,
}

impl Embedding {
    /// The table where it lies.
    pub fn table(&self) -> &Stored {
        &self.table
    }

    /// The rows of `ids`, `[n, hidden]` f32, multiplied by the square root of the width.
    pub fn rows(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.table.rows(ids)? * (self.hidden as f64).sqrt()
    }
}

/// The angles of rotary position embeddings (Su et al., arXiv 2104.09864).
#[derive(Debug, Clone, Copy)]
pub struct Rotations {
    head_dim: usize,
    theta: f64,
}

impl Rotations {
    /// Number of angles of a position: half the width of a head.
    pub fn half(&self) -> usize {
        self.head_dim / 2
    }

    /// The axis, of which there is one, and the frequency of each angle.
    pub fn pairs(&self) -> Vec<(usize, f32)> {
        (0..self.half()).map(|i| (0, self.frequency(i))).collect()
    }

    fn frequency(&self, i: usize) -> f32 {
        1.0 / (self.theta as f32).powf((2 * i) as f32 / self.head_dim as f32)
    }

    /// Angle `i` of a position. As in the reference, the frequency is rounded to f32, then the
    /// product. Positions start at 0, since only their differences matter.
    pub fn angle(&self, position: usize, i: usize) -> f32 {
        position as f32 * self.frequency(i)
    }
}

/// Root mean square norm. Files store the difference of the weight from one.
#[derive(Debug, Clone)]
pub struct Norm {
    /// The weight itself: one was added while loading.
    pub weight: Vec<f32>,
    pub eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &TextConfig) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[config.hidden_size])?;
        Ok(Self { weight: (weight + 1.0)?.to_vec1()?, eps: config.rms_norm_eps as f32 })
    }

    fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        rms_norm(x, &self.weight, self.eps, y);
    }
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub input_norm: Norm,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub mlp_norm: Norm,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    pub heads: Heads,
    /// What queries, keys and values are multiplied as.
    attending: Arithmetic,
    /// Norms of what attention and MLP give, before it is added: Gemma 2 has them.
    pub post_norms: Option<[Norm; 2]>,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let q = config.num_attention_heads * config.head_dim;
        let kv = config.num_key_value_heads * config.head_dim;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, false)
        };
        // The same name means the norm before the MLP in Gemma 1, and the one after attention in
        // Gemma 2.
        let [mlp_norm, post_norms] = if config.is_gemma2() {
            ["pre_feedforward_layernorm", "post_attention_layernorm"]
        } else {
            ["post_attention_layernorm", ""]
        };
        Ok(Self {
            query: linear("self_attn.q_proj", hidden, q)?,
            key: linear("self_attn.k_proj", hidden, kv)?,
            value: linear("self_attn.v_proj", hidden, kv)?,
            out: linear("self_attn.o_proj", q, hidden)?,
            gate: linear("mlp.gate_proj", hidden, inner)?,
            up: linear("mlp.up_proj", hidden, inner)?,
            down: linear("mlp.down_proj", inner, hidden)?,
            input_norm: Norm::take(weights, &format!("{key}.input_layernorm"), config)?,
            mlp_norm: Norm::take(weights, &format!("{key}.{mlp_norm}"), config)?,
            post_norms: if post_norms.is_empty() {
                None
            } else {
                let mut norm = |name| Norm::take(weights, &format!("{key}.{name}"), config);
                Some([norm(post_norms)?, norm("post_feedforward_layernorm")?])
            },
            attending: weights.attending(precision),
            heads: Heads {
                queries: config.num_attention_heads,
                keys: config.num_key_value_heads,
                dim: config.head_dim,
                scale: config.query_scale(),
                cap: config.attention_cap(),
            },
        })
    }

    /// `x` through the layer. When some positions are `kept`, only those are computed, and `x`
    /// becomes them; all positions still act as keys and values.
    fn forward(
        &self,
        arithmetic: Arithmetic,
        x: &mut Lanes,
        context: &Context,
        kept: Option<&[&[usize]]>,
    ) {
        self.forward_keeping(arithmetic, x, context, kept);
    }

    /// As [`forward`](Self::forward); gives back the keys, turned, and the values of all positions.
    fn forward_keeping(
        &self,
        arithmetic: Arithmetic,
        x: &mut Lanes,
        context: &Context,
        kept: Option<&[&[usize]]>,
    ) -> [Lanes; 2] {
        let [mut q, k, v] = self.asked(arithmetic, x, context);
        if let Some(kept) = kept {
            (*x, q) = (x.keep(kept), q.keep(kept));
        }
        let seen = attend(self.attending, self.heads, context.mask, &q, &k, &v);
        self.answered(arithmetic, &seen, x, context);
        [k, v]
    }

    /// One position more of each sequence, a lane each, over the caches of this layer.
    fn step(
        &self,
        arithmetic: Arithmetic,
        x: &mut Lanes,
        context: &Context,
        caches: &mut [&mut Cache],
    ) {
        let [q, k, v] = self.asked(arithmetic, x, context);
        for (at, cache) in caches.iter_mut().enumerate() {
            cache.push(&k, &v, at);
        }
        let caches: Vec<&Cache> = caches.iter().map(|cache| &**cache).collect();
        let seen = attend_cached(self.heads, &q, &caches);
        self.answered(arithmetic, &seen, x, context);
    }

    /// Queries, keys and values, the first two turned.
    fn asked(&self, arithmetic: Arithmetic, x: &Lanes, context: &Context) -> [Lanes; 3] {
        let y = Operand::made(arithmetic, x, |_, x, y| self.input_norm.apply(x, y));
        let y = context.narrowed(y);
        let [mut q, mut k, v] =
            Linear::apply_each([&self.query, &self.key, &self.value], &y, x.lengths());
        q.each_group(|group, rows| context.rotate(group, rows));
        k.each_group(|group, rows| context.rotate(group, rows));
        [q, k, v]
    }

    /// What follows attention: its output layer, and the MLP.
    fn answered(&self, arithmetic: Arithmetic, seen: &Lanes, x: &mut Lanes, context: &Context) {
        let [attention, mlp] = match &self.post_norms {
            Some([attention, mlp]) => [Some(attention), Some(mlp)],
            None => [None, None],
        };
        let y = context.narrowed(Operand::round(arithmetic, seen));
        add(&self.out, &y, attention, x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.mlp_norm.apply(x, y));
        let y = context.narrowed(y);
        add(&self.down, &Linear::apply_gated(&self.gate, &self.up, &y), mlp, x);
    }
}

/// Adds what `linear` makes of `y`, through `norm` where there is one, to `x`.
fn add(linear: &Linear, y: &Operand, norm: Option<&Norm>, x: &mut Lanes) {
    let Some(norm) = norm else { return linear.add_to(y, x) };
    let change = linear.apply(y, x.lengths());
    let change = change.map_groups(change.width(), |y, z| norm.apply(y, z));
    x.each_group(|group, rows| add_rows(rows, change.group(group), &[]));
}

/// What all layers share: the mask and the rotations of positions, which are f32 in every
/// precision.
#[derive(Debug, Clone)]
pub struct Context {
    mask: Mask<'static>,
    /// For every group its index inside its sequence.
    groups: Vec<usize>,
    angles: Arc<Angles>,
    half: usize,
    /// Of positions that go on with sequences of their own: how many there are.
    few: Option<usize>,
}

/// `[groups of positions, head_dim / 2, LANES]`.
#[derive(Debug, Default)]
struct Angles {
    cos: Vec<[f32; LANES]>,
    sin: Vec<[f32; LANES]>,
}

impl Context {
    /// `y` as it is multiplied where sequences go on: with few positions.
    fn narrowed(&self, y: Operand) -> Operand {
        match self.few {
            Some(positions) => y.of_few(positions),
            None => y,
        }
    }

    fn rotate(&self, group: usize, rows: &mut [[f32; LANES]]) {
        let angles = self.groups[group] * self.half..(self.groups[group] + 1) * self.half;
        rotate(rows, &self.angles.cos[angles.clone()], &self.angles.sin[angles]);
    }
}

impl Language {
    /// Takes the model's tensors below `prefix`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        prefix: &str,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        let layer = |weights: &mut Weights, n: usize| {
            Layer::take(weights, precision, &format!("{prefix}.layers.{n}"), config)
        };
        Ok(Self {
            arithmetic: weights.arithmetic(precision),
            embedding: Embedding {
                table: weights.take_stored(
                    &format!("{prefix}.embed_tokens.weight"),
                    &[config.vocab_size, config.hidden_size],
                )?,
                hidden: config.hidden_size,
            },
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(weights, n))
                .collect::<Result<_, _>>()?,
            norm: Norm::take(weights, &format!("{prefix}.norm"), config)?,
            rotations: Rotations { head_dim: config.head_dim, theta: config.rope_theta() },
            angles: Mutex::default(),
        })
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The token table.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// How positions are turned.
    pub fn rotations(&self) -> Rotations {
        self.rotations
    }

    /// The rows of `ids`, see [`Embedding::rows`].
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.embedding.rows(ids)
    }

    /// Runs all layers and the last norm over every position of every sequence.
    pub fn encode(&self, x: Lanes, causal: bool) -> Lanes {
        self.encode_masked(x, if causal { Mask::Causal } else { Mask::All })
    }

    /// As [`encode`](Self::encode), with any mask.
    pub fn encode_masked(&self, x: Lanes, mask: Mask<'static>) -> Lanes {
        let context = self.contexts(x.lengths(), mask);
        self.encode_with(x, &context, None)
    }

    /// Runs all layers and the last norm over one sequence whose positions all attend to each other.
    /// Gives what the last position becomes, and the keys and values of all, a cache a layer.
    pub fn prefill(&self, mut x: Lanes) -> (Lanes, Vec<Cache>) {
        let context = self.contexts(x.lengths(), Mask::All);
        let last = [x.lengths()[0].saturating_sub(1)];
        let kept: [&[usize]; 1] = [&last];
        let mut caches = Vec::with_capacity(self.layers.len());
        for (n, layer) in self.layers.iter().enumerate() {
            let is_last = n + 1 == self.layers.len();
            let kept = is_last.then_some(kept.as_slice());
            let [k, v] = layer.forward_keeping(self.arithmetic, &mut x, &context, kept);
            caches.push(Cache::new(&k, &v));
        }
        (self.finish_all(&x), caches)
    }

    /// Runs all layers and the last norm over one position more of each of several sequences: `x`
    /// has a lane for each, and `sequences` the caches of each, one a layer, which grow by it.
    ///
    /// # Panics
    /// When there are not as many of the one as of the other.
    pub fn step(&self, mut x: Lanes, sequences: &mut [&mut [Cache]]) -> Lanes {
        assert_eq!(x.lengths(), [sequences.len()], "a lane for each sequence");
        let positions: Vec<usize> =
            sequences.iter().map(|caches| caches.first().map_or(0, Cache::length)).collect();
        let context = self.placed(&positions);
        let arithmetic = self.arithmetic.of_few();
        for (n, layer) in self.layers.iter().enumerate() {
            let mut caches: Vec<&mut Cache> =
                sequences.iter_mut().map(|caches| &mut caches[n]).collect();
            layer.step(arithmetic, &mut x, &context, &mut caches);
        }
        self.finish_all(&x)
    }

    /// The input for a picture and a text: the features of its patches, unscaled, and behind them
    /// the scaled rows of `ids`. The reference divides features by the root of the width, and Gemma
    /// multiplies the whole sequence by it again.
    pub fn input(&self, features: &Lanes, ids: &[u32]) -> CandleResult<Lanes> {
        let text = self.embed(ids)?;
        Ok(features.extended(&text.flatten_all()?.to_vec1::<f32>()?))
    }

    /// As [`encode`](Self::encode) without a causal mask, for the positions in `kept` of each
    /// sequence. In the last layer all positions act as keys and values, but only these are
    /// computed.
    pub fn encode_kept(&self, x: Lanes, kept: &[&[usize]]) -> Lanes {
        let context = self.contexts(x.lengths(), Mask::All);
        self.encode_with(x, &context, Some(kept))
    }

    fn encode_with(&self, mut x: Lanes, context: &Context, kept: Option<&[&[usize]]>) -> Lanes {
        for (n, layer) in self.layers.iter().enumerate() {
            let last = n + 1 == self.layers.len();
            layer.forward(self.arithmetic, &mut x, context, kept.filter(|_| last));
        }
        self.finish_all(&x)
    }

    /// What the layers share for sequences of these lengths.
    fn contexts(&self, lengths: &[usize], mask: Mask<'static>) -> Context {
        let longest = lengths.iter().map(|&n| groups_of(n)).max().unwrap_or(0);
        let groups = lengths.iter().flat_map(|&n| 0..groups_of(n)).collect();
        Context {
            mask,
            groups,
            angles: self.angles(longest),
            half: self.rotations.half(),
            few: None,
        }
    }

    /// What the layers share for one sequence whose positions are these, wherever they are.
    fn placed(&self, positions: &[usize]) -> Context {
        let (half, groups) = (self.rotations.half(), groups_of(positions.len()));
        let of = |group: usize, lane: usize| positions.get(group * LANES + lane).copied();
        let (cos, sin) = (0..groups)
            .flat_map(|group| (0..half).map(move |i| (group, i)))
            .map(|(group, i)| {
                let angle = |lane| self.rotations.angle(of(group, lane).unwrap_or(0), i);
                let angles: [f32; LANES] = std::array::from_fn(angle);
                (angles.map(f32::cos), angles.map(f32::sin))
            })
            .unzip();
        let angles = Arc::new(Angles { cos, sin });
        let few = Some(positions.len());
        Context { mask: Mask::All, groups: (0..groups).collect(), angles, half, few }
    }

    /// The angles of at least `groups` groups. They are computed once.
    fn angles(&self, groups: usize) -> Arc<Angles> {
        let half = self.rotations.half();
        let mut angles = self.angles.lock().expect("no panic holds it");
        if angles.cos.len() < groups * half {
            let rows = (0..groups).flat_map(|group| (0..half).map(move |i| (group, i)));
            let (cos, sin) = rows
                .map(|(group, i)| {
                    let of = |lane| self.rotations.angle(group * LANES + lane, i);
                    let angles: [f32; LANES] = std::array::from_fn(of);
                    (angles.map(f32::cos), angles.map(f32::sin))
                })
                .unzip();
            *angles = Arc::new(Angles { cos, sin });
        }
        Arc::clone(&angles)
    }

    fn finish_all(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| self.norm.apply(x, y))
    }

    /// What the layers share for one sequence of `n` positions.
    pub fn context(&self, n: usize) -> Context {
        self.contexts(&[n], Mask::All)
    }

    /// Runs layer `n` over one sequence, `[n_tokens, hidden]`.
    pub fn layer(&self, n: usize, x: &Tensor, context: &Context) -> CandleResult<Tensor> {
        let mut x = lanes(x)?;
        self.layers[n].forward(self.arithmetic, &mut x, context, None);
        tensor(&x)
    }

    /// Keys, turned, and values of layer `n` for one sequence, `[n_tokens, keys * dim]` each. The
    /// first position is 1, as the references count.
    #[cfg(feature = "parity")]
    pub fn keys_and_values(&self, n: usize, x: &Tensor) -> CandleResult<[Tensor; 2]> {
        let positions: Vec<usize> = (1..=x.dim(0)?).collect();
        let context = self.placed(&positions);
        let [_, k, v] = self.layers[n].asked(self.arithmetic, &lanes(x)?, &context);
        Ok([tensor(&k)?, tensor(&v)?])
    }

    /// Runs the last norm over one sequence, `[n_tokens, hidden]`.
    pub fn finish(&self, x: &Tensor) -> CandleResult<Tensor> {
        tensor(&self.finish_all(&lanes(x)?))
    }
}
