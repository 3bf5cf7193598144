//! An API server of a few lines: it stores objects, reviews tokens and rights, and keeps to preconditions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

/// A user that a token stands for.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) username: &'static str,
    pub(super) audience: &'static str,
}

#[derive(Default)]
pub(super) struct State {
    /// Objects by path.
    pub(super) objects: BTreeMap<String, Value>,
    /// Users by token.
    pub(super) tokens: BTreeMap<&'static str, Token>,
    /// What is denied, as `verb resource/subresource`.
    pub(super) denied: BTreeSet<&'static str>,
    /// The rights that were asked about, as `user verb resource/subresource namespace/name`.
    pub(super) reviewed: Vec<String>,
    /// Whether every request fails.
    pub(super) down: bool,
    version: u64,
}

/// The API server; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Cluster(Arc<Mutex<State>>);

impl Cluster {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn client(&self) -> kube::Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let cluster = cluster.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let (status, answer) = cluster.state().answer(&parts.method, &parts.uri, body);
                let response = Response::builder().status(status).body(Body::from(answer.to_string()));
                Ok::<_, std::convert::Infallible>(response.unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    /// The names of the objects below a path.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let state = self.state();
        state.objects.keys().filter_map(|path| path.strip_prefix(prefix).map(str::to_owned)).collect()
    }
}

impl State {
    fn answer(&mut self, method: &Method, uri: &http::Uri, body: Value) -> (StatusCode, Value) {
        let path = uri.path().to_owned();
        if self.down {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
        if path.ends_with("/tokenreviews") {
            return self.review_token(body);
        }
        if path.ends_with("/subjectaccessreviews") {
            return self.review_right(body);
        }
        match method.as_str() {
            "GET" if is_collection(&path) => self.list(&path, uri.query().unwrap_or_default()),
            "GET" => self.objects.get(&path).map_or_else(missing, |object| (StatusCode::OK, object.clone())),
            "POST" => self.create(&path, body),
            "PATCH" => self.patch(&path, &body),
            "DELETE" => self.delete(&path, &body),
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn review_token(&self, mut review: Value) -> (StatusCode, Value) {
        let token = review["spec"]["token"].as_str().unwrap_or_default();
        let wanted = review["spec"]["audiences"][0].as_str();
        let known = self.tokens.get(token).filter(|token| token.audience == wanted.unwrap_or("api-server"));
        review["status"] = known.map_or(json!({ "authenticated": false }), |token| {
            json!({ "authenticated": true, "audiences": [token.audience], "user": { "username": token.username } })
        });
        (StatusCode::CREATED, review)
    }

    fn review_right(&mut self, mut review: Value) -> (StatusCode, Value) {
        let spec = &review["spec"];
        let attribute = |name: &str| spec["resourceAttributes"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(attribute("group"), "integrations.tms.dev");
        let right = format!("{} {}/{}", attribute("verb"), attribute("resource"), attribute("subresource"));
        let user = spec["user"].as_str().unwrap_or_default();
        self.reviewed.push(format!("{user} {right} {}/{}", attribute("namespace"), attribute("name")));
        let allowed = !self.denied.contains(right.as_str());
        review["status"] = json!({ "allowed": allowed });
        (StatusCode::CREATED, review)
    }

    fn list(&self, path: &str, query: &str) -> (StatusCode, Value) {
        let selector = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "labelSelector");
        let selector = selector.map(|(_, value)| value.into_owned()).unwrap_or_default();
        let wanted: Vec<(&str, &str)> = selector.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let selected = |object: &&Value| wanted.iter().all(|(key, value)| object["metadata"]["labels"][*key] == *value);
        let below = format!("{path}/");
        let found = self.objects.iter().filter(|(path, _)| path.starts_with(&below)).map(|(_, object)| object);
        let items: Vec<&Value> = found.filter(selected).collect();
        (StatusCode::OK, json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
    }

    fn create(&mut self, path: &str, mut object: Value) -> (StatusCode, Value) {
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&path) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        let namespace = path.split('/').skip_while(|part| *part != "namespaces").nth(1).unwrap_or_default();
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version + 1));
        self.store(path, object)
    }

    fn patch(&mut self, path: &str, changes: &Value) -> (StatusCode, Value) {
        let Some(mut object) = self.objects.get(path).cloned() else { return missing() };
        if !holds(&object, &changes["metadata"]) {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        merge(&mut object, changes);
        self.store(path.to_owned(), object)
    }

    fn delete(&mut self, path: &str, options: &Value) -> (StatusCode, Value) {
        let Some(mut object) = self.objects.get(path).cloned() else { return missing() };
        if !holds(&object, &options["preconditions"]) {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
            return self.store(path.to_owned(), object);
        }
        self.objects.remove(path);
        (StatusCode::OK, json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }))
    }

    fn store(&mut self, path: String, mut object: Value) -> (StatusCode, Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        (StatusCode::OK, object)
    }
}

/// Collections end in the plural: `…/namespaces/acme/secrets`.
fn is_collection(path: &str) -> bool {
    path.ends_with("/secrets") || path.ends_with("/projectintegrations")
}

fn holds(object: &Value, conditions: &Value) -> bool {
    ["uid", "resourceVersion"]
        .iter()
        .all(|key| conditions[*key].is_null() || conditions[*key] == object["metadata"][*key])
}

/// JSON merge patch (RFC 7386 §2).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

fn missing() -> (StatusCode, Value) {
    failure(StatusCode::NOT_FOUND, "NotFound")
}

fn failure(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let text = "the inside";
    let answer = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": text, "reason": reason, "code": status.as_u16() });
    (status, answer)
}
