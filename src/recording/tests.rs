use std::path::{Path, PathBuf};

use super::*;

const DESCRIPTION: &str = include_str!("tests/acme.yaml");
const RECORDING: &str = include_str!("tests/acme.recording.yaml");

/// Plays the recording with one text of it replaced; gives what failed.
async fn failed(from: &str, to: &str) -> Vec<String> {
    assert!(RECORDING.contains(from), "{from} is not in the recording");
    let report = play(DESCRIPTION, &RECORDING.replacen(from, to, 1)).await.unwrap();
    report
        .steps
        .into_iter()
        .flat_map(|step| step.problems.into_iter().map(move |problem| format!("{}: {problem}", step.name)))
        .collect()
}

#[tokio::test]
async fn what_is_as_recorded_is_well() {
    let report = play(DESCRIPTION, RECORDING).await.unwrap();
    assert!(report.is_well(), "{}", report.in_words());
    assert_eq!(report.steps.len(), 10, "{}", report.in_words());
    assert!(report.in_words().starts_with("ok      authorize\nok      connect\n"), "{}", report.in_words());
}

#[tokio::test]
async fn what_is_not_fails() {
    for (from, to, said) in [
        ("scope=read+write", "scope=read", "authorize: is https://web.acme.test/authorize?"),
        ("Basic aWQ6c2VjcmV0", "Basic x", "connect: POST https://web.acme.test/token: header authorization is Basic "),
        ("code: \"{code}\"", "cod: \"{code}\"", "connect: POST https://web.acme.test/token: form cod is missing"),
        (
            "          code_verifier: \"{code_verifier}\"\n",
            "",
            "form code_verifier=dBjftJ… (43 characters) is too much",
        ),
        (
            "https://web.acme.test/me\"",
            "https://web.acme.test/you\"",
            "connect: asks GET https://web.acme.test/me, which is not recorded",
        ),
        ("metadata: {id: 7, plan: pro}", "metadata: {id: 8, plan: pro}", "connect: metadata.id is 7, and should be 8"),
        ("metadata: {id: 7, plan: pro}", "metadata: {id: 7}", "connect: metadata.plan is too much: \"pro\""),
        (
            "secret: {access_token: first-access-token",
            "secret: {access_token: other",
            "connect: secret.access_token is first-… (18 characters), and should be other",
        ),
        ("scopes: [read]", "scopes: [write]", "connect: scopes are read, and should be write"),
        ("expiresIn: 3600", "expiresIn: null", "connect: expires in 3600 s, and should never"),
        (
            "secret: {access_token: second-access-token}",
            "secret: {access_token: x}",
            "refresh: after a lost answer: secret.access_token",
        ),
        ("class: Permanent", "class: Transient", "error: dead: is Permanent, and should be Transient"),
        ("expect: Rejected", "expect: Verified", "identity: revoked: is Rejected, and should be Verified"),
        (
            "form: {token: first-refresh-token}",
            "form: {token: x}",
            "revoke: POST https://web.acme.test/revoke: form token",
        ),
        (
            "body: {access_token: second-access-token}",
            "body: {error: invalid_grant}",
            "the refresh gave no tokens: Permanent invalid_grant",
        ),
    ] {
        let failed = failed(from, to).await;
        assert!(failed.iter().any(|problem| problem.contains(said)), "{from} → {to}: {failed:#?}");
    }
}

#[tokio::test]
async fn an_api_key_is_proved() {
    let description = "kind: ClusterIntegrationProvider\napiVersion: integrations.tms.dev/v1alpha1\nmetadata: {name: keys}\nspec:\n  apiKey: {header: X-Key, prefix: ''}\n  identity: {url: 'https://keys.test/me'}\n  metadata: {id: identity.id}\n";
    let recording = "apiKey: k-1234567890\nconnect:\n  calls:\n    - request: {method: GET, url: 'https://keys.test/me', headers: {x-key: k-1234567890}}\n      answer: {status: 200, body: {id: 1}}\n  expect: {metadata: {id: 1}, expiresIn: null}\n";
    let report = play(description, recording).await.unwrap();
    assert!(report.is_well() && report.steps.len() == 1, "{}", report.in_words());
}

#[tokio::test]
async fn nothing_to_play_is_an_error() {
    assert!(matches!(play("a: [", RECORDING).await, Err(PlayError::Description(_))));
    assert!(matches!(play(DESCRIPTION, "connct: {}").await, Err(PlayError::Recording(_))));
    let message = play(DESCRIPTION, &RECORDING.replace("site: web", "site: 'a/b'")).await.unwrap_err().to_string();
    assert!(message.starts_with("parameter site: "), "{message}");
}

/// The recordings of the catalogue.
fn built_in() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provider/catalogue");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut recordings: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".recording.yaml")).collect();
    recordings.sort();
    recordings
}

#[tokio::test]
async fn the_catalogue_does_what_vendors_document() {
    let mut failed = String::new();
    for path in built_in() {
        let description = path.to_string_lossy().replace(".recording.yaml", ".yaml");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        match play(&read(Path::new(&description)), &read(&path)).await {
            Ok(report) if report.is_well() => {}
            Ok(report) => failed = format!("{failed}{}\n{}\n", path.display(), report.in_words()),
            Err(error) => failed = format!("{failed}{}: {}\n", path.display(), chain(&error)),
        }
    }
    assert!(failed.is_empty(), "{failed}");
}
