//! Beam search with the meaning that transformers gives it: of all continuations of the running
//! texts the likeliest go on, a finished text scores the mean logarithm of its tokens'
//! probabilities, and the search ends when no running text can beat the finished ones. Source:
//! transformers 4.57.6 `generation/utils.py`, `_beam_search` with a length penalty of 1.

use std::collections::BTreeSet;

use crate::answerer::sampling::log_sum_exp;

/// A finished text.
#[derive(Debug, Clone, PartialEq)]
pub struct Beam {
    /// Its ids, with the one that ended it.
    pub ids: Vec<u32>,
    /// The mean logarithm of their probabilities.
    pub score: f32,
}

/// A text that goes on, in state `S`.
struct Run<S> {
    ids: Vec<u32>,
    sum: f32,
    state: S,
    logits: Vec<f32>,
}

/// How a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Texts that run side by side.
    pub width: usize,
    /// Tokens of a text at most.
    pub most: usize,
    /// Ids that end one.
    pub stops: &'a BTreeSet<u32>,
}

impl Search<'_> {
    /// The finished texts that follow `state`, whose next token has `logits`; the best first, at
    /// most `width`. `step` takes running texts, each with the id that it goes on with, and gives
    /// the logits of what follows each.
    pub fn run<S: Clone, E>(
        &self,
        state: S,
        logits: Vec<f32>,
        mut step: impl FnMut(&mut [S], &[u32]) -> Result<Vec<Vec<f32>>, E>,
    ) -> Result<Vec<Beam>, E> {
        let mut runs = vec![Run { ids: Vec::new(), sum: 0.0, state, logits }];
        let mut finished: Vec<Beam> = Vec::new();
        while !runs.is_empty() && self.width > 0 && self.most > 0 {
            let next = self.continuations(&runs);
            let length = runs[0].ids.len() + 1;
            let ends =
                |(_, id, _): &&(usize, u32, f32)| length >= self.most || self.stops.contains(id);
            // Only the best may finish; the others are there to go on in their place.
            for (run, id, sum) in next.iter().take(self.width).filter(ends) {
                let ids = [&runs[*run].ids[..], &[*id]].concat();
                finished.push(Beam { ids, score: sum / length as f32 });
            }
            finished.sort_by(|a, b| b.score.total_cmp(&a.score));
            finished.truncate(self.width);
            let going: Vec<&(usize, u32, f32)> =
                next.iter().filter(|next| !ends(next)).take(self.width).collect();
            let Some((.., highest)) = going.first() else { break };
            let worst = finished.last().filter(|_| finished.len() == self.width);
            if worst.is_some_and(|worst| highest / length as f32 <= worst.score) {
                break;
            }
            let ids: Vec<u32> = going.iter().map(|(_, id, _)| *id).collect();
            let mut states: Vec<S> =
                going.iter().map(|(run, ..)| runs[*run].state.clone()).collect();
            let logits = step(&mut states, &ids)?;
            runs = going
                .into_iter()
                .zip(states)
                .zip(logits)
                .map(|(((run, id, sum), state), logits)| {
                    let ids = [&runs[*run].ids[..], &[*id]].concat();
                    Run { ids, sum: *sum, state, logits }
                })
                .collect();
        }
        Ok(finished)
    }

    /// The likeliest continuations of all runs, the best first: run, id, and sum of logarithms. They
    /// are enough to fill the beam although each stop may end as many.
    fn continuations<S>(&self, runs: &[Run<S>]) -> Vec<(usize, u32, f32)> {
        let count = 2.max(1 + self.stops.len()) * self.width;
        let mut best: Vec<(usize, u32, f32)> = Vec::new();
        for (at, run) in runs.iter().enumerate() {
            let total = log_sum_exp(&run.logits);
            let of_run = (0..).zip(&run.logits).filter(|(_, logit)| logit.is_finite());
            best.extend(of_run.map(|(id, &logit)| {
                let probability = (f64::from(logit) - total) as f32;
                (at, id, run.sum + probability)
            }));
        }
        if count < best.len() {
            best.select_nth_unstable_by(count, |a, b| b.2.total_cmp(&a.2));
            best.truncate(count);
        }
        best.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
        best
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::answerer::sampling::Chance;

    /// A little language: the logits of what follows depend on all ids before.
    fn follow(ids: &[u32]) -> Vec<f32> {
        let seed = ids.iter().fold(11u64, |seed, &id| seed.wrapping_mul(31) + u64::from(id) + 1);
        let mut chance = Chance::new(seed);
        (0..5).map(|_| (chance.number() * 4.0) as f32).collect()
    }

    fn search(width: usize, most: usize, stops: &[u32]) -> Vec<Beam> {
        let stops = stops.iter().copied().collect();
        let step = |states: &mut [Vec<u32>], ids: &[u32]| {
            states.iter_mut().zip(ids).for_each(|(state, id)| state.push(*id));
            Ok::<_, Infallible>(states.iter().map(|state| follow(state)).collect())
        };
        Search { width, most, stops: &stops }.run(Vec::new(), follow(&[]), step).unwrap()
    }

    /// All texts of up to `most` tokens, each with its score.
    fn all(most: usize, stop: u32) -> Vec<Beam> {
        let (mut finished, mut open) = (Vec::new(), vec![(Vec::new(), 0.0f64)]);
        while let Some((ids, sum)) = open.pop() {
            let logits = follow(&ids);
            let total = log_sum_exp(&logits);
            for (id, &logit) in (0..).zip(&logits) {
                let ids = [&ids[..], &[id]].concat();
                let sum = sum + f64::from(logit) - total;
                if id == stop || ids.len() == most {
                    finished.push(Beam { score: (sum / ids.len() as f64) as f32, ids });
                } else {
                    open.push((ids, sum));
                }
            }
        }
        finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        finished
    }

    #[test]
    fn a_wide_beam_finds_the_best_texts_of_one_length() {
        // No stop: all texts are four long, and the widest beam misses none.
        for (beam, expected) in search(200, 4, &[9]).iter().zip(all(4, 9)).take(100) {
            assert_eq!(beam.ids, expected.ids);
            assert!((beam.score - expected.score).abs() < 1e-5);
        }
    }

    #[test]
    fn one_beam_is_greedy_and_the_limit_ends_it() {
        let mut greedy = Vec::new();
        for _ in 0..6 {
            greedy.push(crate::answerer::sampling::best(&follow(&greedy)).unwrap());
        }
        let found = search(1, 6, &[9]);
        assert_eq!((found.len(), &found[0].ids), (1, &greedy));
        assert!(search(0, 6, &[]).is_empty() && search(3, 0, &[]).is_empty());
        // Every id ends a text: it ends at once.
        assert!(search(2, 6, &[0, 1, 2, 3, 4]).iter().all(|beam| beam.ids.len() == 1));
    }

    #[test]
    fn finished_texts_end_with_a_stop_or_at_the_limit() {
        for width in 1..6 {
            let found = search(width, 5, &[2, 3]);
            assert!(!found.is_empty() && found.len() <= width);
            assert!(found.is_sorted_by(|a, b| a.score >= b.score));
            for beam in &found {
                let (last, before) = beam.ids.split_last().unwrap();
                assert!([2, 3].contains(last) || beam.ids.len() == 5);
                assert!(before.iter().all(|id| ![2, 3].contains(id)));
            }
        }
    }
}
