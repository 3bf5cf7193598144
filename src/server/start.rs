//! `…/start`: the link that install handed out, and the click on the page that it may show.
//!
//! A visit by GET only reads. The click is taken from the page alone: its token is bound to the ticket and the
//! browser's cookie, and the browser must not say that it comes from elsewhere.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::header::{LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::client_address::ClientAddress;
use super::error::ApiError;
use super::{Shared, pages};
use crate::flow::Place;
use crate::flow::open::{OpenError, Opened};
use crate::sensitive::Sensitive;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// What the page's button sends.
#[derive(Deserialize)]
pub(super) struct Click {
    ticket: Sensitive,
    token: Sensitive,
}

/// Opens the link: on to the provider, or a page that asks first.
pub(super) async fn open(
    State(state): State<Shared>,
    place: Place,
    ClientAddress(client): ClientAddress,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = state.limits.start(client) {
        return refused(&error);
    }
    let Some(ticket) = ticket(query.as_deref().unwrap_or_default()) else { return dead(&OpenError::Invalid) };
    let browser = state.cookies.read_or_mint(&headers);
    let mut response = match state.flow.open(&place, ticket.expose(), browser.expose()).await {
        Ok(Opened::Redirect(url)) => see_other(&url),
        Ok(Opened::Ask(question)) => pages::ask(&question, ticket.expose()),
        Err(error) => return dead(&error),
    };
    response.headers_mut().extend(state.cookies.set(&browser).map(|cookie| (SET_COOKIE, cookie)));
    response
}

/// Takes the click: this browser goes on to the provider.
pub(super) async fn click(
    State(state): State<Shared>,
    place: Place,
    ClientAddress(client): ClientAddress,
    headers: HeaderMap,
    form: Result<Form<Click>, FormRejection>,
) -> Response {
    if let Err(error) = state.limits.start(client) {
        return refused(&error);
    }
    let Form(click) = match form {
        Ok(form) => form,
        Err(rejection) => return refused(&rejection.into()),
    };
    let Some(browser) = state.cookies.read(&headers).filter(|_| is_same_origin(&headers, &state.flow.public_url))
    else {
        return dead(&OpenError::Forged);
    };
    match state.flow.click(&place, click.ticket.expose(), browser.expose(), click.token.expose()).await {
        Ok(url) => see_other(&url),
        Err(error) => dead(&error),
    }
}

/// 303, so that the method never travels along (RFC 9700 §4.12).
pub(super) fn see_other(url: &Url) -> Response {
    let mut response = Response::default();
    match HeaderValue::try_from(url.as_str()) {
        Ok(location) => {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, location);
        }
        // A parsed URL is ASCII without controls, so this does not happen.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// The one ticket of the query.
fn ticket(query: &str) -> Option<Sensitive> {
    let mut tickets = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "ticket");
    let (Some((_, ticket)), None) = (tickets.next(), tickets.next()) else { return None };
    (!ticket.is_empty()).then(|| Sensitive::new(ticket))
}

/// Whether a form comes from a page of ours, as far as the browser tells.
///
/// `Sec-Fetch-Site` is the word of every current browser. Where it is missing, `Origin` must not name another one; it
/// is `null` after a page with `Referrer-Policy: no-referrer`, as ours is, and proves nothing then. The token does.
fn is_same_origin(headers: &HeaderMap, public_url: &Url) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let ours = public_url.origin().ascii_serialization();
    headers.get(ORIGIN).is_none_or(|origin| origin == "null" || origin == ours.as_str())
}

fn dead(error: &OpenError) -> Response {
    if let OpenError::Storage(source) = error {
        tracing::error!(error = source as &dyn std::error::Error, "cannot look up an authorization attempt");
    }
    pages::dead_link(error)
}

fn refused(error: &ApiError) -> Response {
    error.log();
    pages::refused(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ticket() {
        assert_eq!(ticket("a=b&ticket=t%2Bt").unwrap().expose(), "t+t");
        for bad in ["", "ticket=", "ticket=a&ticket=b", "Ticket=a"] {
            assert!(ticket(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn origins() {
        let ours = Url::parse("https://connect.example.com/base").unwrap();
        let check = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_same_origin(&headers.collect(), &ours)
        };
        assert!(check(&[]));
        assert!(check(&[("origin", "https://connect.example.com")]));
        assert!(check(&[("origin", "null")]));
        assert!(check(&[("origin", "null"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(&[("origin", "https://connect.example.com"), ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(!check(&[("sec-fetch-site", "none")]));
        assert!(!check(&[("origin", "https://connect.example.com.evil.example")]));
        assert!(!check(&[("origin", "http://connect.example.com")]));
    }
}
