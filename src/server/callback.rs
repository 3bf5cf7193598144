//! `…/callback`: the provider sends the browser back, and it goes on to the frontend, or to a page of ours.
//!
//! The frontend gets words of our own only: what a provider writes into the query never travels on.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use url::{Url, form_urlencoded};

use super::client_address::ClientAddress;
use super::start::see_other;
use super::{Shared, pages};
use crate::flow::Place;
use crate::flow::callback::{Ending, Failure, Finished, Response as Answer};
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
        // A refusal, so that the browser asks again when the person really goes there.
        let text = "Pages are not fetched ahead here.";
        return pages::say(StatusCode::SERVICE_UNAVAILABLE, "Not yet", text);
    }
    if let Err(error) = state.limits.callback(client) {
        return pages::error(&error, "One moment");
    }
    let query = query.unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let answer = Answer::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)));
    let browser = state.cookies.read(&headers);
    let finished = state.flow.callback(&place, answer, browser.as_ref().map(Sensitive::expose)).await;
    state.metrics.callback(label(&finished.ending));
    match &finished.frontend {
        Some(frontend) => see_other(&destination(frontend, &state.flow.frontends, &finished)),
        None => page(&finished.ending),
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

fn page(ending: &Ending) -> Response {
    match ending {
        Ending::Success => {
            pages::say(StatusCode::OK, "Connected", "The account is connected. You can close this window.")
        }
        Ending::Pending => pages::say(
            StatusCode::OK,
            "Almost done",
            "The app takes its time. The connection is completed without you; you can close this window.",
        ),
        // Nobody is there to take the confirmation, and showing it would invite handing it to whoever asks.
        Ending::Confirm(_) => pages::say(
            StatusCode::CONFLICT,
            "Not connected",
            "The connection has to be confirmed where it was asked for, but there is no address to return to. Ask again \
             with return_to.",
        ),
        Ending::Failed(failure) => {
            let (status, title, text) = explain(*failure);
            pages::say(status, title, text)
        }
    }
}

/// What a failure means to a person, and how to mend it.
const fn explain(failure: Failure) -> (StatusCode, &'static str, &'static str) {
    match failure {
        Failure::OAuthDenied => (
            StatusCode::OK,
            "Not connected",
            "Access was not granted, and nothing has changed. To connect after all, ask for a new link.",
        ),
        Failure::MissingCode | Failure::MissingState => (
            StatusCode::BAD_REQUEST,
            "Not connected",
            "The app sent you back without what we need. Ask for a new link and try again.",
        ),
        Failure::InvalidState => (
            StatusCode::BAD_REQUEST,
            "This link does not work any more",
            "It was used already, it is too old, or it was opened in another browser than the one you started in. Ask \
             for a new link.",
        ),
        Failure::TokenExchangeFailed => (
            StatusCode::BAD_GATEWAY,
            "Not connected",
            "The app did not complete the connection. Ask for a new link and try again; if that does not help, have \
             the integration's status looked at.",
        ),
        Failure::StorageFailed => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Not connected",
            "We could not store the connection. Ask for a new link in a few minutes.",
        ),
        Failure::ProviderError => (
            StatusCode::BAD_GATEWAY,
            "Not connected",
            "The app has trouble of its own just now. Ask for a new link in a few minutes.",
        ),
        Failure::AccountMismatch => (
            StatusCode::CONFLICT,
            "Another account is connected",
            "You chose another account than the one that is connected; that one stays. Choose it again, or have the \
             integration disconnected first.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(frontend: &str, ending: Ending) -> String {
        let listed =
            [Url::parse("https://app.example.com/base/").unwrap(), Url::parse("http://127.0.0.1:3000").unwrap()];
        let frontend = Url::parse(frontend).unwrap();
        let finished = Finished { ending, type_: "new-app".to_owned(), frontend: Some(frontend.clone()) };
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
