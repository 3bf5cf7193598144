//! `…/callback`: the provider sends the browser back, and it goes on to the frontend, or to a page of ours.
//!
//! The frontend gets words of our own only: what a provider writes into the query never travels on.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use url::{Url, form_urlencoded};

use super::client_address::ClientAddress;
use super::start::see_other;
use super::{Shared, pages};
use crate::flow::Place;
use crate::flow::callback::{Ending, Finished, Response as Answer};
use crate::sensitive::Sensitive;

/// Headers by which browsers mark what they fetch ahead of any wish of the person.
const PURPOSES: [&str; 3] = ["sec-purpose", "purpose", "x-moz"];

/// Takes the browser back.
pub(super) async fn callback(
    State(state): State<Shared>,
    place: Place,
    ClientAddress(client): ClientAddress,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if is_prefetch(&headers) {
        return pages::too_early();
    }
    if let Err(error) = state.limits.callback(client) {
        error.log();
        return pages::refused(&error);
    }
    let query = query.unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let answer = Answer::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)));
    let browser = state.cookies.read(&headers);
    let finished = state.flow.callback(&place, answer, browser.as_ref().map(Sensitive::expose)).await;
    state.metrics.callback(label(&finished.ending));
    match &finished.frontend {
        Some(frontend) => see_other(&destination(frontend, &state.flow.frontends, &finished)),
        None => pages::ended(&finished),
    }
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    let says_so = |name: &&str| {
        headers.get_all(*name).iter().any(|value| value.to_str().is_ok_and(|value| value.starts_with("prefetch")))
    };
    PURPOSES.iter().any(says_so)
}

/// Where the browser goes: a frontend's dashboard, or exactly where the plugin listens (RFC 8252 §7.3).
fn destination(frontend: &Url, frontends: &[Url], finished: &Finished) -> Url {
    let mut url = frontend.clone();
    if frontends.contains(frontend) {
        url.set_path(&format!("{}/dashboard", frontend.path().trim_end_matches('/')));
    }
    url.set_fragment(None);
    let mut query = url.query_pairs_mut();
    match &finished.ending {
        Ending::Failed(failure) => query.append_pair("error", &failure.word(&finished.type_)),
        ending => query.append_pair("integration", &finished.type_).append_pair("status", label(ending)),
    };
    if let Ending::Confirm(confirmation) = &finished.ending {
        query.append_pair("confirmation", confirmation.expose());
    }
    drop(query);
    url
}

/// The word of `status=`, and the label of metrics.
const fn label(ending: &Ending) -> &'static str {
    match ending {
        Ending::Success => "success",
        Ending::Pending => "pending",
        Ending::Confirm(_) => "confirm",
        Ending::Failed(failure) => failure.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::callback::Failure;

    fn go(frontend: &str, ending: Ending) -> String {
        let listed =
            [Url::parse("https://app.example.com/base/").unwrap(), Url::parse("http://127.0.0.1:3000").unwrap()];
        let frontend = Url::parse(frontend).unwrap();
        let finished = Finished { ending, type_: "new-app".to_owned(), frontend: Some(frontend.clone()), about: None };
        destination(&frontend, &listed, &finished).to_string()
    }

    #[test]
    fn frontends_have_a_dashboard() {
        let listed = "https://app.example.com/base/";
        assert_eq!(
            go(listed, Ending::Success),
            "https://app.example.com/base/dashboard?integration=new-app&status=success"
        );
        assert_eq!(
            go("http://127.0.0.1:3000", Ending::Pending),
            "http://127.0.0.1:3000/dashboard?integration=new-app&status=pending"
        );
        assert_eq!(
            go(listed, Ending::Failed(Failure::OAuthDenied)),
            "https://app.example.com/base/dashboard?error=new-app_oauth_denied"
        );
    }

    #[test]
    fn the_plugin_keeps_its_path() {
        assert_eq!(
            go("http://127.0.0.1:4711/done?a=b#c", Ending::Confirm(Sensitive::new("x.y"))),
            "http://127.0.0.1:4711/done?a=b&integration=new-app&status=confirm&confirmation=x.y"
        );
    }

    #[test]
    fn prefetches() {
        let check = |name: &'static str, value: &'static str| {
            is_prefetch(&std::iter::once((http::HeaderName::from_static(name), value.parse().unwrap())).collect())
        };
        assert!(check("sec-purpose", "prefetch;prerender"));
        assert!(check("purpose", "prefetch"));
        assert!(check("x-moz", "prefetch"));
        assert!(!check("purpose", "navigate"));
    }
}
