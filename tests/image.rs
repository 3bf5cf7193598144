//! The packager of `make image`, with a small program in the operator's place: whether runtimes will take the archive,
//! and whether the Dockerfile makes the same image.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as tests")]

#[path = "../tools/image/archive.rs"]
mod archive;
#[path = "../tools/image/elf.rs"]
mod elf;
#[path = "../tools/image/notices.rs"]
mod notices;
#[path = "../tools/image/operator.rs"]
mod operator;
#[path = "../tools/image/sbom.rs"]
mod sbom;
#[path = "../tools/image/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use archive::{File, Image, Reference, sha256};
use flate2::read::GzDecoder;
use jiff::Timestamp;
use serde_json::{Value, json};
use source::Source;

type Outcome = Result<(), Box<dyn Error>>;

/// A 64-bit program of nothing but headers; `interpreter` is the loader that it asks for.
fn program(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let loader = interpreter.map(|path| format!("{path}\0")).unwrap_or_default();
    for half in [2, machine] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let (load, interp) = (1_u32, 3_u32);
    bytes.extend(if interpreter.is_some() { interp } else { load }.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    for word in [120_u64, 0, 0, loader.len() as u64, loader.len() as u64, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(loader.as_bytes());
    bytes
}

const TARGET: &str = "x86_64-unknown-linux-gnu";
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

fn example() -> Image {
    let mut files = operator::users();
    files.insert("/app".to_owned(), File { content: program(X86_64, None), executable: true });
    files.insert("/usr/share/doc/app/LICENSE".to_owned(), File { content: b"free".to_vec(), executable: false });
    Image {
        reference: Reference::parse("app:1.0").unwrap(),
        architecture: "amd64".to_owned(),
        created: Timestamp::from_second(1_700_000_000).unwrap(),
        user: operator::USER.to_owned(),
        entrypoint: vec!["/app".to_owned()],
        cmd: vec!["run".to_owned()],
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        files,
    }
}

/// Every file of an archive, by name.
fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Box<dyn Error>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let known = files.insert(entry.path()?.to_string_lossy().into_owned(), content);
        assert!(known.is_none(), "{:?} is there twice", entry.path());
    }
    Ok(files)
}

/// The blob that a descriptor names; its digest and size have to be right.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(sha256(content), digest);
    assert_eq!(descriptor["size"], content.len());
    content
}

/// What an archive leads to.
struct Followed {
    entry: Value,
    manifest: Value,
    config: Value,
    layer: Vec<u8>,
}

/// From the index to the unpacked layer.
fn follow(files: &BTreeMap<String, Vec<u8>>) -> Result<Followed, Box<dyn Error>> {
    let index: Value = serde_json::from_slice(&files["index.json"])?;
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
    let entry = index["manifests"][0].clone();
    let manifest: Value = serde_json::from_slice(blob(files, &entry))?;
    assert_eq!(manifest["mediaType"], entry["mediaType"]);
    let config = serde_json::from_slice(blob(files, &manifest["config"]))?;
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    let mut layer = Vec::new();
    GzDecoder::new(blob(files, &manifest["layers"][0])).read_to_end(&mut layer)?;
    Ok(Followed { entry, manifest, config, layer })
}

#[test]
fn the_archive_is_an_image_layout_that_docker_loads_too() -> Outcome {
    let written = archive::write(&example())?;
    let files = unpack(&written.bytes)?;
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let Followed { entry, manifest, config, layer } = follow(&files)?;
    assert_eq!(written.digest, entry["digest"]);
    assert_eq!(written.unpacked, layer.len());
    assert_eq!(manifest["layers"][0]["size"], written.compressed);
    assert_eq!(entry["platform"], json!({ "architecture": "amd64", "os": "linux" }));
    let names = json!({
        "io.containerd.image.name": "docker.io/library/app:1.0", "org.opencontainers.image.ref.name": "1.0",
    });
    assert_eq!(entry["annotations"], names);
    assert_eq!(config["rootfs"], json!({ "type": "layers", "diff_ids": [sha256(&layer)] }));

    let docker: Value = serde_json::from_slice(&files["manifest.json"])?;
    let path = |descriptor: &Value| descriptor["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let wanted = json!([{
        "Config": path(&manifest["config"]),
        "RepoTags": ["docker.io/library/app:1.0"],
        "Layers": [path(&manifest["layers"][0])],
    }]);
    assert_eq!(docker, wanted);
    assert_eq!(files.len(), 6, "nothing else: {:?}", files.keys());
    Ok(())
}

#[test]
fn it_says_how_to_run_the_program() -> Outcome {
    let Followed { config, .. } = follow(&unpack(&archive::write(&example())?.bytes)?)?;
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/app"]));
    assert_eq!(config["config"]["Cmd"], json!(["run"]));
    assert_eq!(config["config"]["Labels"], json!({ "a": "b" }));
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
    Ok(())
}

#[test]
fn the_layer_holds_the_files_and_gives_no_rights() -> Outcome {
    let image = example();
    let Followed { layer, .. } = follow(&unpack(&archive::write(&image)?.bytes)?)?;
    let mut seen: Vec<String> = Vec::new();
    for entry in tar::Archive::new(&*layer).entries()? {
        let mut entry = entry?;
        let header = entry.header().clone();
        let path = format!("/{}", entry.path()?.display());
        assert_eq!((header.uid()?, header.gid()?, header.mtime()?), (0, 0, 0), "{path}");
        let parent = Path::new(&path).parent().unwrap().to_string_lossy().into_owned();
        assert!(parent == "/" || seen.contains(&parent), "{path} comes before its folder");
        if header.entry_type().is_dir() {
            assert_eq!(header.mode()?, 0o755, "{path}");
            seen.push(path.trim_end_matches('/').to_owned());
            continue;
        }
        let file = &image.files[&path];
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        assert!(header.entry_type().is_file() && content == file.content, "{path}");
        assert_eq!(header.mode()?, if path == "/app" { 0o755 } else { 0o644 }, "{path}");
        seen.push(path);
    }
    assert!(image.files.keys().all(|path| seen.contains(path)), "{seen:?}");
    Ok(())
}

#[test]
fn the_same_files_make_the_same_image() -> Outcome {
    let first = archive::write(&example())?;
    assert!(first.bytes == archive::write(&example())?.bytes);
    let mut other = example();
    other.files.insert("/etc/hosts".to_owned(), File { content: Vec::new(), executable: false });
    assert_ne!(first.digest, archive::write(&other)?.digest);
    Ok(())
}

#[test]
fn names_are_completed_as_the_kubelet_does_it() {
    for (text, name, tag) in [
        ("app", "docker.io/library/app", "latest"),
        ("app:1.0", "docker.io/library/app", "1.0"),
        ("team/app:1.0", "docker.io/team/app", "1.0"),
        ("localhost/app", "localhost/app", "latest"),
        ("localhost:5000/app:x", "localhost:5000/app", "x"),
        ("registry.example.com/team/app:1.0", "registry.example.com/team/app", "1.0"),
    ] {
        let wanted = Reference { name: name.to_owned(), tag: tag.to_owned() };
        assert_eq!(Reference::parse(text), Some(wanted), "{text}");
    }
    for text in ["", ":1.0", "app:", "a b:1", "app@sha256:00", "/app"] {
        assert_eq!(Reference::parse(text), None, "{text}");
    }
}

#[test]
fn only_static_programs_are_taken() -> Outcome {
    assert_eq!(elf::architecture(&program(X86_64, None))?, "amd64");
    assert_eq!(elf::architecture(&program(AARCH64, None))?, "arm64");
    let refused = |bytes: &[u8]| format!("{:#}", elf::architecture(bytes).unwrap_err());
    assert!(refused(&program(X86_64, Some("/lib64/ld-linux-x86-64.so.2"))).contains("it is not static"));
    assert!(refused(&program(243, None)).contains("Riscv64"));
    assert!(refused(b"#!/bin/sh\n").contains("no 64-bit ELF program"));
    Ok(())
}

#[test]
fn the_source_is_told_by_git_where_there_is_a_history() -> Outcome {
    let folder = tempfile::tempdir()?;
    let git = |arguments: &[&str]| {
        let name = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let ran = Command::new("git").current_dir(folder.path()).args(name).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}");
    };
    let none = Source::of(folder.path(), None)?;
    assert_eq!((none.revision.as_str(), none.created), ("", Timestamp::UNIX_EPOCH));
    assert_eq!(Source::of(folder.path(), Some("60"))?.created, Timestamp::from_second(60)?);
    assert!(Source::of(folder.path(), Some("today")).is_err());

    std::fs::create_dir(folder.path().join("inner"))?;
    std::fs::write(folder.path().join("inner/file"), "1")?;
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "first"]);
    let source = Source::of(folder.path(), None)?;
    assert_eq!(source.revision.len(), 40);
    assert!(source.created > Timestamp::UNIX_EPOCH);
    assert_eq!(Source::of(&folder.path().join("inner"), None)?.revision, "", "another project's history");
    std::fs::write(folder.path().join("inner/file"), "2")?;
    assert_eq!(Source::of(folder.path(), None)?.revision, format!("{}-dirty", source.revision));
    Ok(())
}

#[test]
fn the_authorities_can_be_read() -> Outcome {
    let text = operator::certificates();
    let certificates = pem::parse_many(&text)?;
    assert!(certificates.len() > 100, "{}", certificates.len());
    let mut store = rustls::RootCertStore::empty();
    let (_, ignored) = store.add_parsable_certificates(certificates.into_iter().map(|c| c.into_contents().into()));
    assert_eq!(ignored, 0);
    Ok(())
}

#[test]
fn the_sbom_names_what_is_linked_and_nothing_else() -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = Source { revision: String::new(), created: Timestamp::UNIX_EPOCH };
    let parts = operator::parts(folder, TARGET)?;
    let text = operator::sbom(&parts, &source, TARGET)?;
    assert_eq!(text, operator::sbom(&operator::parts(folder, TARGET)?, &source, TARGET)?);
    let sbom: Value = serde_json::from_str(&text)?;
    assert_eq!(sbom["metadata"]["component"]["name"], env!("CARGO_PKG_NAME"));
    assert_eq!(sbom["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "a path of this machine is in it");

    let components: BTreeMap<&str, &Value> =
        sbom["components"].as_array().unwrap().iter().map(|c| (c["bom-ref"].as_str().unwrap(), c)).collect();
    let of = |name: &str| components.values().find(|component| component["name"] == name);
    for linked in ["kube-client", "ring", "rustls", "tokio", "glibc", "rust-std", "webpki-root-certs"] {
        assert!(of(linked).is_some(), "{linked} is missing");
    }
    // Of the tests, of the build, of other systems.
    for other in ["proptest", "scraper", "cargo-lock", "serde_derive", "syn", "cc", "windows-sys"] {
        assert!(of(other).is_none(), "{other} is not in the program");
    }
    let ring = of("ring").unwrap();
    assert_eq!(ring["hashes"][0]["content"].as_str().map(str::len), Some(64));
    assert_eq!(ring["licenses"][0]["expression"], "Apache-2.0 AND ISC");
    for dependency in sbom["dependencies"].as_array().unwrap() {
        for reference in dependency["dependsOn"].as_array().unwrap() {
            assert!(components.contains_key(reference.as_str().unwrap()), "{reference} is no component");
        }
    }
    Ok(())
}

#[test]
fn the_licences_are_passed_on() -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = notices::text(folder, TARGET, operator::parts(folder, TARGET)?.libraries())?;
    let (list, texts) = text.split_once("====").ok_or("there is no text")?;
    assert!(list.contains("\nrust-std ") && list.contains(": Apache-2.0 AND ISC\n"), "{list}");
    for part in ["Permission is hereby granted, free of charge", "\nring ", "Copyright 2015-2025 Brian Smith"] {
        assert!(texts.contains(part), "{part}");
    }
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "a path of this machine is in it");
    Ok(())
}

/// The instructions of the last stage, with continued lines joined.
fn last_stage(dockerfile: &str) -> Vec<(String, String)> {
    let joined = dockerfile.replace("\\\n", " ");
    let mut stage = Vec::new();
    for line in joined.lines().filter(|line| !line.starts_with('#')) {
        if let Some((instruction, rest)) = line.split_once(' ') {
            if instruction == "FROM" {
                stage.clear();
            }
            stage.push((instruction.to_owned(), rest.trim().to_owned()));
        }
    }
    stage
}

#[test]
fn the_dockerfile_makes_the_same_image() -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(folder.join("Dockerfile"))?;
    let stage = last_stage(&text);
    let said = |name: &str| stage.iter().filter(|(i, _)| i == name).map(|(_, rest)| rest.as_str()).collect::<Vec<_>>();
    assert_eq!(said("FROM"), ["scratch"]);
    assert_eq!(said("USER"), [operator::USER]);
    assert_eq!(said("ENTRYPOINT"), [format!("[{:?}]", operator::PROGRAM)]);
    assert_eq!(said("CMD"), [format!("[{:?}]", operator::COMMAND)]);
    assert_eq!(said("COPY"), ["--from=build /image /"]);

    let source = Source { revision: "${REVISION}".to_owned(), created: Timestamp::UNIX_EPOCH };
    let mut labels = operator::labels(&source);
    labels.insert("org.opencontainers.image.created".to_owned(), "${CREATED}".to_owned());
    let mut found = BTreeMap::new();
    for label in said("LABEL") {
        let (key, value) = label.split_once('=').ok_or("LABEL key=value")?;
        found.insert(key.to_owned(), value.trim_matches('"').to_owned());
    }
    assert_eq!(found, labels);

    let made = [operator::SBOM, operator::NOTICES];
    let files = operator::files(folder, "", "")?.into_keys().filter(|path| !made.contains(&path.as_str()));
    let files: Vec<String> = files.chain([operator::PROGRAM.to_owned()]).collect();
    for path in files {
        assert!(text.contains(&format!("/image{path}\n")) || text.contains(&format!("/image{path} ")), "{path}");
    }
    for table in [operator::PASSWD, operator::GROUP] {
        assert!(text.contains(&format!("printf '{}'", table.replace('\n', "\\n"))), "{table}");
    }
    Ok(())
}
