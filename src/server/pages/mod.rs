//! Pages for people: small, without scripts, and with nothing that comes from elsewhere.
//!
//! The module `html` escapes whatever is put into a page. What a provider says of an error never goes into one at all.

mod ending;
mod failure;
mod html;
mod question;
mod style;

use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use http::{HeaderValue, StatusCode};

use html::Markup;
use style::{POLICY, STYLE, Sign};

pub use ending::{back_at_the_terminal, ended, too_early};
pub use failure::{dead_link, refused};
pub use question::ask;

/// A page: what every one has.
#[derive(Clone, Debug)]
struct Page {
    status: StatusCode,
    sign: Sign,
    /// The heading and the title, different for each page.
    title: String,
    /// The sentence below the heading; read out at once where the page brings news.
    lead: String,
    content: Markup,
    /// Where its form may lead; `'none'` for a page without one.
    form_targets: String,
}

impl Page {
    /// A page without a form.
    fn new(status: StatusCode, sign: Sign, title: &str, lead: &str, content: Markup) -> Self {
        let form_targets = "'none'".to_owned();
        Self { status, sign, title: title.to_owned(), lead: lead.to_owned(), content, form_targets }
    }

    fn html(&self) -> String {
        let lead: &[(&'static str, &str)] = match self.sign {
            Sign::Question => &[],
            Sign::Done | Sign::Waiting => &[("role", "status")],
            Sign::Stopped | Sign::Failed => &[("role", "alert")],
        };
        let heading = Markup::element("h1", &[], Markup::text(&self.title));
        let lead = Markup::element("p", lead, Markup::text(&self.lead));
        let sign = Markup::element("div", &[("class", "sign")], self.sign.drawing());
        let content = [sign, heading, lead, self.content.clone()].into_iter().collect();
        let main = Markup::element("main", &[("class", self.sign.class())], content);
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\">{title}<style>{STYLE}</style></head><body>{main}</body></html>",
            title = Markup::element("title", &[], Markup::text(&self.title)).into_string(),
            main = main.into_string(),
        )
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = (self.status, Html(self.html())).into_response();
        let policy = HeaderValue::try_from(format!("{} {}", *POLICY, self.form_targets));
        let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        response
    }
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::digest::{SHA256, digest};

    use super::*;

    /// The HTML of an answer, after what every page must be.
    pub(super) async fn read(response: Response) -> String {
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let html = String::from_utf8(bytes.to_vec()).unwrap();
        let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(policy.contains(&STANDARD.encode(digest(&SHA256, style.as_bytes()))), "{policy}");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        for bad in ["<script", "http:", "https:", " style=", "url(", "@import", "@font-face", "<img", "http-equiv"] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        let document = scraper::Html::parse_document(&html);
        let count = |what: &str| document.select(&scraper::Selector::parse(what).unwrap()).count();
        for (what, times) in [("html[lang=en]", 1), ("head > title", 1), ("body > main", 1), ("main > h1", 1)] {
            assert_eq!(count(what), times, "{what} in {html}");
        }
        html
    }

    /// The text of the first element that `what` selects.
    pub(super) fn text(html: &str, what: &str) -> String {
        let document = scraper::Html::parse_document(html);
        let found = document.select(&scraper::Selector::parse(what).unwrap()).next();
        found.map(|element| element.text().collect()).unwrap_or_default()
    }

    #[tokio::test]
    async fn pages_without_a_form_take_none() {
        let page = Page::new(StatusCode::OK, Sign::Done, "<a>", "b & c", Markup::default()).into_response();
        assert!(page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().ends_with("form-action 'none'"));
        let html = read(page).await;
        assert!(
            html.contains("<title>&lt;a&gt;</title>") && html.contains("<p role=\"status\">b &amp; c</p>"),
            "{html}"
        );
    }
}
