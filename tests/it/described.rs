//! The HTTP API does as its own document says, whatever is asked: Schemathesis reads `/openapi.json` and tries.
//!
//! Needs Python 3.10 or newer; `tests/schemathesis/requirements.txt` names every package.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::acting::with_app;
use crate::servers::s256;
use crate::world::{World, is_ready};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis")
}

/// Whether there is a Python that Schemathesis runs on. On CI, where a skipped test would look like a passed one, it panics.
fn python() -> bool {
    let asked = Command::new("python3").args(["-c", "import sys, venv; sys.exit(sys.version_info < (3, 10))"]).output();
    if asked.is_ok_and(|output| output.status.success()) {
        return true;
    }
    eprintln!("skipped: this test needs Python 3.10 or newer, with its module venv");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this test must not be skipped on CI: install Python");
    false
}

fn succeed(what: &str, command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// The program, from an environment of its own that is made once for each list of requirements.
fn schemathesis() -> PathBuf {
    let requirements = directory().join("requirements.txt");
    let lock = std::fs::File::open(&requirements).unwrap();
    lock.lock().unwrap();
    let (folder, hash) = (directory().join(".venv"), s256(&std::fs::read_to_string(&requirements).unwrap()));
    let stamp = folder.join("installed");
    if !std::fs::read_to_string(&stamp).is_ok_and(|found| found == hash) {
        succeed("python3 -m venv", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]);
        succeed("pip install", pip.arg(&requirements));
        std::fs::write(stamp, hash).unwrap();
    }
    folder.join("bin/schemathesis")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_what_its_document_says() {
    if !python() {
        return;
    }
    let Some(world) = World::start("the_api_is_what_its_document_says").await else { return };
    let (_sandbox, _app, _) = with_app(&world, None).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;

    let program = tokio::task::spawn_blocking(schemathesis).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(directory().join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", world.public_url), "--no-color"])
        .current_dir(home.path())
        .env("API_URL", &world.public_url)
        .env("API_TOKEN", &token)
        .env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    // What it tried is no reason for the operator to fall.
    operator.ready().await;
}
