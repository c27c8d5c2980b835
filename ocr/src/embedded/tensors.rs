//! The numbers of a network in the ONNX format, in the order in which it uses them.

use std::collections::HashMap;

use rten_onnx::onnx::{DataType, ModelProto, TensorProto};

use crate::error::OcrError;

/// Weights that are taken one after the other by whoever knows how the network is built. A network
/// that is built otherwise is noticed, since the next weights have another shape.
pub(super) struct Tensors {
    network: &'static str,
    /// The last comes first.
    waiting: Vec<(Vec<usize>, Vec<f32>)>,
    metadata: HashMap<String, String>,
}

/// Numbers that belong together: those of a product, and what is added to it.
pub(super) struct Layer {
    pub weights: Vec<f32>,
    pub biases: Vec<f32>,
}

impl Tensors {
    /// Reads a file.
    pub fn read(network: &'static str, onnx: &[u8]) -> Result<Self, OcrError> {
        let model = ModelProto::parse_buf(onnx).map_err(|error| failed(network, &error))?;
        let graph = model.graph.ok_or_else(|| failed(network, &"it has no graph"))?;
        let mut stored: HashMap<&str, &TensorProto> = graph
            .initializer
            .iter()
            .filter_map(|tensor| Some((tensor.name.as_deref()?, tensor)))
            .collect();
        let mut waiting = Vec::new();
        // What says how a picture is resized is no weight.
        let nodes = graph.node.iter().filter(|node| node.op_type.as_deref() != Some("Resize"));
        for input in nodes.flat_map(|node| &node.input) {
            // Each counts where it is first used.
            let Some(tensor) = stored.remove(input.as_str()) else { continue };
            let shape: Vec<usize> = tensor.dims.iter().map(|&side| side.max(0) as usize).collect();
            let is_constant = shape.len() < 2 && shape.iter().product::<usize>() <= 1;
            if is_constant || tensor.data_type != Some(DataType::FLOAT) {
                continue;
            }
            let numbers = match &tensor.raw_data {
                Some(bytes) => {
                    bytes.borrow().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
                }
                None => tensor.float_data.clone(),
            };
            if numbers.len() != shape.iter().product::<usize>() {
                let reason = format!("{input} has {} numbers for {shape:?}", numbers.len());
                return Err(failed(network, &reason));
            }
            waiting.push((shape, numbers));
        }
        waiting.reverse();
        let entries = model.metadata_props.into_iter();
        let metadata = entries.filter_map(|entry| Some((entry.key?, entry.value?))).collect();
        Ok(Self { network, waiting, metadata })
    }

    /// What the file says of itself under `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The shape of the next weights; empty at the end.
    pub fn next_shape(&self) -> &[usize] {
        self.waiting.last().map_or(&[], |(shape, _)| shape)
    }

    /// The next numbers, which have this shape.
    pub fn take(&mut self, shape: &[usize]) -> Result<Vec<f32>, OcrError> {
        match self.waiting.pop() {
            Some((got, numbers)) if got == shape => Ok(numbers),
            other => {
                let got = other.map(|(got, _)| got);
                Err(failed(self.network, &format!("weights of {shape:?} expected, got {got:?}")))
            }
        }
    }

    /// A convolution, `[out, in, rows, columns]`, and its biases.
    pub fn convolution(&mut self, shape: [usize; 4]) -> Result<Layer, OcrError> {
        let weights = self.take(&shape)?;
        let biases = self.take(&[1, shape[0], 1, 1])?;
        Ok(Layer { weights, biases })
    }

    /// A convolution whose results are brought to a common mean and deviation afterwards, which is
    /// made part of it.
    pub fn normalised(&mut self, shape: [usize; 4]) -> Result<Layer, OcrError> {
        /// What the network adds to variances.
        const EPSILON: f32 = 1e-5;
        let mut weights = self.take(&shape)?;
        let channels = [shape[0]];
        let (factor, shift) = (self.take(&channels)?, self.take(&channels)?);
        let (mean, variance) = (self.take(&channels)?, self.take(&channels)?);
        let window = weights.len() / shape[0].max(1);
        let mut biases = Vec::with_capacity(shape[0]);
        for (channel, weights) in weights.chunks_exact_mut(window.max(1)).enumerate() {
            let scale = factor[channel] / (variance[channel] + EPSILON).sqrt();
            weights.iter_mut().for_each(|weight| *weight *= scale);
            biases.push(shift[channel] - mean[channel] * scale);
        }
        Ok(Layer { weights, biases })
    }

    /// A product with a matrix, which is stored `[in, out]` and given `[out, in]`, and its biases.
    pub fn linear(&mut self, [input, output]: [usize; 2]) -> Result<Layer, OcrError> {
        let stored = self.take(&[input, output])?;
        let biases = self.take(&[output])?;
        let mut weights = vec![0f32; stored.len()];
        for (from, row) in stored.chunks_exact(output).enumerate() {
            for (to, weight) in row.iter().enumerate() {
                weights[to * input + from] = *weight;
            }
        }
        Ok(Layer { weights, biases })
    }

    /// Says when the file has more weights than the network uses.
    pub fn end(self) -> Result<(), OcrError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        Err(failed(self.network, &format!("{} weights are left over", self.waiting.len())))
    }
}

/// An error of this network.
pub(super) fn failed(network: &'static str, reason: &dyn std::fmt::Display) -> OcrError {
    OcrError::Network { network, reason: reason.to_string() }
}
