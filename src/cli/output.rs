//! What every line of `--json` has in common.

use std::time::Duration;

use serde_json::{Value, json};

/// `value` with the fields that each line of ours has.
pub fn object(kind: &str, value: Value) -> Value {
    let mut line = json!({"v": 1, "type": kind});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), value) {
        line.extend(fields);
    }
    line
}

/// Milliseconds with three decimals.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
