//! A client and its browser in one, as short as the tests wish to be: it walks through the authorization, exchanges the
//! code, and returns what the provider said.

use std::collections::HashMap;

use reqwest::{Client, Response, StatusCode, header::LOCATION, redirect::Policy};
use serde_json::Value;
use url::Url;

use crate::sandbox::{Consent, Sandbox, SandboxOptions};

pub(crate) const CALLBACK: &str = "http://127.0.0.1:8123/callback";
/// The example of RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(Policy::none()).no_proxy().build().unwrap()
}

/// A sandbox that asks nobody.
pub(crate) fn consenting(options: SandboxOptions) -> Sandbox {
    Sandbox::start(SandboxOptions { consent: Consent::Allow(None), ..options })
}

/// A good authorization request, in which a test may change what it likes: an empty value leaves a parameter out.
pub(crate) async fn authorize(sandbox: &Sandbox, changes: &[(&str, &str)]) -> Response {
    let mut params = HashMap::from([
        ("client_id", "sandbox-client"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "read write"),
        ("state", "a state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    params.extend(changes.iter().copied());
    params.retain(|_, value| !value.is_empty());
    let url = Url::parse_with_params(&format!("{}/authorize", sandbox.base_url), params).unwrap();
    client().get(url).send().await.unwrap()
}

/// Where a redirect leads, as parameters.
pub(crate) fn landed(response: &Response) -> HashMap<String, String> {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(location.starts_with(CALLBACK), "{location}");
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

pub(crate) async fn code(sandbox: &Sandbox) -> String {
    landed(&authorize(sandbox, &[]).await).remove("code").unwrap()
}

/// Posts a form as the client, with its secret in the body.
pub(crate) async fn post(sandbox: &Sandbox, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Response> {
    let mut params = HashMap::from([("client_id", "sandbox-client"), ("client_secret", "sandbox-secret")]);
    params.extend(form.iter().copied());
    params.retain(|_, value| !value.is_empty());
    client().post(format!("{}{path}", sandbox.base_url)).form(&params).send().await
}

/// A good exchange, in which a test may change what it likes.
pub(crate) async fn exchange(sandbox: &Sandbox, code: &str, changes: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    form.extend(changes);
    read(post(sandbox, "/token", &form).await.unwrap()).await
}

pub(crate) async fn refresh(sandbox: &Sandbox, token: &str) -> (StatusCode, Value) {
    read(try_refresh(sandbox, token).await.unwrap()).await
}

pub(crate) async fn try_refresh(sandbox: &Sandbox, token: &str) -> reqwest::Result<Response> {
    post(sandbox, "/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

/// Asks the provider whether an access token works.
pub(crate) async fn works(sandbox: &Sandbox, access_token: &str) -> bool {
    let url = format!("{}/userinfo", sandbox.base_url);
    client().get(url).bearer_auth(access_token).send().await.unwrap().status().is_success()
}

pub(crate) async fn read(response: Response) -> (StatusCode, Value) {
    (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

pub(crate) fn refused(answer: &(StatusCode, Value), status: u16, error: &str) {
    assert_eq!((answer.0.as_u16(), answer.1["error"].as_str()), (status, Some(error)), "{}", answer.1);
}
