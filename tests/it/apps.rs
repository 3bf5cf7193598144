//! Every app whose documented answers are recorded, connected by the running operator: authorize URL, exchange, metadata,
//! refresh, errors, identity and revocation, each request to the letter. The descriptions are the built-in ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use integration_operator::api::{ClusterIntegrationProvider, ProjectIntegration, ProviderSpec};
use integration_operator::recording::format::{self, Asked, Exchange, Expect, Expiry, Recording, Refusal, Request};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use url::Url;

use crate::vendor::Vendor;
use crate::vendor::recording::fits;
use crate::world::{Flags, OPERATOR, Operator, World, condition, is_ready, now};

/// What went wrong, in words.
type Outcome = Result<(), String>;

/// Asks for a check.
const CHECK: &str = "integrations.tms.dev/check-requested-at";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The recordings beside the built-in descriptions, by name; `APPS=slack,zoom` takes some of them.
fn recordings() -> Vec<(String, Recording)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/provider/catalogue");
    let wanted = std::env::var("APPS").ok();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = file.strip_suffix(".recording.yaml") else { continue };
        if wanted.as_ref().is_some_and(|wanted| !wanted.split(',').any(|one| one == name)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let recording = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        found.push((name.to_owned(), recording));
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    assert!(!found.is_empty(), "no recordings");
    found
}

/// The same without a cluster, which is what `providers test` does.
#[tokio::test]
async fn every_recorded_app_on_paper() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/provider/catalogue");
    let mut failures = Vec::new();
    for (name, _) in recordings() {
        let read = |ending: &str| std::fs::read_to_string(folder.join(format!("{name}{ending}"))).unwrap();
        match integration_operator::recording::play(&read(".yaml"), &read(".recording.yaml")).await {
            Ok(report) if report.is_well() => {}
            Ok(report) => failures.push(format!("{name}:\n{}", report.in_words())),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// An operator that takes the vendor for the whole Internet.
async fn operator(world: &World, vendor: &Vendor) -> Operator {
    let flags = Flags {
        arguments: vec!["--ca-bundle".to_owned(), vendor.ca_bundle.display().to_string()],
        environment: vendor.environment(),
        ..Flags::default()
    };
    world.operator_with(flags).await
}

/// An app that does everything its own way, described in one document that is applied to an operator that runs already.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_nobody_has_heard_of() {
    let Some(world) = World::start("an_app_nobody_has_heard_of").await else { return };
    let vendor = Vendor::start().await;
    let _operator = operator(&world, &vendor).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let manifest: Value = serde_yaml::from_str(include_str!("quirky/quirky.yaml")).unwrap();
    let recording: Recording = serde_yaml::from_str(include_str!("quirky/quirky.recording.yaml")).unwrap();
    let spec = manifest["spec"].clone();
    let app = App { world: &world, vendor: &vendor, token: &token, name: "quirky", spec, recording: &recording };
    if let Err(error) = app.prove().await {
        panic!("{error}\n--- requests\n{:#?}", vendor.requests());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_app() {
    let Some(world) = World::start("every_recorded_app").await else { return };
    let vendor = Vendor::start().await;
    let _operator = operator(&world, &vendor).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut failures = Vec::new();
    for (name, recording) in recordings() {
        let spec = json!({ "preset": name });
        let app = App { world: &world, vendor: &vendor, token: &token, name: &name, spec, recording: &recording };
        let began = Instant::now();
        if let Err(error) = app.prove().await {
            failures.push(format!("{name}: {error}"));
        }
        app.clear().await;
        println!("{name}: {} s", began.elapsed().as_secs());
    }
    assert!(failures.is_empty(), "\n{}\n--- requests of the last app\n{:#?}", failures.join("\n\n"), vendor.requests());
}

struct App<'a> {
    world: &'a World,
    vendor: &'a Vendor,
    token: &'a str,
    name: &'a str,
    /// The provider's spec, without its client.
    spec: Value,
    recording: &'a Recording,
}

impl App<'_> {
    async fn prove(&self) -> Outcome {
        self.connected().await?;
        for refresh in &self.recording.refresh {
            self.refresh("web", refresh).await.map_err(|error| format!("refresh, {}: {error}", refresh.name))?;
            // What is recorded begins with what was connected.
            self.connected().await?;
        }
        self.identities().await?;
        self.connected().await?;
        self.revoke("web").await.map_err(|error| format!("revoke: {error}"))?;
        for case in &self.recording.errors {
            self.provider().await;
            self.error(case).await.map_err(|error| format!("error, {}: {error}", case.name))?;
        }
        Ok(())
    }

    /// A connection as the recording has it, to a provider that nothing has happened to yet.
    async fn connected(&self) -> Outcome {
        self.provider().await;
        self.connect("web").await.map_err(|error| format!("connect: {error}"))?;
        self.expect("web", &self.recording.connect.expect).await.map_err(|error| format!("connect: {error}"))
    }

    /// Each answer of the identity call: refusals after a good one, and those that end in a pause on their own.
    async fn identities(&self) -> Outcome {
        let good = self.recording.identity.iter().find(|case| case.expect == "Verified");
        for case in &self.recording.identity {
            match (case.expect.as_str(), good) {
                ("Verified", _) => {}
                ("Rejected", Some(good)) => self.identity("web", good).await?,
                _ => self.connected().await?,
            }
            self.identity("web", case).await.map_err(|error| format!("identity, {}: {error}", case.name))?;
        }
        Ok(())
    }

    /// The provider object, made anew, so that no limit or breaker of before counts.
    async fn provider(&self) {
        let api: Api<ClusterIntegrationProvider> = Api::all(self.world.client.clone());
        self.clear().await;
        let mut spec = self.spec.clone();
        if self.recording.api_key.is_none() {
            spec["clientCredentialsRef"] = json!({ "name": format!("{}-client", self.name) });
            spec["oauth2"]["redirectURI"] = json!(self.callback());
            let secret = serde_json::from_value(json!({
                "metadata": { "name": format!("{}-client", self.name) },
                "stringData": self.recording.client,
            }));
            self.world.secrets(OPERATOR).create(&PostParams::default(), &secret.unwrap()).await.unwrap();
        }
        let object = json!({ "metadata": { "name": self.name }, "spec": spec });
        let object: ClusterIntegrationProvider = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Away with everything of this app.
    async fn clear(&self) {
        self.vendor.lenient();
        let api: Api<ClusterIntegrationProvider> = Api::all(self.world.client.clone());
        for project in ["web", "error"] {
            let name = format!("{project}.{}", self.name);
            if self.world.integrations("acme").delete(&name, &DeleteParams::default()).await.is_ok() {
                self.world.wait_gone("acme", &name).await;
            }
        }
        let _ = api.delete(self.name, &DeleteParams::default()).await;
        let _ = self.world.secrets(OPERATOR).delete(&format!("{}-client", self.name), &DeleteParams::default()).await;
    }

    fn callback(&self) -> String {
        let usual = || format!("https://connect.example.com/api/public/integrations/{}/callback", self.name);
        self.recording.callback.clone().unwrap_or_else(usual)
    }

    /// Creates the integration and connects it by the recorded calls.
    async fn connect(&self, project: &str) -> Outcome {
        let spec = json!({
            "parameters": self.recording.parameters,
            "scopes": self.recording.scopes,
            "healthCheck": { "interval": "1h", "failureThreshold": 1 },
        });
        self.vendor.script(&self.recording.connect.calls);
        self.world.create("acme", project, self.name, spec).await;
        self.authorize(project).await?;
        let integration = self.wait(project, "Ready", |found| is_ready(found) && self.vendor.left() == 0).await?;
        drop(integration);
        self.settled()
    }

    /// Through the link and back with a code, or with the API key.
    async fn authorize(&self, project: &str) -> Outcome {
        let world = self.world;
        if let Some(key) = &self.recording.api_key {
            let path = format!("/v1/tenants/acme/projects/{project}/integrations/{}/credentials", self.name);
            let url = format!("{}{path}", world.public_url);
            let body = json!({ "api_key": key, "parameters": self.recording.parameters });
            let put = async || world.http.put(&url).bearer_auth(self.token).json(&body).send().await.unwrap();
            return self.patiently(put).await.map(drop);
        }
        let path = format!("/v1/tenants/acme/projects/{project}/integrations/{}/install", self.name);
        let answer = self.patiently(|| world.get(self.token, &path)).await?;
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let link = answer.json::<Value>().await.unwrap()["oauth_url"].as_str().unwrap().to_owned();
        let answer = world.http.get(link).header(COOKIE, &cookie).send().await.unwrap();
        let location = answer.headers().get(LOCATION).ok_or("the start page does not lead on")?.to_str().unwrap();
        let state = self.authorize_url(location)?;
        let mut callback =
            Url::parse(&format!("{}/api/public/integrations/{}/callback", world.public_url, self.name)).unwrap();
        callback.query_pairs_mut().append_pair("code", "recorded-code").append_pair("state", &state);
        callback.query_pairs_mut().extend_pairs(&self.recording.connect.callback);
        let answer = world.http.get(callback).header(COOKIE, &cookie).send().await.unwrap();
        let landed = answer.headers()[LOCATION].to_str().unwrap();
        if landed.contains("status=success") || landed.contains("status=pending") {
            Ok(())
        } else {
            Err(format!("the browser landed on {landed}: {:#?}", self.vendor.complaints()))
        }
    }

    /// The address that the browser is sent to, to the letter; returns its state.
    fn authorize_url(&self, location: &str) -> Result<String, String> {
        let found = Url::parse(location).map_err(|error| error.to_string())?;
        let pairs = |url: &Url| url.query_pairs().into_owned().collect::<Vec<(String, String)>>();
        if let Some(wanted) = &self.recording.authorize {
            let wanted = Url::parse(wanted).map_err(|error| error.to_string())?;
            let (left, right) = (pairs(&wanted), pairs(&found));
            let same = (wanted.origin(), wanted.path()) == (found.origin(), found.path())
                && left.len() == right.len()
                && left.iter().zip(&right).all(|(left, right)| left.0 == right.0 && fits(&left.1, &right.1));
            if !same {
                return Err(format!("the authorization URL must be\n    {wanted}\n  and is\n    {found}"));
            }
        }
        let state = pairs(&found).into_iter().find(|(name, _)| name == "state");
        state.map(|(_, value)| value).ok_or_else(|| "no state".to_owned())
    }

    /// What is seen of a connection.
    async fn expect(&self, project: &str, expect: &Expect) -> Outcome {
        let name = format!("{project}.{}", self.name);
        let began = Instant::now();
        loop {
            let found = self.world.integrations("acme").get(&name).await.unwrap();
            let secret = self.world.secret("acme", &name).await.unwrap_or_default();
            match differences(expect, &found, &secret) {
                differences if differences.is_empty() => return self.settled(),
                differences if began.elapsed() > PATIENCE => return Err(differences.join("\n")),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn refresh(&self, project: &str, refresh: &format::Refresh) -> Outcome {
        let name = format!("{project}.{}", self.name);
        self.vendor.then(&refresh.calls);
        self.world.annotate("acme", &name, "integrations.tms.dev/refresh-requested-at", &now()).await;
        self.until("the recorded calls", || self.vendor.left() == 0).await?;
        self.expect(project, &refresh.expect).await
    }

    /// The identity call answers otherwise, and a check is asked for.
    async fn identity(&self, project: &str, case: &format::Verdict) -> Outcome {
        let name = format!("{project}.{}", self.name);
        let request = self.identity_request().ok_or("the recording has no identity call")?;
        let asked = format!("{} {}", request.method, request.url);
        let count = || self.vendor.requests().iter().filter(|request| **request == asked).count();
        let before = count();
        self.vendor.instead(&Exchange { request: request.clone(), answer: case.answer.clone() });
        let moment = now();
        self.world.annotate("acme", &name, CHECK, &moment).await;
        self.until(&format!("the call {asked}"), || count() > before).await?;
        // A limit says nothing of the credential: what was known of it stays.
        let reason = if case.expect == "RateLimited" { "Verified" } else { &case.expect };
        self.wait(project, reason, |found| {
            let handled = found.status.as_ref().and_then(|status| status.handled.get(CHECK));
            condition(found, "Healthy").1 == reason && handled == Some(&moment)
        })
        .await?;
        Ok(())
    }

    /// The identity call of the built-in description, among the calls of connecting.
    fn identity_request(&self) -> Option<Request> {
        let spec: ProviderSpec = serde_json::from_value(self.spec.clone()).ok()?;
        let spec = integration_operator::provider::catalogue::with_preset(&spec).ok()?;
        let described = spec.identity.and_then(|identity| identity.call.url);
        let url = described.or_else(|| spec.oauth2?.userinfo_url)?;
        // What is fixed at the end tells one call from another; values of the form stand before it.
        let fixed = url.rsplit('}').next().unwrap_or_default().to_owned();
        let calls = self.recording.connect.calls.iter();
        calls.map(|call| &call.request).find(|request| request.url.ends_with(&fixed)).cloned()
    }

    async fn revoke(&self, project: &str) -> Outcome {
        let name = format!("{project}.{}", self.name);
        if let Some(revoke) = &self.recording.revoke {
            self.vendor.then(&revoke.calls);
        }
        self.world.integrations("acme").delete(&name, &DeleteParams::default()).await.unwrap();
        self.world.wait_gone("acme", &name).await;
        self.settled()
    }

    /// A refusal, and what becomes of the connection.
    async fn error(&self, case: &Refusal) -> Outcome {
        let name = format!("error.{}", self.name);
        if matches!(case.to, Asked::Code) {
            let mut first = self.recording.connect.calls[..1].to_vec();
            first[0].answer = case.answer.clone();
            self.vendor.script(&first);
            self.world.create("acme", "error", self.name, json!({ "parameters": self.recording.parameters })).await;
            return match self.authorize("error").await {
                Err(landed) if landed.contains("error=token_exchange_failed") => self.settled(),
                other => Err(format!("{other:?}")),
            };
        }
        self.connect("error").await?;
        let mut call = self.recording.refresh.first().ok_or("there is no refresh to refuse")?.calls[0].clone();
        call.answer = case.answer.clone();
        self.vendor.then(&[call]);
        self.world.annotate("acme", &name, "integrations.tms.dev/refresh-requested-at", &now()).await;
        let (type_, reason) = match case.expect.class.as_str() {
            "Permanent" => ("Authorized", "ReauthorizationRequired"),
            "Transient" => ("TokenFresh", "RefreshFailing"),
            "Configuration" => ("TokenFresh", "ClientCredentialsInvalid"),
            "Ambiguous" => ("TokenFresh", "RefreshAmbiguous"),
            other => return Err(format!("there is no class {other}")),
        };
        let found = self.wait("error", reason, |found| condition(found, type_).1 == reason).await?;
        if let Some(code) = &case.expect.code {
            let conditions = found.status.unwrap_or_default().conditions;
            if !conditions.iter().any(|condition| condition.message.contains(code)) {
                return Err(format!("no message names {code}: {conditions:#?}"));
            }
        }
        self.settled()
    }

    /// Nothing was asked that should not have been, and everything that should.
    fn settled(&self) -> Outcome {
        let complaints = self.vendor.complaints();
        if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
    }

    async fn wait(
        &self,
        project: &str,
        what: &str,
        check: impl Fn(&ProjectIntegration) -> bool,
    ) -> Result<ProjectIntegration, String> {
        let name = format!("{project}.{}", self.name);
        let began = Instant::now();
        loop {
            let found = self.world.integrations("acme").get(&name).await.unwrap();
            if check(&found) {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                let status = serde_json::to_string_pretty(&found.status).unwrap();
                return Err(format!("did not become {what}: {status}\n{}", self.vendor.complaints().join("\n")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until(&self, what: &str, check: impl Fn() -> bool) -> Outcome {
        let began = Instant::now();
        while !check() {
            if began.elapsed() > PATIENCE {
                return Err(format!("{what} did not come: {}", self.vendor.complaints().join("\n")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Asks until the answer is 200: the provider object may not have been seen yet.
    async fn patiently(&self, ask: impl AsyncFn() -> reqwest::Response) -> Result<reqwest::Response, String> {
        let began = Instant::now();
        loop {
            let answer = ask().await;
            if answer.status() == 200 {
                return Ok(answer);
            }
            let status = answer.status();
            let text = answer.text().await.unwrap();
            if began.elapsed() > Duration::from_secs(5) {
                return Err(format!("{status} {text}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What differs from what is expected.
fn differences(expect: &Expect, found: &ProjectIntegration, secret: &BTreeMap<String, String>) -> Vec<String> {
    let status = found.status.clone().unwrap_or_default();
    let mut differences = Vec::new();
    if let Some(metadata) = &expect.metadata
        && *metadata != status.metadata
    {
        differences.push(format!(
            "metadata must be\n    {}\n  and is\n    {}",
            json!(metadata),
            json!(status.metadata)
        ));
    }
    for (key, value) in &expect.secret {
        if secret.get(key) != Some(value) {
            differences.push(format!("{key} of the Secret must be {value} and is {:?}", secret.get(key)));
        }
    }
    if let Some(scopes) = &expect.scopes
        && *scopes != status.scopes
    {
        differences.push(format!("scopes must be {scopes:?} and are {:?}", status.scopes));
    }
    if expect.expires_in != Expiry::Any {
        let wanted = match expect.expires_in {
            Expiry::In(seconds) => Some(seconds),
            Expiry::Any | Expiry::Never => None,
        };
        let token = status.token.unwrap_or_default();
        let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
        let life = token.expires_at.as_deref().and_then(time).zip(time(&token.last_refreshed_at));
        let seconds = life.map(|(end, start)| end.duration_since(start).as_secs());
        let near = |left: i64, right: i64| (left - right).abs() <= 2;
        if !wanted.zip(seconds).map_or(wanted == seconds, |(left, right)| near(left, right)) {
            differences.push(format!("the lifetime must be {wanted:?} s and is {seconds:?} s"));
        }
    }
    differences
}
