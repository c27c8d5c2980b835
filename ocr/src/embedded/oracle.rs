//! The published networks as they are, in f32, run by rten: what ours is compared with.

use rten::{Model, ModelOptions};
use rten_tensor::{AsView, Layout, NdTensor};

use super::pixels::Picture;

pub(super) struct Oracle(Model);

impl Oracle {
    pub fn load(onnx: Vec<u8>) -> Self {
        Self(ModelOptions::with_all_ops().load(onnx).unwrap())
    }

    /// The shape of the result for a picture, and its numbers.
    pub fn run(&self, picture: &Picture) -> (Vec<usize>, Vec<f32>) {
        let (width, height) = (picture.width, picture.height);
        let mut values = vec![0f32; 3 * height * width];
        for (at, place) in picture.bytes.chunks_exact(Picture::CHANNELS).enumerate() {
            for plane in 0..3 {
                values[plane * height * width + at] = f32::from(place[plane]) / 127.5 - 1.0;
            }
        }
        let input = NdTensor::from_data([1, 3, height, width], values);
        let inputs = vec![(self.0.input_ids()[0], input.view().into())];
        let [output] = self.0.run_n(inputs, [self.0.output_ids()[0]], None).unwrap();
        let tensor = output.into_tensor::<f32>().unwrap();
        (tensor.shape().to_vec(), tensor.into_data())
    }
}
