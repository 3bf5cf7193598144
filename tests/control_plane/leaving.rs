//! A cluster leaves nothing behind, whichever way its owner ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::{self, Options, Part};
use crate::eventually;

/// Set for the process that is to be killed.
const OWNER: &str = "TEST_CLUSTER_OWNER";

fn runs(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8(state.stdout).unwrap();
    // What is dead and waits for its parent to notice does not run.
    !state.trim().is_empty() && !state.starts_with('Z')
}

#[tokio::test]
async fn dropping_a_cluster_leaves_nothing() {
    let test = "dropping_a_cluster_leaves_nothing";
    let Some(cluster) = cluster::start_or_skip(test, Options::default()).await else {
        return;
    };
    if !cluster.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let directory = cluster.directory().to_owned();
    let processes = cluster.process_ids();
    assert!(processes.len() >= 2, "{processes:?}");
    assert!(processes.iter().all(|(_, pid)| runs(*pid)));
    drop(cluster);
    assert!(!directory.exists());
    assert!(!processes.iter().any(|(_, pid)| runs(*pid)));
}

#[tokio::test]
async fn a_kept_directory_is_left_and_cleared_by_the_next_cluster() {
    let test = "a_kept_directory_is_left_and_cleared_by_the_next_cluster";
    let kept = tempfile::tempdir().unwrap();
    let options =
        || Options { keep_dir: Some(kept.path().to_owned()), controller_manager: false, ..Options::default() };
    for _ in 0..2 {
        let Some(cluster) = cluster::start_or_skip(test, options()).await else {
            return;
        };
        if !cluster.has_or_skip(Part::OwnApiServer, test) {
            return;
        }
        assert!(!kept.path().join("left-behind").exists());
        cluster.client().unwrap().apiserver_version().await.unwrap();
        let processes = cluster.process_ids();
        assert_eq!(processes.len(), 2, "{processes:?}");
        drop(cluster);
        assert!(!processes.iter().any(|(_, pid)| runs(*pid)));
        assert!(kept.path().join("kube-apiserver.log").exists());
        std::fs::write(kept.path().join("left-behind"), "").unwrap();
    }
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("precious"), "").unwrap();
    let refused = cluster::supervisor::Supervisor::in_kept_directory(directory.path()).unwrap_err();
    assert!(refused.to_string().contains("neither empty nor a test cluster's"), "{refused}");
    assert!(directory.path().join("precious").exists());
}

#[tokio::test]
async fn killing_the_owner_leaves_nothing() {
    let test = "killing_the_owner_leaves_nothing";
    let Some(shared) = cluster::shared(test).await else {
        return;
    };
    if !shared.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "leaving::an_owner_to_be_killed", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().split_once("OWNER ").map(|(_, told)| told.to_owned()))
        .expect("the owner did not start its cluster");
    let told: Value = serde_json::from_str(&told).unwrap();
    let directory = PathBuf::from(told["directory"].as_str().unwrap());
    let pids: Vec<u32> = serde_json::from_value(told["pids"].clone()).unwrap();
    assert!(pids.len() >= 2 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    assert!(directory.exists());

    // SIGKILL
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the end of the processes", async || !pids.iter().any(|pid| runs(*pid))).await;
    eventually("the removal of the directory", async || !directory.exists()).await;
    assert!(!runs_anything_in(&directory));
}

/// The shells that supervise name the directory, too.
fn runs_anything_in(directory: &Path) -> bool {
    let all = Command::new("ps").args(["-e", "-o", "args="]).output().unwrap();
    String::from_utf8_lossy(&all.stdout).contains(directory.to_str().unwrap())
}

#[tokio::test]
#[ignore = "the other half of killing_the_owner_leaves_nothing"]
async fn an_owner_to_be_killed() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    // In a static that nobody drops, as a test binary has it.
    let cluster = cluster::shared("an_owner_to_be_killed").await.unwrap();
    let pids: Vec<u32> = cluster.process_ids().into_iter().map(|(_, pid)| pid).collect();
    println!("OWNER {}", json!({"directory": cluster.directory(), "pids": pids}));
    std::future::pending::<()>().await;
}
