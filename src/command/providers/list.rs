//! The catalogue as a table, and one entry of it in words.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Output;
use super::text::{Block, table};
use crate::nearest::did_you_mean;
use crate::provider::catalogue::{self, Entry, Grade, Kind};
use crate::provider::describe::{callback_pattern, describe};

/// All entries.
pub(super) fn all(output: Option<Output>) -> anyhow::Result<String> {
    let documents = || catalogue::names().filter_map(catalogue::document);
    Ok(match output {
        None => {
            let entries: Vec<Entry> = catalogue::entries().collect();
            format!(
                "{}\n{}\n",
                table(["NAME", "KIND", "GRADE", "DISPLAY NAME"], &entries.iter().map(row).collect::<Vec<_>>()),
                summary(&entries)
            )
        }
        Some(Output::Name) => catalogue::names().fold(String::new(), |text, name| text + name + "\n"),
        Some(Output::Yaml) => documents().collect::<Vec<_>>().join("---\n"),
        Some(Output::Json) => {
            let items = documents().map(value).collect::<anyhow::Result<Vec<_>>>()?;
            pretty(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))?
        }
    })
}

/// One entry.
pub(super) fn one(name: &str, output: Option<Output>) -> anyhow::Result<String> {
    let missing = || {
        let near = did_you_mean(name, catalogue::names());
        format!("there is no built-in description of {name}{near}\n`integration-operator providers` lists all")
    };
    let document = catalogue::document(name).with_context(missing)?;
    let entry = catalogue::entry(name).with_context(missing)?;
    Ok(match output {
        None => in_words(&entry),
        Some(Output::Name) => format!("{name}\n"),
        Some(Output::Yaml) => document.to_owned(),
        Some(Output::Json) => pretty(&value(document)?)?,
    })
}

fn row(entry: &Entry) -> [String; 4] {
    let kind = Kind::of(&entry.spec);
    [entry.name.clone(), kind.to_string(), entry.grade.to_string(), entry.display_name().to_owned()]
}

/// How many there are, by kind and by grade.
fn summary(entries: &[Entry]) -> String {
    let kind = |wanted| entries.iter().filter(|entry| Kind::of(&entry.spec) == wanted).count();
    let grade = |wanted| entries.iter().filter(|entry| entry.grade == wanted).count();
    format!(
        "{} descriptions: {} oauth2, {} api-key, {} both; {} verified, {} community",
        entries.len(),
        kind(Kind::OAuth2),
        kind(Kind::ApiKey),
        kind(Kind::Both),
        grade(Grade::Verified),
        grade(Grade::Community),
    )
}

fn in_words(entry: &Entry) -> String {
    let mut block = Block::new(&entry.name, 9);
    let grade = match entry.grade {
        Grade::Verified => "verified: compared with the vendor's documentation",
        Grade::Community => {
            "community: from open collections; not compared in every point with the vendor's documentation"
        }
    };
    block.lines("Grade", [grade]);
    block.lines("Source", [entry.source.as_str()]);
    describe(&entry.name, &entry.spec, &callback_pattern(&entry.name), &mut block);
    block.lines(
        "To use it",
        [
            format!("integration-operator providers {} -o yaml, or in a description of your own", entry.name),
            format!("  spec: {{preset: {}, clientCredentialsRef: {{name: …}}}}", entry.name),
        ]
        .into_iter()
        .take(if entry.spec.oauth2.is_some() { 2 } else { 1 }),
    );
    block.finish()
}

fn value(document: &str) -> anyhow::Result<Value> {
    Ok(serde_yaml::from_str(document)?)
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_with_how_many_there_are() {
        let text = all(None).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("NAME"), "{text}");
        assert!(
            lines.iter().any(|line| line.split_whitespace().eq(["slack", "oauth2", "verified", "Slack"])),
            "{text}"
        );
        let count = catalogue::names().count();
        assert!(lines.last().unwrap().starts_with(&format!("{count} descriptions: ")), "{text}");
    }

    #[test]
    fn yaml_is_the_file_itself() {
        assert_eq!(one("slack", Some(Output::Yaml)).ok().as_deref(), catalogue::document("slack"));
        let items: Value = serde_json::from_str(&all(Some(Output::Json)).unwrap()).unwrap();
        assert_eq!(items["items"].as_array().map(Vec::len), Some(catalogue::names().count()));
    }

    #[test]
    fn an_unknown_name_gets_near_ones() {
        let message = one("slak", None).unwrap_err().to_string();
        assert!(message.starts_with("there is no built-in description of slak; did you mean slack?"), "{message}");
    }
}
