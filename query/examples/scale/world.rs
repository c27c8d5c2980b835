//! Pages as a vision model might see them, made from a seed: any page alone, in any order.
//!
//! After the shared corpus generator (corpus.py): documents of 12 pages share topics, style, header
//! and footer; a page is a grid of 32 x 32 patches, of which two background templates take 30 to
//! 60%, and runs of 2 to 6 patches share a concept; 6 vectors are nearly the same on every page.
//! Vectors are of length 1, anisotropic (a power law) with a common direction. A query is 4
//! constant tokens, 7 to 16 noisy mixtures of patches of a few runs of its page (15% of them words
//! that are not on the page) and 7 to 11 tokens near their mean, all shifted by a modality gap.

use half::bf16;
use pagesight_core::QueryVectors;

pub const DIM: usize = 128;
pub const PATCHES: usize = GRID * GRID + SPECIAL;
/// Vectors of a pooled page, at most.
pub const POOLED: usize = 64;

const GRID: usize = 32;
const SPECIAL: usize = 6;
const DOCUMENT: u64 = 12;
const TOPICS: usize = 256;
const PER_TOPIC: usize = 64;
const COMMON: usize = 512;
const BACKGROUNDS: usize = 24;
const PROMPT: usize = 4;
/// Standard deviation of axis k goes with `(k + 1)^-SPECTRUM`.
const SPECTRUM: f32 = 0.35;
/// Weight of the common direction.
const MEAN: f32 = 0.6;
const GAP: f32 = 0.45;
const NOISE: f32 = 0.75;

type Vector = [f32; DIM];

/// Random numbers of a name: splitmix64.
struct Random(u64);

impl Random {
    fn new(names: &[u64]) -> Self {
        let mut this = Self(0x5eed);
        for &name in names {
            this.0 = this.bits() ^ name;
        }
        this
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`.
    fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// From `low` to below `high`.
    fn whole(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low) as u64) as usize
    }

    /// Four uniform numbers summed: near enough to normal.
    fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u32 = [0, 16, 32, 48].map(|shift| (bits >> shift) as u32 & 0xffff).iter().sum();
        (sum as f32 / 65536.0 - 2.0) * 3.0f32.sqrt()
    }

    fn normals(&mut self, length: f32) -> Vector {
        let scale = length / (DIM as f32).sqrt();
        std::array::from_fn(|_| self.normal() * scale)
    }
}

/// `sum += weight * vector`
fn add(sum: &mut Vector, weight: f32, vector: &Vector) {
    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * x);
}

fn mix(parts: &[(f32, &Vector)]) -> Vector {
    let mut sum = [0.0; DIM];
    parts.iter().for_each(|(weight, vector)| add(&mut sum, *weight, vector));
    sum
}

fn unit(mut vector: Vector) -> Vector {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

/// What all pages are made of.
pub struct World {
    seed: u64,
    /// Standard deviation of each axis.
    spectrum: Vector,
    mean: Vector,
    gap: Vector,
    concepts: Vec<Vector>,
    common: Vec<Vector>,
    backgrounds: Vec<Vector>,
    special: Vec<Vector>,
    places: Vec<Vector>,
    prompt: Vec<Vector>,
}

/// A page: its vectors, and what they show.
pub struct Drawn {
    /// Of length 1, rounded to bf16.
    pub vectors: Vec<Vector>,
    /// Which run each patch of the grid belongs to.
    runs: Vec<usize>,
    /// The runs that are text.
    text: Vec<usize>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(&[seed, 1]);
        let mut spectrum: Vector = std::array::from_fn(|k| (k as f32 + 1.0).powf(-SPECTRUM));
        let square: f32 = spectrum.iter().map(|s| s * s).sum();
        spectrum.iter_mut().for_each(|s| *s /= square.sqrt());
        let mut this = Self {
            seed,
            spectrum,
            mean: unit(random.normals(1.0)),
            gap: [0.0; DIM],
            concepts: Vec::new(),
            common: Vec::new(),
            backgrounds: Vec::new(),
            special: Vec::new(),
            places: Vec::new(),
            prompt: Vec::new(),
        };
        this.gap = unit(mix(&[(1.0, &this.mean), (1.2, &this.skewed(&mut random))]));
        for _ in 0..TOPICS {
            let topic = this.skewed(&mut random);
            for _ in 0..PER_TOPIC {
                this.concepts.push(mix(&[(0.55, &topic), (0.85, &this.skewed(&mut random))]));
            }
        }
        let mut some = |count| (0..count).map(|_| this.skewed(&mut random)).collect();
        let lists = [COMMON, BACKGROUNDS, SPECIAL, 2 * GRID, PROMPT].map(&mut some);
        [this.common, this.backgrounds, this.special, this.places, this.prompt] = lists;
        this
    }

    /// A vector of the power law, of length about 1.
    fn skewed(&self, random: &mut Random) -> Vector {
        std::array::from_fn(|k| random.normal() * self.spectrum[k])
    }

    /// Page number `page`, whole or as if its patches had been merged into [`POOLED`] vectors when
    /// it was indexed: one a run.
    pub fn page(&self, page: u64, pooled: bool) -> Drawn {
        let mut of_document = Random::new(&[self.seed, 2, page / DOCUMENT]);
        let topics: [usize; 3] = std::array::from_fn(|_| of_document.whole(0, TOPICS));
        let style = self.skewed(&mut of_document);
        let backgrounds = [(); 2].map(|()| of_document.whole(0, BACKGROUNDS));
        let heads: [usize; 6] =
            std::array::from_fn(|n| topics[n / 2] * PER_TOPIC + of_document.whole(0, PER_TOPIC));
        let blank = of_document.uniform(0.3, 0.6);
        let density = of_document.uniform(0.25, 0.75);

        let mut random = Random::new(&[self.seed, 3, page]);
        let own = self.skewed(&mut random);
        let context = mix(&[(0.3, &own), (0.25, &style), (0.55 * MEAN, &self.mean)]);
        let mut runs = vec![0; GRID * GRID];
        let mut bases: Vec<(Vector, f32)> = Vec::new();
        for background in backgrounds {
            let background = &self.backgrounds[background];
            let parts = [(1.0, background), (0.75 * MEAN, &self.mean), (0.1, &style), (0.06, &own)];
            bases.push((mix(&parts), random.uniform(0.08, 0.2)));
        }
        for row in runs.chunks_exact_mut(GRID) {
            row[..2].fill(1);
            row[GRID - 2..].fill(1);
        }
        let mut put = |row: usize, from: usize, to: usize, base: Vector, noise: f32| {
            runs[row * GRID + from..row * GRID + to].fill(bases.len());
            bases.push((base, noise));
            bases.len() - 1
        };
        for (n, &head) in heads.iter().enumerate() {
            let (row, from) = (n / 3 * (GRID - 1), 3 + n % 3 * 9);
            let concept = &self.concepts[head];
            let parts = [(1.0, concept), (0.3, &style), (0.5 * MEAN, &self.mean), (0.05, &own)];
            put(row, from, from + 7, mix(&parts), 0.22);
        }
        let wanted = ((1.0 - blank) * (GRID * GRID) as f32) as usize;
        let (mut text, mut filled, mut row) = (Vec::new(), 0, 2);
        while filled < wanted && row < GRID - 2 {
            if random.uniform(0.0, 1.0) < 0.12 {
                row += 1;
                continue;
            }
            let mut from = random.whole(2, 5);
            let which = random.uniform(0.0, 1.0);
            let topic = topics[usize::from(which >= 0.55) + usize::from(which >= 0.85)];
            while from < GRID - 2 {
                let to = (from + random.whole(2, 7)).min(GRID - 2);
                let concept = match random.uniform(0.0, 1.0) < 0.3 {
                    // Common words: about one over the rank.
                    true => {
                        let at = random.uniform(0.0, 1.0);
                        let rank = 3.0 * ((COMMON as f32 + 3.0) / 3.0).powf(at) - 3.0;
                        &self.common[(rank as usize).min(COMMON - 1)]
                    }
                    false => &self.concepts[topic * PER_TOPIC + random.whole(0, PER_TOPIC)],
                };
                let other = self.skewed(&mut random);
                let base = mix(&[(1.0, concept), (1.0, &context), (0.35, &other)]);
                text.push(put(row, from, to, base, random.uniform(0.35, 0.55)));
                filled += to - from;
                from = to + usize::from(random.uniform(0.0, 1.0) < density * 0.3);
            }
            row += 1;
        }
        if pooled {
            runs = (0..bases.len().min(POOLED - SPECIAL)).collect();
            text.retain(|run| *run < runs.len());
        }
        // A mean of four vectors has half of their noise.
        let share = if pooled { 0.5 } else { 1.0 };
        let mut vectors = Vec::with_capacity(PATCHES);
        for (patch, &run) in runs.iter().enumerate() {
            let (mut vector, noise) = bases[run];
            add(&mut vector, 0.8 * share * noise, &self.skewed(&mut random));
            add(&mut vector, 0.6 * share * noise, &random.normals(1.0));
            if !pooled {
                add(&mut vector, 0.08, &self.places[patch / GRID]);
                add(&mut vector, 0.08, &self.places[GRID + patch % GRID]);
            }
            vectors.push(finished(vector));
        }
        for special in &self.special {
            let mut vector = mix(&[(1.0, special), (0.5 * MEAN, &self.mean), (0.15, &own)]);
            add(&mut vector, 0.05, &style);
            add(&mut vector, 0.08, &self.skewed(&mut random));
            vectors.push(finished(vector));
        }
        Drawn { vectors, runs, text }
    }

    /// Question `n`, made from `page`.
    pub fn query(&self, n: u64, page: &Drawn) -> QueryVectors {
        let mut random = Random::new(&[self.seed, 4, n]);
        let (content, augmented) = (random.whole(7, 17), random.whole(7, 12));
        let runs: Vec<usize> =
            (0..random.whole(2, 6)).map(|_| page.text[random.whole(0, page.text.len())]).collect();
        let mut tokens: Vec<Vector> = Vec::new();
        for prompt in &self.prompt {
            let other = self.skewed(&mut random);
            tokens.push(mix(&[(1.0, prompt), (0.4, &self.gap), (0.1, &other)]));
        }
        let mut middle = [0.0; DIM];
        for _ in 0..content {
            let base = match random.uniform(0.0, 1.0) < 0.15 {
                true => unit(self.concepts[random.whole(0, self.concepts.len())]),
                false => {
                    let run = runs[random.whole(0, runs.len())];
                    let patches: Vec<usize> =
                        (0..page.runs.len()).filter(|&patch| page.runs[patch] == run).collect();
                    let mut sum = [0.0; DIM];
                    for _ in 0..random.whole(1, 4) {
                        let patch = patches[random.whole(0, patches.len())];
                        // As drawn, before the turn of `finished`.
                        add(&mut sum, random.uniform(0.5, 1.0), &turned_back(page.vectors[patch]));
                    }
                    unit(sum)
                }
            };
            let other = self.skewed(&mut random);
            let mut token = mix(&[(1.0, &base), (GAP, &self.gap), (NOISE, &other)]);
            add(&mut token, 0.5 * NOISE, &random.normals(1.0));
            add(&mut middle, 1.0 / content as f32, &token);
            tokens.push(token);
        }
        for _ in 0..augmented {
            let other = self.skewed(&mut random);
            tokens.push(mix(&[(0.5, &middle), (0.55, &self.gap), (0.25, &other)]));
        }
        let values: Vec<f32> = tokens.iter().flat_map(|&token| finished(token)).collect();
        QueryVectors::of_rows(DIM, values).expect("unit vectors")
    }
}

/// Of length 1, turned away from the axes of the power law, rounded to bf16 as models do.
fn finished(vector: Vector) -> Vector {
    let mut vector = unit(vector);
    hadamard(&mut vector);
    vector.map(|x| bf16::from_f32(x).to_f32())
}

fn turned_back(mut vector: Vector) -> Vector {
    hadamard(&mut vector);
    vector
}

/// The orthogonal Walsh-Hadamard transform, which is its own inverse.
fn hadamard(vector: &mut Vector) {
    let mut half = 1;
    while half < DIM {
        for pair in vector.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    vector.iter_mut().for_each(|x| *x /= (DIM as f32).sqrt());
}
