//! Fields of a request, from a query string or from JSON: read strictly, so that a mistake is said
//! and never passed over.

use std::ops::RangeInclusive;

use axum::http::Uri;
use pagesight::model::QueryVectors;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::Problem;

/// The fields of one request.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    values: Vec<(String, Given)>,
}

#[derive(Debug, Clone)]
enum Given {
    Json(Value),
    /// A parameter that may stand several times.
    Text(Vec<String>),
}

/// A JSON object whose keys are all different.
struct Object(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if object.insert(key.clone(), value).is_some() {
                        let key: String = key.chars().take(100).collect();
                        return Err(serde::de::Error::custom(format!("`{key}` stands twice")));
                    }
                }
                Ok(Object(object))
            }
        }
        from.deserialize_map(Keys)
    }
}

impl Fields {
    /// The parameters of a query string, of which those in `known` are allowed and those in
    /// `several` may stand more than once.
    ///
    /// # Errors
    /// A [`Problem`] for a parameter that is unknown or stands twice, and for what is not UTF-8.
    pub fn of_query(uri: &Uri, known: &[&str], several: &[&str]) -> Result<Self, Problem> {
        let mut fields = Self::default();
        let query = uri.query().unwrap_or_default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text: &str| -> Result<String, Problem> {
                let spaced = text.replace('+', " ");
                let bytes = percent_encoding::percent_decode_str(&spaced).decode_utf8();
                let text = bytes.map_err(|_| {
                    Problem::bad(name, "a parameter must be UTF-8, written with %XX")
                })?;
                Ok(text.into_owned())
            };
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            match fields.values.iter_mut().find(|(other, _)| *other == name) {
                None => fields.values.push((name, Given::Text(vec![value]))),
                Some((_, Given::Text(values))) if several.contains(&name.as_str()) => {
                    values.push(value);
                }
                Some(_) => return Err(Problem::bad(&name, format!("`{name}` stands twice"))),
            }
        }
        Ok(fields)
    }

    /// The fields of a JSON object.
    ///
    /// # Errors
    /// A [`Problem`] for what is no JSON object, a key that stands twice, a field that is unknown.
    pub fn of_json(body: &[u8], known: &[&str]) -> Result<Self, Problem> {
        let Object(object) = serde_json::from_slice(body).map_err(|error| {
            let said = error.to_string();
            let twice = said.strip_prefix('`').and_then(|rest| rest.split_once('`'));
            match twice.filter(|_| said.contains("stands twice")) {
                Some((field, _)) => Problem::bad(field, format!("`{field}` stands twice")),
                None => Problem::new(
                    super::problem::Code::BadRequest,
                    format!("the body is not a JSON object: {said}"),
                ),
            }
        })?;
        Self::of_object(object, known)
    }

    /// As [`of_json`](Self::of_json), of an object that was parsed.
    ///
    /// # Errors
    /// As [`of_json`](Self::of_json).
    pub fn of_object(object: Map<String, Value>, known: &[&str]) -> Result<Self, Problem> {
        let mut fields = Self::default();
        for (name, value) in object {
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            // `null` is as good as absent, which is what clients write for "not set".
            if !value.is_null() {
                fields.values.push((name, Given::Json(value)));
            }
        }
        Ok(fields)
    }

    /// Calls a field by another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some((name, _)) = self.values.iter_mut().find(|(name, _)| name == from) {
            *name = to.into();
        }
    }

    fn take(&mut self, name: &str) -> Option<Given> {
        let at = self.values.iter().position(|(other, _)| other == name)?;
        Some(self.values.remove(at).1)
    }

    /// A string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        Ok(match self.take(name) {
            None => None,
            Some(Given::Text(mut values)) => values.pop(),
            Some(Given::Json(Value::String(text))) => Some(text),
            Some(Given::Json(other)) => return Err(wrong_type(name, "a string", &other)),
        })
    }

    /// An integer within `range`, or `default`.
    pub fn whole(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, Problem> {
        Ok(self.whole_if(name, range)?.unwrap_or(default))
    }

    /// An integer within `range`, if the field is there.
    pub fn whole_if(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(given) = self.take(name) else { return Ok(None) };
        let limit = format!("{} to {}", range.start(), range.end());
        let (number, said) = match &given {
            Given::Json(Value::Number(number)) => {
                // A whole number too large for 64 bits is read as a float.
                let huge = number.as_f64().is_some_and(|x| x.abs() >= 9.2e18);
                let whole = number.as_u64().map(i128::from).or(number.as_i64().map(i128::from));
                (whole.or(huge.then_some(i128::MAX)), number.to_string())
            }
            Given::Json(other) => return Err(wrong_type(name, "an integer", other)),
            Given::Text(values) => {
                let text = values.last().cloned().unwrap_or_default();
                let digits = text.strip_prefix('-').unwrap_or(&text);
                let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                (whole.then(|| text.parse().unwrap_or(i128::MAX)), text)
            }
        };
        let Some(number) = number else {
            return Err(Problem::bad(name, format!("`{name}` must be an integer, got {said}")));
        };
        match u64::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::invalid(name, limit, said)),
        }
    }

    /// `true` or `false`, or `default`.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.take(name) {
            None => Ok(default),
            Some(Given::Json(Value::Bool(value))) => Ok(value),
            Some(Given::Json(other)) => Err(wrong_type(name, "true or false", &other)),
            Some(Given::Text(values)) => match values.last().map(String::as_str) {
                Some("true" | "1") => Ok(true),
                Some("false" | "0") => Ok(false),
                _ => Err(Problem::bad(name, format!("`{name}` must be true or false"))),
            },
        }
    }

    /// One of several words, or the first of them.
    pub fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<T, Problem> {
        let Some(text) = self.text(name)? else { return Ok(words[0].1) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(Problem::invalid(name, format!("one of {}", known.join(", ")), text))
            }
        }
    }

    /// A list of strings, at most `most` of at most `bytes` bytes each.
    pub fn texts(&mut self, name: &str, most: usize, bytes: usize) -> Result<Vec<String>, Problem> {
        let texts = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Given::Text(values)) => values,
            Some(Given::Json(Value::Array(values))) => {
                let text = |value: Value| match value {
                    Value::String(text) => Ok(text),
                    other => Err(wrong_type(name, "a list of strings", &other)),
                };
                values.into_iter().map(text).collect::<Result<_, _>>()?
            }
            Some(Given::Json(other)) => return Err(wrong_type(name, "a list of strings", &other)),
        };
        if texts.len() > most {
            return Err(Problem::invalid(name, format!("at most {most} strings"), texts.len()));
        }
        if let Some(long) = texts.iter().find(|text| text.len() > bytes) {
            let got = format!("{} bytes", long.len());
            return Err(Problem::invalid(name, format!("strings of at most {bytes} bytes"), got));
        }
        if let Some(odd) = texts.iter().find(|text| text.contains('\0')) {
            return Err(Problem::invalid(name, "without NUL", odd.replace('\0', "␀")));
        }
        Ok(texts)
    }

    /// Four finite numbers: from JSON a list, from a query string with commas between them.
    pub fn rectangle(&mut self, name: &str) -> Result<Option<[f32; 4]>, Problem> {
        let wrong =
            || Problem::bad(name, format!("`{name}` must be four numbers x0,y0,x1,y1, in points"));
        let numbers: Vec<f64> = match self.take(name) {
            None => return Ok(None),
            Some(Given::Text(values)) => {
                let text = values.last().cloned().unwrap_or_default();
                let numbers = text.split(',').map(|part| part.trim().parse::<f64>().ok());
                numbers.collect::<Option<_>>().ok_or_else(wrong)?
            }
            Some(Given::Json(Value::Array(values))) => {
                let numbers = values.iter().map(Value::as_f64);
                numbers.collect::<Option<_>>().ok_or_else(wrong)?
            }
            Some(Given::Json(_)) => return Err(wrong()),
        };
        if numbers.iter().any(|number| !number.is_finite() || number.abs() > 1e9) {
            return Err(wrong());
        }
        let numbers: [f64; 4] = numbers.try_into().map_err(|_| wrong())?;
        Ok(Some(numbers.map(|number| number as f32)))
    }

    /// Query vectors: 1 to 256 rows of `dim` finite numbers, made unit.
    pub fn vectors(
        &mut self,
        name: &str,
        dim: Option<usize>,
    ) -> Result<Option<QueryVectors>, Problem> {
        const ROWS: usize = 256;
        let Some(given) = self.take(name) else { return Ok(None) };
        let kind = "a list of rows of numbers";
        let Given::Json(Value::Array(rows)) = given else {
            return Err(Problem::bad(name, format!("`{name}` must be {kind}")));
        };
        if rows.is_empty() || rows.len() > ROWS {
            return Err(Problem::invalid(name, format!("1 to {ROWS} rows"), rows.len()));
        }
        let mut values = Vec::new();
        let mut length = dim;
        for row in &rows {
            let Value::Array(row) = row else { return Err(wrong_type(name, kind, row)) };
            let wanted = *length.get_or_insert(row.len());
            if row.len() != wanted || wanted == 0 {
                return Err(Problem::invalid(name, format!("rows of {wanted} numbers"), row.len()));
            }
            let start = values.len();
            for number in row {
                let Some(number) = number.as_f64() else {
                    return Err(wrong_type(name, kind, number));
                };
                values.push(number as f32);
            }
            let norm = values[start..].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            if !norm.is_finite() || norm < 1e-12 {
                return Err(Problem::invalid(name, "rows of finite numbers, not all 0", norm));
            }
            values[start..].iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
        let dim = length.unwrap_or_default();
        QueryVectors::of_rows(dim, values)
            .map(Some)
            .map_err(|error| Problem::invalid(name, "rows of finite numbers", error.to_string()))
    }
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let short: String = name.chars().take(100).collect();
    let detail = if known.is_empty() {
        format!("`{short}` is unknown: nothing is taken here")
    } else {
        format!("`{short}` is unknown: there are {}", known.join(", "))
    };
    Problem::bad(name, detail)
}

fn wrong_type(name: &str, wanted: &str, got: &Value) -> Problem {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Problem::bad(name, format!("`{name}` must be {wanted}, got {got}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &str) -> Result<Fields, Problem> {
        Fields::of_json(body.as_bytes(), &["k", "query", "paths", "explain"])
    }

    #[test]
    fn integers_are_whole_and_within_their_range() {
        for (body, status) in [
            (r#"{"k":1}"#, None),
            (r#"{"k":200}"#, None),
            (r#"{"k":null}"#, None),
            (r#"{"k":0}"#, Some(422)),
            (r#"{"k":201}"#, Some(422)),
            (r#"{"k":-1}"#, Some(422)),
            (r#"{"k":9223372036854775808}"#, Some(422)),
            (r#"{"k":99999999999999999999999}"#, Some(422)),
            (r#"{"k":1.5}"#, Some(400)),
            (r#"{"k":"5"}"#, Some(400)),
            (r#"{"k":[5]}"#, Some(400)),
            (r#"{"k":true}"#, Some(400)),
        ] {
            let got = json(body).unwrap().whole("k", 1..=200, 10);
            assert_eq!(got.as_ref().err().map(|problem| problem.status), status, "{body}");
            let named = got.err().is_none_or(|problem| problem.field.as_deref() == Some("k"));
            assert!(named, "{body}");
        }
        for (query, status) in [
            ("k=7", None),
            ("k=0", Some(422)),
            ("k=-1", Some(422)),
            ("k=1.5", Some(400)),
            ("k=", Some(400)),
            ("k=9223372036854775808", Some(422)),
            ("k=1%30", None),
        ] {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            let got = Fields::of_query(&uri, &["k"], &[]).unwrap().whole("k", 1..=200, 10);
            assert_eq!(got.err().map(|problem| problem.status), status, "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (body, field) in [
            ("{", None),
            ("[]", None),
            (r#"{"k":NaN}"#, None),
            (r#"{"k":1,"k":2}"#, Some("k")),
            (r#"{"kk":1}"#, Some("kk")),
            (&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)), None),
            (&format!("{{\"k\":{}1", "[".repeat(10_000)), None),
        ] {
            let problem = json(body).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, field), "{body:.40}");
        }
        for (query, ok) in [("k=1&k=2", false), ("path=a&path=b", true), ("x=1", false)] {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            assert_eq!(Fields::of_query(&uri, &["k", "path"], &["path"]).is_ok(), ok, "{query}");
        }
        let uri: Uri = "/?path=%ff".parse().unwrap();
        assert_eq!(Fields::of_query(&uri, &["path"], &[]).unwrap_err().status, 400);
    }

    #[test]
    fn vectors_are_rows_of_unit_length() {
        let vectors =
            |body: &str, dim| Fields::of_json(body.as_bytes(), &["v"]).unwrap().vectors("v", dim);
        let ok = vectors(r#"{"v":[[3,4],[0,2]]}"#, Some(2)).unwrap().unwrap();
        assert_eq!(ok.values(), [0.6, 0.8, 0.0, 1.0]);
        for (body, status) in [
            (r#"{"v":[]}"#, 422),
            (r#"{"v":[[1,2,3]]}"#, 422),
            (r#"{"v":[[0,0]]}"#, 422),
            (r#"{"v":[[1,"a"]]}"#, 400),
            (r#"{"v":[1,2]}"#, 400),
            (r#"{"v":"x"}"#, 400),
            (r#"{"v":[[1e308,1]]}"#, 422),
        ] {
            assert_eq!(vectors(body, Some(2)).unwrap_err().status, status, "{body}");
        }
    }
}
