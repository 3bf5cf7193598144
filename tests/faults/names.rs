//! What a request is for, in a few words: the rows of the matrix.

use http::{Method, Uri};
use serde_json::Value;

/// The annotations of a grant whose writing has a name of its own, and that name.
const MARKS: [(&str, &str); 5] = [
    ("integrations.tms.dev/refused", "refused"),
    ("integrations.tms.dev/leaving-at", "leaving"),
    ("integrations.tms.dev/published", "published"),
    ("integrations.tms.dev/handled", "handled"),
    ("integrations.tms.dev/account-mismatch-at", "mismatch"),
];

/// Names the writes to the API server. Reviews of rights persist nothing, and the Lease has a test of its own.
pub fn api(method: &Method, uri: &Uri, body: &[u8]) -> Option<String> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let namespaced = path.iter().position(|part| *part == "namespaces")?;
    let (resource, rest) = (*path.get(namespaced + 2)?, &path[namespaced + 3..]);
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = rest.first().copied().or_else(|| body["metadata"]["name"].as_str()).unwrap_or_default();
    let verb = match *method {
        Method::POST => "create",
        Method::DELETE => "delete",
        _ => "patch",
    };
    Some(match resource {
        "secrets" => format!("{verb} {}", secret(name, &body)),
        "projectintegrations" => match rest.get(1) {
            Some(subresource) => format!("{verb} integration/{subresource}"),
            None if !body["metadata"]["finalizers"].is_null() => format!("{verb} integration: finalizer"),
            None => format!("{verb} integration"),
        },
        "events" => format!("{verb} event {}", body["reason"].as_str().unwrap_or_default()),
        _ => return None,
    })
}

fn secret(name: &str, body: &Value) -> String {
    if name.starts_with("authorization-") {
        return "attempt".to_owned();
    }
    if name.is_empty() {
        return "all attempts".to_owned();
    }
    if name.contains("-authorization-") {
        return "link Secret".to_owned();
    }
    if !name.starts_with("grant-") {
        return "token Secret".to_owned();
    }
    let annotations = &body["metadata"]["annotations"];
    let mut what = vec![];
    if !body["data"].is_null() {
        what.push("tokens");
    }
    match annotations.get("integrations.tms.dev/intent") {
        Some(Value::Null) if what.is_empty() => what.push("intent taken back"),
        Some(Value::String(_)) => what.push("intent"),
        _ => {}
    }
    let marked = |key: &str| annotations.get(key).is_some_and(|value| !value.is_null());
    what.extend(MARKS.iter().filter(|(key, _)| marked(key)).map(|(_, name)| *name));
    if what.is_empty() { "grant".to_owned() } else { format!("grant: {}", what.join(", ")) }
}

/// Names the requests to a provider.
pub fn provider(_: &Method, uri: &Uri, body: &[u8]) -> Option<String> {
    match uri.path() {
        "/token" => {
            let form = url::form_urlencoded::parse(body);
            let kind = form.into_iter().find(|(key, _)| key == "grant_type").map(|(_, value)| value.into_owned());
            Some(match kind.as_deref() {
                Some("authorization_code") => "POST token: code".to_owned(),
                _ => "POST token: refresh".to_owned(),
            })
        }
        "/revoke" => Some("POST revoke".to_owned()),
        "/introspect" => Some("POST introspect".to_owned()),
        "/userinfo" => Some("GET userinfo".to_owned()),
        _ => None,
    }
}

#[test]
fn requests_are_told_apart() {
    let name = |method: Method, path: &str, body: &str| api(&method, &path.parse().unwrap(), body.as_bytes());
    let grant = "/api/v1/namespaces/operator/secrets/grant-1";
    let said = |body: &str| name(Method::PATCH, grant, body).unwrap();
    assert_eq!(said(r#"{"metadata":{"annotations":{"integrations.tms.dev/intent":"[]"}}}"#), "patch grant: intent");
    assert_eq!(
        said(r#"{"metadata":{"annotations":{"integrations.tms.dev/intent":null}}}"#),
        "patch grant: intent taken back"
    );
    let tokens = r#"{"metadata":{"annotations":{"integrations.tms.dev/intent":null}},"data":{"grant":""}}"#;
    assert_eq!(said(tokens), "patch grant: tokens");
    let integration = "/apis/integrations.tms.dev/v1alpha1/namespaces/acme/projectintegrations/web.app";
    assert_eq!(name(Method::PATCH, &format!("{integration}/status"), "{}").unwrap(), "patch integration/status");
    assert_eq!(name(Method::DELETE, "/api/v1/namespaces/acme/secrets/web.app", "").unwrap(), "delete token Secret");
    assert_eq!(name(Method::GET, grant, ""), None);
    assert_eq!(name(Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews", "{}"), None);
    assert_eq!(name(Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/operator/leases/a", "{}"), None);
}
