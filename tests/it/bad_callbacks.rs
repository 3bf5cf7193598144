//! What comes back wrong from a provider, or from somebody who pretends to be one: where the browser goes, what it costs.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::connect::{description, sandbox};
use crate::sandbox::{Consent, Effect, Fault, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, Flags, OPERATOR, World, eventually, is_ready};

/// A flow whose provider has said yes, and whose browser has not come back yet.
pub struct Waiting {
    pub browser: Browser,
    pub callback: Url,
}

impl Waiting {
    pub fn query(&self, name: &str) -> String {
        self.callback.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
    }

    /// The `Cookie` header of the browser that asked.
    pub fn cookie(&self) -> String {
        cookie(&self.browser, self.callback.as_str())
    }

    /// The callback with another query.
    fn with(&self, pairs: &[(&str, &str)]) -> String {
        let mut url = self.callback.clone();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url.to_string()
    }

    /// The callback at another path.
    fn at(&self, path: &str) -> String {
        let mut url = self.callback.clone();
        url.set_path(path);
        url.to_string()
    }
}

/// The `Cookie` header that a browser would send to `url`.
pub fn cookie(browser: &Browser, url: &str) -> String {
    let all: Vec<_> = browser.cookies(url).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.join("; ")
}

/// Starts a flow of acme's and goes through it up to the callback.
pub async fn waiting(world: &World, token: &str, project: &str, type_: &str) -> Waiting {
    let mut browser = Browser::as_user("dev");
    let url = world.install_in(&mut browser, token, "acme", project, type_).await;
    let callback = up_to_callback(world, &mut browser, &url).await;
    Waiting { browser, callback }
}

/// Goes through the pages behind a link, up to the callback, which is not visited.
pub async fn up_to_callback(world: &World, browser: &mut Browser, url: &str) -> Url {
    let stops = [format!("{}/api/public/", world.public_url)];
    let page = browser.get(url).await.unwrap();
    let onward = page.location.clone().unwrap_or_else(|| panic!("{url} led to {}: {}", page.status, page.body));
    let stop = stops[0].as_str();
    let reached = browser.consent(onward.as_str(), &[stop]).await.unwrap();
    assert!(!reached.visited() && reached.url.path().ends_with("/callback"), "{}", reached.url);
    reached.url
}

/// An answer as a browser sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

/// One request without redirects.
pub async fn visit(world: &World, method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = world.http.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    Answer { status, location, body: answer.text().await.unwrap() }
}

pub fn failed(word: &str) -> Answer {
    let location = Some(format!("{FRONTEND}/dashboard?error={word}"));
    Answer { status: 303, location, body: String::new() }
}

pub fn ended(type_: &str, status: &str) -> Answer {
    let location = Some(format!("{FRONTEND}/dashboard?integration={type_}&status={status}"));
    Answer { status: 303, location, body: String::new() }
}

pub fn exchanges(sandbox: &Sandbox) -> usize {
    sandbox.ledger().token_requests("authorization_code")
}

/// The Secrets of open attempts.
pub async fn attempts(world: &World) -> Vec<Secret> {
    let secrets = world.secrets(OPERATOR).list(&ListParams::default()).await.unwrap();
    let is_open = |secret: &Secret| secret.data.as_ref().is_some_and(|data| data.contains_key("attempt"));
    secrets.items.into_iter().filter(is_open).collect()
}

/// Changes what is written in every open attempt, as only an administrator can.
pub async fn change_attempts(world: &World, change: impl Fn(&mut Value)) {
    for mut secret in attempts(world).await {
        let name = secret.metadata.name.clone().unwrap();
        let data = secret.data.as_mut().unwrap().get_mut("attempt").unwrap();
        let mut attempt: Value = serde_json::from_slice(&data.0).unwrap();
        change(&mut attempt);
        data.0 = serde_json::to_vec(&attempt).unwrap();
        world.secrets(OPERATOR).replace(&name, &PostParams::default(), &secret).await.unwrap();
    }
}

/// Takes one verb on Secrets from the operator, or gives it back.
pub async fn may(world: &World, verb: &str, allowed: bool) {
    fn change(rules: &mut Option<Vec<PolicyRule>>, verb: &str, allowed: bool) {
        for rule in rules.iter_mut().flatten() {
            if rule.resources.iter().flatten().any(|resource| resource == "secrets") {
                rule.verbs.retain(|other| other != verb);
                rule.verbs.extend(allowed.then(|| verb.to_owned()));
            }
        }
    }
    let roles: Api<Role> = Api::namespaced(world.client.clone(), OPERATOR);
    let mut role = roles.get("integration-operator").await.unwrap();
    change(&mut role.rules, verb, allowed);
    roles.replace("integration-operator", &PostParams::default(), &role).await.unwrap();
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    let mut role = roles.get("integration-operator").await.unwrap();
    change(&mut role.rules, verb, allowed);
    roles.replace("integration-operator", &PostParams::default(), &role).await.unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(world.client.clone());
    let review: SubjectAccessReview = serde_json::from_value(json!({ "spec": {
        "user": format!("system:serviceaccount:{OPERATOR}:integration-operator"),
        "resourceAttributes": { "namespace": OPERATOR, "resource": "secrets", "verb": verb, "name": "any" },
    }}))
    .unwrap();
    eventually("the right is as it was set", async || {
        let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
        answer.status.unwrap().allowed == allowed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_visits_consume_nothing() {
    let Some(world) = World::start("refused_visits_consume_nothing").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _other = sandbox(&world, "other", SandboxOptions::default()).await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    let own = Sandbox::start(SandboxOptions::default());
    let client = ("sandbox-client", "sandbox-secret");
    world.own_provider("acme", "own", client, description(&own.base_url)).await;
    world.own_provider("globex", "own", client, description(&own.base_url)).await;
    let _operator = world.operator().await;
    let token = world.admin_of("acme").await;
    let flow = waiting(&world, &token, "web", "app").await;
    let (code, state, cookie) = (flow.query("code"), flow.query("state"), flow.cookie());
    let as_browser = [("cookie", cookie.as_str())];
    let (code, state) = (("code", code.as_str()), ("state", state.as_str()));

    let long = "s".repeat(5_000);
    let unknown = "A".repeat(state.1.len());
    let script = "<script>alert(1)</script>";
    for (query, word) in [
        (&[][..], "missing_code"),
        (&[code], "missing_state"),
        (&[code, ("state", "")], "missing_state"),
        (&[state], "missing_code"),
        (&[state, ("code", "")], "missing_code"),
        (&[code, code, state], "invalid_state"),
        (&[code, ("code", "other"), state], "invalid_state"),
        (&[code, state, state], "invalid_state"),
        (&[code, state, ("state", &unknown)], "invalid_state"),
        (&[code, state, ("error", "access_denied")], "invalid_state"),
        (&[("error", "access_denied"), ("error", "server_error"), state], "invalid_state"),
        (&[code, state, ("iss", "https://a.example"), ("iss", "https://b.example")], "invalid_state"),
        (&[code, ("state", &long)], "invalid_state"),
        (&[code, ("state", &unknown)], "invalid_state"),
        (&[code, ("state", "../../secrets")], "invalid_state"),
        (&[("error", "access_denied"), ("state", &unknown)], "invalid_state"),
        (&[("error", "access_denied")], "app_oauth_denied"),
        (&[("error", "server_error")], "provider_error"),
        (&[("error", "temporarily_unavailable")], "provider_error"),
        (&[("error", script), ("error_description", script)], "app_oauth_denied"),
    ] {
        let answer = visit(&world, Method::GET, &flow.with(query), &as_browser).await;
        assert_eq!(answer, failed(word), "{query:?}");
    }

    // A state of 1 MB is refused before anything looks at it, or answered like any other.
    let huge = "s".repeat(1 << 20);
    let answer = world.http.get(flow.with(&[code, ("state", &huge)])).header("cookie", &cookie).send().await;
    if let Ok(answer) = answer {
        let elsewhere =
            answer.headers().get("location").is_some_and(|to| *to != failed("invalid_state").location.unwrap());
        assert!(!elsewhere && !answer.status().is_success() && !answer.status().is_server_error(), "{answer:?}");
    }

    // The right state at the wrong place.
    for type_ in ["other", "nothing"] {
        let at = flow.at(&format!("/api/public/integrations/{type_}/callback"));
        assert_eq!(visit(&world, Method::GET, &at, &as_browser).await, failed("invalid_state"), "{at}");
    }
    for tenant in ["acme", "globex", "nobody"] {
        let at = flow.at(&format!("/api/public/tenants/{tenant}/integrations/app/callback"));
        assert_eq!(visit(&world, Method::GET, &at, &as_browser).await, failed("invalid_state"), "{at}");
    }
    let theirs = waiting(&world, &token, "web", "own").await;
    let here = "/api/public/tenants/acme/integrations/own/callback";
    assert_eq!(theirs.callback.path(), here, "a tenant's own provider has a redirect URI of its own");
    for path in ["/api/public/tenants/globex/integrations/own/callback", "/api/public/integrations/own/callback"] {
        let answer = visit(&world, Method::GET, &theirs.at(path), &[("cookie", &theirs.cookie())]).await;
        assert_eq!(answer, failed("invalid_state"), "{path}");
    }
    let answer = visit(&world, Method::GET, theirs.callback.as_str(), &[("cookie", &theirs.cookie())]).await;
    assert_eq!(answer, ended("own", "success"));

    // Other methods, and visits that no person made.
    let good = flow.callback.as_str();
    for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
        assert_eq!(visit(&world, method, good, &as_browser).await.status, 405);
    }
    for (name, value) in [("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch"), ("x-moz", "prefetch")] {
        let answer = visit(&world, Method::GET, good, &[("cookie", &cookie), (name, value)]).await;
        assert_eq!((answer.status, answer.location), (503, None), "{name}");
    }
    // Another browser, or none.
    let stranger = cookie.chars().rev().take(43).collect::<String>();
    let stranger = format!("integration-initiator={stranger}");
    for headers in [&[][..], &[("cookie", stranger.as_str())]] {
        assert_eq!(visit(&world, Method::GET, good, headers).await, failed("invalid_state"));
    }
    // An error consumes no more than a code does, where the browser is a stranger.
    let denied = flow.with(&[("error", "access_denied"), state]);
    assert_eq!(visit(&world, Method::GET, &denied, &[]).await, failed("invalid_state"));

    let spoofed = [
        ("cookie", cookie.as_str()),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "444"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-original-url", "/evil"),
    ];
    let bad = flow.with(&[code, ("state", &unknown)]);
    assert_eq!(visit(&world, Method::GET, &bad, &spoofed).await, failed("invalid_state"));
    assert_eq!(exchanges(&app), 0, "nothing was exchanged for any of this");

    // After all that the true one still works, once.
    assert_eq!(visit(&world, Method::GET, good, &spoofed).await, ended("app", "success"));
    let used = visit(&world, Method::GET, good, &as_browser).await;
    let never = visit(&world, Method::GET, &bad, &as_browser).await;
    assert_eq!(used, failed("invalid_state"));
    assert_eq!(used, never);
    assert_eq!(exchanges(&app), 1);
    world.wait("acme", "web.app", "ready", is_ready).await;

    // An expired one answers like an unknown one.
    let late = waiting(&world, &token, "late", "app").await;
    change_attempts(&world, |attempt| attempt["deadline"] = json!("2020-01-01T00:00:00Z")).await;
    let expired = visit(&world, Method::GET, late.callback.as_str(), &[("cookie", &late.cookie())]).await;
    assert_eq!(expired, never);
    assert_eq!(exchanges(&app), 1);
    assert!(world.grant("acme", "late.app").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_consumes_a_flow_and_how_it_is_called() {
    let Some(world) = World::start("what_consumes_a_flow_and_how_it_is_called").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let found = Sandbox::start(SandboxOptions::default());
    let by_issuer = json!({ "oauth2": { "issuer": found.base_url, "scopes": ["read"] } });
    world.provider("found", "sandbox-client", "sandbox-secret", by_issuer).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;

    // The provider's words, with the state: whatever they are, the flow is over.
    for (project, error, word) in [
        ("p1", "access_denied", "app_oauth_denied"),
        ("p2", "<script>alert(1)</script>", "app_oauth_denied"),
        ("p3", "server_error", "provider_error"),
        ("p4", "temporarily_unavailable", "provider_error"),
    ] {
        let flow = waiting(&world, &token, project, "app").await;
        let (cookie, state) = (flow.cookie(), flow.query("state"));
        let refused = flow.with(&[("error", error), ("error_description", error), ("state", &state)]);
        assert_eq!(visit(&world, Method::GET, &refused, &[("cookie", &cookie)]).await, failed(word));
        let good = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &cookie)]).await;
        assert_eq!(good, failed("invalid_state"), "{error} ends the flow");
    }
    assert_eq!(exchanges(&app), 0);

    // The same through the provider's own pages.
    let mut browser = Browser::as_user("dev");
    let url = world.install_in(&mut browser, &token, "acme", "p5", "app").await;
    let landed = browser.deny_consent(&url, &[FRONTEND]).await.unwrap();
    assert_eq!(Some(landed.url.to_string()), failed("app_oauth_denied").location);
    app.reconfigure(|options| options.consent = Consent::Fail("temporarily_unavailable"));
    let landed = world.connect_as(&mut browser, &token, "acme", "p5", "app").await;
    assert_eq!(Some(landed), failed("provider_error").location);
    app.reconfigure(|options| options.consent = Consent::Ask);

    // The exchange fails: a code that is none, an error, an error dressed as success, a closed door.
    let flow = waiting(&world, &token, "p6", "app").await;
    let wrong = flow.with(&[("code", "nonsense"), ("state", &flow.query("state"))]);
    assert_eq!(
        visit(&world, Method::GET, &wrong, &[("cookie", &flow.cookie())]).await,
        failed("token_exchange_failed")
    );
    assert_eq!(exchanges(&app), 1);
    let dressed = Effect::Answer {
        status: 200,
        content_type: "application/json".to_owned(),
        body: r#"{"ok":false,"error":"invalid_code"}"#.to_owned(),
    };
    for (number, effect) in [Effect::status(500), Effect::status(400), dressed, Effect::Close].into_iter().enumerate() {
        let flow = waiting(&world, &token, &format!("x{number}"), "app").await;
        let what = format!("{effect:?}");
        app.fault(Fault::new(effect).on_exchange());
        let answer = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &flow.cookie())]).await;
        assert_eq!(answer, failed("token_exchange_failed"), "{what}");
        let again = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &flow.cookie())]).await;
        assert_eq!(again, failed("invalid_state"), "{what}");
        assert!(world.grant("acme", &format!("x{number}.app")).await.is_none(), "{what}");
    }
    assert_eq!(exchanges(&app), 5, "a code is sent once");

    // Another account than the connected one.
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    app.reconfigure(|options| options.consent = Consent::Allow(Some("W-GLOBEX".to_owned())));
    let flow = waiting(&world, &token, "web", "app").await;
    let answer = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &flow.cookie())]).await;
    assert_eq!(answer, failed("account_mismatch"));
    assert_eq!(world.grant("acme", "web.app").await.unwrap()["metadata"]["workspaceId"], json!("W-ACME"));

    // RFC 9207: the server says that it names itself, so it must, and rightly.
    for (project, issuer) in [("i1", Some("https://evil.example")), ("i2", None), ("i3", Some(""))] {
        let flow = waiting(&world, &token, project, "found").await;
        assert_eq!(flow.query("iss"), found.base_url);
        let (code, state) = (flow.query("code"), flow.query("state"));
        let mut pairs = vec![("code", code.as_str()), ("state", state.as_str())];
        pairs.extend(issuer.map(|issuer| ("iss", issuer)));
        let answer = visit(&world, Method::GET, &flow.with(&pairs), &[("cookie", &flow.cookie())]).await;
        assert_eq!(answer, failed("invalid_state"), "{issuer:?}");
        assert!(world.grant("acme", &format!("{project}.found")).await.is_none());
    }
    assert_eq!(exchanges(&found), 0, "the code goes to nobody");
    let flow = waiting(&world, &token, "i4", "found").await;
    let answer = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &flow.cookie())]).await;
    assert_eq!(answer, ended("found", "success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_loses_nothing() {
    let Some(world) = World::start("storage_that_fails_loses_nothing").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let flow = waiting(&world, &token, "web", "app").await;
    let (good, cookie) = (flow.callback.as_str(), flow.cookie());
    let as_browser = [("cookie", cookie.as_str())];

    for verb in ["get", "delete"] {
        may(&world, verb, false).await;
        assert_eq!(visit(&world, Method::GET, good, &as_browser).await, failed("storage_failed"), "without {verb}");
        may(&world, verb, true).await;
    }
    assert_eq!(exchanges(&app), 0, "the flow could not be consumed, so the code was not used");

    // The tokens are there and cannot be kept: they are held until they can.
    may(&world, "create", false).await;
    assert_eq!(visit(&world, Method::GET, good, &as_browser).await, ended("app", "pending"));
    assert_eq!(exchanges(&app), 1);
    assert!(world.grant("acme", "web.app").await.is_none());
    may(&world, "create", true).await;
    let connected = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(connected.status.unwrap().metadata["workspaceId"], json!("W-ACME"));
    assert_eq!(exchanges(&app), 1);
    assert!(app.ledger().grants.iter().all(|grant| grant.ended.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integration_that_changes_mid_flow_gets_nothing() {
    let Some(world) = World::start("an_integration_that_changes_mid_flow_gets_nothing").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let delete = async |project: &str| {
        let name = format!("{project}.app");
        world.integrations("acme").delete(&name, &DeleteParams::default()).await.unwrap();
        world.wait_gone("acme", &name).await;
    };

    // Before the browser comes back: the code is not even used.
    for (project, change) in [("gone", "delete"), ("again", "recreate"), ("still", "suspend")] {
        let flow = waiting(&world, &token, project, "app").await;
        match change {
            "suspend" => world.patch_spec("acme", &format!("{project}.app"), json!({ "suspend": true })).await,
            _ => delete(project).await,
        }
        if change == "recreate" {
            world.create("acme", project, "app", json!({})).await;
        }
        let answer = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &flow.cookie())]).await;
        assert_eq!(answer, failed("invalid_state"), "{change}");
        assert!(world.grant("acme", &format!("{project}.app")).await.is_none(), "{change}");
    }
    assert_eq!(exchanges(&app), 0);

    // While the code is exchanged: what was given is given back.
    for (project, change) in [("gone", "delete"), ("again", "recreate"), ("other", "suspend")] {
        let flow = waiting(&world, &token, project, "app").await;
        app.fault(Fault::new(Effect::Delay { millis: 2_000 }).on_exchange());
        let before = exchanges(&app);
        let cookie = flow.cookie();
        let as_browser = [("cookie", cookie.as_str())];
        let visiting = visit(&world, Method::GET, flow.callback.as_str(), &as_browser);
        let changing = async {
            eventually("the exchange is under way", async || exchanges(&app) > before).await;
            match change {
                "suspend" => world.patch_spec("acme", &format!("{project}.app"), json!({ "suspend": true })).await,
                _ => delete(project).await,
            }
            if change == "recreate" {
                world.create("acme", project, "app", json!({})).await;
            }
        };
        let (answer, ()) = tokio::join!(visiting, changing);
        // On a busy machine the browser is sent on before all is given back.
        let pending = ended("app", "pending");
        assert!(answer == failed("invalid_state") || answer == pending, "{change}: {answer:?}");
        let name = format!("{project}.app");
        eventually("nothing is held", async || world.grant("acme", &name).await.is_none()).await;
        eventually("nothing is published", async || world.secret("acme", &name).await.is_none()).await;
        eventually("what was given is ended", async || {
            let ledger = app.ledger();
            !ledger.grants.is_empty() && ledger.grants.iter().all(|grant| grant.ended.is_some())
        })
        .await;
    }

    // None of it stands in the way of a new flow.
    world.patch_spec("acme", "other.app", json!({ "suspend": false })).await;
    for project in ["again", "other"] {
        world.connect(&token, "acme", project, "app").await;
        world.wait("acme", &format!("{project}.app"), "ready", is_ready).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_visits_of_three_replicas_are_one_exchange() {
    let Some(world) = World::start("a_thousand_visits_of_three_replicas_are_one_exchange").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let operators = [
        world.operator().await,
        world.operator_with(Flags { index: 1, ..Flags::default() }).await,
        world.operator_with(Flags { index: 2, ..Flags::default() }).await,
    ];
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let flow = waiting(&world, &token, "web", "app").await;
    let cookie = flow.cookie();
    let path = &flow.callback.as_str()[world.public_url.len()..];
    let visits = (0..1_000).map(|number| {
        let url = format!("{}{path}", operators[number % 3].url);
        let (world, cookie) = (&world, cookie.as_str());
        async move { visit(world, Method::GET, &url, &[("cookie", cookie)]).await }
    });
    let answers = join_all(visits).await;
    let (refused, others): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| *answer == failed("invalid_state"));
    assert_eq!(refused.len(), 999, "{others:?}");
    let ended_well = others[0] == ended("app", "success") || others[0] == ended("app", "pending");
    assert!(ended_well, "{others:?}");
    world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(exchanges(&app), 1);
    assert_eq!(app.ledger().grants.len(), 1);
    assert!(app.ledger().grants[0].ended.is_none());
    // Each replica takes a callback of a flow that another began.
    for (number, operator) in operators.iter().enumerate() {
        let flow = waiting(&world, &token, &format!("p{number}"), "app").await;
        let url = format!("{}{}", operator.url, &flow.callback.as_str()[world.public_url.len()..]);
        let answer = visit(&world, Method::GET, &url, &[("cookie", &flow.cookie())]).await;
        assert_eq!(answer, ended("app", "success"), "replica {number}");
    }
}
