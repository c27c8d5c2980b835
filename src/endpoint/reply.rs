//! What an endpoint says: a stream of events, or one object, line by line.

use serde_json::Value;

/// What it said.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The text.
    pub text: String,
    /// What it says of tokens, as it says it.
    pub usage: Option<Value>,
}

/// An answer that is being read.
#[derive(Default)]
pub(super) struct Reading {
    /// What was said so far.
    pub(super) reply: Reply,
    /// The model said why it ends.
    pub(super) has_finished: bool,
    /// The end of the stream.
    pub(super) is_done: bool,
}

impl Reading {
    /// Takes a line. The error is what is no part of an answer.
    pub(super) fn line(&mut self, line: &[u8], reader: &mut dyn FnMut(&str)) -> Result<(), String> {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(String::from_utf8_lossy(line).into_owned());
        };
        let line = line.trim();
        let is_other = ["event:", "id:", "retry:", ":"].iter().any(|name| line.starts_with(name));
        if line.is_empty() || is_other {
            return Ok(());
        }
        let said = line.strip_prefix("data:").map_or(line, str::trim);
        if said == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let json: Value = serde_json::from_str(said).map_err(|_| said.to_string())?;
        if let Some(error) = json.get("error").filter(|error| !error.is_null()) {
            return Err(error["message"].as_str().map_or(error.to_string(), str::to_string));
        }
        let choices = json.get("choices").and_then(Value::as_array).ok_or(said)?;
        if let Some(usage) = json.get("usage").filter(|usage| usage.is_object()) {
            self.reply.usage = Some(usage.clone());
        }
        let Some(choice) = choices.first() else { return Ok(()) };
        for part in ["delta", "message"] {
            if let Some(text) = choice[part]["content"].as_str().filter(|text| !text.is_empty()) {
                self.reply.text += text;
                reader(text);
            }
        }
        self.has_finished |= choice["finish_reason"].is_string();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Reading;

    #[test]
    fn events_are_read_as_every_server_writes_them() {
        let mut reading = Reading::default();
        let mut pieces = Vec::new();
        for line in [
            ": a comment",
            "event: message",
            "",
            r#"data: {"choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}"#,
            r#"data: {"choices":[{"delta":{"content":"42 "}}]}"#,
            r#"data:{"choices":[{"delta":{"content":"million"},"finish_reason":"stop"}]}"#,
            r#"data: {"choices":[],"usage":{"total_tokens":7}}"#,
            "data: [DONE]\r",
        ] {
            reading.line(line.as_bytes(), &mut |piece| pieces.push(piece.to_string())).unwrap();
        }
        assert!(reading.is_done && reading.has_finished);
        assert_eq!((reading.reply.text.as_str(), pieces.len()), ("42 million", 2));
        assert_eq!(reading.reply.usage.unwrap()["total_tokens"], 7);
        for line in ["<html>", "data: {", "data: []", "data: {\"choices\": 3}", "null"] {
            assert!(Reading::default().line(line.as_bytes(), &mut |_| ()).is_err(), "{line}");
        }
        assert!(Reading::default().line(b"data: \xff", &mut |_| ()).is_err());
    }
}
