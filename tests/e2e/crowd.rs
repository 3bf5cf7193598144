//! Many projects whose access tokens live for seconds, at a strict app that keeps books: what was lost or late shows there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use futures::stream::iter;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::sandbox::Endpoint;
use crate::stage::{Stage, until};
use crate::voice::say;

/// The tenant, and its namespace.
pub(crate) const TENANT: &str = "crowd";
/// Seconds that an access token lives.
pub(crate) const LIFETIME: u32 = 15;
/// Seconds from one refresh to the next: two thirds of a life.
const PLANNED: f64 = LIFETIME as f64 * 2.0 / 3.0;
/// Connections that are made at once.
const AT_ONCE: usize = 6;
/// No way through the pages is longer.
const MOST_HOPS: usize = 8;

/// What the books tell of a stretch of time.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) grants: usize,
    pub(crate) refreshes: usize,
    /// Grants that have ended.
    pub(crate) lost: usize,
    /// Seconds after the planned moment: the median, the 99th of a hundred, and the worst.
    pub(crate) late: [f64; 3],
    /// Access tokens that ran out before there was another.
    pub(crate) ran_out: usize,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p99, worst] = self.late;
        write!(
            f,
            "{} grants, {} refreshes, {} lost; late by {median:.2} s (p50), {p99:.2} s (p99), {worst:.2} s (worst); \
             {} access tokens ran out before their successor came",
            self.grants, self.refreshes, self.lost, self.ran_out
        )
    }
}

/// Connects so many projects, by HTTP as a backend and a browser do it.
pub(crate) async fn connect(stage: &Stage, size: usize) -> Result<()> {
    stage.namespace(TENANT, true).await?;
    let token = backend(stage).await?;
    let base = stage.on_node().await?;
    let browser = stage.plan.client()?;
    let inside = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let (token, base, browser, inside) = (&token, &base, &browser, &inside);
    let connected: Vec<Result<()>> = iter(0..size)
        .map(|number| async move {
            let path = format!("/v1/tenants/{TENANT}/projects/p{number}/integrations/crowd/install");
            let answer = inside.get(format!("{base}{path}")).bearer_auth(token).send().await?;
            let status = answer.status();
            let cookies: Vec<String> = answer
                .headers()
                .get_all("set-cookie")
                .iter()
                .filter_map(|value| value.to_str().ok()?.split(';').next().map(str::to_owned))
                .collect();
            let body: Value = answer.json().await?;
            let link = body["oauth_url"].as_str().with_context(|| format!("install answers {status}: {body}"))?;
            walk(browser, link, &cookies.join("; ")).await.with_context(|| format!("project p{number}"))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    connected.into_iter().collect::<Result<Vec<()>>>()?;
    until("all of the crowd are connected", async || {
        let ready = stage.integrations(TENANT).list(&kube::api::ListParams::default()).await?;
        let ready = ready.iter().filter(|found| crate::stage::condition(found, "Ready").0 == "True").count();
        Ok((ready == size).then_some(ready))
    })
    .await?;
    Ok(())
}

/// Follows redirects to the end, with the cookies of the operator.
async fn walk(browser: &reqwest::Client, link: &str, cookies: &str) -> Result<()> {
    let mut url = link.to_owned();
    for _ in 0..MOST_HOPS {
        let mut request = browser.get(&url);
        if url.contains(crate::edge::HOST) {
            request = request.header("cookie", cookies);
        }
        let answer = request.send().await?;
        let status = answer.status();
        match answer.headers().get("location").and_then(|value| value.to_str().ok()) {
            Some(next) => url = answer.url().join(next)?.to_string(),
            None if status.is_success() => return Ok(()),
            None => bail!("{} answers {status}: {}", answer.url().path().to_owned(), answer.text().await?),
        }
    }
    bail!("still not connected after {MOST_HOPS} pages")
}

/// A token of a backend that may connect projects of the tenant.
async fn backend(stage: &Stage) -> Result<String> {
    let metadata = json!({ "name": "backend", "namespace": TENANT });
    let (group, name) = ("rbac.authorization.k8s.io", "backend");
    stage
        .apply(&[
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata,
                "rules": [{
                    "apiGroups": ["integrations.tms.dev"],
                    "resources": ["projectintegrations", "projectintegrations/install"],
                    "verbs": ["get", "list", "create"],
                }],
            }),
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": { "apiGroup": group, "kind": "Role", "name": name },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": TENANT }],
            }),
        ])
        .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), TENANT);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec!["integration-operator".to_owned()],
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await?;
    Ok(made.status.context("no token")?.token)
}

/// Waits until everybody was refreshed after `since`, and tells what the books have of the time from then on.
pub(crate) async fn audit(stage: &Stage, since: Timestamp) -> Result<Account> {
    until("everybody is refreshed again", async || {
        let ledger = stage.sandbox.ledger();
        let refreshed: std::collections::BTreeSet<_> = ledger
            .of(Endpoint::Token)
            .filter(|entry| entry.at > since && entry.outcome == "refreshed")
            .filter_map(|entry| entry.grant)
            .collect();
        let living = ledger.grants.iter().filter(|grant| grant.ended.is_none()).count();
        Ok((refreshed.len() >= living).then_some(()))
    })
    .await?;
    let account = read(stage, since);
    say(format_args!("the books since then: {account}"));
    ensure!(account.lost == 0, "grants were lost");
    Ok(account)
}

fn read(stage: &Stage, since: Timestamp) -> Account {
    let ledger = stage.sandbox.ledger();
    let mut times: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
    for entry in ledger.of(Endpoint::Token).filter(|entry| ["issued", "refreshed"].contains(&entry.outcome)) {
        times.entry(entry.grant).or_default().push(entry.at);
    }
    let mut late = vec![];
    let (mut refreshes, mut ran_out) = (0, 0);
    for times in times.values() {
        for pair in times.windows(2).filter(|pair| pair[1] > since) {
            refreshes += 1;
            let gap = pair[1].duration_since(pair[0]).as_secs_f64();
            late.push((gap - PLANNED).max(0.0));
            ran_out += usize::from(gap > f64::from(LIFETIME));
        }
    }
    late.sort_by(f64::total_cmp);
    let at = |hundredth: usize| late.get(late.len() * hundredth / 100).or(late.last()).copied().unwrap_or_default();
    Account {
        grants: ledger.grants.len(),
        refreshes,
        lost: ledger.grants.iter().filter(|grant| grant.ended.is_some()).count(),
        late: [at(50), at(99), at(100)],
        ran_out,
    }
}
