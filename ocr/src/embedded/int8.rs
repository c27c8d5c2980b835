//! Networks whose large products are computed in 8 bits: half the time, and hardly another result.
//! The published file stays as it is, and is changed while it is loaded.

use std::collections::{HashMap, HashSet};

use super::onnx::{F32, Field, I8, Message, Node, Weights, fields, node, tensor};

/// Products of fewer inputs are not worth the way to 8 bits and back.
const FEW: usize = 24;

/// A matrix of more outputs than this is worth it; the small ones are of attention.
const MANY_OUTPUTS: usize = 1_000;

/// `onnx` with its convolutions of one place (and its products with a matrix) in 8 bits, each output
/// with a scale of its own, and without a softmax at its end. `None` when it is no network.
pub(super) fn in_int8(onnx: &[u8]) -> Option<Vec<u8>> {
    const GRAPH: u32 = 7;
    let mut model = Message::default();
    for field in fields(onnx)? {
        model = match field {
            Field::Bytes(GRAPH, graph) => model.message(GRAPH, &graph_in_int8(graph)?),
            field => model.field(&field),
        };
    }
    Some(model.into_bytes())
}

fn graph_in_int8(graph: &[u8]) -> Option<Message> {
    const NODE: u32 = 1;
    const WEIGHTS: u32 = 5;
    const OUTPUT: u32 = 12;
    let fields = fields(graph)?;
    let of = |number: u32| {
        fields.iter().filter_map(move |field| match field {
            Field::Bytes(n, bytes) if *n == number => Some(*bytes),
            _ => None,
        })
    };
    let nodes: Vec<Node> = of(NODE).map(Node::read).collect::<Option<_>>()?;
    let weights: HashMap<&str, Weights> =
        of(WEIGHTS).filter_map(Weights::read).map(|weights| (weights.name, weights)).collect();
    let output = of(OUTPUT).next().and_then(first_text)?;
    let softmax = nodes.iter().find(|node| node.operator == "Softmax" && node.outputs == [output]);
    let uses = |name: &str| nodes.iter().filter(|node| node.inputs.contains(&name)).count();

    let mut written = Message::default();
    let (mut quantised, mut replaced) = (HashSet::new(), HashSet::new());
    for node in &nodes {
        if softmax.is_some_and(|softmax| softmax == node) {
            continue;
        }
        let product = node.inputs.get(1).and_then(|name| weights.get(name));
        let product = product.filter(|weights| is_large_product(node, weights));
        let Some(product) = product else {
            written = written.message(NODE, &as_it_is(node));
            continue;
        };
        if uses(product.name) == 1 {
            replaced.insert(product.name);
        }
        written = in_8_bits(written, node, product, &mut quantised);
    }
    for field in &fields {
        written = match *field {
            Field::Bytes(NODE, _) => written,
            Field::Bytes(WEIGHTS, bytes)
                if Weights::read(bytes).is_some_and(|weights| replaced.contains(weights.name)) =>
            {
                written
            }
            Field::Bytes(OUTPUT, _) if softmax.is_some() => {
                let name = softmax.and_then(|node| node.inputs.first()).unwrap_or(&output);
                written.message(OUTPUT, &Message::default().text(1, name))
            }
            // Types and shapes of what is between the nodes: they are found again.
            Field::Bytes(13, _) => written,
            field => written.field(&field),
        };
    }
    Some(written)
}

fn first_text(message: &[u8]) -> Option<&str> {
    fields(message)?.iter().find_map(|field| match field {
        Field::Bytes(1, name) => str::from_utf8(name).ok(),
        _ => None,
    })
}

fn as_it_is(read: &Node<'_>) -> Message {
    node(read.operator, &read.inputs, &read.outputs, &read.attributes)
}

fn is_large_product(node: &Node<'_>, weights: &Weights<'_>) -> bool {
    match (node.operator, &weights.shape[..]) {
        ("Conv", [outputs, inputs, 1, 1]) => {
            node.number("group").unwrap_or(1) == 1 && *inputs >= FEW && *outputs >= FEW
        }
        ("MatMul", [inputs, outputs]) => *inputs >= FEW && *outputs >= MANY_OUTPUTS,
        _ => false,
    }
}

/// Writes `read`, a product of its first input and `weights`, in 8 bits: the input is brought to 8
/// bits with one scale as it comes, the weights have a scale for each output.
fn in_8_bits<'a>(
    mut written: Message,
    read: &Node<'a>,
    weights: &Weights<'a>,
    quantised: &mut HashSet<&'a str>,
) -> Message {
    const NODE: u32 = 1;
    const WEIGHTS: u32 = 5;
    let (input, output) = (read.inputs[0], read.outputs[0]);
    let [codes, scale, zero] =
        ["codes", "scale", "zero"].map(|what| format!("{input}.int8.{what}"));
    if quantised.insert(input) {
        let parts = [codes.as_str(), &scale, &zero];
        written = written.message(NODE, &node("DynamicQuantizeLinear", &[input], &parts, &[]));
    }
    let is_conv = read.operator == "Conv";
    let (outputs, per_output) = if is_conv {
        let outputs = weights.shape[0];
        (outputs, (outputs, 1))
    } else {
        let outputs = weights.shape[1];
        (outputs, (1, outputs))
    };
    // Of a convolution the weights of one output stand together, of a matrix they are a column.
    let inputs = weights.values.len() / outputs;
    let at = |output: usize, input: usize| {
        if per_output.1 == 1 { output * inputs + input } else { input * outputs + output }
    };
    let mut bytes = vec![0u8; weights.values.len()];
    let mut scales = Vec::with_capacity(outputs * 4);
    for output in 0..outputs {
        let most = (0..inputs).map(|input| weights.values[at(output, input)].abs());
        let scale = most.fold(0f32, f32::max).max(1e-20) / 127.0;
        for input in 0..inputs {
            let place = at(output, input);
            bytes[place] = ((weights.values[place] / scale).round() as i8).cast_unsigned();
        }
        scales.extend_from_slice(&scale.to_le_bytes());
    }
    let names = ["int8", "int8.scale", "int8.sum", "int8.float", "int8.scaled", "int8.whole"];
    let [w, w_scale, sum, float, scaled, whole] = names.map(|what| format!("{output}.{what}"));
    let shape: &[usize] = if is_conv { &[1, outputs, 1, 1] } else { &[outputs] };
    written = written
        .message(WEIGHTS, &tensor(&w, I8, &weights.shape, &bytes))
        .message(WEIGHTS, &tensor(&w_scale, F32, shape, &scales));
    let operator = if is_conv { "ConvInteger" } else { "MatMulInteger" };
    let to_float = Message::default().text(1, "to").number(3, F32).number(20, 2).into_bytes();
    let bias = read.inputs.get(2).copied().filter(|name| !name.is_empty());
    let last = if bias.is_some() { whole.as_str() } else { output };
    written = written
        .message(NODE, &node(operator, &[&codes, &w, &zero], &[&sum], &read.attributes))
        .message(NODE, &node("Cast", &[&sum], &[&float], &[&to_float]))
        .message(NODE, &node("Mul", &[&float, &scale], &[&scaled], &[]))
        .message(NODE, &node("Mul", &[&scaled, &w_scale], &[last], &[]));
    // A bias is a row of numbers, one an output; `Add` wants it where the outputs are.
    if let Some(bias) = bias {
        let sides = format!("{output}.int8.sides");
        let values: Vec<u8> =
            [1i64, outputs as i64, 1, 1].iter().flat_map(|side| side.to_le_bytes()).collect();
        let standing = format!("{output}.int8.bias");
        written = written
            .message(WEIGHTS, &tensor(&sides, 7, &[4], &values))
            .message(NODE, &node("Reshape", &[bias, &sides], &[&standing], &[]))
            .message(NODE, &node("Add", &[&whole, &standing], &[output], &[]));
    }
    written
}
