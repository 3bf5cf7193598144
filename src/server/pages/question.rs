//! The question before connecting: who asks for what, where the button leads, and what comes after.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use url::{Host, Url};

use super::Page;
use super::html::Markup;
use super::style::Sign;
use crate::flow::open::Question;

/// Where the click may lead in the end. Chromium and Safari hold every redirect after it to `form-action` (the open
/// question of CSP issue 8): the provider's login pages, which lie where it likes, and, where it need not ask again,
/// our callback and the frontend or the plugin's loopback port. Without scripts there is one form, and it is ours.
const ONWARD: &str = "https: http://127.0.0.1:* http://localhost:*";

/// Asks the visitor whether they mean it.
pub fn ask(question: &Question, ticket: &str) -> Response {
    let about = &question.about;
    let lead = format!("Project {} of {} asks for access to a {} account.", about.project, about.tenant, about.app);
    let rows = Markup::terms(&[
        ("App", Some(&about.app)),
        ("Project", Some(&about.project)),
        ("Tenant", Some(&about.tenant)),
        ("Asked for by", question.agent_id.as_deref()),
        ("Through", question.caller.as_deref()),
    ]);
    let warning = "Go on only if you, or somebody you know, asked for this. If not, close this window: nothing has been \
                   connected.";
    let mut page = Page::new(
        StatusCode::OK,
        Sign::Question,
        &format!("Connect {}?", about.app),
        &lead,
        [rows, Markup::paragraph(warning), form(question, ticket), next(question)].into_iter().collect(),
    );
    page.form_targets = format!("'self' {} {ONWARD}", question.provider_origin);
    page.into_response()
}

fn form(question: &Question, ticket: &str) -> Markup {
    let hidden = |name, value| Markup::empty("input", &[("type", "hidden"), ("name", name), ("value", value)]);
    let label = Markup::text(&format!("Continue to {}", question.about.app));
    let fields = [
        hidden("ticket", ticket),
        hidden("token", question.token.expose()),
        Markup::element("button", &[("type", "submit")], label),
    ];
    Markup::element("form", &[("method", "post"), ("action", "start")], fields.into_iter().collect())
}

/// What the button leads to, so that nobody is surprised by another host.
fn next(question: &Question) -> Markup {
    let host = question.provider_origin.split_once("://").map_or(question.provider_origin.as_str(), |(_, host)| host);
    let then = question.confirmed_at.as_ref().map(|confirmed_at| {
        format!(" Then you return to {}, where the connection has to be confirmed within a minute.", name(confirmed_at))
    });
    let text = format!(
        "You sign in at {host}, choose the account, and see there what is asked for.{}",
        then.unwrap_or_default()
    );
    Markup::element("p", &[("class", "small")], Markup::text(&text))
}

/// A host as a person calls it.
fn name(url: &Url) -> String {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.host_str() {
        Some(host) if !is_here => host.to_owned(),
        _ => "a program on this computer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_SECURITY_POLICY;

    use super::super::tests::{read, text};
    use super::*;
    use crate::flow::open::About;
    use crate::sensitive::Sensitive;

    fn question() -> Question {
        Question {
            about: About { app: "Example".to_owned(), tenant: "acme".to_owned(), project: "web".to_owned() },
            caller: Some("alice".to_owned()),
            agent_id: None,
            confirmed_at: None,
            provider_origin: "https://provider.example".to_owned(),
            token: Sensitive::new("token"),
        }
    }

    #[tokio::test]
    async fn everything_is_escaped() {
        let about =
            About { app: "Evil' & \u{202e}Sons".to_owned(), tenant: "<b>".to_owned(), project: "\"web".to_owned() };
        let question = Question {
            about,
            caller: Some("<script>alert(1)</script>".to_owned()),
            agent_id: Some("\"><img src=x>".to_owned()),
            token: Sensitive::new("to'ken"),
            ..question()
        };
        let html = read(ask(&question, "\"ticket<")).await;
        for bad in ["<b>", "\"web", "<img", "\"ticket<", "to'ken", "Evil'", "\u{202e}"] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        assert!(html.contains("&lt;script&gt;") && html.contains("Evil&#39; &amp; \u{fffd}Sons"), "{html}");
    }

    #[tokio::test]
    async fn it_says_who_asks_and_where_the_button_leads() {
        let response = ask(&question(), "t");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.ends_with(&format!("form-action 'self' https://provider.example {ONWARD}")), "{policy}");
        let html = read(response).await;
        assert_eq!(text(&html, "title"), "Connect Example?");
        assert_eq!(text(&html, "button"), "Continue to Example");
        assert_eq!(text(&html, "dl"), "AppExampleProjectwebTenantacmeThroughalice");
        assert!(html.contains("sign in at provider.example,") && !html.contains("confirmed"), "{html}");
    }

    #[tokio::test]
    async fn it_says_where_a_connection_is_confirmed() {
        for (url, place) in [
            ("https://app.example.com/base", "app.example.com"),
            ("http://127.0.0.1:4711/done", "a program on this computer"),
            ("http://[::1]:4711/", "a program on this computer"),
        ] {
            let question = Question { confirmed_at: Some(Url::parse(url).unwrap()), ..question() };
            let html = read(ask(&question, "t")).await;
            assert!(html.contains(&format!("return to {place}, where")), "{html}");
        }
    }
}
