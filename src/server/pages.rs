//! Pages for people: small, without scripts, and with nothing that comes from elsewhere.
//!
//! Whatever is put into a page goes through [`escape`]; what a provider says never goes into one at all.

use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use http::{HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

use super::error::ApiError;
use crate::flow::open::Question;

const STYLE: &str = "\
:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:#f4f5f7;color:#1c1f24}\
main{box-sizing:border-box;width:min(32rem,92vw);margin:2rem 0;padding:2rem;border-radius:.75rem;background:#fff;\
box-shadow:0 1px 4px #0003}\
h1{margin:0 0 1rem;font-size:1.375rem;line-height:1.3}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1.25rem 0}\
dt{color:#5a6270}dd{margin:0;overflow-wrap:anywhere;font-weight:600}\
button{font:inherit;font-weight:600;padding:.625rem 1.25rem;border:0;border-radius:.5rem;background:#1f5fd6;\
color:#fff;cursor:pointer}\
button:focus-visible{outline:3px solid #1f5fd6;outline-offset:3px}\
@media(prefers-color-scheme:dark){body{background:#15171b;color:#e8eaed}main{background:#202329}dt{color:#a4abb8}\
button{background:#8ab4f8;color:#10131a}button:focus-visible{outline-color:#8ab4f8}}";

/// The style by its hash (CSP Level 3 §2.3.1), so that no other style is applied.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'; form-action")
});

/// Where the click may lead in the end. Chromium and Safari hold every redirect after it to `form-action` (the open
/// question of CSP issue 8): the provider's login pages, which lie where it likes, and, where it need not ask again,
/// our callback and the frontend or the plugin's loopback port. Without scripts there is one form, and it is ours.
const ONWARD: &str = "https: http://127.0.0.1:* http://localhost:*";

/// Asks the visitor whether they mean it: who asks for what, and a button.
pub fn ask(question: &Question, ticket: &str) -> Response {
    let row = |(term, value): (&str, &str)| format!("<dt>{term}</dt><dd>{}</dd>", escape(value));
    let rows: String = [
        ("App", Some(question.app.as_str())),
        ("Tenant", Some(question.tenant.as_str())),
        ("Project", Some(question.project.as_str())),
        ("Asked for by", question.agent_id.as_deref()),
        ("Through", question.caller.as_deref()),
    ]
    .into_iter()
    .filter_map(|(term, value)| value.map(|value| (term, value)))
    .map(row)
    .collect();
    let app = escape(&question.app);
    let body = format!(
        "<p>If you go on, project {project} of {tenant} gets access to the {app} account that you choose next. \
         Go on only if you, or somebody you know, asked for this.</p><dl>{rows}</dl>\
         <form method=\"post\" action=\"start\"><input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
         <input type=\"hidden\" name=\"token\" value=\"{token}\"><button>Continue to {app}</button></form>",
        project = escape(&question.project),
        tenant = escape(&question.tenant),
        ticket = escape(ticket),
        token = escape(question.token.expose()),
    );
    let targets = format!("'self' {} {ONWARD}", question.provider_origin);
    page(StatusCode::OK, &format!("Connect {}?", question.app), &body, &targets)
}

/// Tells a person what happened, and how to mend it.
pub fn say(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, title, &format!("<p>{}</p>", escape(text)), "'none'")
}

/// An error, for a person.
pub fn error(error: &ApiError, title: &str) -> Response {
    error.log();
    let mut response = say(error.kind().0, title, &sentence(&error.to_string()));
    if let Some((name, value)) = error.header() {
        response.headers_mut().insert(name, value);
    }
    response
}

fn page(status: StatusCode, title: &str, body: &str, form_targets: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let mut response = (status, Html(html)).into_response();
    let policy = HeaderValue::try_from(format!("{} {form_targets}", *POLICY));
    let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// Headers of every answer, unless it says otherwise: not kept, not sniffed, not framed, and no address passed on
/// (RFC 9700 §4.2.4).
pub fn guarded(mut response: Response) -> Response {
    const GUARDS: [(&str, &str); 5] = [
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    for (name, value) in GUARDS {
        let name = HeaderName::from_static(name);
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Text as it may stand in HTML, in an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Controls, and characters that turn the direction of what follows, could make a page say something else.
            character if character.is_control() || is_bidirectional(character) => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

const fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error's text with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitive::Sensitive;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn question() -> Question {
        Question {
            caller: Some("<script>alert(1)</script>".to_owned()),
            agent_id: Some("\"><img src=x>".to_owned()),
            tenant: "acme".to_owned(),
            project: "web".to_owned(),
            app: "Evil' & \u{202e}Sons".to_owned(),
            provider_origin: "https://provider.example".to_owned(),
            token: Sensitive::new("to'ken"),
        }
    }

    #[tokio::test]
    async fn everything_is_escaped() {
        let html = text(ask(&question(), "\"ticket<")).await;
        for bad in ["<script", "<img", "\"ticket<", "to'ken", "Evil'", "\u{202e}"] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        assert!(html.contains("&lt;script&gt;") && html.contains("Evil&#39; &amp; \u{fffd}Sons"), "{html}");
    }

    #[tokio::test]
    async fn the_policy_lets_the_button_and_the_style_through() {
        let response = ask(&question(), "t");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.ends_with(&format!("form-action 'self' https://provider.example {ONWARD}")), "{policy}");
        let html = text(response).await;
        let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(policy.contains(&STANDARD.encode(digest(&SHA256, style.as_bytes()))));
        assert!(!html.contains("<script") && !html.contains("http"), "{html}");
    }

    #[test]
    fn plain_pages_take_no_form() {
        let response = say(StatusCode::OK, "a", "b");
        assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().ends_with("form-action 'none'"));
    }
}
