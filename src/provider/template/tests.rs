use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn render(template: &str, value: &str) -> Result<String, TemplateError> {
    let values = BTreeMap::from([("x".to_owned(), value.to_owned())]);
    UrlTemplate::parse(template)?.render(&values).map(String::from)
}

#[test]
fn values_go_where_the_template_says() {
    assert_eq!(
        render("https://{x}.zendesk.com/oauth/tokens", "acme").ok().as_deref(),
        Some("https://acme.zendesk.com/oauth/tokens")
    );
    assert_eq!(render("https://{x}.zendesk.com:8443/", "ACME").ok().as_deref(), Some("https://acme.zendesk.com:8443/"));
    assert_eq!(
        render("https://api.example.com/a/{x}/b", "a b/c?d#é").ok().as_deref(),
        Some("https://api.example.com/a/a%20b%2Fc%3Fd%23%C3%A9/b")
    );
    assert_eq!(
        render("https://api.example.com/?q={x}", "a&b=c+d").ok().as_deref(),
        Some("https://api.example.com/?q=a%26b%3Dc%2Bd")
    );
    assert_eq!(render("https://slack.com/api", "").ok().as_deref(), Some("https://slack.com/api"));
    assert_eq!(render("http://127.0.0.1:8080/{x}", "a").ok().as_deref(), Some("http://127.0.0.1:8080/a"));
    assert_eq!(
        render("https://{x}.api-{x}.example.com/{x}", "a").ok().as_deref(),
        Some("https://a.api-a.example.com/a")
    );
}

#[test]
fn parameters_are_named() {
    let template = UrlTemplate::parse("https://{site}.example.com/{app-id}/{site}?r={region_1}");
    let names = template.as_ref().map(|template| template.parameters().into_iter().collect::<Vec<_>>());
    assert_eq!(names.ok(), Some(vec!["app-id", "region_1", "site"]));
}

#[test]
fn no_value_leads_elsewhere() {
    let host = "https://{x}.zendesk.com/oauth/tokens";
    for value in [
        "evil.com/#",
        "evil.com/",
        "evil.com?",
        "evil.com\\",
        "user@evil.com",
        "a:b@c",
        "evil.com:80",
        "a b",
        "",
        ".",
        "..",
        "a..b",
        "é",
        "%2e",
        "a\t",
        "-",
    ] {
        assert!(matches!(render(host, value), Err(TemplateError::Value { .. })), "{value}");
    }
    for value in [".", "..", "", &"a".repeat(257)] {
        assert!(matches!(render("https://example.com/a/{x}/b", value), Err(TemplateError::Value { .. })), "{value}");
    }
    assert!(matches!(render("https://example.com/{y}", "a"), Err(TemplateError::Missing { .. })));
    // A value and its surroundings make an encoded dot segment together.
    assert!(matches!(render("https://example.com/a/.{x}/b", "."), Err(TemplateError::Value { .. })));
    assert!(
        matches!(render("https://example.com/a/{x}{x}/b", "%2e"), Ok(url) if url == "https://example.com/a/%252e%252e/b")
    );
}

#[test]
fn templates_with_an_open_end_are_refused() {
    for template in [
        "https://{x}/",
        "https://{x}.com/",
        "https://api.{x}/",
        "https://api.{x}.com/",
        "https://{x}..com/",
        "https://{x}example.com/",
        "https://{x}.com./",
    ] {
        assert!(
            matches!(UrlTemplate::parse(template), Err(TemplateError::OpenHost | TemplateError::Parse(_))),
            "{template}"
        );
    }
    for template in [
        "{x}://example.com/",
        "https://example.com:{x}/",
        "https://{x}@example.com/",
        "https://u:{x}@example.com/",
        "https://example.com/#{x}",
        "{x}",
    ] {
        assert!(
            matches!(UrlTemplate::parse(template), Err(TemplateError::Misplaced | TemplateError::Unfit)),
            "{template}"
        );
    }
    for template in [
        "https://example.com/{",
        "https://example.com/}",
        "https://example.com/{}",
        "https://example.com/{a b}",
        "https://example.com/{a{b}}",
    ] {
        assert!(matches!(UrlTemplate::parse(template), Err(TemplateError::Brace { .. })), "{template}");
    }
    assert!(matches!(UrlTemplate::parse("https://u:p@example.com/"), Err(TemplateError::Unfit)));
    assert!(matches!(UrlTemplate::parse("https://example.com/#f"), Err(TemplateError::Unfit)));
    assert!(matches!(UrlTemplate::parse("not a url"), Err(TemplateError::Parse(_))));
    assert!(matches!(
        UrlTemplate::parse(&format!("https://example.com/{}", "a".repeat(2048))),
        Err(TemplateError::TooLong)
    ));
}

proptest! {
    #[test]
    fn any_value_keeps_host_scheme_and_port(value in "\\PC{0,40}|[a-z./:@#?%\\\\]{0,20}") {
        for template in ["https://{x}.zendesk.com/a", "https://a.zendesk.com/{x}/b", "https://a.zendesk.com/b?c={x}&d=e", "https://a.zendesk.com/.{x}"] {
            if let Ok(url) = render(template, &value) {
                let url = Url::parse(&url);
                prop_assert!(url.is_ok_and(|url| url.scheme() == "https"
                    && url.host_str().is_some_and(|host| host.ends_with(".zendesk.com"))
                    && url.port().is_none() && url.username().is_empty() && url.fragment().is_none()));
            }
        }
    }

    #[test]
    fn any_template_is_read_or_refused(template in "\\PC{0,60}|https://[a-z{}./:@#?]{0,40}") {
        if let Ok(template) = UrlTemplate::parse(&template) {
            prop_assert!(template.parameters().len() < 40);
        }
    }
}
