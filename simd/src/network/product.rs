//! Products of weights in bytes with places in bytes.

use super::places::{Filled, Places};
use super::weights::{Blocks, ByteWeights, LANES, Pairs};
#[cfg(target_arch = "x86_64")]
use super::{avx2, vnni};
#[cfg(target_arch = "x86_64")]
use crate::Instructions;
use crate::compiled_for_each_cpu;

impl ByteWeights {
    /// The results for `places`, `[places, outputs]`, in place of what is in `out` or added to it.
    ///
    /// # Panics
    /// When places are not as wide as the weights, or `out` is of another size.
    pub fn apply(&self, places: Places<'_>, out: &mut [f32], filled: Filled) {
        assert_eq!(out.len(), places.count * self.outputs, "results of the places");
        if places.count == 0 {
            return;
        }
        places.check(self.inputs);
        match &self.blocks {
            #[cfg(target_arch = "x86_64")]
            Blocks::Quads(lines) => {
                // SAFETY: quads are only made where the CPU has the features.
                unsafe { vnni::apply(self, lines, &places, out, filled) };
            }
            #[cfg(not(target_arch = "x86_64"))]
            Blocks::Quads(_) => unreachable!("quads are made for VNNI"),
            #[cfg(target_arch = "x86_64")]
            Blocks::Pairs(pairs) if Instructions::Avx2.is_available() => {
                // SAFETY: the CPU has the features.
                unsafe { avx2::apply(self, pairs, &places, out, filled) };
            }
            Blocks::Pairs(pairs) => apply_pairs(self, pairs, places, out, filled),
        }
        if let Some(rest) = &self.rest {
            rest.apply(places, out, Filled::Added);
        }
    }
}

/// Places that are multiplied at once where there is no VNNI.
const FEW: usize = 4;

compiled_for_each_cpu! {
    fn apply_pairs(
        weights: &ByteWeights,
        pairs: &[Pairs],
        places: Places<'_>,
        out: &mut [f32],
        filled: Filled,
    ) {
        for (block, pairs) in pairs.chunks_exact(weights.inputs / 2).enumerate() {
            for first in (0..places.count).step_by(FEW) {
                let count = FEW.min(places.count - first);
                let mut sums = [[0i32; LANES]; FEW];
                for part in 0..places.parts {
                    let pairs = &pairs[part * places.part / 2..][..places.part / 2];
                    for (i, sums) in sums.iter_mut().take(count).enumerate() {
                        let bytes = places.part(first + i, part).as_chunks::<2>().0;
                        for (bytes, pairs) in bytes.iter().zip(pairs) {
                            let [a, b] = bytes.map(i32::from);
                            for lane in 0..LANES {
                                let [v, w] = pairs[lane].map(i32::from);
                                sums[lane] = sums[lane].wrapping_add(a * v + b * w);
                            }
                        }
                    }
                }
                for (i, sums) in sums.iter().take(count).enumerate() {
                    let place = first + i;
                    let row = &mut out[place * weights.outputs..][..weights.outputs];
                    let row = &mut row[block * LANES..];
                    weights.settle::<FUSED>(sums, places.step(place), block * LANES, row, filled);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::Step;
    use super::super::rows::ByteRows;
    use super::super::weights::{Rounding, has_vnni};
    use super::*;

    /// Numbers from -1 to 1.
    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = 0x2545_F491_4F6C_DD1D_u64.wrapping_add(seed);
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn every_layout_has_the_same_numbers_and_they_are_near_the_products() {
        for (outputs, inputs, count) in
            [(1, 1, 1), (24, 7, 3), (48, 96, 8), (50, 33, 21), (96, 120, 40), (130, 768, 9)]
        {
            let weights = noise(outputs * inputs, 1);
            let biases = noise(outputs, 2);
            let values = noise(count * inputs, 3);
            let mut rows = ByteRows::default();
            rows.fill(&values, inputs);
            let mut expected = vec![0f32; count * outputs];
            for (row, out) in values.chunks(inputs).zip(expected.chunks_mut(outputs)) {
                for (at, out) in out.iter_mut().enumerate() {
                    let products = weights[at * inputs..][..inputs].iter().zip(row);
                    *out = products.map(|(w, x)| w * x).sum::<f32>() + biases[at];
                }
            }
            let mut results: Vec<Vec<f32>> = Vec::new();
            for quads in [false, true] {
                if quads && !has_vnni() {
                    continue;
                }
                let laid_out = ByteWeights::laid_out(&weights, &biases, quads);
                assert_eq!(
                    (laid_out.outputs(), laid_out.inputs()),
                    (outputs, inputs.next_multiple_of(4))
                );
                let mut out = vec![7f32; count * outputs];
                laid_out.apply(rows.places(), &mut out, Filled::Replaced);
                let bound = 0.012 * (inputs as f32).sqrt() + 0.01;
                for (got, expected) in out.iter().zip(&expected) {
                    assert!((got - expected).abs() < bound, "{inputs} {got} {expected}");
                }
                let mut added = vec![2f32; count * outputs];
                laid_out.apply(rows.places(), &mut added, Filled::Added);
                assert!(added.iter().zip(&out).all(|(added, out)| *added == 2.0 + out));
                results.push(out);
                if let Blocks::Pairs(pairs) = &laid_out.blocks {
                    let mut plain = vec![0f32; count * outputs];
                    apply_pairs(&laid_out, pairs, rows.places(), &mut plain, Filled::Replaced);
                    results.push(plain);
                }
            }
            assert!(results.iter().all(|result| *result == results[0]), "{outputs} {inputs}");
        }
    }

    #[test]
    fn balanced_weights_bear_a_large_input() {
        const INPUTS: usize = 64;
        let mut weights = noise(32 * INPUTS, 6);
        // One input counts a hundred times as much as the others, and is small.
        weights.iter_mut().step_by(INPUTS).for_each(|weight| *weight *= 100.0);
        let mut values = noise(10 * INPUTS, 7);
        values.iter_mut().step_by(INPUTS).for_each(|value| *value *= 0.01);
        let biases = vec![0f32; 32];
        let mut off = [0f32; 2];
        let makers = [ByteWeights::new, ByteWeights::balanced];
        for (off, make) in off.iter_mut().zip(makers) {
            let (made, mut rows, mut out) =
                (make(&weights, &biases), ByteRows::default(), [0.0; 320]);
            rows.fill_for(&made, &values);
            made.apply(rows.places(), &mut out, Filled::Replaced);
            for (row, out) in values.chunks(INPUTS).zip(out.chunks(32)) {
                for (weights, out) in weights.chunks(INPUTS).zip(out) {
                    let expected: f32 = weights.iter().zip(row).map(|(w, x)| w * x).sum();
                    *off += (out - expected).abs() / 320.0;
                }
            }
        }
        assert!(off[1] < 0.06 && off[0] > 5.0 * off[1], "{off:?}");
    }

    #[test]
    fn windows_are_convolutions() {
        // A picture of 9 by 7 places of 3 channels in 4 bytes, windows of 2 rows and 3 columns.
        const SIDES: (usize, usize) = (9, 7);
        let byte = |i: usize| if i % 4 == 3 { 255 } else { (i * 37 % 251) as u8 };
        let bytes: Vec<u8> = (0..SIDES.0 * SIDES.1 * 4).map(byte).collect();
        let weights = noise(5 * 3 * 2 * 3, 4);
        let biases = noise(5, 5);
        let step = Step { least: -1.0, size: 2.0 / 255.0 };
        for (quads, twice) in [(false, false), (true, false), (true, true)] {
            if quads && !twice && !has_vnni() {
                continue;
            }
            let shape = [3, 2, 3];
            let rounding = if twice { Rounding::Twice } else { Rounding::Once };
            let mut convolution = ByteWeights::convolution(&weights, shape, 4, &biases, rounding);
            if !quads {
                // The same weights in the order of the windows.
                let mut turned = vec![0f32; 5 * 2 * 3 * 4];
                for (i, weight) in weights.iter().enumerate() {
                    let (output, channel, place) = (i / 18, i / 6 % 3, i % 6);
                    turned[output * 24 + place * 4 + channel] = *weight;
                }
                convolution = ByteWeights::laid_out(&turned, &biases, false);
            }
            let (row, column) = (2, 1);
            let places = Places {
                bytes: &bytes[(row * SIDES.0 + column) * 4..],
                count: 3,
                stride: 2 * 4,
                part: 3 * 4,
                parts: 2,
                part_stride: SIDES.0 * 4,
                steps: &[step],
            };
            let mut out = [0f32; 3 * 5];
            convolution.apply(places, &mut out, Filled::Replaced);
            for place in 0..3 {
                for output in 0..5 {
                    let mut expected = biases[output];
                    for (i, weight) in weights[output * 18..][..18].iter().enumerate() {
                        let (channel, dy, dx) = (i / 6, i / 3 % 2, i % 3);
                        let x = column + 2 * place + dx;
                        let byte = bytes[((row + dy) * SIDES.0 + x) * 4 + channel];
                        expected += weight * (step.least + step.size * f32::from(byte));
                    }
                    let got = out[place * 5 + output];
                    let bound = if twice { 0.0002 } else { 0.03 };
                    assert!((got - expected).abs() < bound, "{twice} {got} {expected}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "places inside the bytes")]
    fn places_stay_inside_their_bytes() {
        let weights = ByteWeights::new(&[1.0; 8], &[0.0]);
        let places = Places {
            bytes: &[0; 15],
            count: 2,
            stride: 8,
            part: 8,
            parts: 1,
            part_stride: 0,
            steps: &[Step::between(0.0, 1.0)],
        };
        weights.apply(places, &mut [0.0; 2], Filled::Replaced);
    }
}
