//! The product for a few positions, as when a text is written token by token: weights are used so few
//! times that reading them from memory is all that it costs.
//!
//! [`product`](super::product()) fills panels for 32 positions, and multiplies all of them. Here the
//! stored numbers of four rows at a time are multiplied with one position after the other, while they
//! are in a cache, and what follows in memory is fetched meanwhile. Sums are f32, in 16 parts that are
//! added in the end: another order than that of panels, and the same for any number of positions.
//!
//! Weights stay what they are where the CPU multiplies such: bf16 as pairs of it, those of 8 and 4 bits
//! as whole numbers ([`whole`]). Otherwise they become f32 ([`widened`]).

mod pairs;
mod side;
mod whole;
mod widened;

use rayon::prelude::*;

use super::matrix::{Format, Matrix};
use super::operand::Operand;
use super::tile::{Arithmetic, ROWS};
use pairs::Pairs;
use side::{PARTS, SIDE, Side, Sums};
use whole::Whole;
use widened::Halves;

/// Bytes of the rows that a thread takes at once, at least. It waits no longer than reading so many
/// takes for the others.
const TASK: usize = 64 << 10;

/// A position in the order in which a format has its numbers.
enum Position {
    /// For weights that become f32.
    Numbers(Vec<Halves>),
    /// For weights of bf16 that stay such.
    Pairs(Pairs),
    /// For weights of whole numbers that stay such.
    Whole(Whole),
}

impl Position {
    fn of(format: Format, arithmetic: Arithmetic, values: &[f32]) -> Self {
        // In f32 a position is not rounded, which the others do.
        if format == Format::Bf16 && arithmetic == Arithmetic::Bf16 && Pairs::are_multiplied() {
            Self::Pairs(Pairs::of(values))
        } else if Whole::multiplies(format) {
            Self::Whole(Whole::of(format, values))
        } else {
            Self::Numbers(widened::chunks(format, values))
        }
    }

    /// The products with rows in `format`.
    fn multiply(&self, format: Format, side: &Side<'_>) -> Sums {
        let mut sums = [[0.0; PARTS]; SIDE];
        match self {
            Self::Numbers(x) => widened::add_all(format, side, x, &mut sums),
            Self::Pairs(x) => x.add(side, &mut sums),
            Self::Whole(x) => x.add(format, side, &mut sums),
        }
        sums
    }
}

/// Multiplies `P` weights of the same shape with `x`, which has few positions
/// ([`Operand::of_few`]). `join` gets [`ROWS`] rows at a time from all threads: the number of the
/// first, and a mutable array for each position of each weight, whose numbers past the last row are 0.
/// What it leaves in those of the first weight is given back, `[positions][rows]`.
///
/// # Panics
/// When `x` is no operand of few positions.
pub fn product_of_few<const P: usize>(
    weights: [&Matrix; P],
    x: &Operand,
    join: impl Fn(usize, [&mut [[f32; ROWS]]; P]) + Sync,
) -> Vec<Vec<f32>> {
    let positions = x.few().expect("few positions");
    let of = |format, values: &Vec<f32>| Position::of(format, x.arithmetic, values);
    let xs: [Vec<Position>; P] =
        weights.map(|weight| positions.iter().map(|x| of(weight.format(), x)).collect());
    let rows = weights[0].rows();
    for weight in weights {
        assert_eq!((weight.rows(), weight.columns()), (rows, x.width), "shape of the weight");
    }
    let count = positions.len();
    let mut all = vec![[0.0; ROWS]; rows.div_ceil(ROWS) * count];
    let of_tile = P * ROWS * weights[0].format().row_bytes(x.width);
    let tiles = all.par_chunks_mut(count.max(1)).enumerate();
    tiles.with_max_len((TASK / of_tile.max(1)).max(1)).for_each(|(tile, first)| {
        let mut others: [Vec<[f32; ROWS]>; P] =
            std::array::from_fn(|p| if p > 0 { vec![[0.0; ROWS]; count] } else { Vec::new() });
        let mut places = others.each_mut().map(Vec::as_mut_slice);
        if let Some(place) = places.first_mut() {
            *place = first;
        }
        for ((weight, xs), products) in weights.iter().zip(&xs).zip(&mut places) {
            multiply_tile(weight, tile * ROWS, xs, products);
        }
        join(tile * ROWS, places);
    });
    let of_position = |position: usize| {
        let mut numbers = Vec::with_capacity(all.len() / count * ROWS);
        all.iter().skip(position).step_by(count).for_each(|rows| numbers.extend(rows));
        numbers.truncate(rows);
        numbers
    };
    (0..count).map(of_position).collect()
}

/// The products of [`ROWS`] rows from `first` on with all positions.
fn multiply_tile(weight: &Matrix, first: usize, xs: &[Position], products: &mut [[f32; ROWS]]) {
    let rows = weight.rows().min(first + ROWS) - first;
    for from in (0..rows).step_by(SIDE) {
        let side = Side::of(weight, first + from);
        for (x, products) in xs.iter().zip(products.iter_mut()) {
            let sums = x.multiply(weight.format(), &side);
            for (row, sums) in sums.iter().enumerate().take(rows - from) {
                // With 8 bits a row has one scale.
                let scale = if weight.format() == Format::Q8 { side.scales[row][0] } else { 1.0 };
                products[from + row] = total(sums) * scale;
            }
        }
    }
}

/// The sum of all parts, half by half.
fn total(parts: &[f32; PARTS]) -> f32 {
    let mut parts = *parts;
    let mut left = PARTS;
    while left > 1 {
        left /= 2;
        for part in 0..left {
            parts[part] += parts[part + left];
        }
    }
    parts[0]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, FORMATS, Noise, in_format};
    use super::super::tile::MOST_OF_FEW;
    use super::*;
    use crate::blocks::lanes::Lanes;

    fn products(weight: &Matrix, operand: Operand, positions: usize) -> Vec<Vec<f32>> {
        product_of_few([weight], &operand.of_few(positions), |first, [products]| {
            assert_eq!(products.len(), positions);
            let past = (weight.rows() - first).min(ROWS);
            assert!(products.iter().all(|rows| rows[past..].iter().all(|&number| number == 0.0)));
        })
    }

    /// With the numbers as they are stored and rounded, in f64, one after the other.
    #[test]
    fn each_format_is_multiplied_as_by_the_slow_obvious_product() {
        let mut noise = Noise::new(7);
        // Widths that are no whole chunks, tiles or blocks, and rows that are no whole sides.
        for (rows, width) in [(1, 5), (3, 32), (37, 257), (64, 2 * 2048 + 48)] {
            let values = noise.values(rows * width, 0.5);
            let x = noise.values(3 * width, 2.0);
            let lanes = Lanes::from_rows(&[3], width, &x);
            for (format, arithmetic) in FORMATS.into_iter().flat_map(|f| ALL.map(|a| (f, a))) {
                let weight = in_format(format, [rows, width], &values);
                let operand = Operand::round(arithmetic, &lanes);
                for (position, products) in products(&weight, operand.clone(), 3).iter().enumerate()
                {
                    let x = operand.values(position);
                    // What a position may lose where it becomes whole numbers.
                    let loss = |x: &[f32]| x.iter().fold(0.0, |a: f32, b| a.max(b.abs())) / 65534.0;
                    let losses: Vec<f32> =
                        x.chunks(256).flat_map(|x| vec![loss(x); x.len()]).collect();
                    for (row, product) in products.iter().enumerate() {
                        let each = weight.values(row).into_iter().zip(&x);
                        let each = each.map(|(w, x)| f64::from(w) * f64::from(*x));
                        let size: f64 = each.clone().map(f64::abs).sum();
                        let lost = weight.values(row).into_iter().zip(&losses);
                        let lost =
                            lost.map(|(w, x)| f64::from(w.abs()) * f64::from(*x)).sum::<f64>();
                        let lost = if Whole::multiplies(format) { lost } else { 0.0 };
                        let expected: f64 = each.sum();
                        assert!(
                            (f64::from(*product) - expected).abs() <= 2e-6 * size + lost + 1e-30,
                            "{format:?} {arithmetic:?} {rows} x {width}: {product} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_position_has_the_same_products_alone_and_beside_others() {
        let mut noise = Noise::new(8);
        let (rows, width) = (70, 300);
        let values = noise.values(rows * width, 0.5);
        let x = noise.values(MOST_OF_FEW * width, 2.0);
        for format in FORMATS {
            let weight = in_format(format, [rows, width], &values);
            let of = |x: &[f32]| {
                let count = x.len() / width;
                let lanes = Lanes::from_rows(&[count], width, x);
                products(&weight, Operand::round(Arithmetic::Bf16, &lanes), count)
            };
            let together = of(&x);
            for (x, products) in x.chunks(width).zip(&together) {
                assert_eq!(&of(x)[0], products, "{format:?}");
            }
        }
    }

    #[test]
    fn several_weights_are_joined_row_by_row_and_position_by_position() {
        let mut noise = Noise::new(10);
        let (rows, width, count) = (75, 96, 3);
        let weights = [(); 2]
            .map(|()| in_format(Format::F32, [rows, width], &noise.values(rows * width, 1.0)));
        let lanes = Lanes::from_rows(&[count], width, &noise.values(count * width, 1.0));
        let operand = || Operand::round(Arithmetic::F32, &lanes);
        let [first, second] = weights.each_ref().map(|weight| products(weight, operand(), count));
        let x = operand().of_few(count);
        let joined = product_of_few(weights.each_ref(), &x, |from, [first, second]| {
            for (first, second) in first.iter_mut().zip(second) {
                for (row, (first, second)) in first.iter_mut().zip(second).enumerate() {
                    *first += *second * (from + row) as f32;
                }
            }
        });
        for (position, joined) in joined.iter().enumerate() {
            assert_eq!(joined.len(), rows);
            for (row, joined) in joined.iter().enumerate() {
                assert_eq!(*joined, first[position][row] + second[position][row] * row as f32);
            }
        }
    }

    #[test]
    fn what_is_no_number_makes_products_none_in_every_format() {
        for format in FORMATS {
            let weight = in_format(format, [4, 300], &[0.5; 1200]);
            let mut x = [1.0; 300];
            x[270] = f32::NAN;
            let lanes = Lanes::from_rows(&[1], 300, &x);
            let products = products(&weight, Operand::round(Arithmetic::F32, &lanes), 1);
            assert!(products[0].iter().all(|product| product.is_nan()), "{format:?}");
        }
    }

    /// Numbers are unpacked as they were rounded, also behind the first block of tiles.
    #[test]
    fn an_operand_says_its_numbers() {
        let mut noise = Noise::new(9);
        let width = 64 * 32 * 2 + 7;
        let x = noise.values(2 * width, 3.0);
        let lanes = Lanes::from_rows(&[2], width, &x);
        for (arithmetic, error) in
            [(Arithmetic::F32, 0.0), (Arithmetic::Bf16, 3.0 / 256.0), (Arithmetic::Int16, 1e-3)]
        {
            let operand = Operand::round(arithmetic, &lanes);
            for (position, x) in x.chunks(width).enumerate() {
                let values = operand.values(position);
                assert_eq!(values.len(), width);
                assert!(
                    values.iter().zip(x).all(|(a, b)| (a - b).abs() <= error),
                    "{arithmetic:?}"
                );
            }
        }
    }
}
