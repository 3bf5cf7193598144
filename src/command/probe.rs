//! `probe`: asks a running operator, as a Pod of `helm test` does. There is no shell and no curl in the image.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

/// Time between two tries.
const PACE: Duration = Duration::from_millis(500);
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// Where people and apps are served, such as `http://integration-operator`.
    #[arg(long, value_name = "URL")]
    pub service: Url,
    /// Where probes and metrics are served, such as `http://integration-operator-metrics:9090`.
    #[arg(long, value_name = "URL")]
    pub probes: Url,
    /// Seconds for which it is tried again.
    #[arg(long, default_value_t = 30)]
    pub wait: u64,
}

/// Asks until all answers are right, or the time is over.
pub async fn run(options: &Probe) -> anyhow::Result<String> {
    let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy().build()?;
    let deadline = Instant::now() + Duration::from_secs(options.wait);
    let ready = (path(&options.probes, "readyz"), StatusCode::OK);
    // Without a token there is one right answer, and only the operator's API gives it.
    let guarded = (path(&options.service, "v1/providers"), StatusCode::UNAUTHORIZED);
    let mut said = String::new();
    for (url, wanted) in [ready, guarded] {
        while let Err(error) = ask(&client, &url, wanted).await {
            if Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(PACE).await;
        }
        writeln!(said, "{url} answers {wanted}")?;
    }
    Ok(said)
}

async fn ask(client: &Client, url: &str, wanted: StatusCode) -> anyhow::Result<()> {
    let answer = client.get(url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    if status != wanted {
        let body: String = answer.text().await.unwrap_or_default().trim().chars().take(200).collect();
        bail!("{url} answers {status}, not {wanted}: {body}");
    }
    Ok(())
}

fn path(base: &Url, path: &str) -> String {
    format!("{}/{path}", base.as_str().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;

    /// A server on loopback whose two paths answer so.
    async fn served(ready: StatusCode, providers: StatusCode) -> Url {
        let router = Router::new()
            .route("/readyz", get(move || async move { (ready, "waiting for: caches\n") }))
            .route("/v1/providers", get(move || async move { providers }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}").parse().unwrap()
    }

    async fn probed(ready: StatusCode, providers: StatusCode) -> anyhow::Result<String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = served(ready, providers).await;
        run(&Probe { service: url.clone(), probes: url, wait: 0 }).await
    }

    #[tokio::test]
    async fn only_a_ready_and_guarded_operator_will_do() {
        let said = probed(StatusCode::OK, StatusCode::UNAUTHORIZED).await.unwrap();
        assert_eq!(said.lines().count(), 2, "{said}");
        let error = probed(StatusCode::SERVICE_UNAVAILABLE, StatusCode::UNAUTHORIZED).await.unwrap_err().to_string();
        assert!(error.contains("/readyz answers 503 Service Unavailable, not 200 OK: waiting for: caches"), "{error}");
        let error = probed(StatusCode::OK, StatusCode::OK).await.unwrap_err().to_string();
        assert!(error.contains("/v1/providers answers 200 OK, not 401"), "{error}");
    }
}
