//! Numbers by place, and pictures in bytes.

/// `[rows, columns, channels]` with a border of zeros around it.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
    /// Places on each side.
    border: usize,
    values: Vec<f32>,
}

impl Field {
    /// Zeros, with a border of so many places.
    pub fn new([rows, columns, channels]: [usize; 3], border: usize) -> Self {
        let values = vec![0.0; (rows + 2 * border) * (columns + 2 * border) * channels];
        Self { rows, columns, channels, border, values }
    }

    /// Makes it of this size, with a border of one place. What was in it is lost, and what is inside
    /// is anything.
    pub fn reset(&mut self, rows: usize, columns: usize, channels: usize) {
        let before = (self.columns, self.channels, self.border);
        let is_other = before != (columns, channels, 1) || self.rows < rows;
        (self.rows, self.columns, self.channels, self.border) = (rows, columns, channels, 1);
        let width = self.width();
        let length = (rows + 2) * width;
        // It only grows: what is there need not become 0 again.
        if self.values.len() < length {
            self.values.resize(length, 0.0);
        }
        if is_other {
            for row in 1..=rows {
                self.values[row * width..][..channels].fill(0.0);
                self.values[(row + 1) * width - channels..][..channels].fill(0.0);
            }
        }
        self.values[..width].fill(0.0);
        self.values[(rows + 1) * width..length].fill(0.0);
    }

    /// Numbers of a row with its border.
    fn width(&self) -> usize {
        (self.columns + 2 * self.border) * self.channels
    }

    /// Where a row begins.
    fn start(&self, row: usize) -> usize {
        (row + self.border) * self.width() + self.border * self.channels
    }

    /// A row with its border; the first is at the top of the border above.
    pub fn with_border(&self, row: usize) -> &[f32] {
        &self.values[row * self.width()..][..self.width()]
    }

    /// A row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[self.start(row)..][..self.columns * self.channels]
    }

    /// A row, to be written.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (start, length) = (self.start(row), self.columns * self.channels);
        &mut self.values[start..start + length]
    }

    /// Multiplies each channel with its share.
    pub fn scale(&mut self, shares: &[f32]) {
        for row in 0..self.rows {
            for place in self.row_mut(row).chunks_exact_mut(shares.len()) {
                place.iter_mut().zip(shares).for_each(|(value, share)| *value *= share);
            }
        }
    }
}

/// A picture of bytes, `[rows, columns, channels]`, with a border of its own width on each side.
#[derive(Debug, Default)]
pub(super) struct ByteField {
    rows: usize,
    pub columns: usize,
    pub channels: usize,
    /// Places before a row and above the first.
    before: usize,
    /// Places of a row with its border.
    width: usize,
    bytes: Vec<u8>,
}

impl ByteField {
    /// Makes it of this size, with a border of `before` places above and to the left, and of `after`
    /// below and to the right, full of `border`. What is inside is anything.
    pub fn reset(
        &mut self,
        [rows, columns, channels]: [usize; 3],
        [before, after]: [usize; 2],
        border: u8,
    ) {
        (self.rows, self.columns, self.channels) = (rows, columns, channels);
        self.before = before;
        self.width = columns + before + after;
        let stride = self.stride();
        let length = (rows + before + after) * stride;
        // It only grows: what is there need not become the border again.
        if self.bytes.len() < length {
            self.bytes.resize(length, border);
        }
        self.bytes[..before * stride].fill(border);
        self.bytes[(rows + before) * stride..length].fill(border);
        for row in self.bytes[before * stride..].chunks_exact_mut(stride).take(rows) {
            row[..before * channels].fill(border);
            row[(before + columns) * channels..].fill(border);
        }
    }

    /// Makes the border stand for nothing in what is left of rounding.
    pub fn border_of_rest(&mut self) {
        let shape = [self.rows, self.columns, self.channels];
        let after = self.width - self.columns - self.before;
        self.reset(shape, [self.before, after], 128);
    }

    /// Bytes of a row with its border.
    pub fn stride(&self) -> usize {
        self.width * self.channels
    }

    /// The bytes from the window on that begins in `row` and the first column, both counted with
    /// the border.
    pub fn from_row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.stride()..]
    }

    /// A row, to be written.
    pub fn row_mut(&mut self, row: usize) -> &mut [u8] {
        let start = ((row + self.before) * self.width + self.before) * self.channels;
        let length = self.columns * self.channels;
        &mut self.bytes[start..start + length]
    }
}
