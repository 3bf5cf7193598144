//! The server as the outside sees it: requests go in, answers come out, the cluster behind it is made up.

use std::sync::Arc;

use axum::body::Body;
use axum::{Json, Router};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::{reflector, watcher};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::Url;

use super::cluster::{Cluster, Token};
use crate::config::InitiatorCheck;
use crate::flow::Flow;
use crate::flow::attempts::AttemptStore;
use crate::grant::GrantStore;
use crate::metrics::Metrics;
use crate::oauth::attempt::SigningKey;
use crate::provider::gate::{GateOptions, Gates};
use crate::provider::outbound::{Outbound, OutboundOptions};
use crate::provider::registry::{Parts, Registry};
use crate::server::limits::LimitOptions;
use crate::server::{ServerOptions, ServerState, router};
use crate::tenancy::{NamespaceMeta, Tenants};

pub(super) const SECRETS: &str = "/api/v1/namespaces/operator/secrets/";
pub(super) const INTEGRATIONS: &str = "/apis/integrations.tms.dev/v1alpha1/namespaces/acme-ns/projectintegrations/";
pub(super) const INSTALL: &str = "/v1/tenants/acme/projects/web/integrations/new_app/install";

/// How the server is set up.
pub(super) struct Setup {
    pub(super) check: InitiatorCheck,
    pub(super) frontends: Vec<&'static str>,
    pub(super) limits: LimitOptions,
    pub(super) api_server_audience: bool,
    pub(super) public_url: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            check: InitiatorCheck::Click,
            frontends: vec!["https://app.example.com"],
            limits: LimitOptions::default(),
            api_server_audience: false,
            public_url: "https://connect.example.com",
        }
    }
}

/// The outside.
pub(super) struct Outside {
    pub(super) app: Router,
    pub(super) cluster: Cluster,
    pub(super) metrics: Metrics,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(super) fn location(&self) -> Url {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        Url::parse(self.headers[LOCATION].to_str().unwrap()).unwrap()
    }

    /// The cookie that was set, as a browser sends it back.
    pub(super) fn cookie(&self) -> String {
        let set = self.headers[SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Outside {
    pub(super) async fn new(setup: Setup) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Cluster::default();
        let metrics = Metrics::new();
        let flow = flow(&cluster, &setup, token_endpoint().await);
        let options = ServerOptions {
            api_audience: "integration-operator".to_owned(),
            accept_api_server_audience: setup.api_server_audience,
            limits: setup.limits,
            ..ServerOptions::default()
        };
        let app = router(ServerState::new(flow, options, metrics.clone()));
        fill(&cluster);
        Self { app, cluster, metrics }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A request of alice, whose token is good.
    pub(super) async fn alice(&self, method: &str, path: &str) -> Answer {
        self.with_token("alice", method, path, &Value::Null).await
    }

    pub(super) async fn with_token(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, format!("Bearer {token}"));
        let request = request.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    /// A visit by a browser with these headers.
    pub(super) async fn visit(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Install by alice: the link's path and query, and the cookie that came with it.
    pub(super) async fn install(&self) -> (String, String) {
        let answer = self.alice("GET", &format!("{INSTALL}?agent_id=agent-7")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let url = Url::parse(answer.json()["oauth_url"].as_str().unwrap()).unwrap();
        (url[url::Position::BeforePath..].to_owned(), answer.cookie())
    }

    /// Install, and on to the provider in the same browser: the state, and the cookie.
    pub(super) async fn state(&self) -> (String, String) {
        let (link, cookie) = self.install().await;
        let answer = self.visit("GET", &link, &[(COOKIE.as_str(), &cookie)]).await;
        let state = answer.location().query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        (state, cookie)
    }
}

#[allow(clippy::needless_pass_by_value)]
fn flow(cluster: &Cluster, setup: &Setup, token_url: String) -> Flow {
    let client = cluster.client();
    let options = OutboundOptions { insecure_hosts: vec!["127.0.0.1".to_owned()], ..OutboundOptions::default() };
    let outbound = Outbound::new(options).unwrap();
    let tenants = Tenants::new(namespaces(), "operator");
    let public_url = Url::parse(setup.public_url).unwrap();
    let registry = Registry::new(Parts {
        client: client.clone(),
        own_namespace: "operator".to_owned(),
        public_url: public_url.clone(),
        cluster: store(vec![json!({
            "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ClusterIntegrationProvider",
            "metadata": { "name": "new-app", "uid": "provider", "generation": 1 },
            "spec": {
                "displayName": "New App", "clientCredentialsRef": { "name": "new-app-client" },
                "oauth2": {
                    "authorizationURL": "https://provider.example/authorize", "tokenURL": token_url,
                    "revocationURL": token_url, "scopes": ["read"],
                },
            },
        })]),
        tenants_own: vec![store(vec![])],
        tenants: tenants.clone(),
        outbound: outbound.clone(),
    });
    Flow {
        attempts: AttemptStore::new(client.clone(), "operator"),
        grants: GrantStore::new(client.clone(), "operator"),
        client,
        registry,
        tenants,
        outbound,
        gates: Arc::new(Gates::new(GateOptions::default())),
        key: SigningKey::new(&[7; 32]),
        public_url,
        frontends: setup.frontends.iter().map(|url| Url::parse(url).unwrap()).collect(),
        initiator_check: setup.check,
        tasks: tokio_util::task::TaskTracker::new(),
    }
}

fn store<K>(objects: Vec<Value>) -> reflector::Store<DeserializeGuard<K>>
where
    K: DeserializeOwned + kube::Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(object).unwrap()));
    }
    store
}

fn namespaces() -> reflector::Store<NamespaceMeta> {
    let (store, mut writer) = reflector::store();
    let metadata = json!({ "name": "acme-ns", "labels": { "integrations.tms.dev/tenant": "acme" } });
    let namespace: NamespaceMeta = PartialObjectMeta {
        types: None,
        metadata: serde_json::from_value(metadata).unwrap(),
        _phantom: std::marker::PhantomData::<Namespace>,
    };
    writer.apply_watcher_event(&watcher::Event::Apply(namespace));
    store
}

/// The client's credentials, and who has which token.
fn fill(cluster: &Cluster) {
    let mut state = cluster.state();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "new-app-client", "namespace": "operator" },
        "data": { "client_id": "aWQ=", "client_secret": "c2VjcmV0" },
    });
    state.objects.insert(format!("{SECRETS}new-app-client"), secret);
    let ours = "integration-operator";
    for (token, username, audience) in [
        ("alice", "alice", ours),
        ("bob", "bob", ours),
        ("backend", "system:serviceaccount:tms:backend", ours),
        ("carol-kubeconfig", "carol", "api-server"),
        ("any-pod", "system:serviceaccount:acme-ns:default", "api-server"),
    ] {
        state.tokens.insert(token, Token { username, audience });
    }
}

/// A token endpoint that takes every code.
async fn token_endpoint() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let answer = json!({ "access_token": "canary-token", "token_type": "Bearer", "expires_in": 3600 });
    let app = Router::new().route("/token", axum::routing::post(|| async move { Json(answer) }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}
