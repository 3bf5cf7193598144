//! schemathesis, which makes requests of an `OpenAPI` document, good ones and bad ones, and compares the answers with it.
//!
//! It is installed on first use from `PyPI`, into the cache that the control plane of the tests is kept in, by a name of the
//! versions that `requirements.txt` says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::cluster::binaries::Environment;
use crate::servers::s256;

/// What is compared, beside that nothing is answered with 5xx.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis")
}

/// Whether it can run here. Without Python it says so on standard error, so that a test can return early; on CI it panics.
pub fn available() -> bool {
    let found =
        Command::new("python3").args(["-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    eprintln!("skipped: schemathesis needs Python 3.10 or newer, with venv");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "this test must not be skipped on CI: install Python 3.10 or newer, with venv"
    );
    false
}

/// The program, which is installed once: other tests and other processes wait.
fn program() -> PathBuf {
    let requirements = directory().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let place = Environment::current().unwrap().tools().join(format!("schemathesis-{}", &s256(&wanted)[..12]));
    let stamp = place.join(".installed");
    let lock = std::fs::File::open(&requirements).unwrap();
    lock.lock().unwrap();
    if !stamp.exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        succeed(Command::new(place.join("bin/python")).args(pip).arg(&requirements));
        std::fs::write(stamp, "").unwrap();
    }
    place.join("bin/st")
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("python3 is there: call `available` first");
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `examples` requests at most of each operation and phase, always the same ones, with a caller's token. `places`: the
/// file that says what stands in the places of paths.
pub async fn run(server: &str, token: &str, examples: u32, places: &str, more: &[&str]) {
    let mut command = Command::new(program());
    command
        .arg("--config-file")
        .arg(directory().join(places))
        .args(["run", &format!("{server}/openapi.json"), "--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", CHECKS, "--phases", "coverage,fuzzing", "--continue-on-failure"])
        .args(["--max-examples", &examples.to_string(), "--seed", "7", "--generation-database", "none"])
        .args(["--warnings", "off", "--max-redirects", "0", "--no-color"])
        .args(more)
        // It would read a configuration of a checkout, and would leave its cache there.
        .current_dir(std::env::temp_dir());
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let tail: Vec<_> = told.lines().rev().take(120).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{tail}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{tail}");
}
