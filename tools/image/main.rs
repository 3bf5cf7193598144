//! `image` puts static programs into an OCI archive, without Docker: the operator with all that belongs to it, or any
//! other with the files that are named.
//!
//! `make image` is the short way. For a test's image:
//! `image --binary target/app=/app --entrypoint /app --reference app:1 --output app.tar`

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod archive;
mod elf;
mod notices;
mod operator;
mod sbom;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use archive::{File, Image, Reference};
use source::Source;

#[derive(Parser)]
#[command(about = "Puts static programs into an OCI archive")]
struct Arguments {
    /// The operator's program; brings certificates, licence, SBOM, labels and the way to run it
    #[arg(long, conflicts_with_all = ["entrypoint", "cmd", "user"])]
    operator: Option<PathBuf>,
    /// A static program and its place in the image
    #[arg(long = "binary", value_name = "SRC=DST", value_parser = mapping)]
    binaries: Vec<(PathBuf, String)>,
    /// Another file and its place in the image
    #[arg(long = "file", value_name = "SRC=DST", value_parser = mapping)]
    files: Vec<(PathBuf, String)>,
    /// Name and tag of the image
    #[arg(long, value_parser = reference, default_value = concat!(env!("CARGO_PKG_NAME"), ":", env!("CARGO_PKG_VERSION")))]
    reference: Reference,
    /// The archive to write
    #[arg(long)]
    output: PathBuf,
    /// The program that runs, and what it is always given
    #[arg(long)]
    entrypoint: Vec<String>,
    /// What it is given unless somebody says otherwise
    #[arg(long, allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// Who runs it, by number
    #[arg(long, default_value = operator::USER)]
    user: String,
    /// A label of the image
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// What the operator's program was built for; this machine when empty
    #[arg(long, env = "TARGET", default_value = "")]
    target: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "there is no =".to_owned())
}

fn mapping(text: &str) -> Result<(PathBuf, String), String> {
    match pair(text)? {
        (from, to) if to.starts_with('/') && !to.ends_with('/') => Ok((PathBuf::from(from), to)),
        _ => Err("the place in the image has to be a file's absolute path".to_owned()),
    }
}

fn reference(text: &str) -> Result<Reference, String> {
    Reference::parse(text).ok_or_else(|| "this is no name of an image, such as app:1.0".to_owned())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::current_dir()?;
    let source = Source::of(&folder, std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    let image = image(&arguments, &folder, &source)?;
    let written = archive::write(&image)?;
    let output = &arguments.output;
    fs::create_dir_all(output.with_file_name(""))?;
    fs::write(output, &written.bytes).with_context(|| output.display().to_string())?;
    println!("{}", output.display());
    println!("  image    {}:{} for linux/{}", image.reference.name, image.reference.tag, image.architecture);
    println!("  digest   {}", written.digest);
    println!("  size     {} bytes, {} unpacked", written.compressed, written.unpacked);
    println!("  created  {} {}", image.created, source.revision);
    Ok(())
}

fn image(arguments: &Arguments, folder: &Path, source: &Source) -> Result<Image> {
    let mut files = operator::users();
    let mut labels = BTreeMap::new();
    let mut entrypoint = arguments.entrypoint.clone();
    let mut cmd = arguments.cmd.clone();
    let mut binaries = arguments.binaries.clone();
    if let Some(program) = &arguments.operator {
        let target = target(&arguments.target)?;
        let parts = operator::parts(folder, &target)?;
        let sbom = operator::sbom(&parts, source, &target)?;
        let notices = notices::text(folder, &target, parts.libraries())?;
        fs::create_dir_all(arguments.output.with_file_name(""))?;
        fs::write(arguments.output.with_extension("cdx.json"), &sbom)?;
        files.extend(operator::files(folder, &sbom, &notices)?);
        labels = operator::labels(source);
        entrypoint = vec![operator::PROGRAM.to_owned()];
        cmd = vec![operator::COMMAND.to_owned()];
        binaries.push((program.clone(), operator::PROGRAM.to_owned()));
    }
    labels.extend(arguments.labels.iter().cloned());

    let mut architecture = None;
    for (from, to) in binaries {
        let content = read(&from)?;
        let found = elf::architecture(&content).with_context(|| from.display().to_string())?;
        if architecture.replace(found).is_some_and(|other| other != found) {
            bail!("{} is for another machine than the programs before it", from.display());
        }
        files.insert(to, File { content, executable: true });
    }
    for (from, to) in &arguments.files {
        files.insert(to.clone(), File { content: read(from)?, executable: false });
    }
    Ok(Image {
        reference: arguments.reference.clone(),
        architecture: architecture.context("name a program with --operator or --binary")?.to_owned(),
        created: source.created,
        user: arguments.user.clone(),
        entrypoint,
        cmd,
        labels,
        files,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// What was named, or the target that rustc builds for by itself.
fn target(named: &str) -> Result<String> {
    if !named.is_empty() {
        return Ok(named.to_owned());
    }
    let output = Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(host.to_owned())
}
