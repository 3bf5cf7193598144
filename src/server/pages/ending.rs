//! Where a person is at the end: connected, almost connected, or back at their terminal.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::Page;
use super::failure::{failed, unconfirmable};
use super::html::Markup;
use super::style::Sign;
use crate::flow::callback::{Ending, Finished};
use crate::flow::open::About;

/// How a visit to the callback ended.
pub fn ended(finished: &Finished) -> Response {
    let about = finished.about.as_ref();
    let app = about.map_or("The app", |about| &about.app);
    match &finished.ending {
        Ending::Success => {
            let lead = about.map_or_else(
                || "The account is now connected.".to_owned(),
                |about| format!("{app} is now connected to project {} of {}.", about.project, about.tenant),
            );
            let next = "You can close this window. The connection is kept alive without you; you are asked again only \
                        if it ends.";
            page(Sign::Done, "Connected", &lead, about, next).into_response()
        }
        Ending::Pending => {
            let lead =
                format!("You have done your part. {app} takes its time, and the connection is completed without you.");
            let next = "You can close this window; reloading it does not help. If you do not see the connection after a \
                        few minutes, ask to connect again.";
            page(Sign::Waiting, "Almost done", &lead, about, next).into_response()
        }
        // Nobody is there to take the confirmation, and showing it would invite handing it to whoever asks.
        Ending::Confirm(_) => unconfirmable(about).into_response(),
        Ending::Failed(failure) => failed(*failure, &finished.type_, about).into_response(),
    }
}

/// A browser that fetches ahead. It is refused, so that it asks again when the person really goes there.
pub fn too_early() -> Response {
    let lead = "Pages are not fetched ahead here. Nothing was used up.";
    let content = Markup::paragraph("Open the link to go on.");
    Page::new(StatusCode::SERVICE_UNAVAILABLE, Sign::Waiting, "Not yet", lead, content).into_response()
}

/// For a program at a terminal, to which the browser returned with this `status`, or with none.
pub fn back_at_the_terminal(status: Option<&str>) -> Response {
    let (sign, lead) = match status {
        Some("success") => (Sign::Done, "The account is connected."),
        Some(_) => (Sign::Waiting, "You have done your part here. The terminal says how it ends."),
        None => (Sign::Stopped, "The account was not connected. The terminal says why."),
    };
    page(sign, "Back to the terminal", lead, None, "You can close this window.").into_response()
}

fn page(sign: Sign, title: &str, lead: &str, about: Option<&About>, next: &str) -> Page {
    let content = [details(about), Markup::element("h2", &[], Markup::fixed("What next")), Markup::paragraph(next)];
    Page::new(StatusCode::OK, sign, title, lead, content.into_iter().collect())
}

/// Which connection it is about.
pub(super) fn details(about: Option<&About>) -> Markup {
    let rows = about.map(|about| {
        Markup::terms(&[("App", Some(&about.app)), ("Project", Some(&about.project)), ("Tenant", Some(&about.tenant))])
    });
    rows.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, text};
    use super::*;
    use crate::sensitive::Sensitive;

    fn finished(ending: Ending) -> Finished {
        let about = About { app: "Slack".to_owned(), tenant: "acme".to_owned(), project: "web".to_owned() };
        Finished { ending, type_: "slack".to_owned(), frontend: None, about: Some(about) }
    }

    #[tokio::test]
    async fn the_end_names_the_connection_and_what_is_next() {
        let html = read(ended(&finished(Ending::Success))).await;
        assert_eq!(text(&html, "h1"), "Connected");
        assert_eq!(text(&html, "p[role=status]"), "Slack is now connected to project web of acme.");
        assert_eq!(text(&html, "dl"), "AppSlackProjectwebTenantacme");
        assert!(html.contains("close this window"), "{html}");
        let html = read(ended(&finished(Ending::Pending))).await;
        assert_eq!(text(&html, "h1"), "Almost done");
        assert!(text(&html, "p[role=status]").contains("completed without you"), "{html}");
    }

    #[tokio::test]
    async fn a_confirmation_is_not_shown() {
        let response = ended(&finished(Ending::Confirm(Sensitive::new("canary"))));
        assert_eq!(response.status(), StatusCode::CONFLICT);
        let html = read(response).await;
        assert!(html.contains("return_to") && !html.contains("canary"), "{html}");
    }

    #[tokio::test]
    async fn the_terminal_has_the_word() {
        for (status, role) in [(Some("success"), "status"), (Some("confirm"), "status"), (None, "alert")] {
            let html = read(back_at_the_terminal(status)).await;
            assert_eq!(text(&html, "title"), "Back to the terminal");
            assert!(!text(&html, &format!("p[role={role}]")).is_empty(), "{html}");
        }
        read(too_early()).await;
    }
}
