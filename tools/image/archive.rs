//! From files and settings to an OCI image in one tar archive. No I/O: bytes in, bytes out, the same for the same.
//!
//! The archive is an OCI image layout, which containerd, skopeo, podman and kind read, with the `manifest.json`
//! that every `docker load` understands. It has one layer, whose entries belong to root and bear no time: a layer
//! changes with its content and not with the day.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What becomes an image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Name and tag, such as `docker.io/library/app:1.0`.
    pub(crate) reference: Reference,
    /// As Go names it, such as `amd64`.
    pub(crate) architecture: String,
    /// When the source was made, not the image.
    pub(crate) created: Timestamp,
    /// `uid:gid`, as numbers: Kubernetes cannot tell of a name that it is not root.
    pub(crate) user: String,
    /// The program and what it is always given.
    pub(crate) entrypoint: Vec<String>,
    /// What it is given unless somebody says otherwise.
    pub(crate) cmd: Vec<String>,
    /// Labels by key.
    pub(crate) labels: BTreeMap<String, String>,
    /// Files by absolute path.
    pub(crate) files: BTreeMap<String, File>,
}

/// A file of the image.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Its bytes.
    pub(crate) content: Vec<u8>,
    /// Whether it is a program.
    pub(crate) executable: bool,
}

/// An image's name in full, and its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// With the registry, such as `docker.io/library/app`.
    pub(crate) name: String,
    /// Such as `1.0`.
    pub(crate) tag: String,
}

impl Reference {
    /// Reads `app`, `app:1.0` or `registry.example.com/app:1.0`. What the kubelet looks for is the full name, so a
    /// short one is completed as Docker does it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, "latest"),
        };
        let allowed = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':'))
        };
        if !allowed(tag) || tag.contains(':') || !path.split('/').all(allowed) {
            return None;
        }
        let name = match path.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => path.to_owned(),
            Some(_) => format!("docker.io/{path}"),
            None => format!("docker.io/library/{path}"),
        };
        Some(Self { name, tag: tag.to_owned() })
    }

    fn full(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// The archive, and what names it.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The tar.
    pub(crate) bytes: Vec<u8>,
    /// The digest of the manifest: what a registry calls the image.
    pub(crate) digest: String,
    /// The bytes of its layer as it is stored and sent.
    pub(crate) compressed: usize,
    /// The bytes of its layer as it is unpacked.
    pub(crate) unpacked: usize,
}

/// Writes the image.
pub(crate) fn write(image: &Image) -> io::Result<Archive> {
    let layer = layer(&image.files)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&layer)?;
    let compressed = encoder.finish()?;

    let config = serde_json::to_vec(&config(image, &sha256(&layer)))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &compressed)],
    }))?;
    let mut entry = descriptor(MANIFEST, &manifest);
    entry["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
    // containerd takes the full name from its own annotation, others the tag from the standard's.
    entry["annotations"] = json!({
        "io.containerd.image.name": image.reference.full(),
        "org.opencontainers.image.ref.name": image.reference.tag,
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    let docker = json!([{
        "Config": blob(&config),
        "RepoTags": [image.reference.full()],
        "Layers": [blob(&compressed)],
    }]);

    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put(&mut tar, "index.json", 0o644, &serde_json::to_vec(&index)?)?;
    put(&mut tar, "manifest.json", 0o644, &serde_json::to_vec(&docker)?)?;
    for content in [&config, &manifest, &compressed] {
        put(&mut tar, &blob(content), 0o644, content)?;
    }
    Ok(Archive {
        bytes: tar.into_inner()?,
        digest: sha256(&manifest),
        compressed: compressed.len(),
        unpacked: layer.len(),
    })
}

fn config(image: &Image, diff_id: &str) -> Value {
    json!({
        "created": image.created.to_string(),
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": image.entrypoint,
            "Cmd": image.cmd,
            "WorkingDir": "/",
            "Labels": image.labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": image.created.to_string(), "created_by": "tools/image" }],
    })
}

/// The uncompressed layer: all files, each after the folders that lead to it.
fn layer(files: &BTreeMap<String, File>) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for (path, file) in files {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            if folders.insert(folder.to_owned()) {
                let mut header = header(EntryType::Directory, 0o755, 0);
                tar.append_data(&mut header, format!("{folder}/"), io::empty())?;
            }
        }
        put(&mut tar, path, if file.executable { 0o755 } else { 0o644 }, &file.content)?;
    }
    tar.into_inner()
}

fn put(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, content.len()), path, content)
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(content), "size": content.len() })
}

fn blob(content: &[u8]) -> String {
    format!("blobs/{}", sha256(content).replace(':', "/"))
}

/// `sha256:` and the digest in hexadecimal.
pub(crate) fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"))
}
