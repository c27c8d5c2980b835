//! The ONNX format as far as networks are changed before they are loaded: messages of the protocol
//! buffers encoding, field after field.

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
    /// A number of four or eight bytes, which nothing here looks into.
    Fixed(u32, &'a [u8]),
}

/// The fields of `message`; `None` when it is no message.
pub(super) fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let (mut rest, mut fields) = (message, Vec::new());
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let number = u32::try_from(key >> 3).ok()?;
        fields.push(match key & 7 {
            0 => Field::Number(number, varint(&mut rest)?),
            1 => Field::Fixed(number, take(&mut rest, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Field::Bytes(number, take(&mut rest, length)?)
            }
            5 => Field::Fixed(number, take(&mut rest, 4)?),
            _ => return None,
        });
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A message that is being written.
#[derive(Debug, Default, Clone)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    pub fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// A field as it was read.
    pub fn field(mut self, field: &Field<'_>) -> Self {
        match *field {
            Field::Number(number, value) => self.number(number, value),
            Field::Bytes(number, bytes) => self.bytes(number, bytes),
            Field::Fixed(number, bytes) => {
                let wire = if bytes.len() == 8 { 1 } else { 5 };
                self.varint(u64::from(number) << 3 | wire);
                self.0.extend_from_slice(bytes);
                self
            }
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// An operator of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Node<'a> {
    pub operator: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    /// Messages.
    pub attributes: Vec<&'a [u8]>,
}

impl<'a> Node<'a> {
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut node = Self::default();
        for field in fields(message)? {
            let Field::Bytes(number, bytes) = field else { continue };
            match number {
                1 => node.inputs.push(str::from_utf8(bytes).ok()?),
                2 => node.outputs.push(str::from_utf8(bytes).ok()?),
                4 => node.operator = str::from_utf8(bytes).ok()?,
                5 => node.attributes.push(bytes),
                _ => {}
            }
        }
        Some(node)
    }

    /// The whole number of the attribute `name`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.attributes.iter().find_map(|attribute| {
            let fields = fields(attribute)?;
            let is_named = fields.contains(&Field::Bytes(1, name.as_bytes()));
            fields.iter().filter(|_| is_named).find_map(|field| match field {
                Field::Number(3, value) => Some(*value),
                _ => None,
            })
        })
    }
}

/// A node to be written.
pub(super) fn node(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[&[u8]],
) -> Message {
    let message = inputs.iter().fold(Message::default(), |message, name| message.text(1, name));
    let message = outputs.iter().fold(message, |message, name| message.text(2, name));
    // rten wants nodes to have names.
    let message = message.text(3, outputs[0]).text(4, operator);
    attributes.iter().fold(message, |message, attribute| message.bytes(5, attribute))
}

/// Numbers that belong to a network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weights<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Types of tensors.
pub(super) const F32: u64 = 1;
pub(super) const I8: u64 = 3;

impl<'a> Weights<'a> {
    /// Reads a tensor; `None` when its numbers are not f32.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut tensor = Self { name: "", shape: Vec::new(), values: Vec::new() };
        let mut is_f32 = false;
        for field in fields(message)? {
            match field {
                Field::Number(1, side) => tensor.shape.push(usize::try_from(side).ok()?),
                Field::Bytes(1, mut sides) => {
                    while !sides.is_empty() {
                        tensor.shape.push(usize::try_from(varint(&mut sides)?).ok()?);
                    }
                }
                Field::Number(2, kind) => is_f32 = kind == F32,
                Field::Bytes(8, name) => tensor.name = str::from_utf8(name).ok()?,
                Field::Bytes(4 | 9, bytes) => {
                    let (numbers, rest) = bytes.as_chunks::<4>();
                    if !rest.is_empty() {
                        return None;
                    }
                    tensor.values.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                }
                _ => {}
            }
        }
        let count = tensor.shape.iter().product::<usize>();
        (is_f32 && count == tensor.values.len()).then_some(tensor)
    }
}

/// A tensor to be written.
pub(super) fn tensor(name: &str, kind: u64, shape: &[usize], bytes: &[u8]) -> Message {
    let message =
        shape.iter().fold(Message::default(), |message, side| message.number(1, *side as u64));
    message.number(2, kind).text(8, name).bytes(9, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::default().number(3, 300).text(8, "name").bytes(9, &[1, 2]);
        let bytes = message.clone().into_bytes();
        let read = fields(&bytes).unwrap();
        assert_eq!(
            read,
            [Field::Number(3, 300), Field::Bytes(8, b"name"), Field::Bytes(9, &[1, 2])]
        );
        let again = read.iter().fold(Message::default(), Message::field);
        assert_eq!(again.into_bytes(), bytes);
        // Whatever is cut off is no message, or a shorter one.
        for end in 0..bytes.len() {
            let _ = fields(&bytes[..end]);
        }
        assert_eq!(fields(&[0x0A, 0x05, 1]), None);
        assert_eq!(fields(&[0xFF; 12]), None);
    }

    #[test]
    fn nodes_and_weights_are_read_as_they_are_written() {
        let group = Message::default().text(1, "group").number(3, 1).into_bytes();
        let written = node("Conv", &["x", "w"], &["y"], &[&group]).into_bytes();
        let read = Node::read(&written).unwrap();
        assert_eq!(
            (read.operator, &read.inputs[..], &read.outputs[..]),
            ("Conv", &["x", "w"][..], &["y"][..])
        );
        assert_eq!((read.number("group"), read.number("other")), (Some(1), None));
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let written = tensor("w", F32, &[2, 1], &bytes).into_bytes();
        let read = Weights::read(&written).unwrap();
        assert_eq!((read.name, read.shape, read.values), ("w", vec![2, 1], vec![1.5, -2.0]));
        assert_eq!(Weights::read(&tensor("w", F32, &[3], &bytes).into_bytes()), None);
        assert_eq!(Weights::read(&tensor("w", I8, &[8], &bytes).into_bytes()), None);
    }
}
