//! The operator's binary at a terminal: what `providers` says, and with which exit code.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

fn operator(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_integration-operator"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/recording/tests").join(name)
}

#[test]
fn the_catalogue_is_listed_and_told() -> Outcome {
    let (code, text, _) = said(&operator(&["providers"]).output()?);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("NAME") && text.contains(" descriptions: "), "{text}");
    let (_, yaml, _) = said(&operator(&["providers", "slack", "-o", "yaml"]).output()?);
    assert!(yaml.starts_with("# ") && yaml.contains("kind: ClusterIntegrationProvider"), "{yaml}");
    let (code, _, error) = said(&operator(&["providers", "slak"]).output()?);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("error: there is no built-in description of slak; did you mean slack?"), "{error}");
    Ok(())
}

#[test]
fn what_is_printed_can_be_checked() -> Outcome {
    let (_, yaml, _) = said(&operator(&["providers", "slack", "-o", "yaml"]).output()?);
    for (text, code, wanted) in [
        (yaml.clone(), 0, ""),
        (yaml.replace("tokenURL", "tokenUrl"), 1, "there is no such field; did you mean tokenURL?"),
    ] {
        let mut child = operator(&["providers", "lint", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes())?;
        let (found, said, _) = said(&child.wait_with_output()?);
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(wanted) && (wanted.is_empty() || said.starts_with("-:")), "{said}");
    }
    Ok(())
}

#[test]
fn findings_are_for_programs_too() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("acme.yaml");
    std::fs::write(&file, "kind: ClusterIntegrationProvider\nspec: {}\n")?;
    let name = file.to_string_lossy();
    let (code, text, _) = said(&operator(&["providers", "lint", &name, "-o", "json"]).output()?);
    let findings: Vec<Value> = serde_json::from_str(&text)?;
    assert_eq!(code, Some(1));
    let fields: Vec<_> = findings.iter().filter_map(|finding| finding["field"].as_str()).collect();
    assert_eq!(fields, ["apiVersion", "metadata.name", "spec"]);
    assert!(findings.iter().all(|finding| finding["file"] == *name && finding["severity"] == "error"), "{text}");
    Ok(())
}

#[test]
fn recordings_are_played() -> Outcome {
    let acme = recorded("acme.yaml");
    let (code, text, error) = said(&operator(&["providers", "test", &acme.to_string_lossy()]).output()?);
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.contains("ok      connect\n"), "{text}");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("acme.yaml");
    std::fs::write(&file, std::fs::read_to_string(&acme)?.replace("ClientSecretBasic", "ClientSecretPost"))?;
    let recording = recorded("acme.recording.yaml");
    let arguments = ["providers", "test", &file.to_string_lossy(), "--recording", &recording.to_string_lossy()];
    let (code, text, _) = said(&operator(&arguments).output()?);
    assert_eq!(code, Some(1));
    assert!(text.contains("FAILED  connect\n") && text.contains("header authorization is missing"), "{text}");
    Ok(())
}

#[test]
fn changes_are_told() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (_, yaml, _) = said(&operator(&["providers", "slack", "-o", "yaml"]).output()?);
    let file = folder.path().join("slack.yaml");
    for (change, code, wanted) in [
        (yaml.clone(), 0, "nothing changes"),
        (
            yaml.replace("https://slack.com/api/oauth", "https://eu.slack.com/api/oauth"),
            2,
            "the token endpoint moves from https://slack.com to https://eu.slack.com",
        ),
    ] {
        std::fs::write(&file, change)?;
        let (found, text, error) =
            said(&operator(&["providers", "diff", &file.to_string_lossy(), "--with", "slack"]).output()?);
        assert_eq!(found, Some(code), "{text}{error}");
        assert!(text.contains(wanted), "{text}");
    }
    Ok(())
}
