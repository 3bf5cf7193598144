//! Rows of the table `project_integrations`, as CSV with a head line or as JSON lines. Pure.
//!
//! `meta` holds the tokens, beside whatever the app told. A row that cannot be read is an error of its own and hides none of
//! the others; errors quote nothing of `meta`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

/// Values of `expires_at` above this are milliseconds.
const MILLISECONDS: i64 = 100_000_000_000;

/// A row, as far as it is of use.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The tenant, lower-case.
    pub tenant: String,
    /// The project, lower-case.
    pub project: String,
    /// The app, with `-` for `_`.
    pub type_: String,
    /// What the app told, and the tokens.
    pub meta: Map<String, Value>,
    /// Whether it is in use.
    pub active: bool,
    /// When it was connected.
    pub installed_at: Option<Timestamp>,
    /// When the tokens were received.
    pub updated_at: Option<Timestamp>,
}

/// Where a row stands, and what it says.
#[derive(Debug)]
pub struct Numbered {
    /// The line, counted from one.
    pub line: u64,
    /// The row, or why it cannot be read.
    pub row: Result<Row, RowError>,
}

/// A row that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The line has not the form.
    #[error("the line is not {0}")]
    Form(&'static str),
    /// A column is missing or empty.
    #[error("column {0} is missing or empty")]
    Missing(&'static str),
    /// A column holds something else than it should.
    #[error("column {column} is not {what}")]
    Column {
        /// The column.
        column: &'static str,
        /// What it should be.
        what: &'static str,
    },
}

/// Reads all rows; CSV unless the first character is a brace.
pub fn read(text: &str) -> Vec<Numbered> {
    if text.trim_start().starts_with('{') { json_lines(text) } else { csv_rows(text) }
}

fn json_lines(text: &str) -> Vec<Numbered> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let object = match serde_json::from_str(line) {
                Ok(Value::Object(object)) => Ok(object),
                _ => Err(RowError::Form("a JSON object")),
            };
            Numbered { line: index as u64 + 1, row: object.and_then(|object| row(&object)) }
        })
        .collect()
}

fn csv_rows(text: &str) -> Vec<Numbered> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let heads: Vec<String> = match reader.headers() {
        Ok(heads) => heads.iter().map(str::to_owned).collect(),
        Err(_) => return vec![Numbered { line: 1, row: Err(RowError::Form("a head line of CSV")) }],
    };
    let mut rows = vec![];
    let mut line = 2;
    for record in reader.records() {
        let read = match record {
            Ok(record) => {
                line = record.position().map_or(line, csv::Position::line);
                let cells = heads.iter().cloned().zip(record.iter().map(|cell| Value::String(cell.to_owned())));
                row(&cells.collect())
            }
            Err(error) => {
                line = error.position().map_or(line + 1, csv::Position::line);
                Err(RowError::Form("CSV with as many columns as the head line"))
            }
        };
        rows.push(Numbered { line, row: read });
    }
    rows
}

fn row(cells: &Map<String, Value>) -> Result<Row, RowError> {
    let text = |column: &'static str| {
        let cell = cells.get(column).and_then(Value::as_str).map(str::trim).filter(|cell| !cell.is_empty());
        cell.ok_or(RowError::Missing(column))
    };
    let meta = match cells.get("meta") {
        Some(Value::Object(meta)) => meta.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(meta)) => meta,
            _ => return Err(RowError::Column { column: "meta", what: "a JSON object" }),
        },
        _ => return Err(RowError::Missing("meta")),
    };
    // They become names, and parts of addresses.
    let label = |column: &'static str, text: String| {
        if is_label(&text) { Ok(text) } else { Err(RowError::Column { column, what: "a UUID or a DNS label" }) }
    };
    let in_meta = |name: &str| meta.get(name).and_then(time);
    let column = |name: &str| cells.get(name).and_then(time);
    Ok(Row {
        tenant: label("tenant_id", text("tenant_id")?.to_lowercase())?,
        project: label("project_id", text("project_id")?.to_lowercase())?,
        type_: label("integration_type", text("integration_type")?.to_lowercase().replace('_', "-"))?,
        active: text("status").map_or(true, |status| status.eq_ignore_ascii_case("active")),
        installed_at: in_meta("installed_at").or_else(|| column("created_at")),
        updated_at: in_meta("last_updated_at").or_else(|| column("updated_at")),
        meta,
    })
}

impl Row {
    /// The name of its integration.
    pub fn name(&self) -> String {
        format!("{}.{}", self.project, self.type_)
    }

    /// Who connected.
    pub fn agent_id(&self) -> Option<&str> {
        self.meta.get("installed_by_agent_id").and_then(Value::as_str).filter(|agent| !agent.is_empty())
    }

    /// The texts of `meta` whose names are wanted.
    pub fn values(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let texts = self.meta.iter().filter(|(name, _)| wanted(name));
        texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// When the access token expires: as it stands there, or counted from when it was received.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let mut stated = ["expires_at", "token_expires_at", "expiry", "expires"].into_iter();
        stated.find_map(|name| self.meta.get(name).and_then(time)).or_else(|| {
            let lifetime = self.meta.get("expires_in")?;
            let seconds = lifetime.as_i64().or_else(|| lifetime.as_str()?.parse().ok())?;
            self.updated_at.or(self.installed_at)?.checked_add(SignedDuration::from_secs(seconds)).ok()
        })
    }

    /// `meta` as an answer of the token endpoint would have it: what stands flat, such as `team_id`, also stands where apps
    /// put it, as `team.id`, so that a description finds it.
    pub fn answer(&self) -> Value {
        let mut answer = self.meta.clone();
        for (key, value) in &self.meta {
            let Some((outer, inner)) = key.rsplit_once('_').filter(|(outer, _)| !outer.is_empty()) else { continue };
            let nested = answer.entry(outer).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(nested) = nested {
                nested.entry(inner).or_insert_with(|| value.clone());
            }
        }
        Value::Object(answer)
    }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 3339, as `PostgreSQL` writes it, or a number of seconds or milliseconds.
fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => {
            let number = number.as_i64().filter(|number| *number > 0)?;
            let parsed = if number > MILLISECONDS {
                Timestamp::from_millisecond(number)
            } else {
                Timestamp::from_second(number)
            };
            parsed.ok()
        }
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| time(&Value::from(text.parse::<i64>().ok()?)))
        }
        _ => None,
    }
    // Go writes its zero time as a date.
    .filter(|time| time.as_second() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "id,tenant_id,project_id,integration_type,meta,status,created_at,updated_at\n";

    fn csv(meta: &str) -> String {
        let meta = meta.replace('"', "\"\"");
        format!("{HEAD}1,ACME,web,new_app,\"{meta}\",active,2025-01-02 03:04:05.678+00,2025-02-03 04:05:06+00\n")
    }

    fn only(text: &str) -> Row {
        let mut rows = read(text);
        assert_eq!(rows.len(), 1);
        rows.remove(0).row.unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_copy_writes_is_read() {
        let row =
            only(&csv(r#"{"access_token":"a","installed_at":"2025-01-01T00:00:00Z","installed_by_agent_id":"7"}"#));
        assert_eq!((row.tenant.as_str(), row.name().as_str(), row.agent_id()), ("acme", "web.new-app", Some("7")));
        assert!(row.active);
        assert_eq!(row.installed_at, Some(at("2025-01-01T00:00:00Z")));
        assert_eq!(row.updated_at, Some(at("2025-02-03T04:05:06Z")));
        assert_eq!(only(&csv("{}")).installed_at, Some(at("2025-01-02T03:04:05.678Z")));
    }

    #[test]
    fn json_lines_are_read_as_well() {
        let line = r#"{"tenant_id":"acme","project_id":"web","integration_type":"slack","meta":{"access_token":"a"},"status":"revoked"}"#;
        let rows = read(&format!("{line}\n\nnonsense\n{{}}\n"));
        assert!(!rows[0].row.as_ref().unwrap().active);
        assert_eq!((rows[1].line, rows[1].row.clone()), (3, Err(RowError::Form("a JSON object"))));
        assert_eq!((rows[2].line, rows[2].row.clone()), (4, Err(RowError::Missing("meta"))));
    }

    #[test]
    fn a_bad_row_hides_no_other_and_nothing_of_it_is_told() {
        let good = csv("{}");
        let text = format!("{good}2,acme,api,slack,not canary json,active,x,y\n3,acme\n,,,,{{}},,,\n");
        let rows = read(&text);
        let errors: Vec<_> = rows.iter().filter_map(|row| row.row.as_ref().err().map(ToString::to_string)).collect();
        assert_eq!((rows.len(), errors.len()), (4, 3));
        assert!(errors.iter().all(|error| !error.contains("canary")), "{errors:?}");
        assert_eq!((rows[1].line, rows[2].line), (3, 4));
        assert_eq!(errors[2], "column tenant_id is missing or empty");
    }

    #[test]
    fn ids_are_names() {
        for bad in ["../other", "a b", "-a", "a.b", &"a".repeat(64)] {
            let line = format!(r#"{{"tenant_id":"t","project_id":"{bad}","integration_type":"x","meta":{{}}}}"#);
            assert_eq!(
                read(&line)[0].row,
                Err(RowError::Column { column: "project_id", what: "a UUID or a DNS label" })
            );
        }
    }

    #[test]
    fn expiries_of_all_kinds() {
        let expires = |meta: &str| only(&csv(meta)).expires_at();
        assert_eq!(expires("{}"), None);
        assert_eq!(expires(r#"{"expires_at":"2025-03-01T00:00:00Z"}"#), Some(at("2025-03-01T00:00:00Z")));
        assert_eq!(expires(r#"{"expiry":1740787200}"#), Some(at("2025-03-01T00:00:00Z")));
        assert_eq!(expires(r#"{"expires_at":"1740787200000"}"#), Some(at("2025-03-01T00:00:00Z")));
        assert_eq!(expires(r#"{"expires_at":"0001-01-01T00:00:00Z"}"#), None);
        assert_eq!(expires(r#"{"expires_in":3600}"#), Some(at("2025-02-03T05:05:06Z")));
        assert_eq!(
            expires(r#"{"expires_in":"60","last_updated_at":"2025-01-01T00:00:00Z"}"#),
            Some(at("2025-01-01T00:01:00Z"))
        );
    }

    #[test]
    fn what_stands_flat_is_found_where_apps_put_it() {
        let answer =
            only(&csv(r#"{"team_id":"T1","team_name":"Acme","bot":"b","bot_id":"B","team":{"id":"kept"}}"#)).answer();
        assert_eq!(answer["team"], serde_json::json!({ "id": "kept", "name": "Acme" }));
        assert_eq!((&answer["bot"], &answer["team_id"]), (&Value::from("b"), &Value::from("T1")));
    }
}
