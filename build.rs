//! Lists the files of the catalogue, so that a new one is built in without being named anywhere.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where the descriptions lie.
const FOLDER: &str = "src/provider/catalogue";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join(FOLDER);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if let Some(name) = name(&path) {
            files.push((name, path.to_str().ok_or("the path is no UTF-8")?.to_owned()));
        }
    }
    files.sort();
    let mut table = format!("[(&str, &str); {}] = [\n", files.len());
    for (name, path) in &files {
        writeln!(table, "    ({name:?}, include_str!({path:?})),")?;
    }
    table.push(']');
    let text = format!("/// The descriptions, by name, in order.\nstatic DOCUMENTS: {table};\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("catalogue.rs"), text)?;
    Ok(())
}

/// The name that a file describes: `slack` of `slack.yaml`. A recording, `slack.recording.yaml`, describes none.
fn name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".yaml")?;
    (!name.contains('.')).then(|| name.to_owned())
}
