//! Which token is drawn, in the order in which transformers narrows the choice: temperature, then
//! the best `top_k`, then those that together have `top_p`. Source: transformers 4.57.6
//! `generation/logits_process.py`.

use rayon::prelude::*;

/// How a token is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by, above 0: below 1 the likely becomes likelier.
    pub temperature: f32,
    /// Only so many of the likeliest tokens, and those as likely as the last of them.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together have this probability, from 0 to 1; at least one.
    pub top_p: Option<f32>,
    /// Where the numbers of chance begin: the same seed gives the same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// The tokens that may be drawn from `logits`, and their probabilities, in the order of ids.
    pub(crate) fn kept(&self, logits: &[f32]) -> Vec<(u32, f32)> {
        let mut left: Vec<(u32, f32)> = (0..)
            .zip(logits)
            .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
            .map(|(id, logit)| (id, logit / self.temperature))
            .collect();
        if let Some(k) = self.top_k.map(|k| k.max(1)).filter(|&k| k < left.len()) {
            let mut logits: Vec<f32> = left.iter().map(|(_, logit)| *logit).collect();
            let (_, &mut least, _) = logits.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            left.retain(|(_, logit)| *logit >= least);
        }
        if let Some(p) = self.top_p {
            // The least likely are dropped while what they have together is at most 1 - p.
            left.sort_by(|a, b| a.1.total_cmp(&b.1));
            let mut probabilities = left.clone();
            softmax(&mut probabilities);
            let mut sum = 0.0;
            let dropped = probabilities.iter().take_while(|(_, probability)| {
                sum += probability;
                sum <= 1.0 - p
            });
            let dropped = dropped.count().min(left.len().saturating_sub(1));
            left.drain(..dropped);
            left.sort_by_key(|(id, _)| *id);
        }
        softmax(&mut left);
        left
    }

    /// Draws a token.
    pub(crate) fn draw(&self, logits: &[f32], chance: &mut Chance) -> Option<u32> {
        let kept = self.kept(logits);
        let total: f64 = kept.iter().map(|(_, probability)| f64::from(*probability)).sum();
        let mut left = chance.number() * total;
        for (id, probability) in &kept {
            left -= f64::from(*probability);
            if left < 0.0 {
                return Some(*id);
            }
        }
        // Rounding may leave a rest of nothing.
        kept.last().map(|(id, _)| *id)
    }
}

/// Logits become probabilities.
fn softmax(logits: &mut [(u32, f32)]) {
    let highest = logits.iter().map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0f64;
    for (_, logit) in logits.iter_mut() {
        *logit = (*logit - highest).exp();
        total += f64::from(*logit);
    }
    logits.iter_mut().for_each(|(_, p)| *p = (f64::from(*p) / total) as f32);
}

/// Logits whose exponentials one thread adds up.
const PART: usize = 1 << 14;

/// The logarithm of the sum of the exponentials. A PaliGemma has 257,216 logits a token, which would
/// take one thread as long as a GPU takes for a good part of the token, so threads share them; their
/// parts are always the same, so the sum is.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let of_part =
        |part: &[f32]| -> f64 { part.iter().map(|&logit| f64::from(logit - highest).exp()).sum() };
    let sums: Vec<f64> = logits.par_chunks(PART).map(of_part).collect();
    f64::from(highest) + sums.iter().sum::<f64>().ln()
}

/// The id with the highest logit, the first of equals; `None` when there is no number among them.
pub fn best(logits: &[f32]) -> Option<u32> {
    let mut found: Option<(u32, f32)> = None;
    for (id, &logit) in (0..).zip(logits) {
        if !logit.is_nan() && found.is_none_or(|(_, highest)| logit > highest) {
            found = Some((id, logit));
        }
    }
    found.map(|(id, _)| id)
}

/// Numbers of chance that a seed repeats: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The numbers that begin with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, from 0 to below 1.
    pub fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
        sampling.kept(logits).iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn the_choice_narrows_as_the_reference_does() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0, 2.0];
        let plain = Sampling::default();
        assert_eq!(ids(plain, &logits), [0, 1, 3, 4, 5]);
        // Those as likely as the last stay.
        assert_eq!(ids(Sampling { top_k: Some(3), ..plain }, &logits), [1, 3, 4, 5]);
        assert_eq!(ids(Sampling { top_k: Some(0), ..plain }, &logits), [1, 3]);
        assert_eq!(ids(Sampling { top_k: Some(99), ..plain }, &logits), [0, 1, 3, 4, 5]);
        assert_eq!(ids(Sampling { top_p: Some(0.0), ..plain }, &[0.0, 5.0, 1.0]), [1]);
        assert_eq!(ids(Sampling { top_p: Some(1.0), ..plain }, &[0.0, 5.0, 1.0]), [0, 1, 2]);
        // e^0 and e^2 of 1 + e^2: 0.12 and 0.88.
        assert_eq!(ids(Sampling { top_p: Some(0.87), ..plain }, &[0.0, 2.0]), [1]);
        assert_eq!(ids(Sampling { top_p: Some(0.89), ..plain }, &[0.0, 2.0]), [0, 1]);
        // The temperature comes first: 0.5 makes 0.98 of the 0.88.
        let hot = Sampling { temperature: 0.5, top_p: Some(0.89), ..plain };
        assert_eq!(ids(hot, &[0.0, 2.0]), [1]);
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely_and_a_seed_repeats() {
        let logits = [0.0f32, 1.0, f32::NEG_INFINITY, 2.0];
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..30_000).map(|_| Sampling::default().draw(&logits, &mut chance).unwrap()).collect()
        };
        let drawn: Vec<u32> = draw(7);
        assert_eq!(draw(7), drawn);
        assert_ne!(draw(8), drawn);
        for (id, probability) in Sampling::default().kept(&logits) {
            let share = drawn.iter().filter(|&&drawn| drawn == id).count() as f32 / 30_000.0;
            assert!((share - probability).abs() < 0.01, "{id}: {share} for {probability}");
        }
        assert_eq!(Sampling::default().draw(&[f32::NEG_INFINITY], &mut Chance::new(0)), None);
        assert_eq!(best(&[f32::NAN, 1.0, 3.0, 3.0]), Some(2));
        assert_eq!(best(&[f32::NAN]), None);
    }

    #[test]
    fn the_logarithm_of_a_sum_is_that_of_any_number_of_parts() {
        for count in [1, PART, 3 * PART + 7] {
            let logits: Vec<f32> = (0..count).map(|n| (n * 37 % 1013) as f32 / 50.0).collect();
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            assert!((log_sum_exp(&logits) - sum.ln()).abs() < 1e-5, "{count}");
        }
    }
}
