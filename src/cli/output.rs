//! What every line of `--json` has in common.

use pagesight::wire::VERSION;
use serde::Serialize;
use serde_json::{Value, json};

/// `value` with the fields that each line of ours has.
pub fn object(kind: &str, value: Value) -> Value {
    let mut line = json!({"v": VERSION, "type": kind});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), value) {
        line.extend(fields);
    }
    line
}

/// `value` as a line of kind `kind`.
///
/// # Errors
/// When `value` cannot be written as JSON, which nothing of ours does.
pub fn line(kind: &str, value: &impl Serialize) -> serde_json::Result<Value> {
    Ok(object(kind, serde_json::to_value(value)?))
}
