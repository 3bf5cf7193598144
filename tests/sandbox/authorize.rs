//! The endpoint a browser visits. What is wrong with client or redirect URI is told to the person, since nobody else can be
//! trusted with it; anything else is told to the client, by redirect (RFC 6749 §4.1.2.1), under the server's name (RFC 9207).

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_FRAME_OPTIONS},
    },
    response::{Html, IntoResponse, Response},
    routing::get,
};
use url::{Host, Url};

use super::{
    answer::Refusal,
    authority::{Ask, Authority},
    ledger::{Endpoint, Entry},
    options::{Account, Consent, SandboxOptions},
    page,
    params::Params,
    server::Shared,
};

pub fn routes() -> Router<Shared> {
    Router::new().route("/authorize", get(ask).post(answer))
}

/// Why a request leads to no question.
enum Wrong {
    /// The person is told.
    Untrusted(String),
    /// The client is told.
    Refused { redirect_uri: String, state: Option<String>, refusal: Box<Refusal> },
}

async fn ask(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let mut authority = shared.authority();
    let ask = match read(&authority, &query.unwrap_or_default()) {
        Ok(ask) => ask,
        Err(Wrong::Untrusted(what)) => {
            note(&mut authority, "untrusted");
            return problem(&what);
        }
        Err(Wrong::Refused { redirect_uri, state, refusal }) => {
            note(&mut authority, refusal.error);
            return refuse(&authority, &redirect_uri, state.as_deref(), &refusal);
        }
    };
    match authority.options.consent.clone() {
        Consent::Ask => {
            note(&mut authority, "asked");
            let id = authority.ask(ask.clone());
            closed(Html(page::consent(&authority.options, &ask, &id)))
        }
        Consent::Deny => deny(&mut authority, &ask),
        Consent::Fail(error) => {
            note(&mut authority, error);
            let refusal = Refusal::new(error, "as it was told to");
            refuse(&authority, &ask.redirect_uri, ask.state.as_deref(), &refusal)
        }
        Consent::Allow(account) => {
            let chosen =
                account.as_deref().and_then(|id| authority.account(id)).unwrap_or(&authority.options.accounts[0]);
            let chosen = chosen.clone();
            allow(&mut authority, ask, chosen)
        }
    }
}

async fn answer(State(shared): State<Shared>, body: Bytes) -> Response {
    let mut authority = shared.authority();
    let Ok(form) = Params::parse(&body) else {
        return problem("This form was filled in twice.");
    };
    let Some(ask) = form.get("request").and_then(|id| authority.answered(id)) else {
        return problem("This request was answered already, or waited for too long. Start again from the app.");
    };
    let account = form.get("account").and_then(|id| authority.account(id)).cloned();
    match (form.get("decision"), account) {
        (Some("allow"), Some(account)) => allow(&mut authority, ask, account),
        _ => deny(&mut authority, &ask),
    }
}

fn allow(authority: &mut Authority, ask: Ask, account: Account) -> Response {
    note(authority, "allowed");
    let (redirect_uri, state) = (ask.redirect_uri.clone(), ask.state.clone());
    let code = authority.allow(ask, account);
    redirect(authority, &redirect_uri, state.as_deref(), &[("code", &code)])
}

fn deny(authority: &mut Authority, ask: &Ask) -> Response {
    note(authority, "access_denied");
    let refusal = Refusal::new("access_denied", "the person said no");
    refuse(authority, &ask.redirect_uri, ask.state.as_deref(), &refusal)
}

fn read(authority: &Authority, query: &str) -> Result<Ask, Wrong> {
    let options = &authority.options;
    let params = Params::parse(query.as_bytes()).map_err(|refusal| Wrong::Untrusted(refusal.description))?;
    let Some(client) = params.get("client_id").filter(|client| options.knows(client)) else {
        return Err(Wrong::Untrusted("No app is registered under this client_id.".to_owned()));
    };
    let redirect_uri = params.get("redirect_uri").unwrap_or_default();
    if !registered(options, redirect_uri) {
        return Err(Wrong::Untrusted("This redirect_uri is not registered for the app.".to_owned()));
    }
    let state = params.get("state").map(str::to_owned);
    check(options, &params)
        .map(|challenge| Ask {
            client: client.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            scope: params.get("scope").unwrap_or_default().to_owned(),
            user_scope: params.get("user_scope").unwrap_or_default().to_owned(),
            state: state.clone(),
            challenge,
            asked_at: authority.now(),
        })
        .map_err(|refusal| Wrong::Refused { redirect_uri: redirect_uri.to_owned(), state, refusal: Box::new(refusal) })
}

fn registered(options: &SandboxOptions, redirect_uri: &str) -> bool {
    if !options.redirect_uris.is_empty() {
        return options.redirect_uris.iter().any(|registered| registered == redirect_uri);
    }
    Url::parse(redirect_uri).is_ok_and(|url| {
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        loopback && url.scheme() == "http" && url.fragment().is_none()
    })
}

/// The rest of the request, down to its challenge.
fn check(options: &SandboxOptions, params: &Params) -> Result<Option<String>, Refusal> {
    if params.require("response_type")? != "code" {
        return Err(Refusal::new("unsupported_response_type", "only code"));
    }
    let mut asked = params.get("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    if !options.scopes.is_empty() && !asked.all(|scope| options.scopes.iter().any(|known| known == scope)) {
        return Err(Refusal::new("invalid_scope", "a scope is unknown"));
    }
    match (params.get("code_challenge"), params.get("code_challenge_method")) {
        (None, None) if !options.pkce_required => Ok(None),
        (None, _) => Err(Refusal::invalid_request("code_challenge is missing")),
        (Some(challenge), Some("S256")) if challenge.len() == 43 => Ok(Some(challenge.to_owned())),
        (Some(_), Some("S256")) => Err(Refusal::invalid_request("code_challenge is not a SHA-256 hash")),
        (Some(_), _) => Err(Refusal::invalid_request("code_challenge_method must be S256")),
    }
}

fn refuse(authority: &Authority, redirect_uri: &str, state: Option<&str>, refusal: &Refusal) -> Response {
    let error = [("error", refusal.error), ("error_description", refusal.description.as_str())];
    redirect(authority, redirect_uri, state, &error)
}

fn redirect(authority: &Authority, redirect_uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> Response {
    let Ok(mut url) = Url::parse(redirect_uri) else {
        return problem("The redirect_uri is not a URL.");
    };
    url.query_pairs_mut()
        .extend_pairs(answer)
        .extend_pairs(state.map(|state| ("state", state)))
        .append_pair("iss", &authority.issuer);
    closed((StatusCode::SEE_OTHER, [(LOCATION, String::from(url))]))
}

fn problem(what: &str) -> Response {
    closed((StatusCode::BAD_REQUEST, Html(page::problem(what))))
}

/// No `form-action`: browsers would apply it to the redirect that answers the form.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// Not kept, not framed, not told to the next site.
fn closed(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn note(authority: &mut Authority, outcome: &'static str) {
    let entry = Entry {
        at: authority.now(),
        endpoint: Endpoint::Authorize,
        grant_type: None,
        grant: None,
        fault: None,
        processed: true,
        outcome,
        in_flight: 0,
    };
    authority.book.open(entry);
}
