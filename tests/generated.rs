//! Files that are generated from the source and checked in: here they are compared, and with `UPDATE=1` written.
//!
//! `UPDATE=1 cargo test --test generated`

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use integration_operator::api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// What client-side apply can hold in its annotation, and so the most a CRD should weigh.
const MAX_BYTES: usize = 262_144;

const HEADER: &str = "# Generated from src/api by `UPDATE=1 cargo test --test generated`.\n";

/// `crds/integrations.tms.dev_projectintegrations.yaml` and so on, as controller-gen names them.
fn path(crd: &CustomResourceDefinition) -> PathBuf {
    let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(name)
}

#[test]
fn the_crds_are_those_of_the_source() -> Result<(), Box<dyn Error>> {
    let update = std::env::var_os("UPDATE").is_some();
    for crd in crds() {
        let path = path(&crd);
        let wanted = format!("{HEADER}{}", serde_yaml::to_string(&crd)?);
        assert!(wanted.len() < MAX_BYTES, "{} has {} bytes", path.display(), wanted.len());
        if update {
            fs::create_dir_all(path.with_file_name(""))?;
            fs::write(&path, wanted)?;
        } else {
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(found == wanted, "{} is stale; run `UPDATE=1 cargo test --test generated`", path.display());
        }
    }
    Ok(())
}

#[test]
fn nothing_else_lies_among_the_crds() -> Result<(), Box<dyn Error>> {
    let known: Vec<PathBuf> = crds().iter().map(path).collect();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds"))? {
        let path = entry?.path();
        assert!(known.contains(&path), "{} belongs to no CRD", path.display());
    }
    Ok(())
}
