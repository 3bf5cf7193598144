//! What tests of the operator lean on: namespaces end, garbage goes, service accounts have their
//! own rights, requests are counted exactly, and a broken start says why.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::binaries::Environment;
use crate::cluster::{self, ApiRequest, Cluster, Options, Part};
use crate::eventually;

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

async fn create_service_account(client: &Client, namespace: &str, name: &str) {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    create(&api, json!({"metadata": {"name": name}})).await;
}

async fn client_of(cluster: &Cluster, namespace: &str, name: &str) -> Client {
    let path = cluster.service_account_kubeconfig(namespace, name, &[]).await.unwrap();
    let read = Kubeconfig::read_from(path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn forbidden<T: std::fmt::Debug>(result: kube::Result<T>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403)
}

#[tokio::test]
async fn a_namespace_with_a_secret_comes_and_goes() {
    let test = "a_namespace_with_a_secret_comes_and_goes";
    let Some(cluster) = cluster::shared(test).await else {
        return;
    };
    if !cluster.has_or_skip(Part::ControllerManager, test) {
        return;
    }
    let client = cluster.client().unwrap();
    let namespace = cluster.create_namespace("comes-and-goes").await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    create(&secrets, json!({"metadata": {"name": "s"}, "stringData": {"key": "value"}})).await;
    assert_eq!(secrets.get("s").await.unwrap().data.unwrap()["key"].0, b"value");

    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    eventually("the deletion of a namespace", async || namespaces.get_opt(&namespace).await.unwrap().is_none()).await;
}

#[tokio::test]
async fn what_lost_its_owner_is_collected() {
    let test = "what_lost_its_owner_is_collected";
    let Some(cluster) = cluster::shared(test).await else {
        return;
    };
    if !cluster.has_or_skip(Part::ControllerManager, test) {
        return;
    }
    let client = cluster.client().unwrap();
    let namespace = cluster.create_namespace("garbage").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let owner = create(&maps, json!({"metadata": {"name": "owner"}})).await;
    let reference = owner.owner_ref(&()).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    create(&secrets, json!({"metadata": {"name": "owned", "ownerReferences": [reference]}})).await;
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    eventually("garbage collection", async || secrets.get_opt("owned").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn owners_of_a_new_kind_are_followed() {
    let test = "owners_of_a_new_kind_are_followed";
    let Some(cluster) = cluster::start_or_skip(test, Options::default()).await else {
        return;
    };
    if !cluster.has_or_skip(Part::ControllerManager, test) || !cluster.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let client = cluster.client().unwrap();
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    create(&kinds, owner_crd()).await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("test.example", "v1", "Owner"));
    let owners: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    cluster.follow_owners_of("test.example").await.unwrap();

    let object = json!({"apiVersion": "test.example/v1", "kind": "Owner", "metadata": {"name": "o"}});
    let owner = create(&owners, object).await;
    let reference = owner.owner_ref(&kind).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client, "default");
    let secret = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}});
    create(&secrets, secret).await;
    owners.delete("o", &DeleteParams::background()).await.unwrap();
    eventually("garbage collection", async || secrets.get_opt("owned").await.unwrap().is_none()).await;
}

fn owner_crd() -> Value {
    json!({
        "metadata": {"name": "owners.test.example"},
        "spec": {
            "group": "test.example",
            "scope": "Namespaced",
            "names": {"kind": "Owner", "plural": "owners", "singular": "owner"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    })
}

#[tokio::test]
async fn a_service_account_has_its_own_rights() {
    let Some(cluster) = cluster::shared("a_service_account_has_its_own_rights").await else {
        return;
    };
    let admin = cluster.client().unwrap();
    let namespace = cluster.create_namespace("rights").await.unwrap();
    create_service_account(&admin, &namespace, "poor").await;
    let client = client_of(cluster, &namespace, "poor").await;

    let who: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = create(&who, json!({})).await;
    let user = review.status.unwrap().user_info.unwrap();
    assert_eq!(user.username.unwrap(), format!("system:serviceaccount:{namespace}:poor"));
    assert_eq!(client.default_namespace(), namespace);

    let secrets: Api<Secret> = Api::default_namespaced(client);
    assert!(forbidden(secrets.list(&ListParams::default()).await));
}

#[tokio::test]
async fn a_token_is_for_its_audience() {
    let Some(cluster) = cluster::shared("a_token_is_for_its_audience").await else {
        return;
    };
    let admin = cluster.client().unwrap();
    let namespace = cluster.create_namespace("audience").await.unwrap();
    create_service_account(&admin, &namespace, "app").await;
    let token = cluster.service_account_token(&namespace, "app", &["ours"]).await.unwrap();

    assert_eq!(review(&admin, &token, "ours").await.authenticated, Some(true));
    assert_ne!(review(&admin, &token, "theirs").await.authenticated, Some(true));
}

async fn review(client: &Client, token: &str, audience: &str) -> TokenReviewStatus {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![audience.to_owned()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviews: Api<TokenReview> = Api::all(client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap()
}

#[tokio::test]
async fn a_named_cluster_is_used_as_it_is() {
    let Some(cluster) = cluster::shared("a_named_cluster_is_used_as_it_is").await else {
        return;
    };
    let mut environment = Environment::current().unwrap();
    environment.test_kubeconfig = Some(cluster.kubeconfig().to_owned());
    let named = Cluster::start_in(&environment, Options::default()).await.unwrap();
    assert!(named.is_provided());
    assert_eq!(named.process_ids(), []);
    assert!(!named.has(Part::OwnApiServer));
    assert_eq!(named.has(Part::ControllerManager), cluster.has(Part::ControllerManager));

    let admin = named.client().unwrap();
    let namespace = named.create_namespace("named").await.unwrap();
    create_service_account(&admin, &namespace, "app").await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client_of(&named, &namespace, "app").await);
    assert!(forbidden(maps.list(&ListParams::default()).await));

    let directory = named.directory().to_owned();
    named.stop();
    assert!(!directory.exists(), "the directory of a token is left behind");
    cluster.client().unwrap().apiserver_version().await.unwrap();
}

#[tokio::test]
async fn requests_are_counted_exactly() {
    let test = "requests_are_counted_exactly";
    let options = Options { audit_log: true, controller_manager: false, ..Options::default() };
    let Some(cluster) = cluster::start_or_skip(test, options).await else {
        return;
    };
    if !cluster.has_or_skip(Part::AuditLog, test) {
        return;
    }
    let admin = cluster.client().unwrap();
    create_service_account(&admin, "default", "counted").await;
    let client = client_of(&cluster, "default", "counted").await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let admins: Api<ConfigMap> = Api::default_namespaced(admin);
    let kind = ApiRequest::new("GET", "", "configmaps");
    let before = cluster.api_request_counts().await.unwrap().get(&kind).copied().unwrap_or_default();
    for _ in 0..7 {
        assert!(forbidden(maps.get("absent").await));
        assert_eq!(admins.get_opt("absent").await.unwrap(), None);
    }

    let events = cluster.audit_events().await.unwrap();
    let counted: Vec<&Value> =
        events.iter().filter(|event| event["user"]["username"] == "system:serviceaccount:default:counted").collect();
    assert_eq!(counted.len(), 7);
    assert!(counted.iter().all(|event| event["verb"] == "get" && event["responseStatus"]["code"] == 403));
    assert_eq!(cluster.audit_events().await.unwrap().len(), events.len(), "looking changes the count");

    // The seven that were allowed.
    eventually("the count of requests", async || {
        let after = cluster.api_request_counts().await.unwrap().get(&kind).copied().unwrap_or_default();
        assert!(after - before <= 7, "{after} after {before}");
        after - before == 7
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_the_api_server_ends() {
    let test = "an_outage_of_the_api_server_ends";
    let options = Options { controller_manager: false, ..Options::default() };
    let Some(cluster) = cluster::start_or_skip(test, options).await else {
        return;
    };
    if !cluster.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let client = cluster.client().unwrap();
    let namespace = cluster.create_namespace("survives").await.unwrap();
    cluster.stop_api_server().await.unwrap();
    client.apiserver_version().await.unwrap_err();
    cluster.restart_api_server().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    assert_eq!(namespaces.get(&namespace).await.unwrap().name_any(), namespace);
}

#[tokio::test]
async fn a_start_that_fails_tells_the_end_of_the_log() {
    let test = "a_start_that_fails_tells_the_end_of_the_log";
    let Some(shared) = cluster::shared(test).await else {
        return;
    };
    if !shared.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let options = Options { extra_apiserver_args: vec!["--no-such-flag".to_owned()], ..Options::default() };
    let error = Cluster::start(options).await.unwrap_err().to_string();
    assert!(error.contains("kube-apiserver ended with exit code 1"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_told() {
    let test = "a_port_that_somebody_else_has_is_told";
    let Some(shared) = cluster::shared(test).await else {
        return;
    };
    if !shared.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = Options { extra_apiserver_args: vec![format!("--secure-port={port}")], ..Options::default() };
    let error = Cluster::start(options).await.unwrap_err().to_string();
    assert!(error.contains("taken by somebody else before kube-apiserver"), "{error}");
}
