//! The documentation: its links lead somewhere, the book has every page, and what it says of the source is so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "servers/mod.rs"]
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder with this ending.
fn below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("node_modules") {
            found.extend(below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Pages that people read.
fn pages() -> Vec<PathBuf> {
    let mut pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|page| root().join(page)).to_vec();
    pages.extend(below(&root().join("docs"), ".md"));
    pages.extend(below(&root().join("charts"), ".md"));
    pages.extend(below(&root().join("tests"), "README.md"));
    pages
}

/// A page without what is between fences.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page, as GitHub and mdBook name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for heading in prose(text).lines().filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let anchor = words.chars().filter(kept).collect::<String>().replace(' ', "-");
        let before = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
        *before += 1;
    }
    anchors
}

/// `a/../b` as `b`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Where the links of a page lead that do not leave this repository, with their anchors.
fn links(page: &Path, text: &str) -> Vec<(String, PathBuf, Option<String>)> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let elsewhere = Regex::new("^[a-z]+:").unwrap();
    let code = Regex::new("`[^`\n]*`").unwrap();
    let text = code.replace_all(&prose(text), "`").into_owned();
    let targets = link.captures_iter(&text).map(|found| found[1].to_owned());
    let ours = targets.filter(|target| !elsewhere.is_match(target));
    ours.map(|target| {
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (target.as_str(), None),
        };
        let file = if path.is_empty() { page.to_owned() } else { plain(&page.with_file_name("").join(path)) };
        (target, file, anchor)
    })
    .collect()
}

#[test]
fn links_lead_somewhere() {
    let (mut dead, mut count) = (vec![], 0);
    for page in pages() {
        for (target, file, anchor) in links(&page, &fs::read_to_string(&page).unwrap()) {
            count += 1;
            let known = file.starts_with(root()) && file.exists();
            let anchored = anchor.is_none_or(|anchor| {
                known && fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(&anchor))
            });
            if !known || !anchored {
                dead.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    println!("COUNT {count} links");
    assert!(count > 100, "{count}");
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn the_book_has_every_page_once() {
    let summary = root().join("docs/SUMMARY.md");
    let listed: Vec<PathBuf> =
        links(&summary, &fs::read_to_string(&summary).unwrap()).into_iter().map(|(_, file, _)| file).collect();
    let once: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page stands twice in docs/SUMMARY.md");
    let missing: Vec<PathBuf> = below(&root().join("docs"), ".md")
        .into_iter()
        .filter(|page| *page != summary && !once.contains(page))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

/// Pages refer to files beside `docs/`; `make book` lays beside the book what it has to.
#[test]
fn the_book_has_what_its_pages_refer_to() {
    let makefile = read("Makefile");
    for page in below(&root().join("docs"), ".md") {
        for (target, file, _) in links(&page, &fs::read_to_string(&page).unwrap()) {
            let file = file.strip_prefix(root()).unwrap();
            let first = file.iter().next().unwrap().to_str().unwrap();
            let laid = match first {
                "docs" => true,
                // A page outside of docs/ is not part of the book.
                _ if file.extension().is_some_and(|ending| ending == "md") => false,
                "src" => file.starts_with("src/provider/catalogue"),
                _ => makefile.lines().any(|line| line.contains("cp -R") && line.split(' ').any(|word| word == first)),
            };
            assert!(laid, "{}: {target} is not laid beside the book by `make book`", page.display());
        }
    }
}

#[test]
fn security_names_tests_that_there_are() {
    let page = read("docs/security.md");
    let mut source = String::new();
    for file in below(&root().join("src"), ".rs").into_iter().chain(below(&root().join("tests"), ".rs")) {
        source.push_str(&fs::read_to_string(file).unwrap());
    }
    let bracketed = Regex::new(r"\[(`[a-z0-9_]+`[^\]]*)\]").unwrap();
    let name = Regex::new("`([a-z0-9_]+)`").unwrap();
    let table = page.lines().filter(|line| line.starts_with('|')).filter_map(|line| line.rsplit('|').nth(1));
    let places = bracketed.captures_iter(&page).map(|found| found[1].to_owned());
    let mut count = 0;
    for place in places.chain(table.map(str::to_owned)) {
        for test in name.captures_iter(&place).map(|found| found[1].to_owned()).filter(|test| test.contains('_')) {
            count += 1;
            assert!(source.contains(&format!("fn {test}(")), "docs/security.md names {test}, which is no test");
        }
    }
    println!("COUNT {count} tests are named");
    assert!(count > 30, "{count}");
}

#[test]
fn every_word_of_an_error_is_documented() {
    let page = read("docs/http.md");
    let source: String =
        ["error.rs", "error/acting.rs", "error/webhook.rs"].map(|file| read(&format!("src/server/{file}"))).concat();
    let kind = Regex::new(r#"\((StatusCode::[A-Z_]+|\*status), "([a-z_]+)"\)"#).unwrap();
    let words: BTreeSet<String> = kind.captures_iter(&source).map(|found| found[2].to_owned()).collect();
    assert!(words.len() > 25, "{words:?}");
    let table = page.split("## Errors").nth(1).unwrap().split("\n## ").next().unwrap();
    let row = Regex::new(r"(?m)^\| \d{3} \| ([^|]+) \|").unwrap();
    let word = Regex::new("`([a-z_]+)`").unwrap();
    let rows: Vec<String> = row.captures_iter(table).map(|found| found[1].to_owned()).collect();
    let told: BTreeSet<String> =
        rows.iter().flat_map(|row| word.captures_iter(row)).map(|found| found[1].to_owned()).collect();
    assert_eq!(told, words);
    for ending in Regex::new(r#"Self::\w+ => "([a-z_]+)","#).unwrap().captures_iter(&read("src/flow/callback.rs")) {
        let ending = &ending[1];
        let told = page.contains(&format!("`{ending}`")) || page.contains(&format!("`{{type}}_{ending}`"));
        assert!(told, "docs/http.md does not say what the error {ending} of a callback means");
    }
}

/// The scripts in docs/gitops.md, run on statuses that the operator computes.
#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_sees_what_is_so() {
    if !servers::available() {
        return;
    }
    let page = read("docs/gitops.md");
    let scripts: Vec<&str> = page.split("```lua\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [integration, provider] = scripts.as_slice() else { panic!("two scripts, not {}", scripts.len()) };
    let path = root().join("tests/tools/situations.json");
    let situations: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (given, situation) in health(&path, integration).await.iter().zip(&situations) {
        assert_eq!(given["status"], situation["argo"], "{situation:#}");
        assert!(given["message"].is_string(), "{situation:#}");
    }

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("providers.json");
    let ready = |status: &str, seen: u32| {
        let condition =
            serde_json::json!({ "type": "Ready", "status": status, "message": "m", "observedGeneration": seen });
        serde_json::json!({ "object": { "metadata": { "generation": 2 }, "status": { "conditions": [condition] } } })
    };
    let fresh = serde_json::json!({ "object": { "metadata": { "generation": 1 }, "status": null } });
    fs::write(&path, serde_json::json!([ready("True", 2), ready("False", 2), ready("True", 1), fresh]).to_string())
        .unwrap();
    let given: Vec<String> =
        health(&path, provider).await.iter().map(|given| given["status"].as_str().unwrap().to_owned()).collect();
    assert_eq!(given, ["Healthy", "Degraded", "Progressing", "Progressing"]);
}

async fn health(objects: &Path, script: &str) -> Vec<Value> {
    let arguments = vec![objects.to_str().unwrap().to_owned(), script.to_owned()];
    let (_process, said) = servers::NodeProcess::start("argo.mjs", arguments, vec![]).await;
    said["given"].as_array().unwrap().clone()
}
