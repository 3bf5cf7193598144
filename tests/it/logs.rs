//! The log, and what changes it while it is written.

use std::fs;

use crate::world::{Flags, World, eventually};

/// A request that is told at `debug`, and not at `info`.
async fn is_told(world: &World, operator: &crate::world::Operator) -> bool {
    let before = operator.log().matches("answered").count();
    world.http.get(format!("{}/v1/providers", world.public_url)).send().await.unwrap();
    operator.log().matches("answered").count() > before
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_follows_a_file() {
    let Some(world) = World::start("what_is_logged_follows_a_file").await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("directives");
    let arguments = vec![
        "--log".to_owned(),
        "info".to_owned(),
        "--log-directives-file".to_owned(),
        file.to_str().unwrap().to_owned(),
        "--log-format".to_owned(),
        "json".to_owned(),
    ];
    let operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    eventually("a missing file is told", async || operator.log().contains("the file cannot be read")).await;
    assert!(!is_told(&world, &operator).await, "as --log says");

    fs::write(&file, "integration_operator=debug\n").unwrap();
    eventually("the file is followed", async || is_told(&world, &operator).await).await;

    fs::write(&file, "integration_operator=loud").unwrap();
    eventually("nonsense is told", async || operator.log().contains("not of the form of --log")).await;
    assert!(is_told(&world, &operator).await, "what was said before stays");

    // As a mounted ConfigMap changes: another file takes its place.
    let next = directory.path().join("next");
    fs::write(&next, "info").unwrap();
    fs::rename(&next, &file).unwrap();
    eventually("less is logged again", async || !is_told(&world, &operator).await).await;

    // Whatever is asked for, nothing that others write of frames and handshakes gets in.
    fs::write(&file, "trace").unwrap();
    eventually("more is logged", async || is_told(&world, &operator).await).await;
    let before = operator.log().lines().count();
    let of = |origin: &str| {
        let target = format!("\"target\":\"{origin}");
        operator.log().lines().skip(before).filter(|line| line.contains(&target)).count()
    };
    // The Lease is renewed every 2 s: enough requests that others could tell of.
    eventually("kube is heard", async || of("kube") >= 3).await;
    for origin in ["h2", "hyper", "reqwest", "rustls", "tokio_rustls", "tower"] {
        assert_eq!(of(origin), 0, "{origin} in {}", operator.log());
    }
    assert!(!operator.log().contains("\"TRACE\""), "{}", operator.log());

    fs::write(&file, "").unwrap();
    eventually("an empty file says what --log says", async || !is_told(&world, &operator).await).await;
    assert_eq!(operator.log().matches("not of the form of --log").count(), 1, "nothing is told twice");
}
