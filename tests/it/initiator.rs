//! Who starts a flow finishes it: forwarded links, forged clicks, confirmations, and what links cost.

use std::collections::BTreeSet;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use url::Url;

use crate::bad_callbacks::{
    Answer, attempts, change_attempts, cookie, ended, exchanges, failed, up_to_callback, visit, waiting,
};
use crate::connect::sandbox;
use crate::sandbox::{Consent, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, Flags, World, is_ready, rule};

const OTHER: &str = "https://other.example.test";

fn flags(arguments: &[&str]) -> Flags {
    Flags { arguments: arguments.iter().map(ToString::to_string).collect(), ..Flags::default() }
}

fn install_path(project: &str, query: &str) -> String {
    format!("/v1/tenants/acme/projects/{project}/integrations/app/install?{query}")
}

async fn oauth_url(answer: Response) -> String {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    body["oauth_url"].as_str().unwrap().to_owned()
}

/// Names and versions of the open attempts: whatever changes one shows here.
async fn versions(world: &World) -> BTreeSet<(String, String)> {
    let all = attempts(world).await.into_iter();
    all.map(|secret| (secret.metadata.name.unwrap(), secret.metadata.resource_version.unwrap())).collect()
}

/// A form sent by hand.
async fn post(world: &World, url: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let mut request = world.http.post(url).form(fields);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    Answer { status, location, body: answer.text().await.unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_link_needs_a_click() {
    let Some(world) = World::start("a_forwarded_link_needs_a_click").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;

    // The attacker asks, goes to the provider's page himself, and forwards that page's address.
    let mut attacker = Browser::as_user("mallory");
    let link = world.install_in(&mut attacker, &token, "acme", "web", "app").await;
    let provider = attacker.get(&link).await.unwrap().location.expect("who asked passes straight through");
    let callback = format!("{}/api/public/integrations/app/callback", world.public_url);
    let mut victim = Browser::as_user("dev");
    let before = versions(&world).await;
    let reached = victim.consent(provider.as_str(), &[&callback]).await.unwrap();
    let landed = visit(&world, Method::GET, reached.url.as_str(), &[]).await;
    assert_eq!(landed, failed("invalid_state"), "a browser without cookie");

    // Or forwards the link: the victim is told who asks for what, and goes nowhere.
    for _ in 0..3 {
        let page = victim.get(&link).await.unwrap();
        assert_eq!((page.status.as_u16(), &page.location), (200, &None));
        for told in ["Sandbox", "acme", "web", "agent-7", "system:serviceaccount:acme:frontend"] {
            assert!(page.body.replace("<wbr>", "").contains(told), "{told}: {}", page.body);
        }
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    }
    let victims = cookie(&victim, &link);
    assert!(victims.starts_with("integration-initiator="), "{victims}");
    let landed = visit(&world, Method::GET, reached.url.as_str(), &[("cookie", &victims)]).await;
    assert_eq!(landed, failed("invalid_state"), "a browser that was asked and has not clicked");

    // Clicks that the victim did not make.
    let start = link.split('?').next().unwrap();
    let page = victim.get(&link).await.unwrap();
    let form = &page.forms()[0];
    let (ticket, token_of_page) = (form.field("ticket").unwrap(), form.field("token").unwrap());
    let right = [("ticket", ticket), ("token", token_of_page)];
    let attackers = cookie(&attacker, &link);
    let mut wrong_token = token_of_page.to_owned();
    wrong_token.replace_range(..1, if wrong_token.starts_with('A') { "B" } else { "A" });
    let as_victim = ("cookie", victims.as_str());
    let as_attacker = ("cookie", attackers.as_str());
    for (fields, headers) in [
        (&right, &[][..]),
        (&right, &[as_attacker]),
        (&[("ticket", ticket), ("token", &wrong_token)], &[as_victim]),
        (&[("ticket", ticket), ("token", "")], &[as_victim]),
        (&[("ticket", ""), ("token", token_of_page)], &[as_victim]),
        (&right, &[as_victim, ("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")]),
        (&right, &[as_victim, ("sec-fetch-site", "same-site")]),
        (&right, &[as_victim, ("origin", "https://evil.example")]),
    ] {
        let answer = post(&world, start, fields, headers).await;
        assert_eq!((answer.status, &answer.location), (403, &None), "{fields:?} {headers:?}");
    }
    let answer = post(&world, start, &[("ticket", ticket)], &[as_victim]).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_eq!(versions(&world).await, before, "none of this changed the attempt");
    assert_eq!(exchanges(&app), 0);

    // A deliberate click goes through, and the flow is the victim's from then on too.
    let landed = world.walk(&mut victim, &link).await;
    assert_eq!(Some(landed), ended("app", "success").location);
    world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(exchanges(&app), 1);

    // A link that was used leads nowhere, and one that was never made answers alike.
    let used = visit(&world, Method::GET, &link, &[as_victim]).await;
    let unknown = visit(&world, Method::GET, &format!("{start}?ticket={}", "A".repeat(43)), &[as_victim]).await;
    assert_eq!(used.status, 410);
    assert_eq!(used, unknown);

    // Whoever calls install with a browser passes straight through.
    world.connect(&token, "acme", "own", "app").await;
}

/// Goes with a stranger's browser up to the confirmation.
async fn parked(world: &World, token: &str, project: &str) -> String {
    let link = oauth_url(world.get(token, &install_path(project, "agent_id=agent-7")).await).await;
    let landed = world.walk(&mut Browser::as_user("dev"), &link).await;
    let url = Url::parse(&landed).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["integration", "status", "confirmation"], "{landed}");
    assert!(landed.starts_with(&format!("{FRONTEND}/dashboard?integration=app&status=confirm&")), "{landed}");
    pairs[2].1.clone()
}

async fn confirm(world: &World, token: &str, project: &str, body: Value) -> (u16, String) {
    let url = format!("{}/v1/tenants/acme/projects/{project}/integrations/app/confirm", world.public_url);
    let answer = world.http.post(url).bearer_auth(token).json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["code"].as_str().or(body["status"].as_str()).unwrap_or_default().to_owned())
}

fn said(status: u16, word: &str) -> (u16, String) {
    (status, word.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmations_are_the_initiators_and_none_checks_nothing() {
    let Some(world) = World::start("confirmations_are_the_initiators_and_none_checks_nothing").await else { return };
    let app: Sandbox = sandbox(&world, "app", SandboxOptions::default()).await;
    let operator = world.operator_with(flags(&["--initiator-check", "confirm"])).await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    let token = world.admin_of("acme").await;
    let globex = world.admin_of("globex").await;
    let everything = rule(&["*"], &["projectintegrations", "projectintegrations/install"]);
    let colleague = world.caller("acme", "colleague", &[everything]).await;

    // A stranger is asked here too, and told what comes at the end; the click alone does not make them the initiator.
    let link = oauth_url(world.get(&token, &install_path("web", "agent_id=agent-7")).await).await;
    let before = versions(&world).await;
    let page = Browser::as_user("dev").get(&link).await.unwrap();
    assert!(
        page.body.contains("return to app.example.test, where the connection has to be confirmed"),
        "{}",
        page.body
    );
    let reached = Browser::as_user("dev").consent(&link, &[&app.base_url]).await.unwrap();
    assert!(!reached.visited() && reached.url.path() == "/authorize", "{}", reached.url);
    assert_eq!(versions(&world).await, before);

    let confirmation = parked(&world, &token, "web").await;
    let yes = |agent: &str| json!({ "confirmation": confirmation, "agent_id": agent });
    let secret_off_by_one = format!("{}x", &confirmation[..confirmation.len() - 1]);
    assert_eq!(confirm(&world, &colleague, "web", yes("agent-7")).await, said(403, "not_the_initiator"));
    assert_eq!(confirm(&world, &globex, "web", yes("agent-7")).await, said(403, "forbidden"));
    assert_eq!(confirm(&world, &token, "web", yes("agent-8")).await, said(403, "not_the_initiator"));
    let nobody = json!({ "confirmation": confirmation });
    assert_eq!(confirm(&world, &token, "web", nobody).await, said(403, "not_the_initiator"));
    assert_eq!(confirm(&world, &token, "other", yes("agent-7")).await, said(410, "confirmation_invalid"));
    for wrong in [secret_off_by_one.as_str(), "", "x", "../secrets.x", confirmation.split('.').next().unwrap()] {
        let body = json!({ "confirmation": wrong, "agent_id": "agent-7" });
        assert_eq!(confirm(&world, &token, "web", body).await, said(410, "confirmation_invalid"), "{wrong}");
    }
    assert_eq!(exchanges(&app), 0, "the code waits for its confirmation");
    assert!(world.grant("acme", "web.app").await.is_none());
    assert_eq!(confirm(&world, &token, "web", yes("agent-7")).await, said(200, "connected"));
    assert_eq!(exchanges(&app), 1);
    assert_eq!(confirm(&world, &token, "web", yes("agent-7")).await, said(410, "confirmation_invalid"));
    world.wait("acme", "web.app", "ready", is_ready).await;

    // Too late.
    let confirmation = parked(&world, &token, "late").await;
    change_attempts(&world, |attempt| attempt["parked"]["deadline"] = json!("2020-01-01T00:00:00Z")).await;
    let yes = json!({ "confirmation": confirmation, "agent_id": "agent-7" });
    assert_eq!(confirm(&world, &token, "late", yes).await, said(410, "confirmation_invalid"));

    // A callback that was parked is used: it hands out no second confirmation, not even to who asked.
    let link = oauth_url(world.get(&token, &install_path("twice", "agent_id=agent-7")).await).await;
    let callback = format!("{}/api/public/integrations/app/callback", world.public_url);
    let callback = Browser::as_user("dev").consent(&link, &[&callback]).await.unwrap().url;
    let first = visit(&world, Method::GET, callback.as_str(), &[]).await.location.unwrap();
    assert!(first.contains("status=confirm"), "{first}");
    assert_eq!(visit(&world, Method::GET, callback.as_str(), &[]).await, failed("invalid_state"));
    assert_eq!(exchanges(&app), 1);

    // Another account takes the place of the connected one only by a word of its own.
    app.reconfigure(|options| options.consent = Consent::Allow(Some("W-GLOBEX".to_owned())));
    let yes = json!({ "confirmation": parked(&world, &token, "web").await, "agent_id": "agent-7" });
    assert_eq!(confirm(&world, &token, "web", yes).await, said(409, "account_mismatch"));
    assert_eq!(world.grant("acme", "web.app").await.unwrap()["metadata"]["workspaceId"], json!("W-ACME"));
    let yes = json!({ "confirmation": parked(&world, &token, "web").await, "agent_id": "agent-7", "accept": true });
    assert_eq!(confirm(&world, &token, "web", yes).await, said(200, "connected"));
    assert_eq!(world.grant("acme", "web.app").await.unwrap()["metadata"]["workspaceId"], json!("W-GLOBEX"));

    // Whoever asked with this very browser confirms nothing.
    world.connect(&token, "acme", "own", "app").await;
    drop(operator);

    let _operator = world.operator_with(flags(&["--initiator-check", "none"])).await;
    let link = oauth_url(world.get(&token, &install_path("any", "agent_id=agent-7")).await).await;
    let landed = world.walk(&mut Browser::as_user("dev"), &link).await;
    assert_eq!(Some(landed), ended("app", "success").location, "anybody's browser");
    world.connect(&token, "acme", "more", "app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_tabs_and_limits() {
    let Some(world) = World::start("links_tabs_and_limits").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let frontends = format!("--frontend-url={FRONTEND},{OTHER}/base/");
    let _operator = world.operator_with(flags(&[&frontends])).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;

    // The cookie, on a loopback address.
    let answer = world.get(&token, &install_path("web", "agent_id=agent-7")).await;
    let set: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|it| it.to_str().unwrap().to_owned()).collect();
    let [set] = set.as_slice() else { panic!("one cookie: {set:?}") };
    let mut parts = set.split("; ");
    let (name, value) = parts.next().unwrap().split_once('=').unwrap();
    assert_eq!((name, value.len()), ("integration-initiator", 43));
    let attributes: BTreeSet<_> = parts.collect();
    assert_eq!(attributes, BTreeSet::from(["Max-Age=3600", "HttpOnly", "SameSite=Lax", "Path=/"]));
    let link = oauth_url(answer).await;

    // Asking again gives the same link; another person gets another.
    let again = oauth_url(world.get(&token, &install_path("web", "agent_id=agent-7")).await).await;
    assert_eq!(link, again);
    let theirs = oauth_url(world.get(&token, &install_path("web", "agent_id=agent-8")).await).await;
    assert_ne!(link, theirs);

    // Previews: many visits of people and machines that are not the initiator.
    let before = versions(&world).await;
    let previews = (0..30).map(|_| visit(&world, Method::GET, &link, &[]));
    for preview in futures::future::join_all(previews).await {
        assert_eq!((preview.status, preview.location), (200, None));
    }
    assert_eq!(visit(&world, Method::HEAD, &link, &[]).await.status, 405);
    assert_eq!(versions(&world).await, before);

    // Two tabs of one browser: both come to the provider, the first to return is connected, the other harms nothing.
    let mut browser = Browser::as_user("dev");
    let link = world.install_in(&mut browser, &token, "acme", "web", "app").await;
    let left = up_to_callback(&world, &mut browser, &link).await;
    let right = up_to_callback(&world, &mut browser, &link).await;
    assert_ne!(left, right, "each has a code of its own");
    let own = cookie(&browser, &link);
    assert_eq!(visit(&world, Method::GET, right.as_str(), &[("cookie", &own)]).await, ended("app", "success"));
    assert_eq!(visit(&world, Method::GET, left.as_str(), &[("cookie", &own)]).await, failed("invalid_state"));
    world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(exchanges(&app), 1);

    // Where to return to.
    for unknown in [
        "https://evil.example",
        "https://app.example.test.evil.example",
        "https://app.example.test@evil.example",
        "https://app.example.test/evil",
        "http://app.example.test",
        "https://app.example.test:444",
        "https://other.example.test",
        "//evil.example",
        "/dashboard",
        "",
        "javascript:alert(1)",
        "http://127.0.0.1",
        "https://127.0.0.1:4711",
        "http://localhost:4711",
        "http://127.0.0.1.evil.example:4711",
        "http://user:pw@127.0.0.1:4711",
    ] {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", unknown).finish();
        // One of many projects: nothing is created for a refusal, and no limit is met.
        let answer = world.get(&token, &install_path(&format!("r{}", unknown.len()), &query)).await;
        assert_eq!(answer.status(), 400, "{unknown}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "return_to_not_allowed", "{unknown}");
    }
    assert_eq!(world.integrations("acme").list(&kube::api::ListParams::default()).await.unwrap().items.len(), 1);
    let base = format!("{OTHER}/base/dashboard?");
    let (loopback, loopback6) = ("http://127.0.0.1:4711/done?a=b", "http://[::1]:4711/");
    for (number, (wanted, lands)) in [
        (FRONTEND, format!("{FRONTEND}/dashboard?")),
        ("https://other.example.test/base/", base.clone()),
        (loopback, format!("{loopback}&")),
        (loopback6, format!("{loopback6}?")),
    ]
    .into_iter()
    .enumerate()
    {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", wanted).finish();
        let path = install_path(&format!("t{number}"), &query);
        let mut browser = Browser::as_user("dev");
        let answer = world.get(&token, &path).await;
        browser.set_cookie(&world.public_url, answer.headers()["set-cookie"].to_str().unwrap());
        let link = oauth_url(answer).await;
        let callback = up_to_callback(&world, &mut browser, &link).await;
        let landed = visit(&world, Method::GET, callback.as_str(), &[("cookie", &cookie(&browser, &link))]).await;
        assert_eq!(landed.location, Some(format!("{lands}integration=app&status=success")));
    }
    // A refusal returns to where it was asked for as well.
    let mut browser = Browser::as_user("dev");
    let query = "return_to=https%3A%2F%2Fother.example.test%2Fbase%2F";
    let answer = world.get(&token, &install_path("t5", query)).await;
    browser.set_cookie(&world.public_url, answer.headers()["set-cookie"].to_str().unwrap());
    let landed = browser.deny_consent(&oauth_url(answer).await, &[OTHER]).await.unwrap();
    assert_eq!(landed.url.to_string(), format!("{base}error=app_oauth_denied"));

    // Eleven people ask for one integration: the oldest link makes way.
    let mut links = Vec::new();
    for number in 0..11 {
        if number == 1 {
            // Objects are as old as whole seconds tell.
            tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        }
        let answer = world.get(&token, &install_path("many", &format!("agent_id=agent-{number}"))).await;
        links.push(oauth_url(answer).await);
    }
    let of_many = attempts(&world).await;
    let is_of_many = |secret: &&k8s_openapi::api::core::v1::Secret| {
        secret.metadata.annotations.as_ref().unwrap()["integrations.tms.dev/owner"] == "acme/many.app"
    };
    assert_eq!(of_many.iter().filter(is_of_many).count(), 10);
    for (number, link) in links.iter().enumerate() {
        let status = visit(&world, Method::GET, link, &[]).await.status;
        assert_eq!(status, if number == 0 { 410 } else { 200 }, "link {number}");
    }

    // And who asks without end has to wait.
    let mut limited = None;
    for number in 0..100 {
        let answer = world.get(&token, &install_path("many", "agent_id=agent-5")).await;
        if answer.status() == 429 {
            limited = Some((number, answer));
            break;
        }
        assert_eq!(answer.status(), 200);
    }
    let (number, answer) = limited.expect("the limit of an integration");
    assert!(number >= 9, "twenty a minute: {number}");
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "rate_limited");
    // One integration's limit is no other's.
    let flow = waiting(&world, &token, "calm", "app").await;
    let landed = visit(&world, Method::GET, flow.callback.as_str(), &[("cookie", &flow.cookie())]).await;
    assert_eq!(landed, ended("app", "success"));
}
