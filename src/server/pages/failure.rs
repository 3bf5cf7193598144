//! What went wrong, why, how to mend it, and the word by which support finds it.
//!
//! Nothing here is of a provider's making: causes are of a closed list, and have texts of ours.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::Page;
use super::ending::details;
use super::html::Markup;
use super::style::Sign;
use crate::flow::callback::Failure;
use crate::flow::open::{About, OpenError};
use crate::server::error::ApiError;

/// A failure in a person's words.
struct Explained {
    status: StatusCode,
    sign: Sign,
    title: String,
    /// What happened, and what became of the connection.
    cause: String,
    /// What the person can do.
    remedy: String,
    /// For support.
    word: String,
}

impl Explained {
    fn new(status: StatusCode, title: &str, cause: &str, remedy: &str, word: &str) -> Self {
        let [title, cause, remedy, word] = [title, cause, remedy, word].map(str::to_owned);
        Self { status, sign: Sign::Failed, title, cause, remedy, word }
    }

    /// The person, or a rule, stopped it: nothing is broken.
    fn stopped(self) -> Self {
        Self { sign: Sign::Stopped, ..self }
    }

    fn page(&self, about: Option<&About>) -> Page {
        let word = Markup::element("code", &[], Markup::text(&self.word));
        let word = [Markup::fixed("If you ask for help, say this word: "), word].into_iter().collect();
        let content = [
            Markup::element("h2", &[], Markup::fixed("What to do")),
            Markup::paragraph(&self.remedy),
            details(about),
            Markup::element("p", &[("class", "word")], word),
        ];
        Page::new(self.status, self.sign, &self.title, &self.cause, content.into_iter().collect())
    }
}

/// A callback that failed.
pub(super) fn failed(failure: Failure, type_: &str, about: Option<&About>) -> Page {
    let mut explained = explain(failure, about.map(|about| about.app.as_str()));
    explained.word = failure.word(type_);
    explained.page(about)
}

/// A link that leads nowhere.
pub fn dead_link(error: &OpenError) -> Response {
    match error {
        OpenError::Unconfirmable => unconfirmable(None).into_response(),
        error => of_link(error).page(None).into_response(),
    }
}

/// An error of the server, with the header that belongs to it.
pub fn refused(error: &ApiError) -> Response {
    let mut response = of(error).page(None).into_response();
    if let Some((name, value)) = error.header() {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A connection that takes a confirmation, where there is nobody to give it.
pub(super) fn unconfirmable(about: Option<&About>) -> Page {
    Explained::new(
        StatusCode::CONFLICT,
        "Nobody could confirm this connection",
        "Whoever asked for this connection has to confirm it at its end, but the link names no address to return to for \
         that. Nothing has been connected.",
        "Tell whoever gave you the link. It has to be asked for again with return_to, or with kubectl integration connect \
         --server.",
        "unconfirmable",
    )
    .stopped()
    .page(about)
}

#[allow(clippy::too_many_lines)] // A list.
fn explain(failure: Failure, app: Option<&str>) -> Explained {
    let (the_app, app) = app.map_or(("The app", "the app"), |app| (app, app));
    let word = failure.as_str();
    match failure {
        Failure::OAuthDenied => Explained::new(
            StatusCode::OK,
            "Access was not granted",
            &format!(
                "{the_app} gave no access: you said no there, or the account does not allow it. Nothing has been \
                 connected or changed."
            ),
            &format!(
                "To connect after all, go back to where you found the link and ask to connect again. If you did not say \
                 no, an administrator of your account at {app} may have to allow it first."
            ),
            word,
        )
        .stopped(),
        Failure::MissingCode => Explained::new(
            StatusCode::BAD_REQUEST,
            "The answer is incomplete",
            &format!("{the_app} sent you back without the code that makes a connection. Nothing has been connected."),
            "Go back to where you found the link and ask to connect again. Reloading this page does not help.",
            word,
        ),
        Failure::MissingState => Explained::new(
            StatusCode::BAD_REQUEST,
            "The answer belongs to no request",
            "You were sent back without the value that tells for whom you were asked, so the answer was not used. \
             Nothing has been connected.",
            "Begin with the link that you were given, not on the app's own pages. If you did, ask to connect again.",
            word,
        ),
        Failure::InvalidState => Explained::new(
            StatusCode::BAD_REQUEST,
            "This request is over",
            "It was completed already, it is older than ten minutes, it was changed meanwhile, or you came back in \
             another browser than the one in which you began.",
            "If your account shows as connected, all is well. Otherwise go back to where you found the link, ask to \
             connect again, and stay in one browser until the end.",
            word,
        ),
        Failure::TokenExchangeFailed => Explained::new(
            StatusCode::BAD_GATEWAY,
            &format!("{the_app} did not complete the connection"),
            &format!("{the_app} agreed first, and then did not hand over the access. Nothing has been connected."),
            "Go back to where you found the link and ask to connect again. If it fails again, tell whoever runs this \
             service; its registration with the app may be wrong.",
            word,
        ),
        Failure::StorageFailed => Explained::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The connection could not be stored",
            "This service could not read or write its store just now. Nothing has been connected.",
            "Wait a few minutes, then go back to where you found the link and ask to connect again.",
            word,
        ),
        Failure::ProviderError => Explained::new(
            StatusCode::BAD_GATEWAY,
            &format!("{the_app} has trouble of its own"),
            &format!("{the_app} could not take the request just now. Nothing has been connected."),
            "Wait a few minutes, then go back to where you found the link and ask to connect again.",
            word,
        ),
        Failure::AccountMismatch => Explained::new(
            StatusCode::CONFLICT,
            "Another account is connected",
            "You chose another account than the one that is connected. That one stays, and nothing has changed.",
            "Ask to connect again and choose the connected account. If it is to be replaced, have the integration \
             disconnected first.",
            word,
        )
        .stopped(),
    }
}

fn of_link(error: &OpenError) -> Explained {
    match error {
        OpenError::Invalid | OpenError::Unconfirmable => Explained::new(
            StatusCode::GONE,
            "This link does not work",
            "It was used already, it is older than ten minutes, or it was not copied completely.",
            "Go back to where you found it and ask to connect again.",
            "link_invalid",
        ),
        OpenError::Forged => Explained::new(
            StatusCode::FORBIDDEN,
            "This click does not count",
            "Your browser keeps no cookies for this site, or it did not come from the page with the button. The link is \
             not used up.",
            "Allow cookies for this site and open the link again.",
            "click_refused",
        ),
        OpenError::Storage(_) => Explained::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The link could not be looked up",
            "This service could not read its store just now. The link is not used up.",
            "Wait a minute, then open the link again.",
            "storage_failed",
        ),
    }
}

/// What a person may meet at a public address; anything else is a program's.
fn of(error: &ApiError) -> Explained {
    let (status, word) = error.kind();
    let again = "Go back to where you found the link and open it again.";
    match error {
        ApiError::NoSuchPath => {
            let cause = "This address leads nowhere. Perhaps it was not copied completely.";
            Explained::new(status, "There is nothing here", cause, again, word)
        }
        ApiError::MethodNotAllowed { .. } => {
            let cause = "This address takes no such request. Perhaps a form of another site led here.";
            Explained::new(status, "This does not work here", cause, again, word)
        }
        ApiError::TooMany { retry_after } => {
            let seconds = retry_after.as_secs() + 1;
            let cause =
                "There were too many visits from your network, so this one was not looked at. Nothing is used up.";
            let remedy = format!("Wait {seconds} seconds, then reload this page.");
            Explained { sign: Sign::Waiting, ..Explained::new(status, "One moment", cause, &remedy, word) }
        }
        ApiError::Form(_) => {
            let cause = "What your browser sent is not what the button of our page sends. The link is not used up.";
            Explained::new(status, "The click could not be read", cause, again, word)
        }
        ApiError::TimedOut => {
            let cause = "This service waited too long for others. What you asked for may still be done.";
            let remedy = "Wait a minute. If your account does not show as connected then, ask to connect again.";
            Explained::new(status, "This took too long", cause, remedy, word)
        }
        _ if status.is_server_error() => {
            let cause = "This is a fault of this service, not of yours.";
            let remedy = "Wait a minute, then open the link again. If it fails again, tell whoever runs this service.";
            Explained::new(status, "Something went wrong", cause, remedy, word)
        }
        _ => {
            let cause = "What your browser sent cannot be carried out. Nothing has been connected.";
            Explained::new(status, "This request cannot be carried out", cause, again, word)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use http::header::RETRY_AFTER;

    use super::super::tests::{read, text};
    use super::*;

    fn errors() -> Vec<ApiError> {
        vec![
            ApiError::NoSuchPath,
            ApiError::MethodNotAllowed { allow: Some("GET") },
            ApiError::TooMany { retry_after: Duration::from_secs(7) },
            ApiError::Form(StatusCode::BAD_REQUEST),
            ApiError::TimedOut,
            ApiError::Internal,
            ApiError::Forbidden,
        ]
    }

    #[tokio::test]
    async fn each_failure_has_a_title_a_cause_a_remedy_and_a_word() {
        let about = About { app: "<Slack>".to_owned(), tenant: "acme".to_owned(), project: "web".to_owned() };
        let mut pages: Vec<_> =
            Failure::ALL.iter().map(|failure| failed(*failure, "slack", Some(&about)).into_response()).collect();
        pages.extend([OpenError::Invalid, OpenError::Forged, OpenError::Unconfirmable].iter().map(dead_link));
        pages.extend(errors().iter().map(refused));
        let (count, mut titles, mut words) = (pages.len(), BTreeSet::new(), BTreeSet::new());
        for page in pages {
            let html = read(page).await;
            assert_eq!(text(&html, "title"), text(&html, "h1"));
            assert!(text(&html, "h2 + p").ends_with('.') && !text(&html, "p[role]").is_empty(), "{html}");
            titles.insert(text(&html, "title"));
            words.insert(text(&html, "p.word > code"));
        }
        assert_eq!((titles.len(), words.len()), (count, count), "{titles:?} {words:?}");
        assert!(words.contains("slack_oauth_denied") && words.contains("account_mismatch"), "{words:?}");
    }

    #[tokio::test]
    async fn the_app_is_called_by_its_name_where_it_is_known() {
        let about = About { app: "Slack".to_owned(), tenant: "acme".to_owned(), project: "web".to_owned() };
        let html = read(failed(Failure::TokenExchangeFailed, "slack", Some(&about)).into_response()).await;
        assert_eq!(text(&html, "h1"), "Slack did not complete the connection");
        assert_eq!(text(&html, "dl"), "AppSlackProjectwebTenantacme");
        let html = read(failed(Failure::ProviderError, "slack", None).into_response()).await;
        assert_eq!(text(&html, "h1"), "The app has trouble of its own");
        assert_eq!(text(&html, "dl"), "");
    }

    #[tokio::test]
    async fn who_has_to_wait_is_told_how_long() {
        let response = refused(&ApiError::TooMany { retry_after: Duration::from_millis(6_500) });
        assert_eq!(
            (response.status(), &response.headers()[RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &"7".parse().unwrap())
        );
        assert!(read(response).await.contains("Wait 7 seconds"));
    }
}
