//! `y = x W^T + b`, in the precision that the model was loaded with.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::{Device, Result as CandleResult, Tensor};
use safetensors::Dtype;

use crate::blocks::elementwise::{add_rows, copy_rows, gated_rows, scale_lanes};
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::matmul::{
    Arithmetic, Format, Matrix, Operand, ROWS, product, product_of_few, products,
};
use crate::blocks::quantize::{Quantized, quantize};
use crate::checkpoint::adapter::Factors;
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// Weights of up to so many numbers become whole numbers when they are loaded, two bytes each. Those
/// of a larger model stay where they lie, and become whole numbers whenever they are multiplied.
const KEPT_WHOLE: usize = 1 << 18;

/// A linear layer.
#[derive(Debug, Clone)]
pub struct Linear {
    arithmetic: Arithmetic,
    /// `[out, in]`.
    weight: Matrix,
    /// `[out]`, or none.
    bias: Vec<f32>,
    /// What an adapter that was not merged adds.
    change: Option<Change>,
}

/// `scale * B (A x)`, the change of a layer by an adapter.
#[derive(Debug, Clone)]
struct Change {
    /// `[rank, in]`.
    a: Matrix,
    /// `[out, rank]`.
    b: Matrix,
    scale: f32,
}

impl Change {
    fn take(weights: &mut Weights, name: &str) -> Result<Option<Self>, ModelError> {
        let Some(Factors { a, b, scale }) = weights.take_factors(name) else { return Ok(None) };
        let matrix = |stored: Stored| {
            let (rows, columns) = (stored.shape()[0], stored.shape()[1]);
            stored_matrix(stored, [rows, columns])
        };
        Ok(Some(Self { a: matrix(a)?, b: matrix(b)?, scale }))
    }

    /// What it adds for each group of `x`, `[groups, out, LANES]`.
    fn apply(&self, x: &Operand) -> Lanes {
        if let Some(positions) = x.few() {
            let count = positions.len();
            let rows = product_of_few([&self.a], x, |_, [rows]| {
                rows.as_flattened_mut().iter_mut().for_each(|number| *number *= self.scale);
            });
            let inner = Operand::of_rows(x.arithmetic, self.a.rows(), rows);
            let rows = product_of_few([&self.b], &inner, |_, _| {}).concat();
            return Lanes::from_rows(&[count], self.b.rows(), &rows);
        }
        let lengths = [x.groups * LANES];
        let mut inner = multiply(&self.a, x, &lengths);
        inner.each_group(|_, rows| scale_lanes(rows, &[self.scale; LANES]));
        multiply(&self.b, &Operand::round(x.arithmetic, &inner), &lengths)
    }
}

fn multiply(weight: &Matrix, x: &Operand, lengths: &[usize]) -> Lanes {
    let mut y = Lanes::zeros(lengths, weight.rows());
    let writer = y.writer();
    product([weight], x, |group, first, [products]| {
        // SAFETY: `product` gives each group and rows once.
        let y = unsafe { writer.rows(group, first, LANES) };
        copy_rows(y, products, &[]);
    });
    y
}

impl Linear {
    /// Takes `key.weight` and, with `bias`, `key.bias`. The weight stays where it lies unless
    /// `precision` has fewer bits than it.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        input: usize,
        output: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        Self::take_shaped(weights, precision, key, &[output, input], bias)
    }

    /// As [`take`](Self::take), for a weight whose `shape` has more axes, e.g. a convolution's.
    pub fn take_shaped(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        shape: &[usize],
        bias: bool,
    ) -> Result<Self, ModelError> {
        let output = shape[0];
        let weight = take_matrix(weights, precision, &format!("{key}.weight"), shape)?;
        let bias = if bias {
            weights.take(&format!("{key}.bias"), &[output])?.to_vec1()?
        } else {
            Vec::new()
        };
        let change = Change::take(weights, &format!("{key}.weight"))?;
        let arithmetic = weights.arithmetic(precision);
        let is_small = weight.rows() * weight.columns() <= KEPT_WHOLE;
        let weight = if arithmetic == Arithmetic::Int16 && weight.format() != Format::Q8 && is_small
        {
            quantize(&weight, Format::Int16)
        } else {
            weight
        };
        Ok(Self { arithmetic, weight, bias, change })
    }

    /// A layer of a `weight` that is no file's, and a bias, `[out]` or nothing.
    pub fn of(precision: Precision, weight: Matrix, bias: Vec<f32>) -> Self {
        Self { arithmetic: precision.arithmetic(false), weight, bias, change: None }
    }

    /// Some of its outputs.
    pub fn part(&self, rows: Range<usize>) -> Self {
        let bias = self.bias.get(rows.clone()).unwrap_or_default().to_vec();
        let change = self.change.as_ref().map(|change| Change {
            a: change.a.clone(),
            b: change.b.part(rows.clone()),
            scale: change.scale,
        });
        Self { arithmetic: self.arithmetic, weight: self.weight.part(rows), bias, change }
    }

    /// What it multiplies.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Its weight, `[out, in]`.
    pub fn weight(&self) -> &Matrix {
        &self.weight
    }

    /// Its bias, `[out]`, or nothing.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Applies the layer to `x`.
    pub fn apply(&self, x: &Operand, lengths: &[usize]) -> Lanes {
        let [y] = Self::apply_each([self], x, lengths);
        y
    }

    /// Applies each of several layers to the same `x`. Threads wait for each other once, not after
    /// each.
    pub fn apply_each<const N: usize>(
        layers: [&Self; N],
        x: &Operand,
        lengths: &[usize],
    ) -> [Lanes; N] {
        if x.few().is_some() {
            return layers.map(|layer| {
                let rows = layer.rows_of_few(x, |_| {}).concat();
                Lanes::from_rows(lengths, layer.weight.rows(), &rows)
            });
        }
        let changes = layers.map(|layer| layer.change_of(x));
        let mut all = layers.map(|layer| Lanes::to_be_written(lengths, layer.weight.rows()));
        let writers = all.each_mut().map(Lanes::writer);
        let weights = layers.map(|layer| [&layer.weight]);
        products(&weights, x, |which, group, first, [products]| {
            // SAFETY: `products` gives each group and rows of each weight once.
            let y = unsafe { writers[which].rows(group, first, LANES) };
            copy_rows(y, products, layers[which].bias_from(first));
            add_change(y, changes[which].as_ref(), group, first);
        });
        all
    }

    /// Applies the layer to the few positions of `x` and `activate` to some numbers of the result at a
    /// time; gives `[positions][out]`.
    fn rows_of_few(
        &self,
        x: &Operand,
        activate: impl Fn(&mut [[f32; ROWS]]) + Sync,
    ) -> Vec<Vec<f32>> {
        let change = self.change_of(x);
        product_of_few([&self.weight], x, |first, [rows]| {
            self.finish_few(rows, change.as_ref(), first);
            activate(rows);
        })
    }

    /// Adds the bias, and what an adapter adds, to outputs `first ..` of few positions.
    fn finish_few(&self, rows: &mut [[f32; ROWS]], change: Option<&Lanes>, first: usize) {
        for (position, row) in rows.iter_mut().enumerate() {
            row.iter_mut().zip(self.bias_from(first)).for_each(|(number, bias)| *number += bias);
            if let Some(change) = change {
                let change = &change.group(0)[first..];
                row.iter_mut().zip(change).for_each(|(number, of)| *number += of[position]);
            }
        }
    }

    /// What an adapter beside the weight adds for `x`.
    fn change_of(&self, x: &Operand) -> Option<Lanes> {
        self.change.as_ref().map(|change| change.apply(x))
    }

    /// Applies the layer to the first `count` positions of `x`, which are in its first group, or all of
    /// its few; gives a row of `[out]` for each. It is for layers with very many outputs, such as the
    /// one over a vocabulary, whose results for all lanes of a group would be as large as the weight.
    ///
    /// # Panics
    /// When `count` is more than a group has, or not that of the few.
    pub fn apply_to_first(&self, x: &Operand, count: usize) -> Vec<Vec<f32>> {
        if let Some(positions) = x.few() {
            assert_eq!(positions.len(), count, "the few positions");
            return self.rows_of_few(x, |_| {});
        }
        assert!(count <= LANES && x.groups == 1, "positions of one group");
        let change = self.change_of(x);
        let zeros = || (0..self.weight.rows()).map(|_| AtomicU32::new(0)).collect();
        let rows: Vec<Vec<AtomicU32>> = (0..count).map(|_| zeros()).collect();
        product([&self.weight], x, |_, first, [products]| {
            for (at, products) in products.iter().enumerate().take(self.weight.rows() - first) {
                let bias = self.bias.get(first + at).copied().unwrap_or(0.0);
                let change = change.as_ref().map(|change| &change.group(0)[first + at]);
                for (lane, (row, product)) in rows.iter().zip(products).enumerate() {
                    let value = product + bias + change.map_or(0.0, |change| change[lane]);
                    row[first + at].store(value.to_bits(), Ordering::Relaxed);
                }
            }
        });
        let floats = |row: Vec<AtomicU32>| {
            row.into_iter().map(|bits| f32::from_bits(bits.into_inner())).collect()
        };
        rows.into_iter().map(floats).collect()
    }

    /// Adds the result for `x` to `y`.
    pub fn add_to(&self, x: &Operand, y: &mut Lanes) {
        if x.few().is_some() {
            let rows = self.rows_of_few(x, |_| {});
            y.each_group(|_, lanes| {
                for (row, lanes) in lanes.iter_mut().enumerate() {
                    lanes.iter_mut().zip(&rows).for_each(|(lane, of)| *lane += of[row]);
                }
            });
            return;
        }
        let change = self.change_of(x);
        let writer = y.writer();
        product([&self.weight], x, |group, first, [products]| {
            // SAFETY: `product` gives each group and rows once.
            let y = unsafe { writer.rows(group, first, LANES) };
            add_rows(y, products, self.bias_from(first));
            add_change(y, change.as_ref(), group, first);
        });
    }

    /// Applies the layer to `x`, then `activate` to rows of the result, each number on its own, and
    /// rounds that for the next layer.
    pub fn apply_activated(
        &self,
        x: &Operand,
        activate: impl Fn(&mut [[f32; LANES]]) + Sync,
    ) -> Operand {
        if x.few().is_some() {
            let rows = self.rows_of_few(x, |rows| activate(rows));
            return Operand::of_rows(x.arithmetic, self.weight.rows(), rows);
        }
        let change = self.change_of(x);
        let mut y = x.like(self.weight.rows());
        let filler = y.filler();
        product([&self.weight], x, |group, first, [products]| {
            let rows = LANES.min(self.weight.rows() - first);
            let mut values = [[0.0; LANES]; LANES];
            copy_rows(&mut values[..rows], products, self.bias_from(first));
            add_change(&mut values[..rows], change.as_ref(), group, first);
            activate(&mut values[..rows]);
            // SAFETY: `product` gives each group and rows once, and 32 rows are whole tiles.
            unsafe { filler.fill(group, first, &values[..rows]) };
        });
        y
    }

    /// `gelu(gate(x)) * up(x)`, rounded for the next layer.
    pub fn apply_gated(gate: &Self, up: &Self, x: &Operand) -> Operand {
        Self::apply_gated_with(gate, up, x, gated_rows)
    }

    /// What `join` makes of rows of `gate(x)`, given those of `up(x)`, number by number, rounded for the
    /// next layer.
    pub fn apply_gated_with(
        gate: &Self,
        up: &Self,
        x: &Operand,
        join: impl Fn(&mut [[f32; LANES]], &[[f32; LANES]]) + Sync,
    ) -> Operand {
        let (gate_change, up_change) = (gate.change_of(x), up.change_of(x));
        if x.few().is_some() {
            let weights = [&gate.weight, &up.weight];
            let rows = product_of_few(weights, x, |first, [gates, ups]| {
                gate.finish_few(gates, gate_change.as_ref(), first);
                up.finish_few(ups, up_change.as_ref(), first);
                join(gates, ups);
            });
            return Operand::of_rows(x.arithmetic, gate.weight.rows(), rows);
        }
        let mut y = x.like(gate.weight.rows());
        let filler = y.filler();
        product([&gate.weight, &up.weight], x, |group, first, [gates, ups]| {
            let rows = LANES.min(gate.weight.rows() - first);
            let (mut values, mut others) = ([[0.0; LANES]; LANES], [[0.0; LANES]; LANES]);
            copy_rows(&mut values[..rows], gates, gate.bias_from(first));
            copy_rows(&mut others[..rows], ups, up.bias_from(first));
            add_change(&mut values[..rows], gate_change.as_ref(), group, first);
            add_change(&mut others[..rows], up_change.as_ref(), group, first);
            join(&mut values[..rows], &others[..rows]);
            // SAFETY: as in `apply_activated`.
            unsafe { filler.fill(group, first, &values[..rows]) };
        });
        y
    }

    /// Applies the layer to `[n, in]`; gives `[n, out]`, f32.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let x = lanes(x)?;
        tensor(&self.apply(&self.operand(&x), x.lengths()))
    }

    /// `x`, rounded to the type that this layer multiplies.
    pub fn operand(&self, x: &Lanes) -> Operand {
        Operand::round(self.arithmetic, x)
    }

    fn bias_from(&self, row: usize) -> &[f32] {
        self.bias.get(row..).unwrap_or_default()
    }
}

/// Adds the rows `first ..` of a group of `change`, where there is one, to `rows`.
fn add_change(rows: &mut [[f32; LANES]], change: Option<&Lanes>, group: usize, first: usize) {
    if let Some(change) = change {
        add_rows(rows, &change.group(group)[first..], &[]);
    }
}

/// The rows of a tensor, `[n, width]` f32, as one sequence.
pub fn lanes(x: &Tensor) -> CandleResult<Lanes> {
    let (n, width) = x.dims2()?;
    Ok(Lanes::from_rows(&[n], width, &x.flatten_all()?.to_vec1::<f32>()?))
}

/// All positions of all sequences as rows of a tensor, `[n, width]` f32.
pub fn tensor(x: &Lanes) -> CandleResult<Tensor> {
    let n: usize = x.lengths().iter().sum();
    Tensor::from_vec(x.to_rows(), (n, x.width()), &Device::Cpu)
}

/// Each row of a tensor, `[n, dim]` f32, divided by its length, or by `least` where it is shorter;
/// 0 is no limit.
pub fn unit_rows(x: &Tensor, least: f32) -> CandleResult<Tensor> {
    let (n, dim) = x.dims2()?;
    let mut rows = x.flatten_all()?.to_vec1::<f32>()?;
    for row in rows.chunks_mut(dim.max(1)) {
        let squares: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let length = squares.sqrt() as f32;
        let length = if length < least { least } else { length };
        row.iter_mut().for_each(|value| *value /= length);
    }
    Tensor::from_vec(rows, (n, dim), &Device::Cpu)
}

/// The weight `key` in `precision`: where it lies in the file when it has that precision already,
/// else converted.
pub fn take_matrix(
    weights: &mut Weights,
    precision: Precision,
    key: &str,
    shape: &[usize],
) -> Result<Matrix, ModelError> {
    let columns = shape[1..].iter().product();
    let flat = [shape[0], columns];
    if let Some(matrix) = Quantized::take(weights, key, flat)? {
        return Ok(matrix);
    }
    let matrix = stored_matrix(weights.take_stored(key, shape)?, flat)?;
    Ok(match precision.weight_format(key) {
        Some(to) if to != matrix.format() => quantize(&matrix, to),
        _ => matrix,
    })
}

/// A weight where it lies in its file.
pub fn stored_matrix(stored: Stored, shape: [usize; 2]) -> Result<Matrix, ModelError> {
    let format = match stored.dtype() {
        Dtype::F32 => Format::F32,
        Dtype::BF16 => Format::Bf16,
        Dtype::F16 => Format::F16,
        got => {
            let (key, got) = (stored.key().into(), got.to_string());
            return Err(ModelError::Dtype { key, got });
        }
    };
    Ok(Matrix::stored(format, shape, stored, Vec::new()))
}
