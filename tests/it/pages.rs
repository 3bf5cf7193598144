//! The operator's own pages in a real browser, by keyboard alone: what each says, and that nobody is kept out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use integration_operator::server::pages;
use serde_json::{Value, json};

use crate::bad_callbacks::{exchanges, may};
use crate::chromium::{self, Look, Step, Tour, View, tour};
use crate::connect::description;
use crate::sandbox::{Consent, Effect, Fault, Sandbox, SandboxOptions};
use crate::world::{Flags, World, is_ready};

const DESK: View = View { name: "desk", color: "light", width: 1280, height: 800, scale: 1, forced: false };
/// The narrowest window that pages must hold on (WCAG 2.2 §1.4.10).
const PHONE: View = View { name: "phone", color: "dark", width: 320, height: 640, scale: 2, forced: false };
/// The desk at 200 %.
const ENLARGED: View = View { name: "enlarged", width: 640, height: 400, scale: 2, ..DESK };
const FORCED: View = View { name: "forced", forced: true, ..DESK };
const PICTURES: [View; 2] = [
    View { name: "light", width: 640, height: 560, ..DESK },
    View { name: "dark", color: "dark", width: 640, height: 560, ..DESK },
];

/// A world whose operator shows its own pages.
struct Stage {
    world: World,
    token: String,
    origins: Vec<String>,
}

impl Stage {
    async fn start(test: &str) -> Option<Self> {
        if !chromium::available(test) {
            return None;
        }
        let world = World::start(test).await?;
        world.tenant("acme").await;
        let token = world.admin_of("acme").await;
        let origins = vec![world.public_url.clone()];
        Some(Self { world, token, origins })
    }

    /// An app that people call Slack.
    async fn app(&mut self, name: &str, options: SandboxOptions) -> Sandbox {
        let sandbox = Sandbox::start(options);
        self.origins.push(sandbox.base_url.clone());
        self.provider(name, description(&sandbox.base_url)).await;
        sandbox
    }

    async fn provider(&self, name: &str, mut spec: Value) {
        spec["displayName"] = json!("Slack");
        self.world.provider(name, "sandbox-client", "sandbox-secret", spec).await;
    }

    /// A link, asked for by a backend: no browser has its cookie.
    async fn link(&self, project: &str, type_: &str, query: &str) -> String {
        let path = format!("/v1/tenants/acme/projects/{project}/integrations/{type_}/install?agent_id=ada{query}");
        let answer = self.world.get(&self.token, &path).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body["oauth_url"].as_str().unwrap().to_owned()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.world.public_url)
    }

    fn tour(&self, name: &str, view: View, steps: Vec<Step>) -> Tour {
        Tour { name: format!("{name}, {}", view.name), view, origins: self.origins.clone(), steps }
    }
}

/// Opens a link, says that it is meant, and answers the app with this button.
fn through(link: &str, button: &str) -> Vec<Step> {
    vec![
        Step::goto(link),
        Step::look("question"),
        Step::tab("Continue to Slack"),
        Step::enter(),
        Step::tab(button),
        Step::enter(),
    ]
}

/// Goes on tours; no page may have a fault. Pages by name, as last seen.
async fn seen(tours: &[Tour]) -> BTreeMap<String, Look> {
    let mut pages = BTreeMap::new();
    for toured in tour(tours).await {
        for look in toured.looks {
            assert_eq!(look.faults(), [""; 0], "{} of {}: {look:#?}", look.name, toured.name);
            assert_eq!(look.title, look.headings[0], "{look:#?}");
            assert!(look.tabs.iter().all(|focus| focus.outline >= 2.0), "the focus is seen: {look:#?}");
            pages.insert(look.name.clone(), look);
        }
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn people_connect_by_keyboard_alone() {
    let Some(mut stage) = Stage::start("people_connect_by_keyboard_alone").await else { return };
    let app = stage.app("app", SandboxOptions::default()).await;
    let _operator = stage.world.operator_with(Flags { own_pages: true, ..Flags::default() }).await;
    for view in [DESK, PHONE, ENLARGED, FORCED] {
        let link = stage.link(view.name, "app", "").await;
        let mut steps = through(&link, "Allow");
        steps.extend([Step::look("connected"), Step::goto(&link), Step::look("used link")]);
        let pages = seen(&[stage.tour("connect", view, steps)]).await;
        let question = &pages["question"];
        assert_eq!(question.title, "Connect Slack?");
        let caller = "system:serviceaccount:acme:frontend";
        for told in [view.name, "acme", "ada", caller, app.base_url.strip_prefix("http://").unwrap()] {
            assert!(question.text.contains(told), "{told}: {question:#?}");
        }
        let connected = &pages["connected"];
        assert_eq!(connected.title, "Connected");
        let tabs: Vec<_> = connected.tabs.iter().map(|focus| focus.name.lines().next().unwrap()).collect();
        assert_eq!(tabs, ["Continue to Slack", "Acme Workspace", "Deny", "Allow"], "nothing else takes the focus");
        assert_eq!(connected.news, [format!("Slack is now connected to project {} of acme.", view.name)]);
        assert_eq!(pages["used link"].title, "This link does not work");
        stage.world.wait("acme", &format!("{}.app", view.name), "ready", is_ready).await;
        let is_dark = connected.background == "rgb(16, 19, 25)";
        assert!(view.forced || is_dark == (view.color == "dark"), "{connected:#?}");
    }
    assert_eq!(exchanges(&app), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_has_a_page_that_everybody_can_use() {
    let Some(mut stage) = Stage::start("each_failure_has_a_page_that_everybody_can_use").await else { return };
    let _app = stage.app("app", SandboxOptions::default()).await;
    let broken = stage.app("broken", SandboxOptions::default()).await;
    broken.fault(Fault::new(Effect::status(400)).on_exchange().always());
    let slow = stage.app("slow", SandboxOptions::default()).await;
    slow.fault(Fault::new(Effect::Delay { millis: 6_000 }).on_exchange().always());
    let other = stage.app("other", SandboxOptions::default()).await;
    let _operator = stage.world.operator_with(Flags { own_pages: true, ..Flags::default() }).await;
    let first = stage.tour("first account", DESK, through(&stage.link("web", "other", "").await, "Allow"));
    seen(&[first]).await;
    stage.world.wait("acme", "web.other", "ready", is_ready).await;
    let globex = Consent::Allow(Some("W-GLOBEX".to_owned()));

    let mut titles = BTreeSet::new();
    for view in [DESK, PHONE] {
        let mut tours = Vec::new();
        for (type_, button, name) in [
            ("app", "Deny", "app_oauth_denied"),
            ("broken", "Allow", "token_exchange_failed"),
            ("slow", "Allow", "pending"),
        ] {
            let mut steps = through(&stage.link(view.name, type_, "").await, button);
            steps.push(Step::look(name));
            tours.push(stage.tour(name, view, steps));
        }
        other.reconfigure(|options| options.consent = globex.clone());
        let mut steps = through(&stage.link("web", "other", "").await, "");
        steps.truncate(4);
        steps.push(Step::look("account_mismatch"));
        tours.push(stage.tour("account_mismatch", view, steps));
        let mut steps = through(&stage.link(view.name, "other", "").await, "");
        steps.truncate(3);
        steps.extend([Step::forget(), Step::enter(), Step::look("click_refused")]);
        tours.push(stage.tour("click_refused", view, steps));
        let public = "/api/public/integrations/app";
        for (name, path) in [
            ("invalid_state", format!("{public}/callback?code=c&state=unknown")),
            ("missing_code", format!("{public}/callback")),
            ("missing_state", format!("{public}/callback?code=c")),
            ("provider_error", format!("{public}/callback?error=server_error&error_description=%3Cb%3Ecanary")),
            ("link_invalid", format!("{public}/start?ticket=unknown")),
            ("not_found", "/nothing".to_owned()),
        ] {
            tours.push(stage.tour(name, view, vec![Step::goto(stage.at(&path)), Step::look(name)]));
        }
        let pages = seen(&tours).await;
        for (name, page) in pages.iter().filter(|(name, _)| !["question", "pending"].contains(&name.as_str())) {
            assert_eq!(page.word.as_ref(), Some(name), "{page:#?}");
            assert!(
                page.news.len() == 1 && page.text.contains("What to do") && !page.text.contains("canary"),
                "{page:#?}"
            );
        }
        assert_eq!(pages["pending"].title, "Almost done");
        assert!(!pages["invalid_state"].text.contains("acme") && pages["account_mismatch"].text.contains("acme"));
        assert_eq!(pages.len(), 12);
        titles.extend(pages.into_values().map(|page| page.title));
    }
    assert_eq!(titles.len(), 12, "each page has a title of its own: {titles:?}");
    for view in [DESK, PHONE] {
        stage.world.wait("acme", &format!("{}.slow", view.name), "ready", is_ready).await;
    }

    may(&stage.world, "get", false).await;
    let unlucky = |view| {
        let (callback, start) = ("callback?code=c&state=x", "start?ticket=x");
        let at = |path| stage.at(&format!("/api/public/integrations/app/{path}"));
        let steps = [Step::goto(at(callback)), Step::look("callback"), Step::goto(at(start)), Step::look("start")];
        stage.tour("storage_failed", view, steps.into())
    };
    let pages = seen(&[unlucky(DESK), unlucky(PHONE)]).await;
    assert_eq!(pages["callback"].title, "The connection could not be stored");
    assert_eq!(pages["start"].title, "The link could not be looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_is_told_where_before_they_go_on() {
    let Some(mut stage) = Stage::start("who_confirms_is_told_where_before_they_go_on").await else { return };
    let app = stage.app("app", SandboxOptions::default()).await;
    // As the plugin listens.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let terminal = format!("http://{}", listener.local_addr().unwrap());
    stage.origins.push(terminal.clone());
    let done = get(async || pages::guarded(pages::back_at_the_terminal(Some("confirm"))));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(done)).await });
    let arguments = vec!["--initiator-check".to_owned(), "confirm".to_owned()];
    let _operator = stage.world.operator_with(Flags { own_pages: true, arguments, ..Flags::default() }).await;

    let link = stage.link("web", "app", &format!("&return_to={terminal}/done")).await;
    let mut steps = through(&link, "Allow");
    steps.push(Step::look("terminal"));
    let nowhere = vec![Step::goto(stage.link("nowhere", "app", "").await), Step::look("unconfirmable")];
    let tours = [stage.tour("with the plugin", DESK, steps), stage.tour("to nobody", PHONE, nowhere)];
    let pages = seen(&tours).await;
    assert!(pages["question"].text.contains("you return to a program on this computer"), "{pages:#?}");
    assert_eq!(pages["terminal"].title, "Back to the terminal");
    assert!(pages["terminal"].url.contains("status=confirm&confirmation="), "{pages:#?}");
    assert_eq!(pages["unconfirmable"].word.as_deref(), Some("unconfirmable"));
    assert_eq!(exchanges(&app), 0, "nothing is connected before it is confirmed");
}

/// What these tests look for is found where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_page_is_noticed() {
    const BAD: &str = "<!doctype html><html><title></title><style>p{color:red}</style><h1>a</h1><h1>b</h1>\
        <div style=\"width:2000px\">wide</div><input><p style=\"color:#eee;background:#fff\">faint</p>\
        <img src=\"http://localhost:9/picture\"><script>console.error('ran')</script>";
    if !chromium::available("a_bad_page_is_noticed") {
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let policy = [("content-security-policy", "script-src 'none'; style-src 'unsafe-inline'")];
    let bad = get(async move || (policy, Html(BAD)));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(bad)).await });
    let steps = vec![Step::goto(&origin), Step::look("bad")];
    let looks = tour(&[Tour { name: "bad".to_owned(), view: PHONE, origins: vec![origin], steps }]).await;
    let faults = looks[0].looks[0].faults().join("\n");
    for expected in [
        "axe: color-contrast",
        "axe: document-title",
        "axe: html-has-lang",
        "axe: image-alt",
        "axe: label",
        "request: http://localhost:9/picture",
        "policy: ",
        "console: ",
        "wider than the window",
        "no language",
        "not one h1",
        "not one main",
        "no title",
    ] {
        assert!(faults.contains(expected), "{expected} is not among\n{faults}");
    }
}

/// The pictures of docs/pages.md, with `UPDATE_SCREENSHOTS=1`.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_for_the_documentation() {
    if std::env::var_os("UPDATE_SCREENSHOTS").is_none() {
        return;
    }
    let Some(mut stage) = Stage::start("pictures_for_the_documentation").await else { return };
    let _app = stage.app("app", SandboxOptions::default()).await;
    let denying = SandboxOptions { consent: Consent::Deny, ..SandboxOptions::default() };
    let _denying = stage.app("slack", denying).await;
    // Never visited; the page says where it is.
    stage.provider("chat", description("https://slack.com/oauth/v2")).await;
    let _operator = stage.world.operator_with(Flags { own_pages: true, ..Flags::default() }).await;
    let mut tours = Vec::new();
    for view in PICTURES {
        let picture = |name: &str| Some(images().join(format!("{name}-{}.png", view.name)));
        let asked = [Step::goto(stage.link("web", "chat", "").await), Step::look("question").to(picture("question"))];
        tours.push(stage.tour("question", view, asked.into()));
        // Once for each view, so that the project is called the same in both.
        let mut connected = through(&stage.link("web", "app", "").await, "Allow");
        connected.push(Step::look("connected").to(picture("connected")));
        seen(&[stage.tour("connected", view, connected)]).await;
        let mut denied = through(&stage.link("web", "slack", "").await, "");
        denied.truncate(4);
        denied.push(Step::look("denied").to(picture("failure")));
        seen(&[stage.tour("denied", view, denied)]).await;
    }
    seen(&tours).await;
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images")
}
