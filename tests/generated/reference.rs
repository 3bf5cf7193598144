//! The reference of the description language, from the schema of its CRD, and the list of the catalogue.

use std::fmt::Write as _;
use std::path::Path;

use integration_operator::api::ClusterIntegrationProvider;
use integration_operator::provider::catalogue::{Kind, entries};
use kube::CustomResourceExt as _;
use serde_json::{Map, Value};

use super::{Outcome, doc, settle};

#[test]
fn every_field_of_a_description_is_documented() -> Outcome {
    let crd = ClusterIntegrationProvider::crd();
    let version = crd.spec.versions.into_iter().next().ok_or("no version")?;
    let schema = serde_json::to_value(version.schema.and_then(|schema| schema.open_api_v3_schema))?;
    let mut text = String::from(
        "# Fields of a description\n\n\
         <!-- Generated from src/api/provider by `make crds`; edit there. -->\n\n\
         `ClusterIntegrationProvider` and `IntegrationProvider` have the same `spec`; `allowedNamespaces` and \
         `allowedPrivateCIDRs` are for the first alone. `integration-operator providers lint FILE` checks a file against \
         all of this.\n",
    );
    let sections = section("spec", &schema["properties"]["spec"], &mut text)?;
    assert!(sections > 15, "only {sections} objects are documented");
    settle(&doc("providers/reference.md"), &text)
}

/// Writes the fields of an object, then the objects below it. Says how many objects there are.
fn section(path: &str, schema: &Value, text: &mut String) -> Result<usize, std::fmt::Error> {
    let empty = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&empty);
    write!(text, "\n## `{path}`\n\n")?;
    text.push_str("| field | type | default | bounds | |\n|---|---|---|---|---|\n");
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut below = Vec::new();
    for (name, field) in fields {
        let said = said(field);
        assert!(!said.is_empty(), "{path}.{name} has no description");
        let (shown, nested) = type_of(&format!("{path}.{name}"), field);
        let mut bounds = bounds(field);
        if required.contains(&name.as_str()) {
            bounds.insert(0, "required".to_owned());
        }
        let default = default(field, &said);
        writeln!(text, "| `{name}` | {shown} | {default} | {} | {} |", cell(&bounds.join(", ")), cell(&said))?;
        below.extend(nested);
    }
    let mut count = 1;
    for (path, schema) in below {
        count += section(&path, schema, text)?;
    }
    Ok(count)
}

/// The description in one line.
fn said(field: &Value) -> String {
    field["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A field's type, with the object that is described in a section of its own.
fn type_of<'a>(path: &str, field: &'a Value) -> (String, Option<(String, &'a Value)>) {
    let link = |path: &str| format!("[object](#{})", anchor(path));
    match field["type"].as_str().unwrap_or_default() {
        "object" if field["properties"].is_object() => (link(path), Some((path.to_owned(), field))),
        "object" if field["additionalProperties"].is_object() => {
            let (inner, nested) = type_of(&format!("{path}.<name>"), &field["additionalProperties"]);
            (format!("map of {inner}"), nested)
        }
        "array" => {
            let (inner, nested) = type_of(&format!("{path}[]"), &field["items"]);
            (format!("list of {inner}"), nested)
        }
        "object" => ("any object".to_owned(), None),
        "string" if field["enum"].is_array() => {
            let words = field["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
            (words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "), None)
        }
        other => (other.to_owned(), None),
    }
}

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    heading.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-').flat_map(char::to_lowercase).collect()
}

fn bounds(field: &Value) -> Vec<String> {
    let mut bounds = Vec::new();
    let number = |name: &str| field[name].as_u64();
    for (least, most, what) in [
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minProperties", "maxProperties", "entries"),
        ("minimum", "maximum", ""),
    ] {
        let said = match (number(least).filter(|least| *least > 0), number(most)) {
            (Some(least), Some(most)) if least == most => format!("{least} {what}"),
            (Some(least), Some(most)) => format!("{least} to {most} {what}"),
            (Some(least), None) => format!("at least {least} {what}"),
            (None, Some(most)) => format!("at most {most} {what}"),
            (None, None) => continue,
        };
        bounds.push(said.trim_end().to_owned());
    }
    bounds.extend(field["pattern"].as_str().map(|pattern| format!("`{pattern}`")));
    if field["items"].is_object() {
        bounds.extend(self::bounds(&field["items"]).into_iter().map(|bound| format!("each {bound}")));
    }
    bounds
}

/// What holds when a field is left out: its schema's default, or what its description says so of.
fn default(field: &Value, said: &str) -> String {
    if !field["default"].is_null() {
        return cell(&format!("`{}`", field["default"]));
    }
    let Some((before, _)) = said.split_once(" when absent") else { return String::new() };
    let start = ["; ", ". ", ": "].iter().filter_map(|end| before.rfind(end).map(|at| at + end.len())).max();
    cell(&before[start.unwrap_or_default()..])
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_catalogue_is_documented() -> Outcome {
    let mut rows = String::new();
    let (mut count, mut keys, mut recordings) = (0, 0, 0);
    for entry in entries() {
        let kind = Kind::of(&entry.spec);
        count += 1;
        keys += usize::from(kind != Kind::OAuth2);
        let name = cell(entry.display_name());
        let recording = format!("src/provider/catalogue/{}.recording.yaml", entry.name);
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join(&recording).exists();
        recordings += usize::from(recorded);
        let recording = if recorded { format!("[recording](../../{recording})") } else { String::new() };
        writeln!(
            rows,
            "| `{}` | {name} | {kind} | {} | [source]({}) | {recording} |",
            entry.name, entry.grade, entry.source
        )?;
    }
    let text = format!(
        "# Catalogue\n\n\
         <!-- Generated from src/provider/catalogue by `make crds`; edit there. -->\n\n\
         {count} descriptions are built in, {keys} of them with API keys. `verified`: compared with the vendor's \
         documentation, which is the source. `community`: taken from openly licensed collections, and not, or \
         not in every point, compared with the vendor's documentation. {recordings} have a recording: answers of the vendor's documentation \
         that the tests play to them. \
         `integration-operator providers NAME` tells one in words, and with `-o yaml` prints a manifest that can be \
         applied once it names its `clientCredentialsRef`; `preset: NAME` starts from one.\n\n\
         | preset | app | connects by | grade | | |\n|---|---|---|---|---|---|\n{rows}"
    );
    settle(&doc("providers/catalogue.md"), &text)
}
