//! Servers end with the process that started them, however that one ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::CALLBACK;
use crate::servers::{self, Emulate, EmulateOptions, OidcOptions, OidcProvider};

#[tokio::test]
async fn a_server_ends_with_its_owner() {
    if !servers::available() {
        return;
    }
    let server = OidcProvider::start(OidcOptions::default()).await;
    let issuer = server.issuer.clone();
    let http = servers::http_client();
    assert!(http.get(&issuer).send().await.is_ok());
    drop(server);
    assert!(http.get(&issuer).send().await.is_err());
}

/// Stands in for a test that is killed; started by the test below only.
#[tokio::test]
#[ignore = "waits to be killed"]
async fn owner_that_is_killed() {
    let oidc = OidcProvider::start(OidcOptions::default()).await;
    let emulate = Emulate::start(&["slack"], EmulateOptions::new(CALLBACK)).await;
    println!("servers: {} {}", oidc.issuer, emulate.slack());
    tokio::time::sleep(Duration::from_mins(2)).await;
}

#[tokio::test]
async fn servers_end_when_their_owner_is_killed() {
    if !servers::available() {
        return;
    }
    let (urls, mut owner) = tokio::task::spawn_blocking(|| {
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checks::lifetime::owner_that_is_killed", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
        let line =
            lines.map_while(Result::ok).find_map(|line| line.split_once("servers: ").map(|(_, urls)| urls.to_owned()));
        let urls: Vec<_> = line.unwrap().split(' ').map(ToOwned::to_owned).collect();
        (urls, owner)
    })
    .await
    .unwrap();
    let http = servers::http_client();
    for url in &urls {
        assert!(http.get(url).send().await.is_ok());
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    let gone = async {
        for url in &urls {
            while http.get(url).send().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the servers are still there");
}
